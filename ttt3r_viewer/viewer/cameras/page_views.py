"""Viewpoints of browsers, without viser's handles: behind a camera, on the orbit, along a tour."""

import math
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.export.film.camera_path import Orbit
from ttt3r_viewer.recording.tour import Tour
from ttt3r_viewer.scene.store import LaneScene
from ttt3r_viewer.types import Camera
from ttt3r_viewer.viewer.tick import WORLD_UP

ORBIT_SEC = 48.0
"""Duration of one orbit: slow enough to speak over."""
SWING_RAD = math.radians(50)
"""Angle of the swing to either side of a scene that was seen from one side."""
SIDE_SWING_RAD = math.radians(18)
"""The same for lanes side by side: seen from the side one would hide the other."""
ONE_SIDED = 0.5
"""Length of the mean of all cameras' unit looks: 1 where all looked the same way, 0 all round."""
SPAN_ASIDE = 0.65
"""Shift of the first view for lanes side by side, as a share of their span: the panel hides the
right of the page."""
SPAN_BACK = 0.5
"""Extra distance of the first view for lanes side by side, as a share of their span."""
ORBIT_SPAN = 0.35
"""Growth of the orbit's radius for lanes side by side, as a share of their span."""
FOCUS_FRAMES, FOCUS_POINTS = 60, 200
"""Number of frames, and points of each, from which the orbit is fitted."""
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
    up: NDArray[np.float64] = field(default_factory=lambda: WORLD_UP)
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


def view_behind(camera: Camera, median_depth: float, back: float, up: float) -> PageView:
    """Return the view from behind and above a camera, in shares of the scene's median depth."""
    forward, center = camera.T_world_camera[:3, 2:].T
    position = center + median_depth * (up * WORLD_UP - back * forward)
    return PageView(position, center + median_depth * 0.9 * forward)


def beside(first: PageView, span: float) -> PageView:
    """Return the view of lanes side by side over `span` along x, given that of the first lane."""
    way = first.position - first.look_at
    farther = replace(first, position=first.position + SPAN_BACK * span * way / np.linalg.norm(way))
    return farther.moved(np.array([SPAN_ASIDE * span, 0.0, 0.0]))


@dataclass(frozen=True, eq=False)
class PageOrbit(Orbit):
    """The page's orbit: the film's, or a swing where the scene was seen from one side only."""

    swing_rad: float | None = None
    """Angle of the swing to either side; None where the scene was seen from all sides."""

    @classmethod
    def around_lane(cls, lane: LaneScene) -> Self:
        """Fit the orbit to a lane's points; it begins behind the first camera."""
        chosen = np.linspace(0, len(lane.frames) - 1, FOCUS_FRAMES).astype(int)
        frames = [lane.frames[k] for k in sorted(set(chosen.tolist()))]
        points = np.concatenate([one.points.points_world[:FOCUS_POINTS] for one in frames])
        if not len(points):
            points = np.stack([one.camera.T_world_camera[:3, 3] for one in frames])
        looks = np.stack([one.camera.T_world_camera[:3, 2] for one in lane.frames])
        all_round = float(np.linalg.norm(looks.mean(axis=0))) < ONE_SIDED
        swing_rad = None if all_round else SWING_RAD
        return replace(cls.around(points, looks[0], WORLD_UP), swing_rad=swing_rad)

    def widened(self, span: float) -> Self:
        """Return the orbit of lanes side by side over `span`, given that of the first lane."""
        if not span:
            return self
        centre = self.centre + np.array([span / 2, 0.0, 0.0])
        radius = self.radius + ORBIT_SPAN * span
        return replace(self, centre=centre, radius=radius, swing_rad=SIDE_SWING_RAD)

    def blended(self, goal: Self, share: float) -> Self:
        """Return another orbit with its centre and radius at this share of the way to it."""
        centre = self.centre + share * (goal.centre - self.centre)
        radius = self.radius + share * (goal.radius - self.radius)
        return replace(goal, centre=centre, radius=radius)

    def view(self, time_sec: float, fov_y_rad: float) -> PageView:
        """Return the view at a time; it repeats after `ORBIT_SEC`."""
        turn_rad = 2 * math.pi * time_sec / ORBIT_SEC
        swing_rad = self.swing_rad
        angle_rad = turn_rad if swing_rad is None else swing_rad * math.sin(turn_rad)
        return PageView(self.position(angle_rad, fov_y_rad), self.centre, self.up, fov_y_rad)


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
