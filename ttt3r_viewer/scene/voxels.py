"""The voxels of the world that hold a point: at most one each, and whoever comes first keeps it."""

import numpy as np
from numpy.typing import NDArray

CELL_BITS = 21
"""Of a key, for each axis; three axes fill what an int64 has beside its sign."""

FIRST_SLOTS = 1 << 12

EMPTY = -1
"""What no key is."""


class VoxelGrid:
    """A set of voxels, in an open-addressing table of their keys.

    Memory is at most 24 bytes per voxel that is taken, and as much per point of the largest call.
    Voxels are cubes, aligned with the world's axes and origin. What lies farther from the origin
    than 2^20 of the first sides, along an axis, counts as if it lay just there.
    """

    def __init__(self, side: float) -> None:
        """Make an empty grid; `side` of a voxel is in the unit of the points."""
        assert side > 0, side
        self._finest_side = side
        self._level = 0
        self._count = 0
        self._table = np.full(FIRST_SLOTS, EMPTY, np.int64)

    def __len__(self) -> int:
        """Number of voxels that are taken."""
        return self._count

    @property
    def side(self) -> float:
        """Side of a voxel now."""
        return self._finest_side * 2.0**self._level

    @property
    def level(self) -> int:
        """How often the side was doubled."""
        return self._level

    @property
    def nbytes(self) -> int:
        """Size of the table."""
        return self._table.nbytes

    def admit(self, points_world: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Take the voxels of the points (N, 3) that are the first in theirs; say which (N,).

        A point that is not finite is never among them.
        """
        # A sum is finite only where all of its terms are, and much faster than `all` of an axis.
        with np.errstate(invalid="ignore"):
            usable = np.flatnonzero(np.isfinite(points_world @ np.ones(3)))
        keys = voxel_keys(points_world[usable], self._finest_side, self._level)
        firsts = _first_of_each(keys)
        keys = keys[firsts]
        self._reserve(len(keys))
        taken = _take(self._table, keys)
        self._count += int(taken.sum())
        admitted = np.zeros(len(points_world), np.bool_)
        admitted[usable[firsts[taken]]] = True
        return admitted

    def coarsen(self, points_world: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Double the side; say which of all points so far (N, 3), in order, are first even so.

        Sides that double are nested: this gives what the coarser side would have given from the
        start. After `CELL_BITS` doublings the whole world is one voxel.
        """
        self._level = min(self._level + 1, CELL_BITS)
        self._count = 0
        self._table = np.full(FIRST_SLOTS, EMPTY, np.int64)
        return self.admit(points_world)

    def _reserve(self, count: int) -> None:
        """Make room for so many more keys at a load of two thirds at most."""
        slots = 1 << (3 * (self._count + count) // 2).bit_length()
        if slots <= len(self._table):
            return
        keys = self._table[self._table != EMPTY]
        self._table = np.full(slots, EMPTY, np.int64)
        _take(self._table, keys)


def voxel_keys(
    points_world: NDArray[np.float32], finest_side: float, level: int
) -> NDArray[np.int64]:
    """Give the number (N,) of each finite point's voxel, `level` doublings above the finest side.

    Cells are clamped at the finest side, so that far points overflow nothing and still nest.
    """
    half = 1 << (CELL_BITS - 1)
    keys = np.zeros(len(points_world), np.int64)
    for axis in range(3):
        with np.errstate(over="ignore"):
            cells = np.floor(points_world[:, axis].astype(np.float64) / finest_side)
        np.clip(cells, -half, half - 1, out=cells)
        keys <<= CELL_BITS
        keys |= (cells.astype(np.int64) + half) >> level
    return keys


def _first_of_each(keys: NDArray[np.int64]) -> NDArray[np.intp]:
    """Give the least position of each different key."""
    if not len(keys):
        return np.zeros(0, np.intp)
    order = np.argsort(keys)
    ordered = keys[order]
    begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return np.minimum.reduceat(order, begins)


def _take(table: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Put different keys (N,) into the table where they are not; say which were put (N,).

    Linear probing, all keys at once. The table's size is a power of two and it has empty slots.
    """
    mask = len(table) - 1
    slots = _hash(keys) & mask
    waiting = np.arange(len(keys))
    put = np.zeros(len(keys), np.bool_)
    while len(waiting):
        wanted = keys[waiting]
        free = table[slots] == EMPTY
        # Where several want the same slot one of them has it afterwards, and the others go on.
        table[slots[free]] = wanted[free]
        there = table[slots] == wanted
        put[waiting[free & there]] = True
        waiting, slots = waiting[~there], (slots[~there] + 1) & mask
    return put


def _hash(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scatter keys (the multiplicative mixing of MurmurHash3, by A. Appleby, public domain)."""
    mixed = keys.astype(np.uint64)
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    return mixed.astype(np.int64)
