"""One tick of the page: what every part is updated from, measured before any part is drawn."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ttt3r_viewer.scene.budget import automatic_point_size, robust_range
from ttt3r_viewer.scene.store import LaneScene, SceneSnapshot
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.view_settings import ViewSettings

WORLD_UP = np.array([0.0, -1.0, 0.0])
"""The world is the first camera's frame, whose y axis points down."""
SIDE_DEPTH = 1.5
"""What is seen to the left and right of all cameras, together, as a share of the median depth."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """How large the scene is and where its lanes stand."""

    point_size: float
    """Side of a point in the scene's unit."""
    offsets: tuple[float, ...]
    """Where each lane's root stands on the world's x axis."""

    @property
    def span(self) -> float:
        """Distance from the first lane's root to the last one's."""
        return self.offsets[-1]


@dataclass(frozen=True, eq=False)
class Tick:
    """Everything that the page's parts are updated from."""

    snapshot: SceneSnapshot
    settings: ViewSettings
    """As they were chosen, whatever the number of lanes."""
    position: int
    """The frame that the page stands at, from 0, or -1 while there is none."""
    now_sec: float
    """Of `time.monotonic`."""
    geometry: Geometry
    trouble: str = ""
    """An error of the page itself; empty without one."""

    @cached_property
    def drawn(self) -> ViewSettings:
        """The settings that hold for this number of lanes."""
        return self.settings.within(self.lane_count)

    @property
    def lane_count(self) -> int:
        """Number of lanes, at least 1."""
        return len(self.snapshot.lanes)

    @property
    def visible_lanes(self) -> tuple[int, ...]:
        """The lanes that are drawn now."""
        return self.drawn.visible_lanes(self.lane_count)

    @cached_property
    def lane_names(self) -> tuple[str, ...]:
        """Each lane's rule with its parameters, in words."""
        return tuple(lane_name(self.snapshot.status, k) for k in range(self.lane_count))


class Part(ABC):
    """Something in the page that the publisher keeps up to date."""

    @abstractmethod
    def update(self, tick: Tick) -> None:
        """Assign what differs; called by the publisher only."""

    def probe(self) -> dict[str, object]:
        """Say what is shown, for programs that read the page."""
        return {}


class GeometryMeter:
    """Measures each tick's geometry; the extent only where a layout has changed."""

    def __init__(self) -> None:
        self._key: object = None
        self._extent = 0.0

    def measure(self, snapshot: SceneSnapshot, settings: ViewSettings) -> Geometry:
        """Measure the scene as these settings show it."""
        key = (snapshot.epoch, *(lane.layout.generation for lane in snapshot.lanes))
        if key != self._key:
            self._key, self._extent = key, scene_width(snapshot.lanes)
        count = len(snapshot.lanes)
        apart = settings.within(count).arrangement == "side by side"
        step = settings.spacing * self._extent if apart else 0.0
        return Geometry(
            point_size=settings.point_size or automatic_point_size(snapshot.layout),
            offsets=tuple(k * step for k in range(count)),
        )


def lane_name(status: Status, lane: int) -> str:
    """Return the rule of a lane with its parameters, in words; its number before it is known."""
    return status.lanes[lane].text if lane < len(status.lanes) else f"Lane {lane + 1}"


def scene_width(lanes: Sequence[LaneScene]) -> float:
    """Return how much room the widest lane takes along the world's x axis, in two digits."""
    widths = [0.0]
    for lane in lanes:
        if lane.frames:
            x = np.stack([frame.camera.T_world_camera[0, 3] for frame in lane.frames])
            low, high = robust_range(x)
            widths.append(high - low + SIDE_DEPTH * lane.layout.median_depth)
    return float(f"{max(widths):.2g}")


def shown_position(snapshot: SceneSnapshot, settings: ViewSettings, now_sec: float) -> int:
    """Return the frame that the page stands at, from 0, or -1 while there is none."""
    last = len(snapshot.frames) - 1
    if settings.show.replaying:
        return settings.show.replay_position(last + 1, now_sec)
    return last if settings.live else min(max(settings.position, 0), last)
