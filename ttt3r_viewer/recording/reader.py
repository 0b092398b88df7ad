"""A recording: every frame's results in full, on disk, read by number from any thread.

A folder with `archive.json`, which says what the run was, and `frames-00000.bin` and on, which hold
one record (`format.py`) per frame. `writer.py` writes it; `docs/recording.md` describes it.
"""

import mmap
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import RecordingError, system_words
from ttt3r_viewer.recording.format import (
    MAGIC,
    PREFIX_BYTES,
    Header,
    Prefix,
    Read,
    read_camera,
    read_header,
    read_image,
    read_lane,
    read_prefix,
    read_summary,
)
from ttt3r_viewer.recording.manifest import Manifest, NewerRecordingError
from ttt3r_viewer.scene.seen import FrameSummary, thin_points
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import FrameResult, RuleInfo, Status

MANIFEST_FILE = "archive.json"
CHECKPOINTS = "checkpoint-*.safetensors"
"""Files that a run can be resumed from; written by `checkpoint.py`."""
FRAME_FILES = re.compile(r"frames-\d{5,}\.bin")
FOLDER = "archive"
"""Its name within an output folder."""
OWN_FILES = tuple(f"{FOLDER}/{one}" for one in (MANIFEST_FILE, "frames-*.bin", CHECKPOINTS))
"""What a recorded run writes or replaces there."""

T = TypeVar("T")


def frame_file(number: int) -> str:
    """Return the name of one of the files that hold the frames."""
    return f"frames-{number:05}.bin"


def file_number(name: str) -> int:
    """Return the number of one of the files that hold the frames."""
    return int(name.removeprefix("frames-").removesuffix(".bin"))


def frame_files(folder: Path) -> list[str]:
    """Return the names of the files in a folder that hold frames, in their order."""
    names = (one.name for one in folder.iterdir() if FRAME_FILES.fullmatch(one.name))
    return sorted(names, key=file_number)


class Place(NamedTuple):
    """Where a record is."""

    file: str
    offset: int
    prefix: Prefix


class Recording:
    """Reads frames by number; those that the writer adds meanwhile appear here.

    Any thread may read. Frames are counted as `FrameResult.sequence` counts them; a record of the
    same number that was written later takes the place of the earlier one.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.earlier = ""
        """Where the recording is kept that a restart replaced by this one; empty where none is."""
        self._places: dict[int, Place] = {}
        """One thread adds to it; a look-up, a length and a copy of the keys are each one step."""
        self._notes: list[str] = []
        self._retired = ""

    @property
    def output_folder(self) -> Path:
        """The output folder that holds it; its own where it lies by itself."""
        return self.path.parent if self.path.name == FOLDER else self.path

    @staticmethod
    def open(path: Path) -> "Recording":
        """Find what is on disk; only the beginning of each record is read.

        `path` is the folder of a recording, or an output folder that holds one. Where something is
        damaged, `note` says what, and the rest is kept. Raises `RecordingError` if nothing can be.
        """
        try:
            inside = (path / FOLDER).is_dir() and not (path / MANIFEST_FILE).exists()
            folder = path / FOLDER if inside else path
            if not folder.is_dir():
                raise RecordingError(
                    f"{path}: no such folder; give one that a run's --output named"
                )
            names = frame_files(folder)
        except OSError as error:
            raise RecordingError(
                f"{path}: {system_words(error)}; give a folder that a run's --output named"
            ) from error
        notes = []
        try:
            manifest = Manifest.from_json((folder / MANIFEST_FILE).read_bytes())
        except NewerRecordingError as error:
            raise RecordingError(f"{folder / MANIFEST_FILE}: {error}") from error
        except (OSError, RecordingError) as error:
            what = system_words(error)
            manifest = _guessed_manifest(folder, names)
            if manifest is None:
                # A program that is killed between two steps of a restart leaves no other.
                kept = sorted(str(one.parent) for one in path.glob(f"{FOLDER}-*/{MANIFEST_FILE}"))
                hint = f"; of runs before a restart it holds {', '.join(kept)}" if kept else ""
                raise RecordingError(
                    f"{folder / MANIFEST_FILE}: {what}; wanted a folder that a run's --output "
                    f"named, with a recording in it{hint}"
                ) from error
            notes.append(f"{MANIFEST_FILE}: {what}; model and settings are unknown")
        recording = Recording(folder, manifest)
        recording._notes = notes
        recording._scan(names)
        return recording

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._places

    def __iter__(self) -> Iterator[tuple[FrameResult, ...]]:
        """Every frame in its order, one read at a time; damaged ones are left out and noted."""
        yield from self.each(self.frame)

    def each(self, read: Callable[[int], T]) -> Iterator[T]:
        """Give what `read` gives for every frame in its order; damaged ones as in `__iter__`."""
        for sequence in self.sequences:
            try:
                yield read(sequence)
            except RecordingError as error:
                if self._retired:
                    raise
                self._places.pop(sequence, None)
                self._notes.append(str(error))

    @property
    def sequences(self) -> tuple[int, ...]:
        """Numbers of the frames that are there, in increasing order."""
        return tuple(sorted(self._places.copy()))

    @property
    def nbytes(self) -> int:
        """Size of all records."""
        return sum(place.prefix.record_bytes for place in self._places.copy().values())

    @property
    def lanes(self) -> int:
        """Number of lanes; 1 where there is no frame."""
        return next((place.prefix.lanes for place in self._places.copy().values()), 1)

    @property
    def note(self) -> str:
        """What is damaged or missing, and what was kept; empty where all is well."""
        if self._retired or not self._notes:
            return self._retired
        return f"{'; '.join(self._notes)}; kept: {in_words(self.sequences)}"

    def frame(self, sequence: int) -> tuple[FrameResult, ...]:
        """Return what every lane made of a frame. Raises `RecordingError`."""
        with self._record(sequence) as (header, read):
            image = read_image(header, read)
            lanes = range(len(header.facts["lanes"]))
            return tuple(read_lane(header, lane, read, image) for lane in lanes)

    def seen(self, sequence: int) -> tuple[FrameSummary, ...]:
        """Return what the scene keeps, with few points; much faster. Raises `RecordingError`."""
        with self._record(sequence) as (header, read):
            return read_summary(header, read)

    def camera(self, sequence: int, lane: int) -> FrameSummary:
        """Return one lane's camera and numbers; no array is read. Raises `RecordingError`."""
        with self._record(sequence) as (header, _):
            return read_camera(header, lane)

    def lane(self, sequence: int, lane: int) -> FrameResult:
        """Return what one lane made of a frame; nothing else is read. Raises `RecordingError`."""
        with self._record(sequence) as (header, read):
            return read_lane(header, lane, read)

    def image(self, sequence: int) -> NDArray[np.uint8]:
        """Return the prepared image (height, width, 3) of a frame. Raises `RecordingError`."""
        with self._record(sequence) as (header, read):
            return read_image(header, read)

    def facts(self, sequence: int) -> Mapping[str, Any]:
        """Return a frame's plain values (`docs/recording.md`). Raises `RecordingError`."""
        with self._record(sequence) as (header, _):
            return header.facts

    def grow(self, place: Place) -> None:
        """Add a record that has been written whole; for the writer."""
        self._places[place.prefix.sequence] = place

    def keep_first(self, frames: int) -> Place:
        """Forget later frames, and what was damaged; where the last one is. For the writer."""
        self._places = {number: one for number, one in self._places.items() if number < frames}
        self._notes = []
        return max(self._places.values(), key=lambda place: (file_number(place.file), place.offset))

    def retire(self, why: str) -> None:
        """Refuse with these words from now on, because the files go; for the writer."""
        self._retired = why
        self._places = {}

    @contextmanager
    def _record(self, sequence: int) -> Iterator[tuple[Header, Read]]:
        place = self._places.get(sequence)
        if place is None:
            why = self._retired or f"not in the recording, which has {in_words(self.sequences)}"
            raise RecordingError(f"frame {sequence}: {why}")
        try:
            with (self.path / place.file).open("rb") as file:
                yield _opened(file, place)
        except (RecordingError, OSError) as error:
            what = system_words(error)
            # The files may have gone while this was reading.
            why = self._retired or f"{self.path / place.file}: {what}"
            raise RecordingError(f"frame {sequence}: {why}") from error

    def _scan(self, names: Sequence[str]) -> None:
        numbers = [-1, *map(file_number, names)]
        for before, after in pairwise(numbers):
            if after != before + 1:
                more = f" to {frame_file(after - 1)}" if after > before + 2 else ""
                self._notes.append(f"missing: {frame_file(before + 1)}{more}")
        for name in names:
            try:
                places, damage = scan_file(self.path / name, self.manifest.run)
            except OSError as error:
                self._notes.append(f"{name}: {error.strerror}")
                continue
            for place in places:
                self.grow(place)
            if damage:
                self._notes.append(f"{name}: {damage}")
        lanes = self.lanes
        if odd := [one for one, place in self._places.items() if place.prefix.lanes != lanes]:
            self._notes.append(f"{in_words(sorted(odd))}: of another number of lanes")
            for sequence in odd:
                del self._places[sequence]
        # After a power cut the end of a file may have its length and not its content.
        while self._places:
            last = max(self._places)
            try:
                self.frame(last)
                break
            except RecordingError as error:
                self._notes.append(str(error))
                del self._places[last]
        frames, trouble = self.manifest.frames, self.manifest.trouble
        if trouble:
            self._notes.append(trouble)
        elif frames is not None and frames != len(self._places) and not self._notes:
            self._notes.append(f"{MANIFEST_FILE} names {frames} frames")


def open_recording(path: Path) -> Recording:
    """Open a recording. Raises `RecordingError`, also where there is not one frame."""
    recording = Recording.open(path)
    if not len(recording):
        why = f" ({recording.note})" if recording.note else ""
        raise RecordingError(f"{path}: a recording without a frame{why}; give another one")
    return recording


def refill(recording: Recording, store: SceneStore, in_full: Set[int]) -> Iterator[int]:
    """Add every frame of a recording to an empty scene; yields each one's number once it is there.

    Those of `in_full` get as many points as a run gives them, the others those of their previews.
    Damaged frames are left out, and noted by the recording.
    """

    def read(sequence: int) -> tuple[Sequence[FrameSummary], Sequence[FrameResult]]:
        frames = recording.seen(sequence)
        if sequence not in in_full:
            return frames, ()
        results = recording.frame(sequence)
        lanes = zip(frames, results, store.snapshot().lanes, strict=True)
        full = (
            replace(frame, points=thin_points(result, lane.layout.points_per_frame))
            for frame, result, lane in lanes
        )
        return tuple(full), results

    for frames, results in recording.each(read):
        store.add_summary(frames, results)
        yield frames[0].sequence


def scan_file(path: Path, run: int | None) -> tuple[list[Place], str]:
    """Find the records of a run (None: of any) by their prefixes, and say what is damaged.

    After a damaged place the next whole prefix is searched. Raises `OSError`.
    """
    places: list[Place] = []
    damage: list[str] = []
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return [], ""
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            offset = 0
            while offset < size:
                start, prefix = _next_record(data, offset, size)
                if prefix is None:
                    damage.append(f"what follows byte {offset} is cut off or damaged")
                    break
                if start > offset:
                    damage.append(f"bytes {offset} to {start} are damaged")
                if run is None or prefix.run == run:
                    places.append(Place(path.name, start, prefix))
                elif not damage:
                    damage.append("it holds frames of another run, which are left out")
                offset = start + prefix.record_bytes
    return places, ", ".join(damage)


def in_words(sequences: Sequence[int]) -> str:
    """Say which frames these rising numbers are: "frames 0 to 7 and 9"."""
    if not sequences:
        return "no frame"
    parts: list[str] = []
    for _, run in groupby(enumerate(sequences), lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        parts.append(f"{numbers[0]} to {numbers[-1]}" if numbers[1:] else f"{numbers[0]}")
    word = "frame" if len(sequences) == 1 else "frames"
    return f"{word} {', '.join(parts[:-1])} and {parts[-1]}" if parts[1:] else f"{word} {parts[0]}"


def _next_record(data: mmap.mmap, start: int, size: int) -> tuple[int, Prefix | None]:
    """Where the first whole record from there on begins, and its prefix; None without one."""
    while (found := data.find(MAGIC, start)) >= 0:
        prefix = read_prefix(data[found : found + PREFIX_BYTES])
        if prefix is not None and found + prefix.record_bytes <= size:
            return found, prefix
        start = found + 1
    return size, None


def _opened(file: IO[bytes], place: Place) -> tuple[Header, Read]:
    """Read a record's header; what reads its body reads from the same file."""
    file.seek(place.offset)
    data = file.read(PREFIX_BYTES + place.prefix.header_bytes)
    if read_prefix(data[:PREFIX_BYTES]) != place.prefix:
        raise RecordingError("another record stands in its place")
    body = place.offset + PREFIX_BYTES + place.prefix.header_bytes

    def read(offset: int, size: int) -> bytes:
        file.seek(body + offset)
        return file.read(size)

    return read_header(place.prefix, data[PREFIX_BYTES:]), read


def _guessed_manifest(folder: Path, names: Sequence[str]) -> Manifest | None:
    """Make a manifest of what the latest readable record says; None without a record."""
    for name in reversed(names):
        path = folder / name
        with suppress(OSError):
            for place in reversed(scan_file(path, None)[0]):
                with suppress(OSError, RecordingError), path.open("rb") as file:
                    header, _ = _opened(file, place)
                    rules = [str(lane["rule"]) for lane in header.facts["lanes"]]
                    lanes = tuple(RuleInfo(rule, rule, rule) for rule in rules)
                    status = Status(phase="stopped", rule=", ".join(rules), lanes=lanes)
                    return Manifest(place.prefix.run, "unknown", {}, status, program="unknown")
    return None
