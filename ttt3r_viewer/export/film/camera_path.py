"""Where a film is taken from: round the scene, behind its camera, or along a tour."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.recording.tour import Tour, View
from ttt3r_viewer.types import Camera

FOV_Y_RAD = math.radians(50)
ELEVATION_RAD = math.radians(24)
"""How far above the scene's middle the orbit goes."""
ORBIT_PERCENTILE = 90
"""The orbit keeps this share of the points in the image."""
BEHIND, ABOVE = 0.55, 0.2
"""Where the follower is, in median depths of the camera that it follows."""
SMOOTH_SHARE = 0.03
"""The follower evens out what the camera does within this share of all frames."""


@dataclass(frozen=True, eq=False)
class Orbit:
    """A circle of views round a scene, from a little above its middle."""

    centre: NDArray[np.float64]
    """(3,) world; every view looks at it."""
    radius: float
    """How far the scene reaches from there."""
    ahead: NDArray[np.float64]
    """(3,) level unit vector: the view at angle 0 looks this way."""
    up: NDArray[np.float64]
    """(3,) unit vector."""

    @classmethod
    def around(
        cls,
        points_world: NDArray[np.floating],
        forward: NDArray[np.float64],
        up: NDArray[np.float64],
    ) -> Self:
        """Fit the orbit to points (n, 3); `forward` (3,) is the way that its first view looks."""
        centre = np.median(points_world, axis=0).astype(np.float64)
        distances = np.linalg.norm(points_world - centre, axis=1)
        level = forward - (forward @ up) * up
        if np.linalg.norm(level) <= 1e-6:
            level = np.cross(up, [0.6, 0.48, 0.64])
        radius = float(np.percentile(distances, ORBIT_PERCENTILE))
        return cls(centre, radius or 1.0, _unit(level), up)

    def position(
        self, angle_rad: float, fov_y_rad: float, aspect: float = 1.0
    ) -> NDArray[np.float64]:
        """Where the camera (3,) is after an angle, far enough away to see the whole scene.

        `aspect` is the image's width / height.
        """
        half_fov_rad = min(fov_y_rad / 2, math.atan(math.tan(fov_y_rad / 2) * aspect))
        aside = np.cross(self.ahead, self.up)
        outward = -math.cos(angle_rad) * self.ahead + math.sin(angle_rad) * aside
        lifted = math.cos(ELEVATION_RAD) * outward + math.sin(ELEVATION_RAD) * self.up
        return self.centre + self.radius / math.sin(half_fov_rad) * lifted

    def views(self, count: int, aspect: float) -> list[View]:
        """Go once round in `count` views of `FOV_Y_RAD`."""
        angles = np.arange(count) * (2 * math.pi / count)
        places = [self.position(angle, FOV_Y_RAD, aspect) for angle in angles]
        return [View(upright(place, self.centre, self.up), FOV_Y_RAD) for place in places]


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


def mean_forward(cameras: Sequence[Camera]) -> NDArray[np.float64]:
    """Where the cameras looked, as a unit vector (3,); the world's own where they cancel out."""
    total = np.sum([one.T_world_camera[:3, 2] for one in cameras], axis=0)
    return _unit(total) if np.linalg.norm(total) > 1e-6 else np.eye(3)[2]


def _even(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Even out rows (frame, 3) by a Gaussian, and give `count` of them, evenly."""
    from scipy.ndimage import gaussian_filter1d  # slow to load, and only followers need it

    smooth = gaussian_filter1d(rows, SMOOTH_SHARE * len(rows), axis=0, mode="nearest", truncate=3)
    at = np.linspace(0, len(rows) - 1, count)
    return np.stack([np.interp(at, range(len(rows)), one) for one in smooth.T], axis=1)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)
