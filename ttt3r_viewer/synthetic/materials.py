"""What a room looks like: materials of walls, floors and things, fitting or garish, and lights."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.synthetic.raycast import FIRST, OBJECTS, SLOPE
from ttt3r_viewer.synthetic.rooms import Array, Room, poses_of
from ttt3r_viewer.synthetic.surfaces import COLOURED, MAKERS, SIZE, muted
from ttt3r_viewer.synthetic.textures import GARISH, Wardrobe

MATERIAL_COLUMNS = 22
"""Base and detail texture; matrix (texels per metre, row by row) and offset of the base; turn-and-
scale pair and offset of the detail; colour (3), contrast (3), share of detail, glow, and mean
texels per metre of base and detail."""
LIGHTS = 3
LIGHT_COLUMNS = 7
"""Place (3), colour (3), and squared metres at which the light has fallen to one half."""
GARISH_SHARE = 0.2
"""Of all rooms."""
_GRAIN_M = 0.006
"""Size of a texel of the fine layer, which is the same wherever it is seen."""
_WOODS = np.array(
    [
        *([0.74, 0.58, 0.41], [0.66, 0.47, 0.29], [0.5, 0.33, 0.2], [0.33, 0.21, 0.14]),
        *([0.2, 0.14, 0.11], [0.82, 0.8, 0.76], [0.58, 0.54, 0.49]),
    ]
)
_WALLS = np.array(
    [
        *([0.86, 0.84, 0.8], [0.82, 0.77, 0.68], [0.72, 0.73, 0.74], [0.66, 0.73, 0.76]),
        *([0.72, 0.77, 0.69], [0.78, 0.66, 0.56], [0.5, 0.56, 0.6], [0.83, 0.76, 0.6]),
        *([0.75, 0.62, 0.6], [0.45, 0.5, 0.44]),
    ]
)


@dataclass(frozen=True, eq=False)
class Coating:
    """One way in which a surface can be finished."""

    kind: str
    """Of texture."""
    colour: Array
    """(3,) in 0 to 1."""
    side_m: float = 1.0
    """What the texture covers along each side; 0 stretches it over the face."""
    contrast: float = 1.0
    turned: bool = False
    """Whether it is turned by a quarter."""
    glow: float = 0.0


def draw_materials(rng: np.random.Generator, room: Room, wardrobe: Wardrobe) -> NDArray[np.float32]:
    """One material per object and face: (OBJECTS, 6, MATERIAL_COLUMNS).

    Textures are of the kinds in `wardrobe`. Faces are -x, +x, -y, +y, -z, +z of the object's axes.
    """
    table = np.zeros((OBJECTS, 6, MATERIAL_COLUMNS), np.float32)
    house = (_Garish if rng.random() < GARISH_SHARE else _House)(rng)
    shell = house.shell()
    sizes = [space.high - space.low for space in room.spaces]
    for number, (space, size) in enumerate(zip(room.spaces, sizes, strict=True)):
        joins_openly = number == 1 and room.spaces[0].door_axis is None
        if number and space.door_axis is None and not joins_openly and rng.random() < 0.6:
            shell = house.shell()
        _paint(rng, table[number], size, shell, wardrobe)
    _paint(rng, table[SLOPE], sizes[0], shell[5:] * 6, wardrobe)
    for kind, rows in room.solids.items():
        for number, (row, style) in enumerate(zip(rows, room.styles[kind], strict=True)):
            size = 2 * poses_of(kind, np.array([row]))[0, 3:6]
            _paint(rng, table[FIRST[kind] + number], size, house.faces(style), wardrobe)
    return table


class _House:
    """What the things of one room share: a few woods, cloths and paints."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.woods = _WOODS[rng.integers(0, len(_WOODS), 2)] * rng.uniform(0.85, 1.15, (2, 1))
        self.cloths = muted(rng, 3, 0.4)
        self.walls = _WALLS[rng.integers(0, len(_WALLS), 2)] * rng.uniform(0.85, 1.1, (2, 1))
        self.style_of_wood = str(rng.choice(["wood", "wood", "paint"]))

    def faces(self, style: str) -> list[Coating]:
        """The six finishes of a thing."""
        rng = self.rng
        wood = Coating(self.style_of_wood, self.woods[rng.integers(2)], rng.uniform(0.5, 1.2))
        cloth = Coating("fabric", self.cloths[rng.integers(3)], rng.uniform(0.35, 0.8))
        paint = Coating("paint", muted(rng, 1, 0.45)[0])
        grey = np.full(3, 0.5)
        match style:
            case "wood":
                return [replace(wood, turned=True)] * 4 + [wood] * 2
            case "legs":
                return [replace(wood, colour=self.woods[0])] * 6
            case "books" | "drawers":
                fit = Coating(style, grey if style == "books" else wood.colour, 0.0)
                return [wood, wood, fit, fit, wood, wood]
            case "picture" | "window" | "door":
                colour = grey * rng.uniform(0.8, 1.1)
                if style == "door":
                    colour = self.woods[0] if rng.random() < 0.5 else np.full(3, 0.84)
                bright = rng.uniform(0.7, 1.5) if style == "window" else 0.0
                fit = Coating(style, colour, 0.0, glow=bright)
                edge = Coating("paint", colour * 0.8)
                return [edge, edge, fit, fit, edge, edge]
            case "rug":
                plain = Coating("carpet", self.cloths[0], 0.5)
                pile = Coating("rug", grey, 0.0) if rng.random() < 0.7 else plain
                return [*[plain] * 4, pile, pile]
            case "curtain":
                return [Coating("curtain", self.cloths[1] * 0.6 + 0.35, rng.uniform(0.6, 1.2))] * 6
            case "bedding":
                return [replace(cloth, colour=cloth.colour * 0.4 + 0.5)] * 6
            case "leaves":
                green = np.array([0.25, 0.42, 0.16]) * rng.uniform(0.6, 1.4)
                return [Coating("foliage", green, rng.uniform(0.3, 0.6))] * 6
            case "lamp":
                warm = np.array([0.95, 0.9, 0.78])
                return [Coating("paint", warm, glow=rng.uniform(0.6, 1.2))] * 6
            case "column":
                return [Coating(str(rng.choice(["paint", "concrete"])), self.walls[0], 1.5)] * 6
            case "paper":
                return [Coating("wallpaper", paint.colour, 0.3)] * 6
            case "cloth":
                return [replace(cloth, colour=self.cloths[0])] * 6
            case _:
                return [paint] * 6

    def shell(self) -> list[Coating]:
        """Four walls, floor and ceiling."""
        rng = self.rng
        kinds = ["paint", "wallpaper", "brick", "concrete", "tiles", "planks"]
        kind = str(rng.choice(kinds, p=[0.62, 0.19, 0.06, 0.03, 0.05, 0.05]))
        colour = self.walls[rng.integers(2)]
        if kind == "brick":
            colour = np.array([0.55, 0.33, 0.25]) * rng.uniform(0.7, 1.4) + rng.uniform(0, 0.15)
        wall = Coating(kind, colour, rng.uniform(0.8, 2.2) if kind != "paint" else 3.0)
        walls = [wall] * 4
        if rng.random() < 0.2:  # one wall of another colour
            walls[rng.integers(4)] = Coating("paint", muted(rng, 1, 0.4)[0] * 0.8 + 0.1, 3.0)
        kinds = ["planks", "parquet", "tiles", "carpet", "concrete"]
        kind = str(rng.choice(kinds, p=[0.35, 0.17, 0.2, 0.18, 0.1]))
        colour = self.woods[rng.integers(2)] if kind in kinds[:2] else muted(rng, 1, 0.25)[0]
        side_m = {"planks": 1.6, "parquet": 1.8, "tiles": 1.6, "carpet": 0.8, "concrete": 2.5}[kind]
        turned = bool(rng.random() < 0.5)
        floor = Coating(kind, colour * 0.9, side_m * rng.uniform(0.8, 1.3), turned=turned)
        white = Coating("paint", np.full(3, rng.uniform(0.78, 0.92)), 3.0)
        ceiling = white if rng.random() < 0.9 else replace(wall, kind="planks", side_m=1.6)
        return [*walls, floor, ceiling]


class _Garish(_House):
    """Anything of any texture and colour, so that a network leans on none of them."""

    def _any(self) -> Coating:
        rng = self.rng
        garish = rng.random() < 0.7
        return Coating(
            GARISH if garish else str(rng.choice(list(MAKERS))),
            rng.uniform(0.06, 0.95, 3),
            float(np.exp(rng.uniform(-0.7, 1.8))),
            contrast=float(np.exp(rng.uniform(-1.5, 0.8))) if garish else 1.0,
            turned=bool(rng.random() < 0.5),
        )

    def faces(self, style: str) -> list[Coating]:
        """The six finishes of a thing."""
        one = self._any()
        if style in ("picture", "window", "door", "rug", "books", "drawers"):
            one = replace(one, side_m=0.0)
        if style == "lamp":
            one = replace(one, glow=self.rng.uniform(0.6, 1.2))
        return [one] * 6 if self.rng.random() < 0.7 else [*[one] * 4, self._any(), self._any()]

    def shell(self) -> list[Coating]:
        """Four walls, floor and ceiling."""
        wall, floor, ceiling, other = (self._any() for _ in range(4))
        faint = replace(ceiling, contrast=0.1 * ceiling.contrast)
        if self.rng.random() < 0.3:
            wall = replace(wall, contrast=0.15 * wall.contrast)
        return [wall, wall, wall, wall if self.rng.random() < 0.7 else other, floor, faint]


def _paint(
    rng: np.random.Generator,
    rows: NDArray[np.float32],
    size_m: Array,
    faces: list[Coating],
    wardrobe: Wardrobe,
) -> None:
    """Write the materials (6, MATERIAL_COLUMNS) of a thing that measures `size_m` (3,)."""
    x, y, z = np.maximum(size_m, 1e-3)
    grain = wardrobe["concrete"]
    seen: dict[int, tuple[float, float]] = {}
    for face, (finish, across, up) in enumerate(
        zip(faces, (y, y, x, x, x, x), (z, z, z, z, y, y), strict=True)
    ):
        own = wardrobe[finish.kind]
        # The same finish on two faces is the same texture.
        pick, place = seen.setdefault(id(finish), (rng.random(), rng.uniform(0, SIZE)))
        row = rows[face]
        row[0], row[1] = own[int(pick * len(own))], grain[int(place) % len(grain)]
        if finish.side_m:
            scale = SIZE / finish.side_m
            row[2:6] = (0, scale, -scale, 0) if finish.turned else (scale, 0, 0, -scale)
            row[6:8] = place, 2 * place
        else:
            row[2:6] = SIZE / across, 0, 0, -SIZE / up
            row[6:8] = SIZE / 2
        angle = 7 * pick
        row[8], row[9] = math.cos(angle) / _GRAIN_M, math.sin(angle) / _GRAIN_M
        row[10], row[11] = place, 3 * place
        row[12:15] = np.clip(finish.colour, 0.04, 0.95)
        row[15:18] = finish.contrast
        row[18] = 0.03 if finish.kind in COLOURED else 0.14
        row[19] = finish.glow
        row[20], row[21] = math.sqrt(abs(row[2] * row[5] - row[3] * row[4])), 1 / _GRAIN_M


def draw_skirting(rng: np.random.Generator) -> NDArray[np.float32]:
    """The board along the foot of a room's walls: height in metres, then its RGB colour; (4,).

    Pale or dark, it shows where floor and wall meet; its height is nearly one everywhere.
    """
    value = rng.uniform(0.7, 0.95) if rng.random() < 0.5 else rng.uniform(0.06, 0.3)
    colour = np.clip(value + rng.normal(0, 0.05, 3), 0.03, 0.97)
    return np.append(rng.uniform(0.09, 0.11), colour).astype(np.float32)


def draw_lights(rng: np.random.Generator, room: Room) -> NDArray[np.float32]:
    """One to three lamps; the first casts shadows, often as a window; (LIGHTS, LIGHT_COLUMNS)."""
    table = np.zeros((LIGHTS, LIGHT_COLUMNS), np.float32)
    table[:, 6] = 1.0
    spaces = room.chambers
    boxes = zip(room.solids["boxes"], room.styles["boxes"], strict=True)
    panes = [box for box, style in boxes if style == "window"]
    for light in range(min(max(len(spaces), int(rng.integers(1, LIGHTS + 1))), LIGHTS)):
        space = spaces[light % len(spaces)]
        low, high = space.low, space.high
        places = low + (high - low) * rng.uniform([0.15, 0.15, 0.5], [0.85, 0.85, 0.92], (12, 3))
        place = places[int(np.argmax(room.clearance(places) + rng.uniform(0, 0.5, 12)))]
        warm = rng.uniform(-0.15, 0.2)
        strength = rng.uniform(0.5, 1.3)
        if light == 0 and panes and rng.random() < 0.7:
            x, y, z, *_, cosine, sine = panes[rng.integers(len(panes))]
            place, warm = np.array([x - 0.4 * sine, y + 0.4 * cosine, z]), -0.12
            strength *= 1.4
        table[light, :3] = place
        table[light, 3:6] = strength * np.array([1 + warm, 1.0, 1 - warm])
        table[light, 6] = rng.uniform(1.2, 4.0) ** 2
    return table
