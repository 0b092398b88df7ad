"""Checkpoints: what a run that was cut off is gone on from. Two are kept beside the archive.

One file each, `checkpoint-00000040.safetensors`, named by the number of frames behind it: tensors,
and in the metadata a JSON text with everything else. `docs/archive.md` describes it. Torch is
imported only where tensors are written or taken out.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ttt3r_viewer import __version__
from ttt3r_viewer.errors import ReconstructionError, RecordingError, system_words
from ttt3r_viewer.recording.values import MOST_FRAMES
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.system.files import write_atomically
from ttt3r_viewer.types import Status

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "ttt3r-viewer checkpoint"
VERSION = 1
KEY = "ttt3r_viewer.checkpoint"
CHECK_KEY = f"{KEY}.crc32"
FILES = re.compile(r"checkpoint-(\d{8,})\.safetensors")


@dataclass(frozen=True)
class Progress:
    """How far a run had come."""

    run: int
    """That of the archive, so that none is gone on with from another run's checkpoint."""
    frames: int
    """All that the archive has up to here."""
    skipped: int
    last_skipped: str
    index: int
    """Of the latest frame of the input that had its turn, a skipped one too."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that has been read and is whole."""

    path: Path
    progress: Progress
    identity: Mapping[str, Any]
    """What the run was begun with, and must be gone on with."""
    session: Mapping[str, Any]
    """What the session says beside its tensors."""
    data: bytes

    @staticmethod
    def read(path: Path) -> Checkpoint:
        """Read and check a file, without torch. Raises `RecordingError`."""
        try:
            data = path.read_bytes()
            return _checked(path, data)
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise RecordingError(
                f"{path}: it is damaged ({' '.join(repr(error).split())[:200]})"
            ) from error

    def tensors(self) -> dict[str, Tensor]:
        """Give its tensors, on the host. Raises `RecordingError`."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(self.data)
        except SafetensorError as error:
            raise RecordingError(f"{self.path}: it is damaged ({error})") from error


class Saves(Protocol):
    """What is needed of `Lanes`."""

    def ends_batch(self, taken: int) -> bool:
        """Whether a run that is resumed behind so many items rounds as one that was not cut."""
        ...

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that it needs to go on: tensors on the host, and plain values.

        Raises `ReconstructionError` where that cannot be written.
        """
        ...


class Checkpoints:
    """Writes a checkpoint every so many frames; belongs to the worker's thread."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._last = 0
        self.identity: Mapping[str, Any] = {}
        """What a run that goes on must share; to be set before the first is written."""
        self.trouble = ""
        """Why the run could not be gone on with, in one line; empty where it can."""

    def begin(self, frames: int = 0) -> None:
        """A run begins, or goes on behind so many frames."""
        self._last = frames
        self.trouble = ""

    def keep_up(self, session: Saves, writer: RecordingWriter, status: Status, index: int) -> bool:
        """Write one where it is time; whether there is new trouble.

        `index` is that of the latest frame of the input, `status` counts it already.
        """
        archive = writer.archive
        if (
            self.trouble
            or writer.trouble
            or archive is None
            or status.frames_done - self._last < self._every
            or not session.ends_batch(status.frames_taken)
        ):
            return False
        run = archive.description.run
        progress = Progress(run, status.frames_done, status.skipped, status.last_skipped, index)
        try:
            self.write(archive.path, progress, *session.saved())
        except (OSError, ReconstructionError) as error:
            self.trouble = f"no checkpoint behind frame {self._last}: {system_words(error)}"
        return self.trouble != ""

    def write(
        self,
        folder: Path,
        progress: Progress,
        tensors: Mapping[str, Tensor],
        session: Mapping[str, Any],
    ) -> None:
        """Put one there whole, and take away all but it and the one before.

        Raises `OSError`, after which the earlier ones are as they were.
        """
        path = folder / f"checkpoint-{progress.frames:08}.safetensors"
        write_atomically(path, _encoded(progress, self.identity, tensors, session))
        before = folder / f"checkpoint-{self._last:08}.safetensors"
        for other in checkpoint_files(folder):
            if other not in (path, before):
                other.unlink(missing_ok=True)
        self._last = progress.frames


def checkpoint_files(folder: Path) -> list[Path]:
    """Give the checkpoints in a folder, newest first."""
    found = [path for path in folder.iterdir() if FILES.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]), reverse=True)


def _encoded(
    progress: Progress,
    identity: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    session: Mapping[str, Any],
) -> bytes:
    import torch
    from safetensors.torch import save

    values = {name: tensor.contiguous() for name, tensor in tensors.items()}
    text = json.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "program": f"ttt3r-viewer {__version__}",
            "progress": asdict(progress) | {"run": f"{progress.run:016x}"},
            "identity": dict(identity),
            "session": dict(session),
            "crc32": {
                name: zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
                for name, tensor in values.items()
            },
        }
    )
    return save(values, {KEY: text, CHECK_KEY: f"{zlib.crc32(text.encode()):08x}"})


def _checked(path: Path, data: bytes) -> Checkpoint:
    """Read by the safetensors format: length of the header, header in JSON, tensors."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    text = header.pop("__metadata__")[KEY]
    values = json.loads(text)
    if values["format"] != FORMAT:
        raise RecordingError(f"{path}: it is no checkpoint")
    if values["version"] > VERSION:
        raise RecordingError(
            f"{path}: checkpoint of format version {values['version']}, and this program reads up "
            f"to {VERSION}: take the one that wrote it ({values['program']!r:.40}), or a newer one"
        )
    said = json.loads(data[8:start])["__metadata__"][CHECK_KEY]
    if said != f"{zlib.crc32(text.encode()):08x}" or header.keys() != values["crc32"].keys():
        raise RecordingError(f"{path}: its header is damaged")
    for name, one in header.items():
        first, end = one["data_offsets"]
        if zlib.crc32(data[start + first : start + end]) != values["crc32"][name]:
            raise RecordingError(f"{path}: its {name} is damaged or cut off")
    progress = values["progress"]
    found = Checkpoint(
        path=path,
        progress=Progress(**progress | {"run": int(progress["run"], 16)}),
        identity=values["identity"],
        session=values["session"],
        data=data,
    )
    counts = (found.progress.frames, found.progress.skipped, found.progress.index)
    if (
        any(type(one) is not int or not 0 <= one < MOST_FRAMES for one in counts)
        or not isinstance(found.progress.last_skipped, str)
        or not isinstance(found.identity, dict)
        or not isinstance(found.session, dict)
    ):
        raise RecordingError(f"{path}: its header is damaged")
    return found
