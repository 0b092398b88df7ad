"""Numpy nouns that may cross threads. None of them holds a tensor, a lock or a handle.

Axis names: `height`, `width` of an image; `layer` of the decoder; `state` tokens; `image` tokens
(the pose token is entry 0); `patch` (image tokens without it, row by row). Camera axes are OpenCV's
(x right, y down, z forward); `T_a_b` maps points in frame b to frame a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # the program needs no jaxtyping; the tests check these shapes with it
    from collections.abc import Sequence

    from jaxtyping import Float, Float16, Float32, Float64, UInt8


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of the input, decoded and turned upright."""

    index: int
    """Position in the whole input, from 0, counted before `--start` and `--stride`."""
    time_sec: float
    """When it was taken, in seconds of the input's own clock."""
    name: str
    """File name, or `video.mp4#12` for the frame of a video; for people, not for opening."""
    image: UInt8[np.ndarray, "height width 3"]
    """RGB."""


@dataclass(frozen=True)
class SkippedFrame:
    """A frame of the input that could not be used."""

    index: int
    name: str
    reason: str
    """One line that says what is wrong with it."""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Waiting:
    """A live input has nothing new yet: said now and then, so that whoever waits can look up."""

    message: str = ""
    """One line where something is wrong with it."""


@dataclass(frozen=True, eq=False, slots=True)
class Camera:
    """A pinhole camera with square pixels and its principal point at (width // 2, height // 2)."""

    T_world_camera: Float64[np.ndarray, "4 4"]
    """Rigid transform; OpenCV axes; the world is the first camera's frame."""
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


@dataclass(frozen=True, slots=True)
class Crop:
    """How a prepared image lies in its original: resized by `scale_xy`, then cut at `offset_xy`.

    Pixel coordinates are (x, y) with the centre of the first pixel at (0, 0).
    """

    scale_xy: tuple[float, float]
    """Resized pixels per original pixel; rounding makes the two differ a little."""
    offset_xy: tuple[int, int]
    """Left and upper edge of the cut, in pixels of the resized image."""
    original_width: int
    original_height: int

    def to_original(
        self, pixels_xy: Float[np.ndarray, "pixel 2"]
    ) -> Float64[np.ndarray, "pixel 2"]:
        """Map pixel coordinates of the prepared image to those of the original."""
        # A resize keeps the outer edges in place, and those lie half a pixel before the centres.
        edge_px = 0.5
        resized_xy = np.asarray(pixels_xy, dtype=np.float64) + np.array(self.offset_xy) + edge_px
        return resized_xy / np.array(self.scale_xy) - edge_px


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class FrameFacts:
    """What is known of every frame of a run, in full or thinned."""

    sequence: int
    """Count of processed frames before this one since the run began; has no gaps."""
    index: int
    time_sec: float
    name: str
    crop: Crop
    """Where the prepared image lies in the original."""
    camera: Camera
    segment: int
    """How many resets came before this frame."""
    compute_sec: float
    """Time spent in preparation, network and rules; of all lanes together, which share it."""
    state_change: float = 0.0
    """|S_t - S_{t-1}| / |S_{t-1}| over all state tokens."""
    rule: str = ""
    """The rule that was in force, with its parameters."""
    reset_every: int = 0
    """The reset interval that was in force, in frames; 0 for never."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameResult(FrameFacts):
    """What the network said about one frame."""

    image: UInt8[np.ndarray, "height width 3"]
    """The prepared image that the network saw; its pixels are those of the maps."""
    points_camera: Float32[np.ndarray, "height width 3"]
    """Self-view points in this camera's frame; metres for metric weights."""
    confidence: Float32[np.ndarray, "height width"]
    """The network's confidence of each point, above 1."""
    gain: Float32[np.ndarray, " state"]
    """How much of the proposed state each token accepted, in [0, 1]."""
    rule_text: str = ""
    """What `--rules` makes the same rule from; empty where that is not known."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What went on inside one step of one lane, found by replaying the frame."""

    epoch: int
    """Which run it belongs to; the scene counts them, and the worker fills it in."""
    lane: int
    sequence: int
    """Which of the processed frames, from 0."""
    rows: int
    columns: int
    """Patches along the image's height and width."""
    state_columns: int
    """Width of the grid on which the state tokens sit."""
    gain: Float32[np.ndarray, " state"]
    state_logit: Float32[np.ndarray, " state"]
    """Mean pre-softmax logit over layers, heads and image tokens; TTT3R's gain is its sigmoid."""
    state_change: Float32[np.ndarray, " state"]
    """|S_t - S_{t-1}| of each token."""
    from_start: Float32[np.ndarray, " state"]
    """|S_t - S_0| of each token, S_0 being the state before the first frame."""
    patch_logit: Float32[np.ndarray, " patch"]
    """The same over layers, heads and state tokens: how well each patch aligns with the state."""
    writes: Float16[np.ndarray, "layer state image"]
    """Where each state token takes its new value from: softmax over the image, mean over heads."""
    reads: Float16[np.ndarray, "layer image state"]
    """What each image token recalls: softmax over the state, mean over heads."""
    frames_replayed: int
    """0 where the state before the frame was kept; else how many frames were replayed first."""


@dataclass(frozen=True, eq=False)
class Expectation:
    """What the state of one lane expects a camera to see that it was never shown."""

    lane: int
    sequence: int
    """The latest frame that the state had taken, from 0."""
    camera: Camera
    """The camera that was asked about, in the lane's world."""
    image: UInt8[np.ndarray, "height width 3"]
    """RGB, as the network would have it."""
    points_camera: Float32[np.ndarray, "height width 3"]
    """In that camera's frame; metres for metric weights."""
    confidence: Float32[np.ndarray, "height width"]
    """The network's confidence of each point, above 1."""
    epoch: int = 0
    """Which run it belongs to; the scene counts them, and the worker fills it in."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a question to the states."""

    number: int
    """Which question it answers."""
    lanes: tuple[Expectation, ...] = ()
    """One per lane; empty where there is no answer."""
    note: str = ""
    """Why there is none."""


@dataclass(frozen=True)
class ParameterInfo:
    """One hyper-parameter of a rule, as a widget needs it."""

    name: str
    value: float
    default: float
    low: float
    high: float
    help: str
    whole: bool = False
    """Takes whole numbers only."""


@dataclass(frozen=True)
class RuleInfo:
    """A rule as plain values, for those who must not import one."""

    name: str
    """What `--rules` takes."""
    title: str
    text: str
    """Its label, as `str` of the rule gives it: "TTT3R", "CUT3R (rate 1)", "constant 0.3"."""
    parameters: tuple[ParameterInfo, ...] = ()

    @property
    def argument(self) -> str:
        """The shortest text for `--rules`: the first parameter bare, the others by name."""
        pieces = [self.name]
        for place, one in enumerate(self.parameters):
            if one.value != one.default:
                short = f"{one.value:g}"
                number = short if float(short) == one.value else repr(one.value)
                pieces.append(number if place == 0 else f"{one.name}={number}")
        return ":".join(pieces)


def lane_labels(rules: Sequence[RuleInfo]) -> tuple[str, ...]:
    """What each lane is called wherever a person reads of it."""
    return labels_of([rule.text for rule in rules])


def labels_of(rules: Sequence[str]) -> tuple[str, ...]:
    """The labels of lanes with these rules' texts; a repeated rule gets a number."""
    labels: list[str] = []
    for rule in rules:
        repeated = rules[: len(labels)].count(rule)
        labels.append(f"{rule} #{repeated + 1}" if repeated else rule)
    return tuple(labels)


@dataclass(frozen=True)
class Status:
    """What the run is doing now, as the page and the progress bar say it."""

    phase: Literal["starting", "running", "paused", "finished", "failed", "stopped"] = "starting"
    message: str = ""
    """One line for the user: what is being waited for, or the error that ended the run."""
    model: str = "-"
    rule: str = "-"
    """The rules of all lanes, in words."""
    device: str = "-"
    frames_done: int = 0
    frames_total: int | None = None
    """None while the input cannot know its length."""
    frames_per_second: float = 0.0
    skipped: int = 0
    last_skipped: str = ""
    """Name and reason of the latest skipped frame."""
    lag_sec: float | None = None
    """From a live frame's arrival to its result, the latest one's; None for other inputs."""
    dropped: int = 0
    """Frames of a live input that newer ones replaced before they were taken."""
    lanes: tuple[RuleInfo, ...] = ()
    """The rule of each lane; empty until the run knows them."""
    known_rules: tuple[RuleInfo, ...] = ()
    """All rules that a lane could have."""
    reset_every: int = 0
    """Frames between resets; 0 for never."""
    state_columns: int = 0
    """Width of the grid on which the state tokens sit; 0 until the network is loaded."""
    metric: bool = True
    """Lengths are metres; else they have the scene's own unit."""
    cannot_ask: str = "the network is not loaded yet"
    """Why the states cannot be asked what an unseen camera sees; empty where they can."""
    source: str = ""
    """What the input is called, in a word or two."""

    @property
    def goes_on(self) -> bool:
        """Whether more frames may come."""
        return self.phase in ("starting", "running", "paused")

    @property
    def frames_expected(self) -> int | None:
        """Frames that there are or will be, without the skipped ones; None where nobody knows."""
        if self.frames_total is None:
            return None
        return max(self.frames_total - self.skipped, self.frames_done)

    @property
    def frames_taken(self) -> int:
        """Frames of the input that have had their turn, skipped ones among them."""
        return self.frames_done + self.skipped
