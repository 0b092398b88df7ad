"""What may be given as input, what can be read again, and which frames are used of it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.types import Frame, SkippedFrame

INPUT_KINDS = (
    "wanted a folder of images, a quoted glob such as 'frames/*.jpg', a video, one image, "
    "camera:0, or an address such as rtsp://..."
)

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Files of a folder that count as images. HEIC is among them although Pillow cannot read it:
such an image is then skipped with a reason rather than passed over without a word."""


@dataclass(frozen=True)
class Selection:
    """The frames start, start + stride, ... Raises `InputError` where no input has such."""

    start: int = 0
    stride: int = 1
    max_frames: int | None = None
    """How many frames at most, unreadable ones counted; None for all."""

    def __post_init__(self) -> None:
        if self.start < 0:
            raise InputError(f"start is {self.start}; wanted the first frame's number, 0 or more")
        if self.stride < 1:
            raise InputError(f"stride is {self.stride}; wanted 1 (every frame) or more")
        if self.max_frames is not None and self.max_frames < 1:
            raise InputError(
                f"max frames is {self.max_frames}; wanted 1 or more, or none at all for all frames"
            )

    def indices(self, count: int, name: str) -> range:
        """Indices wanted out of `count` frames.

        Raises `InputError`, which calls the input `name`, where the start is beyond the end.
        """
        if self.start >= count:
            raise InputError(
                f"{name} has {count} frame{'s' if count != 1 else ''}, so the last is number"
                f" {count - 1}, but start is {self.start}; choose a smaller start"
            )
        return range(self.start, count, self.stride)[: self.max_frames]


class RepeatableSource(ABC):
    """A source that gives the same frames every time, so that a run of it can be resumed."""

    total: int | None = None
    slow_start = False
    """The first frame comes only after others were read, which takes long."""

    def __init__(self, name: str) -> None:
        self.name = printable(name)
        self._closed = False

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        return self.after(-1)

    @abstractmethod
    def after(self, last: int) -> Iterator[Frame | SkippedFrame]:
        """Iterate, but leave out the frames up to that of index `last`."""

    def close(self) -> None:
        """End every iteration before its next frame, which closes its file."""
        self._closed = True
