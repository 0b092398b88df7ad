"""What a person can ask of the running reconstruction; the worker takes these in order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Play:
    """Go on with the frames; nothing happens where the run is already going."""


@dataclass(frozen=True)
class Pause:
    """Stop before the next frame and keep every state."""


@dataclass(frozen=True)
class Step:
    """Process one frame, then pause."""


@dataclass(frozen=True)
class Restart:
    """Forget the scene and every state, and begin again at the first frame."""


@dataclass(frozen=True)
class SetParameter:
    """Give one lane's rule another hyper-parameter from the next frame on."""

    lane: int
    name: str
    value: float


@dataclass(frozen=True)
class SetResetEvery:
    """Reset every lane after so many frames from the next frame on; 0 for never."""

    frames: int


@dataclass(frozen=True)
class SetRules:
    """Begin again with these lanes, each in the form that `--rules` takes."""

    rules: tuple[str, ...]


@dataclass(frozen=True)
class Inspect:
    """Look into what a lane did with one of the processed frames; the latest question wins."""

    lane: int
    sequence: int


@dataclass(frozen=True)
class Query:
    """Ask the state of every lane what a camera would see; the latest question wins."""

    number: int
    """Comes back with the answer."""
    pose: tuple[float, ...]
    """(7,) camera to world, the lanes' own: x y z, then the unit quaternion w x y z."""
    fov_y_rad: float
    """Vertical field of view."""


@dataclass(frozen=True)
class Stop:
    """End the worker's thread; what has been reconstructed stays in the scene."""


Adjustment = SetParameter | SetResetEvery | SetRules
"""What changes how the frames are reconstructed."""
Command = Play | Pause | Step | Restart | Adjustment | Inspect | Query | Stop
