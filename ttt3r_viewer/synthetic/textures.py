"""The images that the surfaces of procedural rooms wear: a bank made once from a fixed seed.

Each texture is a square of `SIZE` texels with its mean removed, stored with smaller copies (mip
levels) so that far surfaces do not flicker. Rooms colour, turn, stretch and add pairs of them.
"""

import functools
import math
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ttt3r_viewer.synthetic.surfaces import COLUMNS, MAKERS, ROWS, SIZE, Image, fractal_noise

GARISH = "garish"
"""The kind of textures that are like nothing in particular, for robustness."""
Wardrobe = dict[str, NDArray[np.int64]]
"""Numbers of textures by kind."""
LEVELS = 7
_SIDES = [SIZE >> level for level in range(LEVELS)]
*_STARTS, _TEXELS = accumulate((side * side for side in _SIDES), initial=0)
"""Texels of a texture before each level, and over all levels."""
_HELD_OUT_SEEDS = {name: range(6) for name in MAKERS} | {GARISH: range(1000, 1020)}
_TRAINED_SEEDS = {name: range(6, 20) for name in MAKERS} | {GARISH: range(6, 126)}
_RECIPES = [
    (kind, seed)
    for seeds in (_HELD_OUT_SEEDS, _TRAINED_SEEDS)
    for kind, own in seeds.items()
    for seed in own
]
"""Kind and seed of every texture, by number."""
_FEW, _ALL = sum(map(len, _HELD_OUT_SEEDS.values())), len(_RECIPES)


def _numbers(first: int, stop: int) -> Wardrobe:
    kinds = [kind for kind, _ in _RECIPES[first:stop]]
    return {kind: first + np.flatnonzero(np.array(kinds) == kind) for kind in dict.fromkeys(kinds)}


HELD_OUT = _numbers(0, _FEW)
"""Textures of all rooms but those of training seeds, so that a test sees none trained on."""
TRAINED = _numbers(_FEW, _ALL)
"""Textures of the rooms of training seeds. With few of them the network leans on them: unseen rooms
that wore them were seen better than those that did not.
"""
_DEVIATION = 0.2
"""Standard deviation of garish textures; a surface's own contrast multiplies it."""


def _palette(rng: np.random.Generator, count: int) -> Image:
    """Colours that belong together: a base and offsets of brightness and hue; (count, 3)."""
    base = rng.uniform(0.1, 0.9, 3)
    brightness = rng.normal(0.0, 0.28, (count, 1))
    hue = rng.normal(0.0, rng.uniform(0.03, 0.3), (count, 3))
    return np.clip(base + brightness + hue, 0.0, 1.0).astype(np.float32)


def _marble(rng: np.random.Generator) -> Image:
    """Noise read through a palette: clouds, stone, stains."""
    value = fractal_noise(rng, rng.uniform(0.9, 1.7))[..., 0]
    position = np.argsort(np.argsort(value, axis=None)).reshape(value.shape) / value.size
    colours = _palette(rng, 6)
    position = position * (len(colours) - 1)
    index = np.minimum(position.astype(int), len(colours) - 2)
    share = (position - index)[..., None]
    return colours[index] * (1 - share) + colours[index + 1] * share


def _cells(rng: np.random.Generator) -> Image:
    """Voronoi cells with wavy borders: flagstones, leaves, camouflage."""
    warp = fractal_noise(rng, 1.6, 2) * rng.uniform(0.0, 9.0)
    count = int(rng.integers(14, 60))
    centres = rng.uniform(0, SIZE, (count, 2)).astype(np.float32)
    nearest = np.full((SIZE, SIZE), np.inf, np.float32)
    second = nearest.copy()
    owner = np.zeros((SIZE, SIZE), int)
    for cell, (row, column) in enumerate(centres):
        distance = (ROWS + warp[..., 0] - row) ** 2 + (COLUMNS + warp[..., 1] - column) ** 2
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        nearest = np.where(closer, distance, nearest)
        owner = np.where(closer, cell, owner)
    image = _palette(rng, count)[owner]
    border = np.sqrt(second) - np.sqrt(nearest) < rng.uniform(0.0, 6.0)
    return np.where(border[..., None], _palette(rng, 1)[0], image)


def _paint(image: Image, mask_box: tuple[int, int, int, int], mask: Image, colour: Image):
    """Blend a colour into a window (top, left, bottom, right) of the image through a mask."""
    top, left, bottom, right = mask_box
    window = image[top:bottom, left:right]
    image[top:bottom, left:right] = window + (colour - window) * mask[..., None]


def _shape(rng: np.random.Generator, image: Image, half: tuple[float, float], colour: Image):
    """Paint one turned rectangle, ellipse or ring at a random place."""
    centre = rng.uniform(0, SIZE, 2)
    reach = math.hypot(*half)
    top, left = (max(int(c - reach), 0) for c in centre)
    bottom, right = (min(int(c + reach) + 2, SIZE) for c in centre)
    rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
    angle = rng.choice([0.0, rng.uniform(0, math.pi)])
    along = (columns - centre[1]) * math.cos(angle) + (rows - centre[0]) * math.sin(angle)
    across = (rows - centre[0]) * math.cos(angle) - (columns - centre[1]) * math.sin(angle)
    if rng.random() < 0.55:
        outside = np.maximum(np.abs(along) - half[0], np.abs(across) - half[1])
    else:
        radius = np.hypot(along / half[0], across / half[1])
        outside = (radius - 1) * min(half)
        if rng.random() < 0.3:
            outside = np.abs(outside) - 0.25 * min(half)
    _paint(image, (top, left, bottom, right), np.clip(0.5 - outside, 0, 1), colour)


def _shapes(rng: np.random.Generator) -> Image:
    """Overlapping rectangles, ellipses and rings of every size."""
    colours = _palette(rng, 24)
    image = np.broadcast_to(colours[0], (SIZE, SIZE, 3)).copy()
    for _ in range(int(rng.integers(30, 160))):
        size = 3.0 * 25.0 ** (rng.random() ** 1.5)
        half = (size * rng.uniform(0.5, 1.2), size * rng.uniform(0.15, 1.0))
        _shape(rng, image, half, colours[rng.integers(24)])
    return image


def _stroke(image: Image, start: Image, end: Image, width: float, colour: Image):
    """Paint a straight stroke with round ends between two (row, column) places."""
    low = np.maximum(np.minimum(start, end) - width - 1, 0).astype(int)
    high = np.minimum(np.maximum(start, end) + width + 2, SIZE).astype(int)
    if np.any(high <= low):
        return
    place = np.moveaxis(np.mgrid[low[0] : high[0], low[1] : high[1]].astype(np.float32), 0, -1)
    line = end - start
    share = np.clip((place - start) @ line / max(float(line @ line), 1e-6), 0, 1)
    distance = np.linalg.norm(place - start - share[..., None] * line, axis=-1)
    _paint(image, (*low, *high), np.clip(width - distance + 0.5, 0, 1), colour)


def _scribbles(rng: np.random.Generator) -> Image:
    """Wandering brush lines over a cloudy ground."""
    image = 0.5 * _marble(rng) + 0.5 * _palette(rng, 1)[0]
    for _ in range(int(rng.integers(10, 30))):
        place = rng.uniform(0, SIZE, 2)
        heading, colour, width = rng.uniform(0, 7), _palette(rng, 1)[0], rng.uniform(0.7, 5.0)
        for _ in range(int(rng.integers(5, 16))):
            heading += rng.normal(0, 0.7)
            step = rng.uniform(5, 24) * np.array([math.sin(heading), math.cos(heading)])
            _stroke(image, place, place + step, width, colour)
            place = place + step
    return image


_GARISH_MAKERS = (_marble, _cells, _shapes, _scribbles)


def make_texture(index: int) -> Image:
    """Texture `index` of the bank, as relative brightness: (SIZE, SIZE, 3).

    Garish ones have zero mean and the bank's common deviation.
    """
    kind, seed = _RECIPES[index]
    if kind != GARISH:
        number = list(MAKERS).index(kind)
        image = MAKERS[kind](np.random.Generator(np.random.PCG64([418, number, seed])))
        return np.broadcast_to(np.clip(image, -1, 1.2), (SIZE, SIZE, 3)).astype(np.float32)
    rng = np.random.Generator(np.random.PCG64([417, seed]))
    image = np.asarray(_GARISH_MAKERS[seed % len(_GARISH_MAKERS)](rng), dtype=np.float32)
    image = image + fractal_noise(rng, rng.uniform(0.6, 1.6)) * rng.uniform(0.01, 0.08)
    image = image - image.mean(axis=(0, 1))
    return np.clip(image * (_DEVIATION / image.std()), -0.6, 0.6).astype(np.float32)


def bank_for(textures: NDArray[Any], device: torch.device) -> Tensor:
    """A bank on a device that holds the textures of these numbers; (texels, 3) float32, made on
    first use. Only training asks for all of them, which take 0.5 GB.
    """
    return _bank(_FEW if np.max(textures) < _FEW else _ALL, device)


@functools.lru_cache(maxsize=4)
def _bank(count: int, device: torch.device) -> Tensor:
    """The first textures, one after the other, each from its finest level to its coarsest."""
    bank = torch.empty(count, _TEXELS, 3)
    for index in range(count):
        level = torch.from_numpy(make_texture(index)).permute(2, 0, 1)
        for side, start in zip(_SIDES, _STARTS, strict=True):
            bank[index, start : start + side * side] = level.permute(1, 2, 0).reshape(-1, 3)
            level = functional.avg_pool2d(level, 2)
    return bank.flatten(0, 1).to(device)


@functools.lru_cache(maxsize=4)
def _level_table(device: torch.device) -> Tensor:
    """Sides of the levels in texels, and the rows at which they start; (2, LEVELS) int32."""
    return torch.tensor([_SIDES, _STARTS], dtype=torch.int32, device=device)


def taps(
    texture: Tensor, u_texel: Tensor, v_texel: Tensor, footprint_texel: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Rows and weights of the four texels around a place, at the level that fits the footprint.

    All inputs (rays,); coordinates in texels of the finest level, mirrored beyond its borders.
    Returns four int32 and four float32 tensors (rays,).
    """
    sides, starts = _level_table(texture.device)
    level = footprint_texel.clamp(1.0, 2.0 ** (LEVELS - 1)).log2_().add_(0.4).to(torch.int32)
    level.clamp_(max=LEVELS - 1)
    side = sides.index_select(0, level)
    start = texture.to(torch.int32).mul_(_TEXELS).add_(starts.index_select(0, level))
    scale = side.to(u_texel.dtype)
    place_u, share_u = _fold(u_texel, scale)
    place_v, share_v = _fold(v_texel, scale)
    corner = (place_v * side).add_(place_u).add_(start)
    below = corner + side
    both = share_u * share_v
    down, right = share_v - both, share_u - both
    return (
        [corner, corner + 1, below, below + 1],
        [(1 - share_u).sub_(down), right, down, both],
    )


def _fold(place_texel: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Whole and fractional texel along one axis of a level, mirrored at the texture's borders."""
    period = 2.0 * SIZE
    turns = (place_texel * (1 / period)).round_()
    folded = torch.add(place_texel, turns, alpha=-period).abs_()
    folded = folded.mul_(side).mul_(1 / SIZE).sub_(0.5).clamp_(min=0.0)
    folded = torch.minimum(folded, side - 1.001)
    whole = folded.floor()
    return whole.to(torch.int32), folded.sub_(whole)


def blend(bank: Tensor, rows: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Weighted sum of a bank's texels, each tap (rays,) -> colour planes (3, rays)."""
    index, share = torch.stack(rows, dim=-1), torch.stack(weights, dim=-1)
    mixed = functional.embedding_bag(index, bank, per_sample_weights=share, mode="sum")
    return mixed.t().contiguous()
