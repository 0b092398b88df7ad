"""Frames of a video file (or of an animated GIF or PNG), decoded as they are asked for.

A frame's time is its presentation time on the stream's own clock, unshifted: the first frame has
the time that the container gives it, which need not be 0. A frame without one comes one frame
period after the frame before it. Images are turned upright by the display matrix that phones
write, to the nearest quarter turn.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ttt3r_viewer.errors import InputError, system_words
from ttt3r_viewer.frames.selection import INPUT_KINDS, RepeatableSource, Selection
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.types import Frame, SkippedFrame

_CONTAINERS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "rm", "mxf"),
    *("wtv", "nut", "dv", "ivf", "obu", "av1", "h263", "h264", "hevc", "vvc", "vc1", "m4v"),
    *("mjpeg", "mpjpeg", "yuv4mpegpipe", "gif", "apng", "webp", "webp_pipe", "tty"),
)
"""What FFmpeg may take a file for. Playlists and scripts (HLS, DASH, concat) are not among them:
they name other files and addresses, which FFmpeg would open.
"""
_OPENING_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_CONTAINERS)}
MOST_PIXELS = 100_000_000
"""Of one frame; three times those of 8K."""


class VideoSource(RepeatableSource):
    """Frames of the first video stream of a file.

    Frames before the start and between strides are decoded, since later ones build on them, but
    not converted to RGB. What cannot be decoded becomes a `SkippedFrame`, whatever the stride: in
    the middle of a video its index is the best guess that the decoder's delay allows.
    """

    def __init__(self, path: Path, selection: Selection, fps: float = 30.0) -> None:
        """Open `path` and decode its first frame, to say at once where that is not possible.

        `fps` gives the frame period of a stream that declares no rate of its own.
        Raises `InputError`: not a video, no video stream, no frame, a start beyond the end.
        """
        super().__init__(str(path))
        self._path = path
        self._selection = selection
        self.slow_start = selection.start > 0
        with _opened(path) as (container, stream):
            declared = stream.frames
            rate = stream.guessed_rate or stream.average_rate
            self._period_sec = 1 / float(rate or fps)
            reason = "it is empty"
            for item in _decoded(container, stream):
                if not isinstance(item, str):
                    break
                reason = item
            else:
                raise InputError(
                    f"the video {path} has no frame that can be decoded ({reason}); {INPUT_KINDS}"
                )
        if declared > 0:
            self.total = len(selection.indices(declared, self.name))

    def after(self, last: int) -> Iterator[Frame | SkippedFrame]:
        """The frames after index `last`; those before are decoded, but not converted."""
        with _opened(self._path) as (container, stream):
            index, time_sec = 0, -self._period_sec
            wanted = self._selection.indices(sys.maxsize, self.name)
            for item in _decoded(container, stream):
                if self._closed:
                    return
                name = f"{printable(self._path.name)}#{index}"
                if isinstance(item, str):
                    if index > last:
                        yield SkippedFrame(index, name, item)
                else:
                    time_sec = time_sec + self._period_sec if item.time is None else item.time
                    if index > last and index in wanted:
                        yield _converted(item, index, time_sec, name)
                index += 1
                if index > wanted[-1]:
                    break
        # Only now is the number known, and a start beyond it must not pass for an empty video.
        self.total = len(self._selection.indices(index, self.name))


def open_container(address: str, **how: Any) -> InputContainer:
    """What `av.open` gives. Strange letters in a title are no reason to refuse a video: PyAV takes
    them by itself from version 19 on, which knows no such option any more.
    """
    if int(av.__version__.partition(".")[0]) < 19:
        how["metadata_errors"] = "replace"
    return av.open(address, **how)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a container and its first video stream. Raises `InputError`."""
    try:
        # An absolute path cannot be taken for a protocol such as "pipe:".
        container = open_container(str(path.absolute()), options=_OPENING_OPTIONS)
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is neither an image nor a video that can be read ({system_words(error)}),"
            f" or it was cut off; {INPUT_KINDS}"
        ) from error
    with container:
        # FFmpeg would draw a text file as a video of a terminal.
        if container.format.name == "tty":
            raise InputError(f"{path} is a text file; {INPUT_KINDS}")
        if not container.streams.video:
            raise InputError(f"{path} has no video stream; {INPUT_KINDS}")
        yield container, container.streams.video[0]


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | str]:
    """Frames in order of presentation, and for what cannot be decoded the reason.

    The decoder gives frames back late. So a reason waits for the next packet that decodes, and in
    a file that breaks off the good frames come first.
    """
    packets = container.demux(stream)
    reasons: list[str] = []
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = stream.decode(packet)
        except FFmpegError as error:
            reasons.append(f"the video is damaged or cut off here ({system_words(error)})")
            continue
        # The last packet, empty, only calls for the frames that the decoder still has.
        if packet.size > 0:
            yield from reasons
            reasons.clear()
        for frame in frames:
            yield "the frame is damaged" if frame.is_corrupt else frame
    yield from reasons


def _converted(image: VideoFrame, index: int, time_sec: float, name: str) -> Frame | SkippedFrame:
    """The frame in RGB, or why it cannot be had."""
    if image.width * image.height > MOST_PIXELS:
        size = f"{image.width}x{image.height}"
        return SkippedFrame(index, name, f"the frame is too large ({size} pixels)")
    try:
        return Frame(index, time_sec, name, upright_rgb(image))
    except (FFmpegError, ValueError) as error:
        # FFmpeg converts not every format of pixels that its decoders know.
        return SkippedFrame(index, name, f"the frame cannot be converted ({system_words(error)})")


def upright_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    """Convert to (height, width, 3) RGB, turned and mirrored as the display matrix says."""
    image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return image
    # FFmpeg's layout, row vectors and y down: x' = a x + c y, y' = b x + d y.
    a, b, _, c, d = np.frombuffer(bytes(side_data), dtype=np.int32)[:5].tolist()
    if abs(b) > abs(a):
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    image = image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return np.ascontiguousarray(image)
