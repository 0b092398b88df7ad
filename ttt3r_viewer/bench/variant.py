"""What is measured and what comes of it: plain values that cross to another process and back.

Torch is not imported here, so that the parent stays small beside the processes it starts.
"""

from dataclasses import dataclass
from typing import Literal

from ttt3r_viewer.system.options import DeviceName, DtypeName

STAGES = ("decode", "prepare", "encode", "decode-state", "heads", "copy", "scene", "rest")
"""Where a frame's time goes, in its order; each instant belongs to one of them."""
Way = Literal["fast", "compiled", "plain"]
"""As the program runs, the same with `--compile on`, and the plain one of `bench/plain.py`."""
MADE_UP = "made-up"
"""Stands for random weights where a weights file could be named."""
StageSeconds = dict[str, float]
"""Seconds of one frame by stage."""


@dataclass(frozen=True)
class Variant:
    """One way to run a network, measured in a process of its own."""

    way: Way
    preset: str
    weights: str
    """A file or a known name; `MADE_UP`: random ones in the sizes of `preset`."""
    rule: str
    lanes: int
    """How many lanes run under that rule."""
    device: DeviceName
    dtype: DtypeName
    frames: int
    """Frames of one turn."""


@dataclass(frozen=True)
class Turn:
    """What one turn took."""

    frame_sec: tuple[float, ...]
    """Per frame, one after the other, nothing looked at in between."""
    stages: tuple[StageSeconds, ...]
    """Per frame, with the device waited for at the end of each stage."""


@dataclass(frozen=True)
class Facts:
    """What a process sends at its end."""

    device: str
    """Name of the processor or GPU."""
    device_type: str
    dtype: str
    threads: int
    """Of torch on the CPU."""
    start_sec: float
    """From the start of the process's own work until it was ready, warm-up included."""
    image_height: int
    image_width: int
    """Of the prepared images."""
    torch: str
    """Its version."""
    host_peak_bytes: int | None
    """The most memory that the process held; None where the system does not report it."""
    device_peak_bytes: int | None
    """The most that torch held on the device; None where it is the host's, or not known."""
    flop_per_frame: float
    peak_flop_per_sec: float
    """Of a large matrix product in the same dtype on the same device."""
    profile: str
    """The profiler's table of one frame; empty where it was not asked for."""


@dataclass(frozen=True)
class Measured:
    """All that is known of one variant."""

    name: str
    variant: Variant
    turns: tuple[Turn, ...]
    facts: Facts

    @property
    def frame_sec(self) -> list[float]:
        """Of every frame of every turn."""
        return [seconds for turn in self.turns for seconds in turn.frame_sec]

    @property
    def turn_sec(self) -> list[float]:
        """Mean seconds per frame of each turn."""
        return [sum(turn.frame_sec) / len(turn.frame_sec) for turn in self.turns]

    @property
    def stages(self) -> list[StageSeconds]:
        """Of every frame of every turn."""
        return [one for turn in self.turns for one in turn.stages]
