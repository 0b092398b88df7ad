"""Draw rooms: their plan, what hangs on their walls, and their furniture."""

import math

import numpy as np

from ttt3r_viewer.synthetic.rooms import Array, Room, Space

DOOR_REACH = 0.85
"""Metres by which a doorway's box reaches into each room: twice the clearance that is asked for,
since `Room.clearance` knows only the distance to the walls of one box at a time."""


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
    beyond = np.tile(place - 0.04 * inward + np.array([0, 0, 1.2]), (3, 1))
    beyond[:, along] += [-half_width, 0, half_width]
    if (room.wall_clearance(beyond) > 0).any():
        return None
    return place, math.atan2(inward[1], inward[0]) - math.pi / 2


def _hang_pictures(rng: np.random.Generator, room: Room) -> None:
    """Hang pictures, windows with and without curtains, doors and wall lamps."""
    up = np.array([0.0, 0.0, 1.0])
    for space in room.chambers:
        height, taken = space.high[2], []
        for _ in range(int(rng.integers(2, 8))):
            style, half = _draw_thing(rng, _WALL)
            found = _wall_place(rng, room, space, half[0])
            if found is None or height < 2 * half[2] + 0.1:
                continue
            place, turn = found
            if any(np.hypot(*(place - p)[:2]) < half[0] + h + 0.1 for p, h in taken):
                continue
            taken.append((place, half[0]))
            middle = half[2] if style == "door" else rng.uniform(1.3, 1.75)
            place = place + min(max(middle, half[2] + 0.05), height - half[2] - 0.05) * up
            room.add_box(place, half, turn, style)
            if style == "window" and rng.random() < 0.5:
                drop = max(half[2], rng.uniform(0, place[2] - 0.05))
                size = [rng.uniform(0.1, 0.3), rng.uniform(0.03, 0.06), (half[2] + drop) / 2 + 0.05]
                cloth = np.array(size)
                aside = np.array([math.cos(turn), math.sin(turn), 0.0]) * (half[0] + 0.6 * cloth[0])
                hang = place + (half[2] + 0.1 - cloth[2]) * up
                for side in (-1, 1):
                    room.add_box(hang + side * aside, cloth, turn, "curtain")


_Things = dict[str, tuple[float, list[float], list[float]]]
"""How often each is drawn, and its smallest and largest half extents in metres: along the wall,
away from it, up."""
_WALL: _Things = {
    "picture": (0.5, [0.12, 0.01, 0.12], [0.55, 0.03, 0.4]),
    "window": (0.27, [0.35, 0.01, 0.35], [0.95, 0.03, 0.75]),
    "door": (0.18, [0.38, 0.01, 0.98], [0.48, 0.03, 1.05]),
    "lamp": (0.05, [0.06, 0.03, 0.06], [0.2, 0.1, 0.2]),
}


def _draw_thing(rng: np.random.Generator, things: _Things) -> tuple[str, Array]:
    """One of the things, and its half extents (3,)."""
    name = str(rng.choice(list(things), p=[share for share, _, _ in things.values()]))
    return name, rng.uniform(*things[name][1:])


def _furnish(rng: np.random.Generator, room: Room, space: Space) -> None:
    """Stand things on the floor of one room until about a third of it is covered."""
    low, high = space.low, space.high
    area = float(np.prod((high - low)[:2]))
    covered, discs = 0.0, []
    for _ in range(int(rng.integers(*((5, 13) if room.chambers[1:] else (8, 22))))):
        name, half = _draw_thing(rng, _FURNITURE)
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
        room.add_box(centre, half, rng.choice([0.0, rng.uniform(0, 3)]), "rug")


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


_FURNITURE: _Things = {
    "table": (0.2, [0.4, 0.3, 0.33], [0.9, 0.5, 0.4]),
    "shelf": (0.2, [0.3, 0.15, 0.35], [0.9, 0.3, 1.1]),
    "bed": (0.08, [0.5, 0.9, 0.2], [0.9, 1.05, 0.3]),
    "sofa": (0.1, [0.6, 0.35, 0.2], [1.1, 0.45, 0.24]),
    "chair": (0.1, [0.2, 0.2, 0.2], [0.27, 0.27, 0.25]),
    "plant": (0.09, [0.12, 0.12, 0.15], [0.25, 0.25, 0.35]),
    "crate": (0.1, [0.2, 0.2, 0.2], [0.45, 0.45, 0.45]),
    "column": (0.06, [0.12, 0.12, 0.5], [0.25, 0.25, 1.6]),
    "ball": (0.07, [0.12, 0.12, 0.12], [0.4, 0.4, 0.4]),
}


def _build(
    rng: np.random.Generator, room: Room, name: str, place: Array, half: Array, turn: float
) -> None:
    """Put one piece of furniture together from solids; `place` is the middle of its footprint."""
    up = np.array([0.0, 0.0, 1.0])
    right = np.array([math.cos(turn), math.sin(turn), 0.0])
    back = np.array([math.sin(turn), -math.cos(turn), 0.0])
    top = place + 2 * half[2] * up
    wide, deep, high = half

    def block(side: float, behind: float, bottom: float, size: list[float], style: str) -> None:
        middle = place + side * right + behind * back + (bottom + size[2]) * up
        room.add_box(middle, np.array(size), turn, style)

    match name:
        case "table" | "chair":
            board = rng.uniform(0.015, 0.04)
            block(0, 0, 2 * high - 2 * board, [wide, deep, board], "wood")
            leg = rng.uniform(0.02, 0.045)
            if name == "table" and rng.random() < 0.3:
                room.add_cylinder(place, rng.uniform(0.05, 0.2), 2 * high - 0.05, "wood")
            else:
                for x, y in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
                    size = [leg, leg, high - board]
                    block(x * (wide - leg), y * (deep - leg), 0, size, "legs")
        case "plant":
            room.add_cylinder(place, wide, 2 * high, "pot")
            ball = rng.uniform(0.9, 1.8) * wide
            room.add_sphere(top + 0.7 * ball * up, ball, "leaves")
        case "column":
            room.add_cylinder(place, wide, 2 * high, "column")
        case "ball":
            room.add_sphere(place + wide * up, wide, "pot")
        case "shelf":
            style = str(rng.choice(["books", "drawers", "wood"], p=[0.5, 0.4, 0.1]))
            block(0, 0, 0, [wide, deep, high], style)
        case "bed":
            frame = high * rng.uniform(0.4, 0.7)
            block(0, 0, 0, [wide, deep, frame], "wood")
            block(0, 0, 2 * frame, [wide - 0.03, deep - 0.03, high - frame], "bedding")
            block(0, 0.8 * deep, 2 * high, [0.6 * wide, 0.15, 0.05], "bedding")
        case "sofa":
            block(0, 0, 0, [wide, deep, high], "cloth")
            if rng.random() < 0.8:
                for side in (-1, 1):
                    size = [rng.uniform(0.06, 0.1), deep, high + rng.uniform(0.05, 0.12)]
                    block(side * (wide - size[0] + 0.02), 0, 0, size, "cloth")
        case _:
            block(0, 0, 0, [wide, deep, high], str(rng.choice(["drawers", "wood", "cloth"])))
    if name in ("bed", "sofa", "chair"):
        thick = rng.uniform(0.02, 0.04) if name == "chair" else rng.uniform(0.05, 0.12)
        rest = [wide, thick, high + rng.uniform(0.12, 0.28)]
        block(0, deep - thick, 0, rest, "cloth" if name == "sofa" else "wood")
    if name in ("table", "shelf", "crate") and rng.random() < 0.7:
        _put_on_top(rng, room, top, half, turn)


def _put_on_top(rng: np.random.Generator, room: Room, top: Array, half: Array, turn: float) -> None:
    """Put a small box, ball or can on a piece of furniture."""
    up, right = np.array([0.0, 0.0, 1.0]), np.array([math.cos(turn), math.sin(turn), 0.0])
    size = rng.uniform(0.06, 0.2)
    spot = top + rng.uniform(-0.6, 0.6) * half[0] * right
    kind, style = rng.integers(3), _SMALL[rng.integers(len(_SMALL))]
    if kind == 0:
        room.add_sphere(spot + size * up, size, style)
        return
    if kind == 1:
        height = rng.uniform(0.1, 0.4)
        room.add_cylinder(spot, size * 0.7, height, _SMALL[rng.integers(len(_SMALL))])
        return
    block = size * rng.uniform(0.5, 1.8, 3)
    block[1] = min(block[1], half[1])
    turn += rng.normal(0, 0.4)
    room.add_box(spot + block[2] * up, block, turn, _SMALL[rng.integers(len(_SMALL))])


_SMALL = ("pot", "cloth", "lamp", "paper", "paper", "wood")
"""Styles of small things."""
