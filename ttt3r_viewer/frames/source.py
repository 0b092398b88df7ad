"""Where frames come from: the protocol of a source, and the one function that opens any input."""

from __future__ import annotations

import glob
import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.frames.kinds import INPUT_KINDS
from ttt3r_viewer.frames.selection import Selection
from ttt3r_viewer.types import Frame, SkippedFrame


class FrameSource(Protocol):
    """Frames in order, each decoded when it is asked for; nothing is read ahead."""

    @property
    def name(self) -> str:
        """What was opened, for people."""
        ...

    @property
    def total(self) -> int | None:
        """Frames it will yield, unreadable ones counted; None while unknown.

        A video's number is what its container declares until an iteration has reached the end.
        """
        ...

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """Start again from the first frame; every iteration gives the same frames."""
        ...

    def close(self) -> None:
        """End every iteration before its next frame; may be called twice, and by any thread."""
        ...


def open_source(
    spec: str,
    *,
    start: int = 0,
    stride: int = 1,
    max_frames: int | None = None,
    fps: float = 30.0,
) -> FrameSource:
    """Open a folder of images, a glob pattern, a video file, or one image file.

    `start`, `stride` and `max_frames` choose frames; a frame keeps the index and the time that it
    has in the whole input. `fps` times the frames of a folder that has no times of its own
    (see `times.py`). A pattern holds `*`, `?` or `[` and is not the name of an existing file;
    `**` matches any depth of folders.

    Raises `InputError`, which says what came and lists the kinds of input.
    """
    selection = Selection(start, stride, max_frames)
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"fps is {fps}; wanted a positive number of frames per second")
    if not spec.strip():
        raise InputError(f"the input is an empty text; {INPUT_KINDS}")
    try:
        path = Path(spec).expanduser()
    except RuntimeError as error:
        raise InputError(f"{spec}: {error}; {INPUT_KINDS}") from error
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and glob.has_magic(spec):
            return _open_glob(str(path), selection, fps)
        if isinstance(error, FileNotFoundError):
            raise InputError(f"there is no file or folder {spec}; {INPUT_KINDS}") from error
        raise InputError(f"{spec} cannot be opened ({error}); {INPUT_KINDS}") from error
    if stat.S_ISDIR(mode):
        return _open_folder(path, selection, fps)
    if stat.S_ISREG(mode):
        return _open_file(path, selection, fps)
    raise InputError(f"{spec} is neither a file nor a folder; {INPUT_KINDS}")


# The readers are imported by the function that needs them: the page must open within seconds, and
# neither Pillow nor PyAV is needed before there is an input.


def _open_folder(path: Path, selection: Selection, fps: float) -> FrameSource:
    from ttt3r_viewer.frames.folder import FolderSource, list_folder

    return FolderSource(str(path), path, list_folder(path), selection, fps)


def _open_glob(pattern: str, selection: Selection, fps: float) -> FrameSource:
    from ttt3r_viewer.frames.folder import FolderSource, list_glob

    return FolderSource(pattern, *list_glob(pattern), selection, fps)


def _open_file(path: Path, selection: Selection, fps: float) -> FrameSource:
    """Let the content decide, not the suffix: what is not a still picture is tried as a video."""
    from ttt3r_viewer.frames.folder import FolderSource, is_still_picture

    if path.stat().st_size == 0:
        raise InputError(f"the file {path} is empty; {INPUT_KINDS}")
    if is_still_picture(path):
        return FolderSource(str(path), path.parent, [path.name], selection, times_sec=[0.0])
    from ttt3r_viewer.frames.video import VideoSource

    return VideoSource(path, selection, fps)
