"""Viewpoints of browsers, without viser's handles: behind a camera, along a tour, on the way."""

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.export.film.opening import PageView
from ttt3r_viewer.recording.tour import Tour
from ttt3r_viewer.types import Camera

APPROACH_SEC = 1.5
"""Duration of the way from a browser's view to the motion."""
LINGER_SEC = 1.0
"""Time between a tour's last view and the release of the browsers' views."""


def view_from(camera: Camera, median_depth: float) -> PageView:
    """Return the view of a camera itself."""
    _, down, forward, center = camera.T_world_camera[:3].T
    return PageView(center, center + median_depth * forward, -down, camera.fov_y_rad)


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
