"""Procedural rooms as plain numpy arrays: shape, furniture, and the test of free space.

Room frame: x and y along the walls, z up, metres, the floor at z = 0. The free volume is the union
of axis-aligned boxes (rooms and doorways, each overlapping the next) below one ceiling plane, less
the solids: boxes turned about z, spheres, and vertical cylinders.
"""

import functools
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

MAX_SPACES = 6
FLAT = frozenset(("picture", "window", "door", "rug", "lamp", "legs"))
"""Styles of what casts no shadow, or hardly any."""


@dataclass(frozen=True)
class Kind:
    """A kind of solid; its lists are filled up with ones of negative size, which no ray meets."""

    most: int
    nothing: tuple[float, ...]


KINDS = {
    "boxes": Kind(40, (0.0, 0.0, 0.0, -1.0, -1.0, -1.0, 1.0, 0.0)),
    "spheres": Kind(8, (0.0, 0.0, 0.0, -1.0)),
    "cylinders": Kind(8, (0.0, 0.0, -1.0, 1.0, 0.0)),
}
"""Boxes are centre x, y, z, half extents x, y, z, cosine and sine of the turn about z; spheres
centre and radius; cylinders axis x, y, radius, bottom z, top z."""


def poses_of(kind: str, rows: Array) -> Array:
    """Centre, half extents, cosine and sine of the turn of solids (count, numbers): (count, 8)."""
    if kind == "boxes":
        return rows
    if kind == "spheres":
        x, y, z, radius = rows.T
        half_z = radius
    else:
        x, y, radius, bottom, top = rows.T
        z, half_z = (bottom + top) / 2, (top - bottom) / 2
    one = np.ones_like(x)
    return np.stack([x, y, z, radius, radius, half_z, one, 0 * one], axis=1)


@dataclass(frozen=True, eq=False)
class Space:
    """A room, or a doorway with the axis along which one walks through it."""

    low: Array
    """(3,) lower corner."""
    high: Array
    door_axis: int | None = None


@dataclass
class Room:
    """A world without its colours."""

    spaces: list[Space] = field(default_factory=list)
    """A chain: each overlaps the next."""
    ceiling: Array = field(default_factory=lambda: np.array([0.0, 0.0, 0.0, 1.0]))
    """Free points p hold ceiling[:3] @ p < ceiling[3]; zeros and one where the ceiling is level."""
    solids: dict[str, list[tuple[float, ...]]] = field(
        default_factory=lambda: {kind: [] for kind in KINDS}
    )
    """Numbers of every solid by its kind; see `KINDS`."""
    styles: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    @property
    def doors(self) -> list[Space]:
        """The doorways."""
        return [space for space in self.spaces if space.door_axis is not None]

    @property
    def chambers(self) -> list[Space]:
        """The spaces that are no doorways."""
        return [space for space in self.spaces if space.door_axis is None]

    def _add(self, kind: str, numbers: tuple[float, ...], style: str) -> None:
        if len(self.solids[kind]) < KINDS[kind].most:
            self.solids[kind].append(numbers)
            self.styles[kind].append(style)

    def add_box(self, centre: Array, half: Array, turn_rad: float, style: str) -> None:
        """Add a solid box where the list has room left."""
        self._add("boxes", (*centre, *half, math.cos(turn_rad), math.sin(turn_rad)), style)

    def add_sphere(self, centre: Array, radius: float, style: str) -> None:
        """Add a solid sphere where the list has room left."""
        self._add("spheres", (*centre, radius), style)

    def add_cylinder(self, base: Array, radius: float, height: float, style: str) -> None:
        """Add a vertical solid cylinder that stands on `base`, where the list has room left."""
        self._add("cylinders", (base[0], base[1], radius, base[2], base[2] + height), style)

    def wall_clearance(self, points: Array) -> Array:
        """A lower bound of the distance to walls, floor and ceiling; negative outside; (count,)."""
        ends = np.array([[space.low, space.high] for space in self.spaces])
        centre, half = (ends[:, 0] + ends[:, 1]) / 2, (ends[:, 1] - ends[:, 0]) / 2
        gaps = (half - np.abs(points[:, None] - centre)).min(axis=2).max(axis=1)
        slant = math.hypot(*self.ceiling[:3])
        if slant > 0:
            gaps = np.minimum(gaps, (self.ceiling[3] - points @ self.ceiling[:3]) / slant)
        return gaps

    def clearance(self, points: Array) -> Array:
        """A lower bound of the distance from points (count, 3) to all surfaces; negative inside."""
        nearest = self.wall_clearance(points)
        boxes, spheres, cylinders = (np.array(rows).T[..., None] for rows in self.solids.values())
        if len(boxes):
            x, y, z = (points.T[axis] - boxes[axis] for axis in range(3))
            cosine, sine = boxes[6], boxes[7]
            local = (cosine * x + sine * y, cosine * y - sine * x, z)
            excess = [np.abs(axis) - half for axis, half in zip(local, boxes[3:6], strict=True)]
            nearest = np.minimum(nearest, _outside(excess).min(axis=0))
        if len(spheres):
            x, y, z = (points.T[axis] - spheres[axis] for axis in range(3))
            nearest = np.minimum(nearest, (np.sqrt(x * x + y * y + z * z) - spheres[3]).min(axis=0))
        if len(cylinders):
            x, y, radius, bottom, top = cylinders
            side = np.hypot(points.T[0] - x, points.T[1] - y) - radius
            level = np.abs(points.T[2] - (bottom + top) / 2) - (top - bottom) / 2
            nearest = np.minimum(nearest, _outside([side, level]).min(axis=0))
        return nearest


def _outside(excess: list[Array]) -> Array:
    """Distance to a box from its excess along each axis; negative inside."""
    inside = np.minimum(functools.reduce(np.maximum, excess), 0.0)
    return np.sqrt(sum(np.maximum(axis, 0.0) ** 2 for axis in excess)) + inside
