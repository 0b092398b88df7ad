"""Where frames come from: the protocol of a source, and the one function that opens any input."""

import glob
import math
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.frames.selection import INPUT_KINDS, Selection
from ttt3r_viewer.system.text import hide_passwords
from ttt3r_viewer.types import Frame, SkippedFrame

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class FrameSource(Protocol):
    """Frames in order, each decoded when it is asked for; nothing is read ahead."""

    name: str
    """What was opened, for people."""

    @property
    def total(self) -> int | None:
        """Frames it will yield, unreadable ones counted; None while unknown.

        A video's number is what its container declares until an iteration has reached the end.
        """
        ...

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """Start again from the first frame, with the same ones; a live source goes on from now."""
        ...

    def close(self) -> None:
        """End every iteration before its next frame; may be called twice, and by any thread."""
        ...


def is_live(spec: str) -> bool:
    """Whether an input is live by its name alone: a camera, or an address."""
    return spec.startswith("camera:") or _ADDRESS.match(spec) is not None


def open_source(
    spec: str,
    *,
    start: int = 0,
    stride: int = 1,
    max_frames: int | None = None,
    fps: float = 30.0,
    follow: bool = False,
) -> FrameSource:
    """Open a folder of images, a glob pattern, a video file, or one image file; or something live:
    `camera:0`, an address such as `rtsp://...`, and with `follow` a folder that grows.

    `start`, `stride` and `max_frames` choose frames; a frame keeps the index and the time that it
    has in the whole input. `fps` times the frames of a folder that has no times of its own
    (see `times.py`). A pattern holds `*`, `?` or `[` and is not the name of an existing file;
    `**` matches any depth of folders. Something live has no first frame and drops what it cannot
    take, so it has no `start`, `stride` or `fps`; see `live.py`.

    Raises `InputError`, which says what came and lists the kinds of input.
    """
    selection = Selection(start, stride, max_frames)
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"fps is {fps}; wanted a positive number of frames per second")
    if not spec.strip():
        raise InputError(f"the input is an empty text; {INPUT_KINDS}")
    if follow or is_live(spec):
        choices = {"start": (start, 0), "stride": (stride, 1), "fps": (fps, 30.0)}
        return _open_live(spec, follow, choices, max_frames)
    return _open_path(spec, selection, fps)


def _path_of(spec: str) -> Path:
    try:
        return Path(spec).expanduser()
    except RuntimeError as error:  # the home of nobody
        raise InputError(f"{spec}: {error}; {INPUT_KINDS}") from error


def _open_live(
    spec: str, follow: bool, choices: dict[str, tuple[float, float]], max_frames: int | None
) -> FrameSource:
    """Open what is live; each of `choices` is a value and the only one that it may have."""
    shown = hide_passwords(spec)
    for name, (value, only) in choices.items():
        if value != only:
            raise InputError(
                f"{name} is {value:g}, but {shown} is live: its frames are timed as they come and "
                f"the newest one is taken; leave {name} out"
            )
    if follow and is_live(spec):
        raise InputError(f"{shown} is live already, and --follow wants a folder: leave it out")
    from ttt3r_viewer.frames.live import LiveSource

    if follow:
        from ttt3r_viewer.frames.follow import FollowFeed

        return LiveSource(FollowFeed(_path_of(spec)), max_frames)
    from ttt3r_viewer.frames.stream import CAMERA, camera_feed, url_feed

    is_camera = spec.startswith(CAMERA)
    return LiveSource(camera_feed(spec) if is_camera else url_feed(spec), max_frames)


def _open_path(spec: str, selection: Selection, fps: float) -> FrameSource:
    """Open what lies on the disk; content, not suffix, tells a still image from a video."""
    # Here, because the page must open within seconds and needs neither Pillow nor PyAV.
    from ttt3r_viewer.frames.folder import FolderSource, is_still_image, list_folder, list_glob

    path = _path_of(spec)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        if not isinstance(error, FileNotFoundError):
            raise InputError(f"{spec} cannot be opened ({error}); {INPUT_KINDS}") from error
        if not glob.has_magic(spec):
            raise InputError(f"there is no file or folder {spec}; {INPUT_KINDS}") from error
        return FolderSource(str(path), *list_glob(str(path)), selection, fps)
    if stat.S_ISDIR(status.st_mode):
        return FolderSource(str(path), path, list_folder(path), selection, fps)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{spec} is neither a file nor a folder; {INPUT_KINDS}")
    if status.st_size == 0:
        raise InputError(f"the file {path} is empty; {INPUT_KINDS}")
    if is_still_image(path):
        return FolderSource(str(path), path.parent, [path.name], selection, times_sec=[0.0])
    from ttt3r_viewer.frames.video import VideoSource

    return VideoSource(path, selection, fps)
