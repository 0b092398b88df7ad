"""Procedural rooms as plain numpy arrays: shape, furniture, and the test of free space.

Room frame: x and y along the walls, z up, metres, the floor at z = 0. The free volume is the union
of axis-aligned boxes (rooms and doorways, each overlapping the next) below one ceiling plane, less
the solids: boxes turned about z, spheres, and vertical cylinders.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

MAX_SPACES = 6
DOOR_REACH = 0.85
"""Metres by which a doorway's box reaches into each room: twice the clearance that is asked for,
since `Room.clearance` knows only the distance to the walls of one box at a time."""


@dataclass(frozen=True)
class Kind:
    """A kind of solid; its lists are filled up with ones of negative size, which no ray meets."""

    most: int
    nothing: tuple[float, ...]


KINDS = {
    "boxes": Kind(32, (0.0, 0.0, 0.0, -1.0, -1.0, -1.0, 1.0, 0.0)),
    "spheres": Kind(8, (0.0, 0.0, 0.0, -1.0)),
    "cylinders": Kind(8, (0.0, 0.0, -1.0, 1.0, 0.0)),
}
"""Boxes are centre x, y, z, half extents x, y, z, cosine and sine of the turn about z; spheres
centre and radius; cylinders axis x, y, radius, bottom z, top z."""


@dataclass(frozen=True, eq=False)
class Space:
    """A room, or a doorway with the axis along which one walks through it."""

    low: Array
    """(3,) lower corner."""
    high: Array
    door_axis: int | None = None


def _per_kind() -> dict[str, list]:
    return {kind: [] for kind in KINDS}


@dataclass
class Room:
    """A world without its colours."""

    spaces: list[Space] = field(default_factory=list)
    """A chain: each overlaps the next."""
    ceiling: Array = field(default_factory=lambda: np.array([0.0, 0.0, 0.0, 1.0]))
    """Free points p hold ceiling[:3] @ p < ceiling[3]; zeros and one where the ceiling is level."""
    solids: dict[str, list[tuple[float, ...]]] = field(default_factory=_per_kind)
    """Numbers of every solid by its kind; see `KINDS`."""
    styles: dict[str, list[str]] = field(default_factory=_per_kind)

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
        low = np.array([space.low for space in self.spaces])
        high = np.array([space.high for space in self.spaces])
        centre, half = (low + high) / 2, (high - low) / 2
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
            x, y, z = points.T
            side = np.hypot(x - cylinders[0], y - cylinders[1]) - cylinders[2]
            level = (
                np.abs(z - (cylinders[3] + cylinders[4]) / 2) - (cylinders[4] - cylinders[3]) / 2
            )
            nearest = np.minimum(nearest, _outside([side, level]).min(axis=0))
        return nearest


def _outside(excess: list[Array]) -> Array:
    """Distance to a box from its excess along each axis; negative inside."""
    inside = np.minimum(functools.reduce(np.maximum, excess), 0.0)
    return np.sqrt(sum(np.maximum(axis, 0.0) ** 2 for axis in excess)) + inside


def draw_room(rng: np.random.Generator) -> Room:
    """A furnished room or chain of rooms."""
    room = Room()
    _draw_plan(rng, room)
    _hang_pictures(rng, room)
    for space in room.chambers:
        _furnish(rng, room, space)
    return room


def _draw_plan(rng: np.random.Generator, room: Room) -> None:
    """Choose the spaces: one box, an L, two or three rooms in a chain, or one under a slope."""
    kind = rng.choice(
        ["box", "slope", "L", "two", "L and one", "three"], p=[0.24, 0.1, 0.2, 0.22, 0.1, 0.14]
    )
    several = kind in ("two", "three", "L and one")
    size = rng.uniform([2.5, 2.5, 2.3], [5.0, 5.0, 3.0] if several else [8.0, 6.5, 3.5])
    if kind.startswith("L"):
        size[0] = max(size[0], 3.4)
        arm = np.array(
            [max(size[0] * rng.uniform(0.35, 0.6), 1.7), size[1] + rng.uniform(1.2, 3.5), size[2]]
        )
        room.spaces.append(Space(np.zeros(3), arm))
    room.spaces.append(Space(np.zeros(3), size))
    if kind == "slope":
        fall, low_side = rng.uniform(0.15, 0.5), rng.uniform(1.4, 2.1)
        rise = fall * size[0]
        size[2] = min(low_side + rise, rng.uniform(3.0, 3.8))
        falls_right = bool(rng.integers(2))
        room.ceiling = np.array([fall if falls_right else -fall, 0.0, 1.0, low_side])
        room.ceiling[3] += rise if falls_right else 0.0
    for _ in range(2 if kind == "three" else 1 if several else 0):
        _attach_room(rng, room)
    if rng.random() < 0.5 and kind != "slope":
        for space in room.spaces:
            space.low[0], space.high[0] = -space.high[0], -space.low[0]


def _attach_room(rng: np.random.Generator, room: Room) -> None:
    """Join one more room to the last one through a doorway, or leave the plan when none fits."""
    low, high = room.spaces[-1].low, room.spaces[-1].high
    for _ in range(12):
        along = int(rng.integers(2))
        across = 1 - along
        forward = bool(rng.integers(2))
        wall = rng.uniform(0.1, 0.3)
        size = rng.uniform([2.5, 2.5, 2.3], [5.0, 5.0, 3.0])
        width = rng.uniform(0.9, 1.7) if rng.random() < 0.7 else rng.uniform(1.5, 2.3)
        width = min(width, size[across] - 0.3, high[across] - low[across] - 0.3)
        middle = rng.uniform(low[across] + width / 2 + 0.1, high[across] - width / 2 - 0.1)
        new_low, door_low = np.zeros(3), np.zeros(3)
        new_low[along] = high[along] + wall if forward else low[along] - wall - size[along]
        new_low[across] = middle - rng.uniform(width / 2 + 0.1, size[across] - width / 2 - 0.1)
        new_high = new_low + size
        edge = high[along] if forward else low[along] - wall
        door_low[along], door_low[across] = edge - DOOR_REACH, middle - width / 2
        door_high = door_low.copy()
        door_high[along] += wall + 2 * DOOR_REACH
        door_high[across] += width
        door_high[2] = min(rng.uniform(2.0, 2.5), size[2] - 0.05, high[2] - 0.05)
        meets = [
            np.all(new_low < space.high + 0.05) and np.all(new_high > space.low - 0.05)
            for space in room.spaces
        ]
        if not any(meets):
            room.spaces += [Space(door_low, door_high, along), Space(new_low, new_high)]
            return


def _wall_place(
    rng: np.random.Generator, room: Room, space: Space, half_width: float
) -> tuple[Array, float] | None:
    """A place on a solid piece of wall, and the turn that makes local +y point into the room."""
    low, high = space.low, space.high
    along = int(rng.integers(2))
    if high[along] - low[along] < 2 * half_width + 0.1:
        return None
    upper = bool(rng.integers(2))
    place = np.zeros(3)
    place[along] = rng.uniform(low[along] + half_width, high[along] - half_width)
    place[1 - along] = (high if upper else low)[1 - along]
    inward = np.zeros(3)
    inward[1 - along] = -1.0 if upper else 1.0
    run = np.zeros((3, 3))
    run[:, along] = np.array([-half_width, 0, half_width])
    beyond = place + run - 0.04 * inward + np.array([0, 0, 1.2])
    if (room.wall_clearance(beyond) > 0).any():
        return None
    return place, math.atan2(inward[1], inward[0]) - math.pi / 2


def _hang_pictures(rng: np.random.Generator, room: Room) -> None:
    """Hang pictures, windows and wall boards: thin boxes at eye height."""
    for space in room.chambers:
        for _ in range(int(rng.integers(1, 6))):
            half_width = rng.uniform(0.15, 0.8)
            found = _wall_place(rng, room, space, half_width)
            if found is None:
                continue
            place, turn = found
            half = np.array([half_width, rng.uniform(0.01, 0.03), rng.uniform(0.15, 0.6)])
            height = space.high[2]
            place[2] = rng.uniform(0.9 + half[2], max(height - half[2] - 0.2, 1.0 + half[2]))
            style = "lamp" if rng.random() < 0.12 else "board"
            room.add_box(place, half, turn, style)


def _furnish(rng: np.random.Generator, room: Room, space: Space) -> None:
    """Stand things on the floor of one room until about a third of it is covered."""
    low, high = space.low, space.high
    area = float(np.prod((high - low)[:2]))
    covered, discs = 0.0, []
    for _ in range(int(rng.integers(*((5, 13) if room.chambers[1:] else (8, 22))))):
        name = str(rng.choice(_FURNITURE_NAMES, p=_FURNITURE_SHARE))
        half = rng.uniform(*_FURNITURE[name])
        radius = float(np.hypot(half[0], half[1]))
        against_wall = name in ("shelf", "bed", "sofa") or rng.random() < 0.3
        if against_wall:
            found = _wall_place(rng, room, space, half[0])
            if found is None:
                continue
            place, turn = found
            place = place + (half[1] + 0.02) * np.array([-math.sin(turn), math.cos(turn), 0.0])
        else:
            place = np.append(rng.uniform(low[:2] + 0.3, high[:2] - 0.3), 0.0)
            turn = rng.uniform(0, 2 * math.pi)
        if any(_disc_meets(place, radius, door) for door in room.doors):
            continue
        crowded = any(np.hypot(*(place - p)[:2]) < 0.8 * (radius + r) for p, r in discs)
        covered += 4 * half[0] * half[1]
        if crowded or covered > 0.33 * area:
            continue
        discs.append((place, radius))
        _build(rng, room, name, place, half, turn)
    _hang_lamp(rng, room, space)
    if rng.random() < 0.4:
        centre = np.append((low + high)[:2] / 2 + rng.uniform(-0.5, 0.5, 2), 0.005)
        half = np.append((high - low)[:2] * rng.uniform(0.15, 0.35, 2), 0.008)
        room.add_box(centre, half, rng.choice([0.0, rng.uniform(0, 3)]), "board")


def _hang_lamp(rng: np.random.Generator, room: Room, space: Space) -> None:
    """Hang a ball or a drum under the ceiling, or nothing."""
    low, high = space.low, space.high
    if rng.random() < 0.5:
        return
    place = np.append(rng.uniform(low[:2] + 0.6, high[:2] - 0.6), high[2] - rng.uniform(0.15, 0.5))
    if rng.random() < 0.5:
        room.add_sphere(place, rng.uniform(0.1, 0.22), "lamp")
    else:
        room.add_cylinder(place, rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.25), "lamp")


def _disc_meets(place: Array, radius: float, space: Space) -> bool:
    """Whether a floor disc comes nearer than 20 cm to a space's footprint."""
    nearest = np.clip(place[:2], space.low[:2], space.high[:2])
    return bool(np.hypot(*(nearest - place[:2])) < radius + 0.2)


_FURNITURE: dict[str, tuple[list[float], list[float]]] = {
    "table": ([0.4, 0.3, 0.33], [0.9, 0.5, 0.4]),
    "shelf": ([0.3, 0.15, 0.35], [0.9, 0.3, 1.1]),
    "bed": ([0.5, 0.9, 0.2], [0.9, 1.05, 0.3]),
    "sofa": ([0.6, 0.35, 0.2], [1.1, 0.45, 0.24]),
    "chair": ([0.2, 0.2, 0.2], [0.27, 0.27, 0.25]),
    "plant": ([0.12, 0.12, 0.15], [0.25, 0.25, 0.35]),
    "crate": ([0.2, 0.2, 0.2], [0.45, 0.45, 0.45]),
    "column": ([0.12, 0.12, 0.5], [0.25, 0.25, 1.6]),
    "ball": ([0.12, 0.12, 0.12], [0.4, 0.4, 0.4]),
}
"""Smallest and largest half extents in metres: along the wall, away from it, up."""
_FURNITURE_NAMES = list(_FURNITURE)
_FURNITURE_SHARE = np.array([0.2, 0.2, 0.08, 0.1, 0.1, 0.09, 0.1, 0.06, 0.07])


def _build(
    rng: np.random.Generator, room: Room, name: str, place: Array, half: Array, turn: float
) -> None:
    """Put one piece of furniture together from solids; `place` is the middle of its footprint."""
    up = np.array([0.0, 0.0, 1.0])
    back = np.array([math.sin(turn), -math.cos(turn), 0.0])
    top = place + 2 * half[2] * up
    wide = half[0]
    if name == "table":
        board = np.array([wide, half[1], rng.uniform(0.015, 0.05)])
        room.add_box(top - board[2] * up, board, turn, "thing")
        if rng.random() < 0.5:
            room.add_cylinder(place, rng.uniform(0.05, 0.25), 2 * half[2] - 0.05, "thing")
        else:
            share = rng.uniform(0.2, 0.85, 2)
            foot = np.array([wide * share[0], half[1] * share[1], half[2] - 0.02])
            room.add_box(place + foot[2] * up, foot, turn, "thing")
    elif name == "plant":
        room.add_cylinder(place, wide, 2 * half[2], "thing")
        ball = rng.uniform(0.9, 1.8) * wide
        room.add_sphere(top + 0.7 * ball * up, ball, "thing")
    elif name == "column":
        room.add_cylinder(place, wide, 2 * half[2], "thing")
    elif name == "ball":
        room.add_sphere(place + wide * up, wide, "thing")
    else:
        room.add_box(place + half[2] * up, half, turn, "image" if name == "shelf" else "thing")
    if name in ("bed", "sofa", "chair"):
        rest = np.array([wide, rng.uniform(0.03, 0.12), half[2] + rng.uniform(0.1, 0.3)])
        offset = (half[1] - rest[1]) * back
        room.add_box(place + offset + rest[2] * up, rest, turn, "thing")
    if name in ("table", "shelf", "crate") and rng.random() < 0.6:
        _put_on_top(rng, room, top, half, turn)


def _put_on_top(rng: np.random.Generator, room: Room, top: Array, half: Array, turn: float) -> None:
    """Put a small box, ball or can on a piece of furniture."""
    size = rng.uniform(0.06, 0.2)
    along = rng.uniform(-0.6, 0.6) * half[0]
    spot = top + along * np.array([math.cos(turn), math.sin(turn), 0.0])
    kind = rng.integers(3)
    if kind == 0:
        room.add_sphere(spot + np.array([0, 0, size]), size, "thing")
    elif kind == 1:
        room.add_cylinder(spot, size * 0.7, rng.uniform(0.1, 0.4), "thing")
    else:
        block = size * rng.uniform(0.5, 1.8, 3)
        block[1] = min(block[1], half[1])
        room.add_box(spot + np.array([0, 0, block[2]]), block, turn + rng.normal(0, 0.4), "thing")
