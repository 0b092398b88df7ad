"""Checkpoints, from which a run that was cut off is resumed. Two are kept beside the frames.

One file each, `checkpoint-00000040.safetensors`, named by the number of frames before it: tensors,
and in the metadata a JSON text with everything else. `docs/recording.md` describes it. Torch is
imported only where tensors are written or taken out.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt3r_viewer.errors import ReconstructionError, RecordingError, system_words
from ttt3r_viewer.recording.manifest import text, understood, values_of, whole
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.system.files import write_atomically
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.system.version import PROGRAM
from ttt3r_viewer.types import FrameResult, SkippedFrame, Status

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "ttt3r-viewer checkpoint"
VERSION = 1
KEY = "ttt3r_viewer.checkpoint"
CHECK_KEY = f"{KEY}.crc32"
FILES = re.compile(r"checkpoint-(\d{8,})\.safetensors")


@dataclass(frozen=True)
class HowFar:
    """How far a run had come."""

    run: int
    """That of the recording, so that no run is resumed from another's checkpoint."""
    frames: int
    """Number of recorded frames up to here."""
    skipped: int
    last_skipped: str
    index: int
    """Of the latest frame of the input that was processed or skipped."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that has been read and is whole."""

    path: Path
    progress: HowFar
    identity: Mapping[str, Any]
    """Settings that the run was begun with, and must be resumed with."""
    session: Mapping[str, Any]
    """Plain values of the session, beside its tensors."""
    data: bytes
    """Content of the file."""

    @staticmethod
    def read(path: Path) -> "Checkpoint":
        """Read and check a file, without torch. Raises `RecordingError`."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from error
        with understood(f"{path}: it is damaged"):
            return _checked(path, data)

    def tensors(self) -> dict[str, "Tensor"]:
        """Return its tensors, on the host. Raises `RecordingError`."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(self.data)
        except SafetensorError as error:
            raise RecordingError(f"{self.path}: it is damaged ({error})") from error


class Checkpoints:
    """Sink that writes a checkpoint every so many frames, beside the recording of a writer."""

    def __init__(self, every: int, writer: RecordingWriter) -> None:
        self._every, self._writer = every, writer
        self._last = self._frames = self._skipped = 0
        self._last_skipped = ""
        self.trouble = ""
        """Why the run cannot be resumed from here on, in one line; empty where it can."""

    def attach(
        self,
        saved: Callable[[], tuple[Mapping[str, "Tensor"], Mapping[str, Any]]],
        ends_batch: Callable[[int], bool],
        identity: Mapping[str, Any],
    ) -> None:
        """Say whose state is saved, before the run begins.

        `saved` and `ends_batch` are those of `Lanes`; `identity` is what a resumed run must share.
        """
        self._saved, self._ends_batch, self._identity = saved, ends_batch, identity

    def begin(self, status: Status, recording: Recording | None = None) -> None:  # noqa: ARG002
        """Begin a run, or resume one after `status.frames_done` frames."""
        self._last = self._frames = status.frames_done
        self._skipped, self._last_skipped = status.skipped, status.last_skipped
        self.trouble = ""

    def add(self, *results: FrameResult) -> None:
        """Count a frame, and write a checkpoint where it is time."""
        self._frames += 1
        self._write_where_due(results[0].index)

    def skip(self, frame: SkippedFrame) -> None:
        """Count a frame that could not be used, and write a checkpoint where it is time."""
        self._skipped, self._last_skipped = self._skipped + 1, printable(str(frame))
        self._write_where_due(frame.index)

    def finish(self, status: Status) -> None:
        """Do nothing: the latest checkpoint stays."""

    def _write_where_due(self, index: int) -> None:
        """`index` is that of the latest frame of the input."""
        recording = self._writer.recording
        if (
            self.trouble
            or self._writer.trouble
            or recording is None
            or self._frames - self._last < self._every
            or not self._ends_batch(self._frames + self._skipped)
        ):
            return
        progress = HowFar(
            run=recording.manifest.run,
            frames=self._frames,
            skipped=self._skipped,
            last_skipped=self._last_skipped,
            index=index,
        )
        try:
            write_checkpoint(recording.path, progress, self._identity, *self._saved(), self._last)
        except (OSError, ReconstructionError) as error:
            self.trouble = f"no checkpoint after frame {self._last}: {system_words(error)}"
        else:
            self._last = self._frames


def write_checkpoint(
    folder: Path,
    progress: HowFar,
    identity: Mapping[str, Any],
    tensors: Mapping[str, "Tensor"],
    session: Mapping[str, Any],
    last: int = 0,
) -> None:
    """Write a checkpoint whole, and remove all but it and the one after `last` frames.

    Raises `OSError`, after which the earlier ones are as they were.
    """
    import torch
    from safetensors.torch import save

    values = {name: tensor.contiguous() for name, tensor in tensors.items()}
    header = json.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "program": PROGRAM,
            "progress": asdict(progress) | {"run": f"{progress.run:016x}"},
            "identity": dict(identity),
            "session": dict(session),
            "crc32": {
                name: zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
                for name, tensor in values.items()
            },
        }
    )
    data = save(values, {KEY: header, CHECK_KEY: f"{zlib.crc32(header.encode()):08x}"})
    path, before = (folder / f"checkpoint-{one:08}.safetensors" for one in (progress.frames, last))
    write_atomically(path, data)
    for other in checkpoint_files(folder):
        if other not in (path, before):
            other.unlink(missing_ok=True)


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, newest first."""
    found = [path for path in folder.iterdir() if FILES.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]), reverse=True)


def _checked(path: Path, data: bytes) -> "Checkpoint":
    """Read by the safetensors format: length of the header, header in JSON, tensors."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = header.pop("__metadata__")
    values = json.loads(metadata[KEY])
    if values["format"] != FORMAT:
        raise RecordingError(f"{path}: it is no checkpoint")
    if values["version"] > VERSION:
        raise RecordingError(
            f"{path}: checkpoint of format version {values['version']}, and this program reads up "
            f"to {VERSION}: take the one that wrote it ({values['program']!r:.40}), or a newer one"
        )
    check = f"{zlib.crc32(metadata[KEY].encode()):08x}"
    if metadata[CHECK_KEY] != check or header.keys() != values["crc32"].keys():
        raise RecordingError(f"{path}: its header is damaged")
    for name, one in header.items():
        first, end = one["data_offsets"]
        if zlib.crc32(data[start + first : start + end]) != values["crc32"][name]:
            raise RecordingError(f"{path}: its {name} is damaged or cut off")
    said = values["progress"]
    progress = HowFar(
        run=int(said["run"], 16),
        frames=whole(said["frames"]),
        skipped=whole(said["skipped"]),
        last_skipped=text(said["last_skipped"]),
        index=whole(said["index"]),
    )
    identity, session = (values_of(values[name], dict) for name in ("identity", "session"))
    return Checkpoint(path, progress, identity, session, data)
