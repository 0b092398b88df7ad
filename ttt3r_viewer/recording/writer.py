"""Writes a recording frame by frame, and never stops the run.

Where the disk is short it takes no more frames and says so in one line (`trouble`); the run goes on
with what the scene keeps of each frame.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import RecordingError, system_words
from ttt3r_viewer.recording.format import PREFIX_BYTES, encode_record, read_prefix
from ttt3r_viewer.recording.manifest import Manifest
from ttt3r_viewer.recording.reader import (
    CHECKPOINTS,
    FOLDER,
    MANIFEST_FILE,
    Place,
    Recording,
    file_number,
    frame_file,
    frame_files,
)
from ttt3r_viewer.system.files import (
    move_aside,
    move_folder,
    numbered_name,
    output_errors,
    write_atomically,
)
from ttt3r_viewer.types import FrameResult, SkippedFrame, Status

FILE_BYTES = 256 * 2**20
FILE_FRAMES = 256
"""A file takes no more frames once it has so many, or so many bytes."""
RESERVE_BYTES = 512 * 2**20
"""So much of the disk is left to others, the run's own results among them."""
TEMPORARY_PREFIX = "ttt3r-view-"
KEPT_NAME = "ttt3r-view-recording"
"""Of the folder that a temporary recording is kept in, before a number."""


class RecordingWriter:
    """Sink that keeps every frame's results in full, the newest run's in the same folder.

    A run that a restart replaces is kept beside it, in a numbered folder, unless `forget` names it.
    `begin`, `add` and `finish` belong to one thread, the worker's; the rest to all. A frame is with
    the operating system when `add` returns, so that it outlives this process.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        source: str,
        settings: Mapping[str, Any],
        max_bytes: int | None = None,
        on_recording: Callable[[Recording], object] = lambda _: None,
    ) -> None:
        """Create nothing before the first frame.

        Where `folder` is None, a temporary one is made, and removed with `close` or at the end of
        the program unless `keep` has moved it; it never takes more than half of what is free on its
        disk. `max_bytes` limits
        the frames of one run. `on_recording` is given each run's recording with its first frame.
        """
        self.temporary = folder is None
        """What is recorded goes when the program ends."""
        self._folder = folder
        self._on_recording = on_recording
        self._source, self._settings = source, settings
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        """Guards the open file and `_closed`; held while a frame is written, a few milliseconds."""
        self._closed = False
        self._file: IO[bytes] | None = None
        self._limit: int | None = None
        self._bytes = self._file_bytes = self._file_frames = self._file_number = 0
        self._manifest: Manifest | None = None
        self.trouble = ""
        """Why no more frames of this run are recorded, in one line; empty while they are."""
        self._end: Place | None = None
        """The last record to be kept of a resumed run, until those after it are gone."""
        self._earlier = False
        """The folder holds frames of a run before, which this writer wrote or resumed."""
        self._forgotten: int | None = None
        """The run that the next one may replace."""
        self.recording: Recording | None = None
        """Reads the frames of the current run; None before its first."""

    def begin(self, status: Status, recording: Recording | None = None) -> None:
        """Begin a run, whose first frame moves what the run before it left aside; or resume a
        recorded one: the next frame replaces all after its first `status.frames_done`.
        """
        with self._lock:
            self._close_file()
            if self.recording is not None and self.recording is not recording:
                self._earlier = self.recording.manifest.run != self._forgotten
                self.recording.retire("its run has been replaced by a restart")
            self.trouble = ""
            self._end = None if recording is None else recording.keep_first(status.frames_done)
            self.recording = recording
            now = datetime.now(UTC).isoformat(timespec="seconds")
            said = Manifest(secrets.randbits(64), self._source, self._settings, status, started=now)
            if recording is not None:
                was = recording.manifest
                said = replace(said, run=was.run, started=was.started, program=was.program)
            self._manifest = said

    def add(self, *results: FrameResult) -> None:
        """Append what every lane made of a frame, unless there is trouble."""
        with self._lock:
            if self._closed or self.trouble or self._manifest is None:
                return
            data = encode_record(results, self._manifest.run)
            try:
                if self.recording is None:
                    self.recording = self._make(self._manifest)
                    self._on_recording(self.recording)
                if self._end is not None:
                    self._cut(self.recording, self._end)
                self._check_room(len(data))
                self._append(self.recording, data)
            except (OSError, RecordingError) as error:
                self.trouble = (
                    f"frames from {results[0].sequence} on are not recorded, only thinned ones are "
                    f"kept: {system_words(error)}"
                )
                self._close_file()

    def skip(self, frame: SkippedFrame) -> None:
        """Do nothing: a recording has no frames that could not be used."""

    def finish(self, status: Status) -> None:
        """Write the run's last status and its number of frames into archive.json."""
        with self._lock:
            if self._closed or self.recording is None or self._manifest is None:
                return
            if self._end is not None and status.phase != "finished":
                return  # nothing was added, and the folder is as it was
            frames = len(self.recording)
            said = replace(self._manifest, status=status, frames=frames, trouble=self.trouble)
            # What stands there is true as well; a full disk has been reported.
            with contextlib.suppress(OSError):
                if self._end is not None:
                    self._cut(self.recording, self._end)
                write_atomically(self.recording.path / MANIFEST_FILE, said.to_json())
            self.recording.manifest = said

    def __contains__(self, sequence: int) -> bool:
        return self.recording is not None and sequence in self.recording

    def image(self, sequence: int) -> NDArray[np.uint8]:
        """Return the prepared image (height, width, 3) of a frame of the current run.

        Raises `RecordingError` where it is not here, or damaged.
        """
        if self.recording is None:
            raise RecordingError(f"frame {sequence}: nothing is recorded yet")
        return self.recording.image(sequence)

    def forget(self, run: int) -> None:
        """Let the next run replace the recording of this one."""
        self._forgotten = run

    def keep(self, beside: Path) -> Path:
        """Move a temporary recording, and what lies beside it, to a new output folder in `beside`;
        return that folder.

        What follows is recorded there too, as if `--output` had named it. Raises `OutputError`,
        after which all is as it was.
        """
        with self._lock, output_errors(beside, "start the program where files may be written"):
            assert self._folder is not None
            if not self.temporary:  # another page was faster
                return self._folder.parent
            if self._file is not None:
                self._close_file()
                self._file_number += 1
            target = numbered_name(beside / KEPT_NAME, 1)
            move_folder(self._folder.parent, target)
            self._folder = target / FOLDER
            self.temporary, self._limit = False, None
            if self.recording is not None:
                self.recording.path = self._folder
                if self.recording.earlier:
                    self.recording.earlier = str(target / Path(self.recording.earlier).name)
            self._remove_temporary.detach()
        return target

    def close(self) -> None:
        """Take no more frames; a temporary recording is removed."""
        with self._lock:
            self._closed = True
            self._close_file()
            if self.temporary and self._folder is not None:
                if self.recording is not None:
                    self.recording.retire("its temporary recording has been removed")
                self._remove_temporary()

    def _make(self, manifest: Manifest) -> Recording:
        """Make the folder ready for a run. Raises `OSError`."""
        if self._folder is None:
            parent = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
            self._folder = parent / FOLDER
            self._remove_temporary = weakref.finalize(
                self, shutil.rmtree, parent, ignore_errors=True
            )
        earlier = None
        if self._earlier and _holds_frames(self._folder):
            earlier = move_aside(self._folder)
        self._earlier = False
        self._folder.mkdir(parents=True, exist_ok=True)
        _remove_frames(self._folder)
        write_atomically(self._folder / MANIFEST_FILE, manifest.to_json())
        self._limit = self._max_bytes
        if self.temporary:
            half = shutil.disk_usage(self._folder).free // 2
            self._limit = half if self._limit is None else min(half, self._limit)
        self._bytes = self._file_number = 0
        recording = Recording(self._folder, manifest)
        recording.earlier = "" if earlier is None else str(earlier)
        return recording

    def _cut(self, recording: Recording, end: Place) -> None:
        """Remove what lies after the frames that are kept. Raises `OSError`."""
        assert self._manifest is not None
        recording.manifest = self._manifest
        write_atomically(recording.path / MANIFEST_FILE, self._manifest.to_json())
        last = file_number(end.file)
        for name in reversed(frame_files(recording.path)):
            if file_number(name) > last:
                (recording.path / name).unlink()
        os.truncate(recording.path / end.file, end.offset + end.prefix.record_bytes)
        self._file_number = last + 1
        self._end = None

    def _check_room(self, size: int) -> None:
        """Raise `RecordingError` where a record of this size has no room."""
        assert self._folder is not None
        if self._limit is not None and self._bytes + size > self._limit:
            raise RecordingError(
                f"its limit of {self._limit / 1e9:.3g} GB is reached; raise --archive-gb, or name "
                "a folder with --output, which has none"
            )
        free = shutil.disk_usage(self._folder).free
        if free < RESERVE_BYTES + size:
            raise RecordingError(
                f"only {free / 1e9:.3g} GB are free on the disk of {self._folder}; free some space"
            )

    def _append(self, recording: Recording, data: bytes) -> None:
        """Write a record whole, or leave none of it. Raises `OSError`."""
        full = self._file_bytes >= FILE_BYTES or self._file_frames >= FILE_FRAMES
        if self._file is not None and full:
            self._close_file()
            self._file_number += 1
        if self._file is None:
            path = recording.path / frame_file(self._file_number)
            self._file = path.open("xb", buffering=0)
            self._file_bytes = self._file_frames = 0
        try:
            _write_all(self._file, data)
        except OSError:
            # Where this fails too, a reader finds the torn record.
            with contextlib.suppress(OSError):
                os.truncate(self._file.fileno(), self._file_bytes)
            raise
        prefix = read_prefix(data[:PREFIX_BYTES])
        assert prefix is not None
        recording.grow(Place(frame_file(self._file_number), self._file_bytes, prefix))
        self._bytes += len(data)
        self._file_bytes += len(data)
        self._file_frames += 1

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Give all bytes to the operating system, which may take them in parts."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _holds_frames(folder: Path) -> bool:
    return folder.is_dir() and any((folder / name).stat().st_size for name in frame_files(folder))


def _remove_frames(folder: Path) -> None:
    """Remove a recording's own files and nothing else, the manifest first."""
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for path in (*map(folder.joinpath, frame_files(folder)), *folder.glob(CHECKPOINTS)):
        path.unlink(missing_ok=True)
