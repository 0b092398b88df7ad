"""The voxels of the world that hold a point: one each, the one that is worth most."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELL_BITS = 19
"""Of a key, for each axis; three axes and the level fill what an int64 has beside its sign."""
LEVELS = 32
"""Times that a voxel's side can double."""
AT_FIRST = 2
"""The highest level before voxels are merged: points are drawn about as wide as such voxels are."""

ROOM_MADE = 0.12
"""Share of the budget that is free after the voxels became coarser."""
MERGINGS = 32
"""Steps in which all voxels are merged; the points are counted after each."""

CLEARLY_BETTER = 1.5
"""A point takes another's place where it is worth so many times as much: a page is sent what
changes, and a voxel's best point would change a little with every frame."""

FIRST_SLOTS = 1 << 12

EMPTY = -1
"""What no key is."""


class Offer(NamedTuple):
    """What became of points (N,) that were offered to a grid."""

    new: NDArray[np.bool_]
    """(N,) which of them are the first in their voxel."""
    better: NDArray[np.intp]
    """(M,) which of them take the place of a point that is worth less,"""
    replaced: NDArray[np.intp]
    """(M,) and of which: its number, counting all new ones from 0 in their order."""


class VoxelGrid:
    """The best point of each voxel: points are numbered in the order in which they came.

    Voxels are cubes, aligned with the world's axes and origin, whose sides double from level to
    level. A point's own level is given with it. Where the points become too many, neighbours are
    merged: a share of all voxels, chosen by a hash, gives way to those of the next level, so that
    the points become fewer little by little. What lies farther from the origin than 2^18 of the
    finest sides, along an axis, counts as if it lay just there.

    Memory is at most 44 bytes per voxel that is taken, and as much per point of the largest call.
    """

    def __init__(self, side: float) -> None:
        """Make an empty grid; `side` of a finest voxel is in the unit of the points."""
        assert side > 0, side
        self._finest_side = side
        self._merged = -float(LEVELS)
        """How many levels above their own all voxels are, or below while there is room for more;
        its fraction is the share that is one level higher."""
        self._worth = np.zeros(0, np.float32)
        """(slots,) of the points, by number; only the first `len(self)` are in use."""
        self._level = np.zeros(0, np.uint8)
        self._count = 0
        self._table = np.full(FIRST_SLOTS, EMPTY, np.int64)
        self._number = np.zeros(FIRST_SLOTS, np.int32)
        """By slot of the table: the number of the voxel's point."""

    def __len__(self) -> int:
        """Number of voxels that are taken, and of points."""
        return self._count

    @property
    def merged(self) -> bool:
        """Whether any voxels were merged."""
        return self._merged > -LEVELS

    @property
    def side(self) -> float:
        """Mean side of the voxels of level 0 now, by the surface that they cover."""
        merged = max(self._merged, 0.0)
        whole = math.floor(merged)
        # A share of the surface has voxels twice as wide: a quarter as many of them.
        fraction = merged - whole
        return self._finest_side * 2.0**whole / math.sqrt(1 - 0.75 * fraction)

    @property
    def nbytes(self) -> int:
        """Size of the table and of what is known of the points."""
        parts = (self._table, self._number, self._worth, self._level)
        return sum(part.nbytes for part in parts)

    def offer(
        self,
        points_world: NDArray[np.float32],
        level: NDArray[np.uint8],
        worth: NDArray[np.floating],
    ) -> Offer:
        """Take for each voxel the best of the points (N, 3), each of its own `level` (N,).

        A point that is not finite is never taken.
        """
        # A sum is finite only where all of its terms are, and much faster than `all` of an axis.
        with np.errstate(invalid="ignore"):
            usable = np.flatnonzero(np.isfinite(points_world @ np.ones(3, np.float32) + worth))
        keys = self._keys(points_world[usable], level[usable])
        firsts = _best_of_each(keys, worth[usable])
        keys, best = keys[firsts], usable[firsts]
        self._reserve(len(keys))
        slots, put = _put(self._table, keys)
        new = np.zeros(len(points_world), np.bool_)
        new[best[put]] = True
        numbers = self._count - 1 + np.cumsum(new)
        self._number[slots[put]] = numbers[best[put]]
        self._append(worth[new], level[new])
        known, candidates = self._number[slots[~put]], best[~put]
        clearly = worth[candidates] > CLEARLY_BETTER * self._worth[known]
        better, replaced = candidates[clearly], known[clearly].astype(np.intp)
        self._worth[replaced] = worth[better]
        return Offer(new, better, replaced)

    def coarsen(self, points_world: NDArray[np.float32], most: int) -> NDArray[np.bool_]:
        """Merge voxels until fewer than `most` are left; say which of all points (N, 3) stay."""
        target, count = (1 - ROOM_MADE) * most, len(points_world)
        kept = np.ones(count, np.bool_)
        # Below this nothing is merged.
        highest = int(self._level[: self._count].max(initial=AT_FIRST))
        self._merged = max(self._merged, float(AT_FIRST - highest))
        while count > target and self._merged <= CELL_BITS:
            whole = math.floor(self._merged)
            level = _risen(self._level[: self._count], whole + 1)
            parents = voxel_keys(points_world, self._finest_side, level)
            turn = (_share_of(parents) * MERGINGS).astype(np.int64)
            for now in range(round((self._merged - whole) * MERGINGS), MERGINGS):
                among = np.flatnonzero((turn == now) & kept)
                kept[among] = False
                kept[among[_best_of_each(parents[among], self._worth[among])]] = True
                self._merged = whole + (now + 1) / MERGINGS
                count = np.count_nonzero(kept)
                if count <= target:
                    break
        self.keep(points_world, kept)
        return kept

    def keep(self, points_world: NDArray[np.float32], kept: NDArray[np.bool_]) -> None:
        """Forget all points (N, 3) but those `kept` (N,), of different voxels; renumber them."""
        self._worth = self._worth[: self._count][kept]
        self._level = self._level[: self._count][kept]
        keys = self._keys(points_world[kept], self._level)
        self._count = 0
        self._table = np.full(FIRST_SLOTS, EMPTY, np.int64)
        self._number = np.zeros(FIRST_SLOTS, np.int32)
        self._reserve(len(keys))
        slots, put = _put(self._table, keys)
        assert put.all(), "one point per voxel"
        self._number[slots] = np.arange(len(keys))
        self._count = len(keys)

    def _keys(
        self, points_world: NDArray[np.float32], level: NDArray[np.uint8]
    ) -> NDArray[np.int64]:
        """Give the number (N,) of each finite point's voxel, as they are merged now."""
        whole = math.floor(self._merged)
        own = voxel_keys(points_world, self._finest_side, _risen(level, whole))
        if self._merged == whole:
            return own
        parents = voxel_keys(points_world, self._finest_side, _risen(level, whole + 1))
        return np.where(_share_of(parents) < self._merged - whole, parents, own)

    def _append(self, worth: NDArray[np.floating], level: NDArray[np.uint8]) -> None:
        count = self._count + len(worth)
        if count > len(self._worth):
            room = max(3 * count // 2, FIRST_SLOTS)
            self._worth = np.concatenate([self._worth, np.zeros(room - len(self._worth), "f4")])
            self._level = np.concatenate([self._level, np.zeros(room - len(self._level), "u1")])
        self._worth[self._count : count] = worth
        self._level[self._count : count] = level
        self._count = count

    def _reserve(self, count: int) -> None:
        """Make room for so many more keys at a load of two thirds at most."""
        slots = 1 << (3 * (self._count + count) // 2).bit_length()
        if slots <= len(self._table):
            return
        taken = self._table != EMPTY
        keys, numbers = self._table[taken], self._number[taken]
        self._table, self._number = np.full(slots, EMPTY, np.int64), np.zeros(slots, np.int32)
        self._number[_put(self._table, keys)[0]] = numbers


def _risen(level: NDArray[np.uint8], by: int) -> NDArray[np.uint8]:
    """Return the levels (N,) that voxels have once all rose by so many, which may be negative."""
    return np.maximum(np.minimum(level, AT_FIRST), level.astype(np.int64) + by).astype(np.uint8)


def voxel_keys(
    points_world: NDArray[np.float32], finest_side: float, level: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Give the number (N,) of each finite point's voxel, `level` (N,) doublings above the finest.

    Cells are clamped at the finest side, so that far points overflow nothing and still nest.
    """
    half = 1 << (CELL_BITS - 1)
    keys = np.minimum(level, LEVELS - 1).astype(np.int64)
    levels = keys.copy()
    for axis in range(3):
        with np.errstate(over="ignore"):
            cells = np.floor(points_world[:, axis].astype(np.float64) / finest_side)
        np.clip(cells, -half, half - 1, out=cells)
        keys <<= CELL_BITS
        keys |= (cells.astype(np.int64) + half) >> levels
    return keys


def _share_of(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give each key its own place in [0, 1), scattered evenly."""
    return (_hash(keys) & 0xFFFFFFFF) / np.float64(2**32)


def _best_of_each(keys: NDArray[np.int64], worth: NDArray[np.floating]) -> NDArray[np.intp]:
    """Give the position of the most worthy of each different key, in the order of the keys."""
    order = np.lexsort((-worth, keys))
    ordered = keys[order]
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = ordered[1:] != ordered[:-1]
    return order[begins]


def _put(
    table: NDArray[np.int64], keys: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Find different keys (N,) in the table, or put them there: their slots, and which were put.

    Linear probing, all keys at once. The table's size is a power of two and it has empty slots.
    """
    mask = len(table) - 1
    slots = (_hash(keys) & mask).astype(np.intp)
    waiting = np.arange(len(keys))
    put = np.zeros(len(keys), np.bool_)
    while len(waiting):
        wanted, here = keys[waiting], slots[waiting]
        free = table[here] == EMPTY
        # Where several want the same slot one of them has it afterwards, and the others go on.
        table[here[free]] = wanted[free]
        there = table[here] == wanted
        put[waiting[free & there]] = True
        waiting = waiting[~there]
        slots[waiting] = (slots[waiting] + 1) & mask
    return slots, put


def _hash(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scatter keys (the multiplicative mixing of MurmurHash3, by A. Appleby, public domain)."""
    mixed = keys.astype(np.uint64)
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    return mixed.astype(np.int64)
