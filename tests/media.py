"""Pictures and videos that the tests write for themselves, and short ways to read them back."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.frames.source import FrameSource, open_source
from ttt3r_viewer.types import Frame, SkippedFrame

KINDS = (
    r"wanted a folder of images, a quoted glob such as 'frames/\*\.jpg', a video, one image, "
    r"camera:0, or an address such as rtsp://\.\.\.$"
)

LEVEL_STEP = 10
"""Grey levels between one frame of a test video and the next; coding errors stay far below."""


def flat_image(level: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """(height, width, 3) picture of one grey level."""
    return np.full((height, width, 3), level, dtype=np.uint8)


def noise_image(width: int = 160, height: int = 128, seed: int = 0) -> Image.Image:
    """A smooth image that a seed decides."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def quarters_image(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """(height, width, 3) picture whose quarters are grey 40, 100 (above), 160, 220 (below)."""
    levels = np.array([[40, 100], [160, 220]], dtype=np.uint8)
    grey = levels.repeat(height // 2, axis=0).repeat(width // 2, axis=1)
    return grey[:, :, None].repeat(3, axis=2)


def write_images(folder: Path, names: Sequence[str]) -> Path:
    """Write a small picture for each name, of grey level LEVEL_STEP x position; return `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for position, name in enumerate(names):
        Image.fromarray(flat_image(LEVEL_STEP * position, 24, 32)).save(folder / name)
    return folder


def write_video(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    *,
    rate: int = 10,
    ticks: Sequence[int] | None = None,
    title: str = "",
) -> Path:
    """Write `images` as MPEG-4 with a key frame every five, the index in front; return `path`.

    Frame i is shown at ticks[i] / rate seconds, or at i / rate.
    """
    # With the index in front, a file that is cut off can still be opened.
    options = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        container.metadata["title"] = title
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        stream.codec_context.gop_size = 5
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index if ticks is None else ticks[index]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def level_frames(count: int) -> list[NDArray[np.uint8]]:
    """Frames whose grey levels tell their indices: see `frame_index`."""
    return [flat_image(LEVEL_STEP * index) for index in range(count)]


def frame_index(image: NDArray[np.uint8]) -> int:
    """Which frame of `level_frames`, or file of `write_images`, this decoded picture is."""
    return round(float(image.mean()) / LEVEL_STEP)


def set_display_matrix(path: Path, matrix: Sequence[int]) -> None:
    """Write (a, b, c, d) into the track header of an MP4, as a phone that was turned does."""
    data = bytearray(path.read_bytes())
    # The nine numbers follow 40 bytes of version 0 header: flags, times, identity, size, layers.
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def erase_packet(path: Path, number: int) -> None:
    """Overwrite the packet of frame `number` of an MP4 with zeros."""
    with av.open(str(path)) as container:
        packet = list(container.demux(video=0))[number]
        position, size = packet.pos, packet.size
    data = path.read_bytes()
    assert position is not None
    path.write_bytes(data[:position] + bytes(size) + data[position + size :])


def write_sound(path: Path) -> Path:
    """Write a second of silence without any picture; return `path`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = np.zeros((1, 1024), dtype=np.float32)
        for index in range(43):
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate = 44100
            frame.pts = 1024 * index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def open_at(path: Path, **choice: Any) -> FrameSource:
    return open_source(str(path), **choice)


def frames_of(source: FrameSource) -> list[Frame]:
    """Every frame of a source that must have no bad one."""
    frames = []
    for item in source:
        assert isinstance(item, Frame), item
        frames.append(item)
    return frames


def skipped_of(source: FrameSource) -> list[SkippedFrame]:
    return [item for item in source if isinstance(item, SkippedFrame)]


def times_of(path: Path, fps: float = 30.0) -> list[float]:
    return [frame.time_sec for frame in frames_of(open_source(str(path), fps=fps))]


def names_of(source: FrameSource) -> list[str]:
    return [item.name for item in source]


def refused(spec: Path | str, message: str) -> None:
    """Opening `spec` raises an error that matches `message` and ends with the kinds of input."""
    with pytest.raises(InputError, match=f"{message}.*; {KINDS}") as caught:
        open_source(str(spec))
    assert "\n" not in str(caught.value)
