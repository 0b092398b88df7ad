"""What the surfaces and lights of a procedural room look like, drawn as plain numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.synthetic.interiors import CEILING, FLOOR, MATERIAL_COLUMNS, furnish
from ttt3r_viewer.synthetic.raycast import FIRST, FIRST_BOX, OBJECTS, SLOPE
from ttt3r_viewer.synthetic.rooms import Room
from ttt3r_viewer.synthetic.surfaces import SIZE
from ttt3r_viewer.synthetic.textures import GARISH, Wardrobe

Array = NDArray[np.float64]

GARISH_SHARE = 0.2
"""Of all rooms."""
LIGHTS = 3
LIGHT_COLUMNS = 7
"""Place (3), colour (3), and squared metres at which the light has fallen to one half."""


def draw_materials(rng: np.random.Generator, room: Room, wardrobe: Wardrobe) -> NDArray[np.float32]:
    """One material per object and face: (OBJECTS, 6, MATERIAL_COLUMNS).

    Textures are of the kinds in `wardrobe`. Faces are -x, +x, -y, +y, -z, +z of the object's own
    axes.
    """
    if rng.random() < GARISH_SHARE:
        return _garish(rng, room, wardrobe[GARISH])
    return furnish(rng, room, wardrobe)


def _garish(
    rng: np.random.Generator, room: Room, textures: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Textures like nothing in particular, of any colour."""
    style, size = _styles(room)
    count = OBJECTS
    is_image = style == "image"
    is_shell = style == "shell"
    base, detail = (textures[rng.integers(0, len(textures), (count, 6))] for _ in range(2))
    texel = np.exp(rng.uniform(np.log(0.012), np.log(0.03), (count, 1)))
    fitting = size[:, None] / SIZE
    texel = np.where(
        is_shell[:, None],
        np.maximum(texel, 0.75 * fitting),
        np.minimum(texel, 1.5 * fitting + 0.004),
    )
    texel = np.where(is_image[:, None], rng.uniform(0.9, 2.0, (count, 1)) * fitting, texel)
    # Like the grain of real materials, the fine layer has nearly one size wherever it is seen.
    fine = 0.006 * np.exp(rng.uniform(-0.1, 0.1, (count, 1)))
    # Ground colours are pale and greyish for walls, anything for things.
    value = np.where(is_shell, rng.uniform(0.35, 0.85, count), rng.uniform(0.15, 0.85, count))
    hue = rng.normal(0.0, 1.0, (count, 3)) * np.where(is_shell, 0.07, 0.2)[:, None]
    colour = np.clip(value[:, None] + hue, 0.06, 0.95)[:, None]
    colour = colour * rng.uniform(0.75, 1.2, (count, 6, 1))
    floor = np.clip(rng.uniform(0.15, 0.7) * rng.uniform(0.7, 1.3, (count, 3)), 0.08, 0.9)
    colour[:, FLOOR] = np.where(is_shell[:, None], floor, colour[:, FLOOR])
    contrast = _contrasts(rng, is_image, is_shell)
    gray = rng.random((count, 1)) < 0.3
    tinge = np.where(gray, 1.0, rng.uniform(0.5, 1.4, (count, 3)))
    tinge = tinge * np.where(rng.random((count, 1)) < 0.5, 1.0, -1.0)
    share = rng.uniform(0.25, 0.8, (count, 1))
    glow = np.where(style == "lamp", rng.uniform(0.6, 1.2, count), 0.0)[:, None]
    _share_within_rooms(rng, room, (base, detail, texel, fine, colour, contrast, tinge, share))
    upright = rng.random((count, 1)) < np.where(is_image, 0.8, 0.5)[:, None]
    turn = np.where(upright, 0.0, rng.uniform(0, 2 * math.pi, (count, 6)))
    turn_fine = rng.uniform(0, 2 * math.pi, (count, 6))
    offset = rng.uniform(0, 2 * SIZE, (4, count, 6))
    # Where the texture is large enough, the surface lies within one copy of it, mirrored or not.
    slack = np.maximum(SIZE / 2 - 0.5 * size[:, None] / texel, 0.0)
    copy = SIZE * rng.integers(0, 2, (2, count, 6))
    offset[:2] = SIZE / 2 + copy + rng.uniform(-1, 1, (2, count, 6)) * slack
    table = np.empty((count, 6, MATERIAL_COLUMNS), np.float32)
    table[..., 0], table[..., 1] = base, detail
    cosine, sine = np.cos(turn) / texel, np.sin(turn) / texel
    table[..., 2:6] = np.stack([cosine, sine, -sine, cosine], axis=-1)
    table[..., 6], table[..., 7] = offset[0], offset[1]
    table[..., 8], table[..., 9] = np.cos(turn_fine) / fine, np.sin(turn_fine) / fine
    table[..., 10], table[..., 11] = offset[2], offset[3]
    table[..., 12:15] = np.clip(colour, 0.05, 0.95)
    table[..., 15:18] = contrast[..., None] * tinge[:, None]
    table[..., 18], table[..., 19] = share, glow
    table[..., 20], table[..., 21] = 1 / texel, 1 / fine
    return table


def _contrasts(
    rng: np.random.Generator, is_image: NDArray[np.bool_], is_shell: NDArray[np.bool_]
) -> Array:
    """How strongly each face shows its texture: (objects, 6)."""
    count = len(is_shell)
    contrast = np.exp(rng.uniform(np.log(0.5), np.log(2.2), (count, 1)))
    plain = rng.random((count, 1)) < np.select([is_image, is_shell], [0.0, 0.3], 0.14)[:, None]
    faint = rng.uniform(0.05, 0.3, (count, 1)) * np.where(is_shell, 1.6, 1.0)[:, None]
    contrast = np.where(plain, faint, contrast)
    contrast = np.where(is_image[:, None], rng.uniform(1.5, 3.0, (count, 1)), contrast)
    contrast = np.tile(contrast, (1, 6))
    # Some walls are plain, all ceilings are, floors hardly ever.
    floor_contrast = np.exp(rng.uniform(np.log(0.3), np.log(1.8), count))
    contrast[:, FLOOR] = np.where(is_shell, floor_contrast, contrast[:, FLOOR])
    contrast[:, CEILING] = np.where(is_shell, faint[:, 0], contrast[:, CEILING])
    return contrast


def draw_skirting(rng: np.random.Generator) -> NDArray[np.float32]:
    """The board along the foot of a room's walls: height in metres, then its RGB colour; (4,).

    Pale or dark, it shows where floor and wall meet; its height is nearly one everywhere.
    """
    value = rng.uniform(0.7, 0.95) if rng.random() < 0.5 else rng.uniform(0.06, 0.3)
    colour = np.clip(value + rng.normal(0, 0.05, 3), 0.03, 0.97)
    return np.append(rng.uniform(0.09, 0.11), colour).astype(np.float32)


_IMAGES = ("picture", "window", "door", "rug", "books", "drawers")
_COARSE: dict[str, str] = dict.fromkeys(_IMAGES, "image")
_COARSE["lamp"] = "lamp"


def _styles(room: Room) -> tuple[NDArray[np.str_], Array]:
    """Style name and typical size in metres of every object; each (OBJECTS,)."""
    style = np.full(OBJECTS, "thing", dtype="<U8")
    size = np.full(OBJECTS, 1.0)
    style[:FIRST_BOX], style[SLOPE] = "shell", "shell"
    for number, space in enumerate(room.spaces):
        size[number] = max(space.high - space.low)
    size[SLOPE] = max(size[0], size[1])
    sizes = {
        "boxes": lambda box: 2 * max(box[3:6]),
        "spheres": lambda ball: 2 * ball[3],
        "cylinders": lambda rod: max(2 * rod[2], rod[4] - rod[3]),
    }
    for kind, rows in room.solids.items():
        own = slice(FIRST[kind], FIRST[kind] + len(rows))
        style[own] = [_COARSE.get(name, "thing") for name in room.styles[kind]]
        size[own] = [sizes[kind](row) for row in rows]
    return style, size


def _share_within_rooms(rng: np.random.Generator, room: Room, columns: tuple[NDArray, ...]) -> None:
    """Let most rooms wear what the room before wears (so do the two boxes of an L), in place."""
    before = 0
    for space, one in enumerate(room.spaces):
        if one.door_axis is not None:
            continue
        joins_openly = space == 1 and room.spaces[0].door_axis is None
        if space and (joins_openly or rng.random() < 0.25):
            for column in columns:
                column[space] = column[before]
        before = space
    for column in columns:
        column[SLOPE] = column[0]


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
