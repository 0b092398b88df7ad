"""Numpy nouns that may cross threads. None of them holds a tensor, a lock or a handle.

Axis names: `height`, `width` of a picture; `state` for state tokens. Camera axes are OpenCV's
(x right, y down, z forward); `T_a_b` maps points in frame b to frame a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of the input, decoded and turned upright."""

    index: int
    """Position in the whole input, from 0, counted before `--start` and `--stride`."""
    time_sec: float
    """When it was taken, in seconds of the input's own clock."""
    name: str
    """File name, or `video.mp4#12` for the frame of a video; for people, not for opening."""
    image: NDArray[np.uint8]
    """(height, width, 3) RGB."""


@dataclass(frozen=True)
class SkippedFrame:
    """A frame of the input that could not be used."""

    index: int
    name: str
    reason: str
    """One line that says what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with square pixels and its principal point at (width // 2, height // 2)."""

    T_world_camera: NDArray[np.float64]
    """(4, 4) rigid transform; OpenCV axes; the world is the first camera's frame."""
    focal_px: float
    width: int
    height: int

    @property
    def fov_y_rad(self) -> float:
        """Vertical field of view in radians; pi / 2 where the focal length is not positive."""
        return 2 * math.atan2(self.height / 2, self.focal_px) if self.focal_px > 0 else math.pi / 2

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What the network said about one frame."""

    sequence: int
    """Count of processed frames before this one since the run began; has no gaps."""
    index: int
    time_sec: float
    name: str
    image: NDArray[np.uint8]
    """(height, width, 3) the prepared picture that the network saw; pixel (y, x) of every map below."""
    points_camera: NDArray[np.float32]
    """(height, width, 3) self-view points in this camera's frame; metres for metric weights."""
    confidence: NDArray[np.float32]
    """(height, width) the network's confidence of each point, above 1."""
    camera: Camera
    gain: NDArray[np.float32]
    """(state,) how much of the proposed state each token accepted, in [0, 1]."""
    segment: int
    """How many resets came before this frame."""
    compute_sec: float
    """Time spent in preparation, network and rule."""


@dataclass(frozen=True)
class Status:
    """What the run is doing now, as the page and the progress bar say it."""

    phase: Literal["starting", "running", "paused", "finished", "failed", "stopped"] = "starting"
    message: str = ""
    """One line for a person: what is being waited for, or the text of the error that ended the run."""
    model: str = "-"
    rule: str = "-"
    device: str = "-"
    frames_done: int = 0
    frames_total: int | None = None
    """None while the input cannot know its length."""
    frames_per_second: float = 0.0
    skipped: int = 0
    last_skipped: str = ""
    """Name and reason of the latest skipped frame."""
