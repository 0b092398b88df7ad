"""Viewpoints of browsers, without viser's handles: behind a camera, along a tour, on the way."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.recording.tour import Tour
from ttt3r_viewer.types import Camera

APPROACH_SEC = 1.5
"""Duration of the way from a browser's view to the motion."""
LINGER_SEC = 1.0
"""Time between a tour's last view and the release of the browsers' views."""


@dataclass(frozen=True, eq=False)
class PageView:
    """Camera of a browser: its place, the point that it looks at and orbits around, what is up."""

    position: NDArray[np.float64]
    """(3,) world."""
    look_at: NDArray[np.float64]
    """(3,) world."""
    up: NDArray[np.float64]
    """(3,) unit vector, world."""
    fov_y_rad: float | None = None
    """None keeps the browser's own."""

    def moved(self, by_world: NDArray[np.float64]) -> Self:
        """Return the same view from a place moved by (3,)."""
        return replace(self, position=self.position + by_world, look_at=self.look_at + by_world)

    def is_close(self, other: Self, atol: float) -> bool:
        """Whether both look from the same place in the same way, fields of view aside."""
        mine = (self.position, self.look_at, self.up)
        theirs = (other.position, other.look_at, other.up)
        return all(np.allclose(a, b, atol=atol) for a, b in zip(mine, theirs, strict=True))

    def blended(self, goal: Self, share: float) -> Self:
        """Return the view at this share of the way to another."""
        up = self.up + share * (goal.up - self.up)
        length = float(np.linalg.norm(up))
        fov_y_rad = goal.fov_y_rad
        if self.fov_y_rad is not None and fov_y_rad is not None:
            fov_y_rad = self.fov_y_rad + share * (fov_y_rad - self.fov_y_rad)
        return replace(
            goal,
            position=self.position + share * (goal.position - self.position),
            look_at=self.look_at + share * (goal.look_at - self.look_at),
            up=up / length if length > 1e-6 else goal.up,
            fov_y_rad=fov_y_rad,
        )


def view_behind(
    camera: Camera, median_depth: float, up: NDArray[np.float64], back: float, above: float
) -> PageView:
    """Return the view from behind and above a camera, in shares of the scene's median depth."""
    forward, center = camera.T_world_camera[:3, 2:].T
    position = center + median_depth * (above * up - back * forward)
    return PageView(position, center + median_depth * 0.9 * forward, up)


def tour_view(tour: Tour, time_sec: float, distance: float) -> PageView:
    """Return a tour's view at a time; it looks at a point `distance` away."""
    view = tour.at(time_sec)
    _, down, forward = view.T_world_camera[:3, :3].T
    position = view.T_world_camera[:3, 3]
    return PageView(position, position + distance * forward, -down, view.fov_y_rad)


def approached(start: PageView, goal: PageView, time_sec: float) -> PageView:
    """Return the view on its way from a start, at rest, to a goal that may move."""
    u = min(max(time_sec / APPROACH_SEC, 0.0), 1.0)
    return goal if u == 1.0 else start.blended(goal, u * u * (3 - 2 * u))


def has_ended(tour: Tour, time_sec: float) -> bool:
    """Whether a tour releases the browsers' views at this time after its start."""
    return time_sec > APPROACH_SEC + tour.duration_sec + LINGER_SEC
