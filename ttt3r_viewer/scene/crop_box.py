"""An upright box outside of which the page draws no points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.geometry import upright_axes
from ttt3r_viewer.scene.budget import robust_range

if TYPE_CHECKING:
    from ttt3r_viewer.scene.store import LaneScene

Corner = tuple[float, float, float]
SAMPLES = 50_000
"""Points from which a first box is found."""


@dataclass(frozen=True)
class CropBox:
    """A box in a lane's own frame, the same for all lanes."""

    low: Corner
    high: Corner
    """Its two corners, along right, up and ahead."""
    up: Corner
    """The world's up, a unit vector."""

    @classmethod
    def around(cls, lane: LaneScene) -> Self:
        """Return the box around nearly all kept points of a lane that has some."""
        up, stride = lane.layout.up, -(-lane.point_count // SAMPLES)
        parts = [one.points.points_world[::stride] for one in lane.frames]
        at = np.concatenate(parts) @ axes_of(up).T
        ranges = np.array([robust_range(at[:, axis]) for axis in range(3)])
        return cls(_corner(ranges[:, 0]), _corner(ranges[:, 1]), _corner(up))

    @property
    def axes(self) -> NDArray[np.float64]:
        """Right, up and ahead in the world, as rows (3, 3)."""
        return axes_of(np.array(self.up))

    def world(self, corner: Corner) -> NDArray[np.float64]:
        """Return a corner (3,) of the box in the world."""
        return np.array(corner) @ self.axes

    def moved(self, end: str, corner_world: NDArray[np.float64]) -> Self:
        """Return the box with its `low` or `high` corner at a place (3,) in the world.

        Corners that have passed each other change their names.
        """
        place = self.axes @ corner_world
        other = np.array(self.high if end == "low" else self.low)
        low, high = np.minimum(place, other), np.maximum(place, other)
        return type(self)(_corner(low), _corner(high), self.up)

    def holds(self, points_world: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether each of the points (n, 3) lies in the box, (n,)."""
        at = points_world @ self.axes.T
        return np.all((at >= self.low) & (at <= self.high), axis=1)

    def edges(self) -> NDArray[np.float32]:
        """Return its edges in the world, (12, 2, 3)."""
        corners = np.stack(np.meshgrid(*zip(self.low, self.high, strict=True)), -1).reshape(-1, 3)
        first, second = np.triu_indices(8, 1)
        joined = (corners[first] != corners[second]).sum(axis=1) == 1
        pairs = np.stack((corners[first[joined]], corners[second[joined]]), axis=1)
        return (pairs @ self.axes).astype(np.float32)


def axes_of(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return right, up and the level part of the world's z axis, as rows (3, 3)."""
    return upright_axes(up, np.array([0.0, 0.0, 1.0]))


def _corner(place: NDArray[np.float64]) -> Corner:
    x, y, z = place.tolist()
    return x, y, z
