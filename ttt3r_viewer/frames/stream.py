"""Cameras and streams, read by FFmpeg: `camera:0`, `rtsp://...`, any URL that it takes.

A camera is opened through the system's own device layer (Video4Linux, AVFoundation, DirectShow). A
stream with a known length, as a file over http, is played at its own speed, as if it were live.
"""

import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.frames.live import Arrival, LostError
from ttt3r_viewer.frames.video import open_container, upright_rgb
from ttt3r_viewer.system.text import hide_passwords

CAMERA = "camera:"
OPEN_SEC, READ_SEC = 5.0, 5.0
"""FFmpeg waits at most so long for a connection, and for the next frame."""
SILENT_SEC = 12.0
"""Longer than both: a device that does not answer cannot be interrupted by FFmpeg."""
MOST_BAD_PACKETS = 100
"""So many in a row that cannot be decoded are a loss; a stream begins between key frames."""
BURSTS = frozenset({"hls", "dash"})
"""These come seconds at a time, to be played at their own speed."""
_LOW_DELAY = {"fflags": "nobuffer", "flags": "low_delay"}
_RTSP = {"rtsp_flags": "prefer_tcp"}
"""UDP, which FFmpeg tries first, loses packets in any router."""


class StreamFeed:
    """What FFmpeg reads from `address`, its device layer or a protocol."""

    silent_sec = SILENT_SEC

    def __init__(
        self, name: str, address: str, device_format: str | None, options: dict[str, str]
    ) -> None:
        """Open nothing yet; `name` is shown and must hold no password."""
        self.name = name
        self._address, self._format, self._options = address, device_format, options

    def arrivals(self, closed: threading.Event) -> Iterator[Arrival | None]:
        """Frames as they come, undamaged ones only. Raises `LostError`."""
        try:
            with open_container(
                self._address,
                format=self._format,
                options=_LOW_DELAY | self._options,
                timeout=(OPEN_SEC, READ_SEC),
            ) as container:
                if not container.streams.video:
                    raise LostError("it has no video")
                pace = Pace() if plays_back(container) else None
                for came, frame in _frames(container, closed):
                    if pace is not None and frame.time is not None:
                        came = pace.wait(frame.time, closed)
                    yield Arrival("", came, lambda frame=frame: upright_rgb(frame))
        except (FFmpegError, OSError, ValueError) as error:
            # Nothing of the error itself goes on: its text holds the address with its password.
            raise LostError(reason_of(error)) from None

    def advice(self, reason: str) -> str:
        """One line: why it cannot be opened, and what to try."""
        if self._format is None:
            return (
                f"{self.name} cannot be opened ({reason}): see that it is being sent and that "
                "address, port, user and password are right; `ffplay ADDRESS` shows the same stream"
            )
        return (
            f"{self.name} cannot be opened ({reason}): plug it in, close what else uses it, see "
            f"that you may read it; cameras here: {_cameras()}"
        )


class Pace:
    """Plays frames at their own speed."""

    def __init__(self) -> None:
        self._start: float | None = None
        """When the clock of the frames showed 0, on `time.monotonic`."""

    def wait(self, time_sec: float, closed: threading.Event) -> float:
        """Wait until it is this frame's turn; when that was."""
        now = time.monotonic()
        # A clock that jumps, as that of a playlist with gaps, starts the count again.
        if self._start is None or abs(self._start + time_sec - now) > READ_SEC:
            self._start = now - time_sec
        closed.wait(max(0.0, self._start + time_sec - now))
        return time.monotonic()


def plays_back(container: InputContainer) -> bool:
    """Whether it comes faster than it was taken: it has an end, or comes in bursts."""
    names = container.format.name.split(",")
    return container.duration is not None or not BURSTS.isdisjoint(names)


def _frames(
    container: InputContainer, closed: threading.Event
) -> Iterator[tuple[float, VideoFrame]]:
    """When each frame's packet came, on `time.monotonic`, and the frame."""
    stream = container.streams.video[0]
    # A thread per frame would hold back as many frames as there are threads.
    stream.thread_type = "SLICE"
    packets = container.demux(stream)
    bad = 0
    while not closed.is_set():
        try:
            packet = next(packets, None)
        except BlockingIOError:  # a macOS camera that has no new frame
            closed.wait(0.005)
            continue
        if packet is None:
            return
        came = time.monotonic()
        try:
            frames = stream.decode(packet)
        except FFmpegError as error:
            bad += 1
            if bad > MOST_BAD_PACKETS:
                raise LostError(f"nothing of it can be decoded: {reason_of(error)}") from None
            continue
        for frame in frames:
            bad = 0
            if not frame.is_corrupt:
                yield came, frame


def reason_of(error: Exception) -> str:
    """The system's words, without the address that FFmpeg adds."""
    words = getattr(error, "strerror", None) or type(error).__name__
    # Its own number for "interrupted" is what a timeout becomes.
    return "no answer in time" if "exit requested" in words.lower() else hide_passwords(words)


def camera_feed(spec: str) -> StreamFeed:
    """Feed of `camera:0`, `camera:/dev/video2`, or on Windows `camera:NAME`.

    Raises `InputError` where the text after the colon names no camera here.
    """
    which = spec.removeprefix(CAMERA)
    number = re.fullmatch(r"[0-9]+", which) is not None
    if sys.platform == "darwin" and which:
        return StreamFeed(spec, f"{which}:none", "avfoundation", {"framerate": "30"})
    if sys.platform == "win32" and which and not number:
        return StreamFeed(spec, f"video={which}", "dshow", {})
    if sys.platform not in ("darwin", "win32"):
        path = f"/dev/video{which}" if number else which
        if Path(path).is_char_device():
            return StreamFeed(spec, path, "video4linux2", {})
    wanted = "camera:NAME" if sys.platform == "win32" else "camera:NUMBER or camera:/dev/..."
    raise InputError(f"there is no camera {spec}; wanted {wanted}; cameras here: {_cameras()}")


def _cameras() -> str:
    """The cameras that Linux shows; elsewhere they cannot be listed cheaply."""
    paths = sorted(Path("/dev").glob("video[0-9]*"))
    return ", ".join(f"{CAMERA}{path}" for path in paths) or "none found"


def url_feed(url: str) -> StreamFeed:
    """Feed of an address with a protocol of FFmpeg's."""
    options = _RTSP if url.lower().startswith(("rtsp:", "rtsps:")) else {}
    return StreamFeed(hide_passwords(url), url, None, options)
