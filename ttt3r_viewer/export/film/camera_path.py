"""Where a film is taken from: behind its camera, along a tour, or anywhere upright."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.recording.tour import Tour, View
from ttt3r_viewer.types import Camera

FOV_Y_RAD = math.radians(50)
BEHIND, ABOVE = 0.55, 0.2
"""Where the follower is, in median depths of the camera that it follows."""
SMOOTH_SHARE = 0.03
"""The follower evens out what the camera does within this share of all frames."""


def upright(position: ArrayLike, target: ArrayLike, up: ArrayLike) -> NDArray[np.float64]:
    """Give T_world_camera (4, 4) of a camera at `position` that looks at `target`.

    `up` is what points up in the image; it must not be the direction of the look.
    """
    forward = _unit(np.asarray(target, np.float64) - np.asarray(position, np.float64))
    right = _unit(np.cross(forward, np.asarray(up, np.float64)))
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = np.stack((right, np.cross(forward, right), forward), axis=1)
    T_world_camera[:3, 3] = position
    return T_world_camera


def follow(cameras: Sequence[Camera], depth: float, count: int) -> list[View]:
    """Fly behind and above the camera in `count` views, evenly from its first frame to its last.

    `depth` is the scene's median depth.
    """
    poses = np.stack([one.T_world_camera for one in cameras])[:, :3]
    evened = (_even(rows, count) for rows in (poses[..., 3], poses[..., 2], -poses[..., 1]))
    views: list[View] = []
    for here, ahead, over in zip(*evened, strict=True):
        eye = here - BEHIND * depth * _unit(ahead) + ABOVE * depth * _unit(over)
        views.append(View(upright(eye, here + 1.2 * depth * _unit(ahead), over), FOV_Y_RAD))
    return views


def along(tour: Tour, count: int) -> list[View]:
    """Give `count` views, evenly from a tour's first keyframe to its last."""
    return [tour.at(time_sec) for time_sec in np.linspace(0, tour.duration_sec, count)]


def _even(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Even out rows (frame, 3) by a Gaussian, and give `count` of them, evenly."""
    from scipy.ndimage import gaussian_filter1d  # slow to load, and only followers need it

    smooth = gaussian_filter1d(rows, SMOOTH_SHARE * len(rows), axis=0, mode="nearest", truncate=3)
    at = np.linspace(0, len(rows) - 1, count)
    return np.stack([np.interp(at, range(len(rows)), one) for one in smooth.T], axis=1)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)
