"""Textures of things as they are found in homes: wood, cloth, brick, books, pictures, windows.

Each maker paints a square of `SIZE` texels, rows downwards, as relative brightness: 0 is the
surface's colour, 1 twice as bright, -1 black. `COLOURED` kinds have their own, around medium grey.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 256
"""Texels along the side of the finest level."""

Image = NDArray[np.floating[Any]]
Random = np.random.Generator
ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
"""Coordinates of the texels; each (SIZE, SIZE)."""


def fractal_noise(rng: Random, power: float, channels: int = 1, stretch: float = 1.0) -> Image:
    """Periodic noise of amplitude 1 / frequency ** power, `stretch` times as long down the rows as
    across; (SIZE, SIZE, channels), deviation 1.
    """
    down, across = np.fft.fftfreq(SIZE)[:, None] * stretch, np.fft.rfftfreq(SIZE)[None, :]
    frequency = np.hypot(down, across) * SIZE
    amplitude = np.where(frequency > 0, np.maximum(frequency, 1.0) ** -power, 0.0)
    white = rng.standard_normal((channels, SIZE, SIZE), dtype=np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(SIZE, SIZE))
    noise = noise / noise.std(axis=(1, 2), keepdims=True)
    return np.ascontiguousarray(noise.transpose(1, 2, 0), dtype=np.float32)


def muted(rng: Random, count: int, saturation: float = 0.35) -> Image:
    """Colours of paint, cloth and print: mostly grey, brown, blue or green; (count, 3)."""
    hue = rng.choice([0.03, 0.07, 0.1, 0.14, 0.3, 0.55, 0.6, 0.62, 0.95], count)
    hue = (hue + rng.normal(0, 0.03, count))[:, None]
    vivid = rng.beta(1.3, 2.2, (count, 1)) * 2 * saturation
    value = rng.uniform(0.12, 0.92, (count, 1))
    wheel = np.clip(np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1, 0, 1)
    return (value * (1 - vivid + vivid * wheel)).astype(np.float32)


def _shine(rng: Random, size: float) -> Image:
    """Faint stains and wear of a given deviation; (SIZE, SIZE, 1)."""
    return size * fractal_noise(rng, rng.uniform(1.2, 1.8))


def paint(rng: Random) -> Image:
    """Roller-painted plaster."""
    return _shine(rng, rng.uniform(0.01, 0.04)) + 0.02 * fractal_noise(rng, 0.3)


def concrete(rng: Random) -> Image:
    """Concrete, screed or stone."""
    return _shine(rng, rng.uniform(0.06, 0.16)) + 0.05 * fractal_noise(rng, 0.5)


def wallpaper(rng: Random) -> Image:
    """Stripes, or a small motif again and again."""
    tint = rng.normal(0, 0.05, 3) + rng.choice([-1, 1]) * rng.uniform(0.06, 0.2)
    count = int(rng.choice([4, 8, 16]))
    u, v = (COLUMNS * count / SIZE) % 1 - 0.5, (ROWS * count / SIZE) % 1 - 0.5
    if rng.random() < 0.5:
        mask = np.abs(u) < rng.uniform(0.05, 0.25)
    else:
        petals, width = int(rng.integers(0, 7)), rng.uniform(0.15, 0.3)
        shape = width * (1 + 0.4 * np.cos(petals * np.arctan2(v, u)))
        other = np.hypot((u + 1) % 1 - 0.5, (v + 1) % 1 - 0.5)
        mask = (np.hypot(u, v) < shape) | (other < rng.uniform(0, 0.15))
    return mask[..., None] * tint + _shine(rng, 0.02)


def brick(rng: Random) -> Image:
    """Bricks in running bond with mortar between."""
    courses = int(rng.integers(8, 15))
    course = (ROWS * courses / SIZE).astype(int)
    along = COLUMNS * courses / 2.6 / SIZE + 0.5 * (course % 2)
    number = along.astype(int)
    tone = rng.normal(0, 0.1, (courses, courses, 1)) + rng.normal(0, 0.03, (courses, courses, 3))
    joint = np.minimum(ROWS * courses / SIZE % 1, along % 1 * 2.6) < rng.uniform(0.08, 0.16)
    mortar = rng.uniform(-0.3, 0.5)
    rough = 0.06 * fractal_noise(rng, 0.7)
    return np.where(joint[..., None], mortar, tone[course, number % courses]) + rough


def tiles(rng: Random) -> Image:
    """A grid of glazed or stone tiles."""
    down, across = int(rng.integers(2, 9)), int(rng.integers(2, 9))
    i, j = (ROWS * down / SIZE).astype(int), (COLUMNS * across / SIZE).astype(int)
    edge = np.minimum(ROWS * down / SIZE % 1 / down, COLUMNS * across / SIZE % 1 / across)
    tone = rng.normal(0, rng.choice([0.02, 0.08]), (down, across, 1))
    if rng.random() < 0.2:
        tone = tone + ((np.add.outer(range(down), range(across)) % 2) * -0.45)[..., None]
    joint = (edge < rng.uniform(0.006, 0.014))[..., None]
    vein = _shine(rng, rng.choice([0.02, 0.1]))
    return np.where(joint, rng.uniform(-0.45, 0.25), tone[i, j] + vein)


def _boards(rng: Random, board: NDArray, piece: NDArray, along: Image, across: Image) -> Image:
    """Tone and grain of boards numbered by (board, piece), grain along `along`."""
    grain = fractal_noise(rng, 1.1, stretch=rng.uniform(12, 30))[..., 0]
    tone = rng.normal(0, rng.uniform(0.04, 0.13), (64, 64))
    own = (board % 64, piece % 64)
    shift = rng.integers(0, SIZE, (64, 64))[own]
    cut = grain[(along + shift).astype(int) % SIZE, (across + 3 * shift).astype(int) % SIZE]
    value = tone[own] + rng.uniform(0.05, 0.12) * cut
    return value[..., None] * np.array([0.9, 1.0, 1.15])


def wood(rng: Random) -> Image:
    """One piece of wood, grain down the rows."""
    zero = np.zeros((SIZE, SIZE), int)
    return _boards(rng, zero, zero, ROWS, COLUMNS)


def planks(rng: Random) -> Image:
    """Floor boards down the rows."""
    count = int(rng.integers(6, 16))
    place = COLUMNS * count / SIZE
    board = place.astype(int)
    end = (ROWS + rng.uniform(0, SIZE, count)[board]) / (SIZE / int(rng.integers(1, 3)))
    seam = (place % 1 < 0.06) | (end % 1 < 0.012)
    value = _boards(rng, board, end.astype(int), ROWS, COLUMNS)
    return value - rng.uniform(0.15, 0.4) * seam[..., None]


def parquet(rng: Random) -> Image:
    """Square blocks of strips, every other one turned."""
    count, strips = int(rng.integers(4, 9)), int(rng.integers(3, 6))
    u, v = COLUMNS * count / SIZE, ROWS * count / SIZE
    turned = (u.astype(int) + v.astype(int)) % 2 == 1
    across, along = np.where(turned, v % 1, u % 1) * strips, np.where(turned, COLUMNS, ROWS)
    board = across.astype(int) + strips * u.astype(int)
    value = _boards(rng, board, v.astype(int), along, np.where(turned, ROWS, COLUMNS))
    seam = (across % 1 < 0.08) | (np.minimum(u % 1, v % 1) < 0.03)
    return value - rng.uniform(0.1, 0.3) * seam[..., None]


def carpet(rng: Random) -> Image:
    """Pile: fine grain and soft tracks."""
    pile = rng.uniform(0.06, 0.14) * fractal_noise(rng, rng.uniform(0.0, 0.4))
    return pile + _shine(rng, 0.05)


def fabric(rng: Random) -> Image:
    """Woven cloth, plain, striped or checked, with soft creases."""
    weave = 0.05 * np.sin(COLUMNS * 1.9) * np.sin(ROWS * 1.9)
    value = weave[..., None] + _shine(rng, 0.07) + 0.04 * fractal_noise(rng, 0.2)
    if rng.random() < 0.35:
        count, tint = int(rng.choice([3, 6, 12])), rng.normal(0, 0.25, 3)
        value = value + (COLUMNS * count / SIZE % 1 < rng.uniform(0.1, 0.5))[..., None] * tint
        if rng.random() < 0.5:
            value = value + (ROWS * count / SIZE % 1 < 0.3)[..., None] * tint
    return value


def curtain(rng: Random) -> Image:
    """Cloth that hangs in folds."""
    sway = 6 * np.sin(ROWS / SIZE * rng.uniform(1, 4) + rng.uniform(0, 6))
    phase = (COLUMNS + sway) / SIZE * 2 * np.pi
    folds = np.sin(phase * int(rng.integers(5, 12)) + np.sin(phase * 3) * rng.uniform(0, 2))
    return (rng.uniform(0.12, 0.3) * folds)[..., None] + 0.03 * fractal_noise(rng, 0.4)


def foliage(rng: Random) -> Image:
    """Leaves in light and shade."""
    leaves = np.abs(fractal_noise(rng, rng.uniform(0.5, 0.9)))
    shade = 0.5 * leaves - 0.4 + 0.2 * fractal_noise(rng, 1.4)
    return np.clip(shade, -0.8, 0.7) * np.array([1, 0.9, 0.8])


def _frame(image: Image, width: int, colour: Image | float) -> None:
    """Paint a border, in place."""
    image[:width], image[-width:], image[:, :width], image[:, -width:] = (colour,) * 4


def door(rng: Random) -> Image:
    """A panelled or smooth door with its handle."""
    value = 0.06 * fractal_noise(rng, 1.1, stretch=20) * rng.choice([0.2, 1.0])
    _frame(value, 6, rng.uniform(-0.3, 0.1))
    down, across = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    for i in range(down if rng.random() < 0.75 else 0):
        for j in range(across):
            top, left = 22 + i * 216 // down, 28 + j * 204 // across
            bottom, right = top + 216 // down - 20, left + 204 // across - 24
            value[top:bottom, left:right] -= 0.25
            value[top + 5 : bottom, left + 6 : right] += 0.4
            value[top + 5 : bottom - 5, left + 6 : right - 6] -= 0.17
    value[126:138, 16:34] = rng.uniform(-0.8, 0.6)
    return value


def drawers(rng: Random) -> Image:
    """Fronts of a cupboard or a chest, with handles."""
    down, across = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    u, v = COLUMNS * across / SIZE % 1, ROWS * down / SIZE % 1
    value = 0.07 * fractal_noise(rng, 1.1, stretch=15)[..., 0]
    gap = np.minimum(np.minimum(u, 1 - u) / across, np.minimum(v, 1 - v) / down) < 0.012
    handle = (np.abs(u - 0.5) < 0.15) & (np.abs(v - rng.uniform(0.15, 0.5)) < 0.02 * down)
    value = np.where(gap, -0.55, np.where(handle, rng.uniform(-0.7, 0.8), value))
    return value[..., None]


def books(rng: Random) -> Image:
    """Shelves of books, some of them leaning into gaps."""
    image = np.empty((SIZE, SIZE, 3), np.float32)
    board = muted(rng, 1)[0] * 0.8
    image[:] = board * 0.25
    colours = muted(rng, 24, 0.5)
    height = SIZE // int(rng.integers(3, 7))
    for bottom in range(height, SIZE + 1, height):
        left = 4.0
        while left < SIZE - 6:
            width = rng.uniform(4, 13)
            if rng.random() < 0.93:
                top = bottom - int(height * rng.uniform(0.6, 0.88))
                spine = slice(top, bottom - 4), slice(int(left), min(int(left + width), SIZE - 4))
                image[spine] = colours[rng.integers(24)] * rng.uniform(0.8, 1.1)
                stripe = slice(top + 5, top + int(rng.integers(7, 16)))
                image[stripe, int(left) + 1 : int(left + width) - 1] *= rng.uniform(0.5, 1.7)
            else:
                width *= 3
            left += width + 0.7
        image[bottom - 4 : bottom] = board
    _frame(image, 4, board)
    return image / 0.5 - 1


def _view(rng: Random) -> Image:
    """A landscape: sky, and hills, trees or houses before it; (SIZE, SIZE, 3) in [0, 1]."""
    zenith = np.array([0.35, 0.55, 0.85]) * rng.uniform(0.6, 1.1) + rng.normal(0, 0.05, 3)
    low = np.array([0.95, 0.9, 0.8]) + rng.normal(0, 0.08, 3)
    image = zenith + (low - zenith) * (ROWS / SIZE)[..., None]
    image = image + 0.05 * np.maximum(fractal_noise(rng, 1.5), 0)
    horizon = rng.uniform(0.35, 0.65)
    for layer in range(int(rng.integers(1, 4))):
        line = fractal_noise(rng, rng.uniform(0.9, 1.6))[0, :, 0] * rng.uniform(4, 20)
        if rng.random() < 0.3:
            line = np.repeat(line[::16], 16)
        ground = np.array([0.35, 0.45, 0.25]) * rng.uniform(0.4, 1.2) + rng.normal(0, 0.06, 3)
        below = SIZE * (horizon + 0.14 * layer) + line < ROWS
        rough = ground * (1 + 0.25 * fractal_noise(rng, rng.uniform(0.6, 1.2)))
        image = np.where(below[..., None], rough, image)
    return np.clip(image, 0, 1)


def _still_life(rng: Random) -> Image:
    """Round and square things before a ground: a photo or a painting."""
    ground, table = muted(rng, 2)
    image = np.where((rng.uniform(120, 200) < ROWS)[..., None], table, ground)
    image = image * (1 + 0.1 * fractal_noise(rng, 1.4))
    for colour in muted(rng, int(rng.integers(2, 9)), 0.5):
        centre, half = rng.uniform(40, 216, 2), rng.uniform(10, 60, 2)
        v, u = (ROWS - centre[0]) / half[0], (COLUMNS - centre[1]) / half[1]
        inside = np.hypot(u, v) < 1 if rng.random() < 0.7 else np.maximum(np.abs(u), np.abs(v)) < 1
        light = 1 - 0.35 * u - 0.25 * v
        image = np.where(inside[..., None], colour * light[..., None], image)
    return np.clip(image, 0, 1)


def picture(rng: Random) -> Image:
    """A framed picture, with or without a mat."""
    image = (_view if rng.random() < 0.55 else _still_life)(rng).astype(np.float32)
    mat, frame = int(rng.choice([0, 18, 34])), int(rng.integers(5, 16))
    if mat:
        _frame(image, frame + mat, np.full(3, rng.uniform(0.8, 0.95)))
    _frame(image, frame, muted(rng, 1, 0.2)[0] * rng.choice([0.3, 0.8, 1.1]))
    return image / 0.5 - 1


def window(rng: Random) -> Image:
    """A window with what lies outside, by day."""
    image = (0.35 + 0.75 * _view(rng)).astype(np.float32)
    bars = np.full(3, rng.choice([0.25, 0.8, 0.85])) * (1, 0.98, 0.95)
    for axis, count in ((0, rng.integers(0, 2)), (1, rng.integers(0, 3))):
        for bar in range(int(count)):
            place = SIZE * (bar + 1) // (int(count) + 1)
            part = slice(place - 4, place + 5)
            image[(part,) if axis == 0 else (slice(None), part)] = bars
    _frame(image, 10, bars)
    return np.clip(image, 0, 1) / 0.5 - 1


def rug(rng: Random) -> Image:
    """A rug with borders and a middle that is mirrored both ways."""
    colours = muted(rng, 5, 0.45)
    image = np.empty((SIZE, SIZE, 3), np.float32)
    image[:] = colours[0]
    rows, columns = (np.abs(axis - SIZE / 2) for axis in (ROWS, COLUMNS))
    for _ in range(int(rng.integers(2, 12))):
        centre, half = rng.uniform(0, 110, 2), rng.uniform(5, 45)
        away = (np.abs(rows - centre[0]), np.abs(columns - centre[1]))
        shape = np.maximum(*away) if rng.random() < 0.4 else sum(away)
        image[shape < half] = colours[rng.integers(5)]
    edge = SIZE / 2 - np.maximum(rows, columns)
    for width in sorted(rng.uniform(4, 40, int(rng.integers(1, 4))), reverse=True):
        image[edge < width] = colours[rng.integers(5)]
    return image * (1 + 0.1 * fractal_noise(rng, 0.2)) / 0.5 - 1


_MAKERS: tuple[Callable[[Random], Image], ...] = (
    *(paint, concrete, wallpaper, brick, tiles, wood, planks, parquet, carpet, fabric),
    *(curtain, foliage, door, drawers, books, picture, window, rug),
)
MAKERS = {maker.__name__: maker for maker in _MAKERS}
COLOURED = ("books", "picture", "window", "rug")
