"""Which way is up: from the floors and walls that were seen, and from how cameras were held."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.types import Camera

CAMERA_UP = np.array([0.0, -1.0, 0.0])
"""Up in the frame of a camera that is held level: OpenCV's y axis points down."""
SAMPLES = 400
"""Points of a frame whose surroundings are looked at."""
NEIGHBOURS = 10
FLATNESS = 0.15
"""Largest spread of a flat patch along its normal, as a share of its next larger spread."""
MOST_FRAMES = 64
"""Frames whose normals are kept; with more, every other one is forgotten."""
FIRST_CONE_RAD, LAST_CONE_RAD = math.radians(30), math.radians(8)
"""Around up, within which normals are of floors and ceilings, and around level for walls: at first,
and once up is nearly known."""
ROUNDS = 8
HELD_SHARE = 0.02
"""Weight of how cameras were held, as a share of all patches: it decides where one wall is all."""
LEAST_GAP = 0.05
"""How much better than any other direction up must fit, as a share of all patches, to be sure."""


Up = tuple[NDArray[np.float64], bool]
"""A unit vector (3,) in the world's frame, and whether floors or walls told it."""


class UpEstimator:
    """Estimates up from the normals of flat patches in some frames of a lane."""

    def __init__(self) -> None:
        self._normals: list[NDArray[np.float32]] = []
        """Of each frame that was looked at, (n, 3) in the world's frame."""
        self._stride = 1
        self._count = 0

    def add(self, frame: FrameSummary) -> None:
        """Look at a frame with all points that a run gives it, where it is its turn."""
        self.add_points(lambda: frame.points.off_edges().first(SAMPLES).points_world)

    def add_points(self, choose: Callable[[], NDArray[np.float32]]) -> None:
        """Look at the points (n, 3) of a frame that `choose` gives, where it is its turn."""
        if self._count % self._stride == 0:
            self._normals.append(flat_normals(choose()))
            if len(self._normals) > MOST_FRAMES:
                self._normals = self._normals[::2]
                self._stride *= 2
        self._count += 1

    def estimate(self, cameras: Sequence[Camera]) -> Up:
        """Estimate up for cameras of frames whose first ones were added.

        Cameras are held upright on average; normals near that direction, or square to it, then turn
        it until floors are level and walls upright.
        """
        ups = np.stack([camera.T_world_camera[:3, :3] @ CAMERA_UP for camera in cameras])
        held = _unit(np.median(ups, axis=0))
        normals = np.concatenate([np.zeros((0, 3)), *self._normals])
        up, sure = held, False
        for cone_rad in np.geomspace(FIRST_CONE_RAD, LAST_CONE_RAD, ROUNDS):
            along = np.abs(normals @ up)
            level = normals[along > math.cos(cone_rad)]
            upright = normals[along < math.sin(cone_rad)]
            # What is along the floors' normals and square to those of the walls.
            fit = level.T @ level - upright.T @ upright
            fit += HELD_SHARE * len(normals) * np.outer(held, held)
            fits, directions = np.linalg.eigh(fit)
            found = directions[:, -1]
            up = found if found @ up > 0 else -found
            sure = fits[-1] - fits[-2] > LEAST_GAP * len(normals)
        return (up, True) if sure and len(normals) else (held, False)


def flat_normals(points_world: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the unit normals (n, 3), of either sign, of flat patches around points (N, 3)."""
    points = points_world[np.isfinite(points_world).all(axis=1)].astype(np.float64)
    if len(points) < 2 * NEIGHBOURS:
        return np.zeros((0, 3), np.float32)
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    nearest = np.argpartition(distances, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    around = points[nearest] - points[nearest].mean(axis=1, keepdims=True)
    spreads, directions = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    flat = spreads[:, 0] < FLATNESS**2 * spreads[:, 1]
    return directions[flat, :, 0].astype(np.float32)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if 0 < length < math.inf else CAMERA_UP
