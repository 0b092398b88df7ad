"""The laws of the voxels: one point each, the first; doubled sides nest; nothing overflows."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ttt3r_viewer.scene import voxels
from ttt3r_viewer.scene.voxels import CELL_BITS, FIRST_SLOTS, VoxelGrid

SIDE = 0.25

coordinates = st.floats(-2, 2, width=32)
clouds = st.lists(st.tuples(coordinates, coordinates, coordinates), max_size=60)


def as_points(cloud: list[tuple[float, float, float]]) -> NDArray[np.float32]:
    return np.array(cloud, np.float32).reshape(-1, 3)


def random_points(count: int, seed: int, extent: float = 1.0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return generator.uniform(-extent, extent, (count, 3)).astype(np.float32)


def first_in_each(points: NDArray[np.float32], side: float) -> list[bool]:
    """The plain way: one point after another, and a set of what is taken."""
    taken: set[tuple[int, ...]] = set()
    first = []
    for point in points.tolist():
        voxel = tuple(math.floor(value / side) for value in point)
        first.append(voxel not in taken)
        taken.add(voxel)
    return first


@given(st.lists(clouds, max_size=5))
def test_points_are_let_in_as_by_the_plain_way_however_they_are_split(parts):
    whole = as_points([point for cloud in parts for point in cloud])
    expected = first_in_each(whole, SIDE)
    grid = VoxelGrid(SIDE)
    found = [let_in for cloud in parts for let_in in grid.admit(as_points(cloud)).tolist()]
    assert found == expected
    assert len(grid) == sum(expected)
    assert VoxelGrid(SIDE).admit(whole).tolist() == expected


@given(clouds, st.integers(1, 4))
def test_coarsening_gives_what_the_coarser_side_would_have_given_from_the_start(cloud, times):
    points = as_points(cloud)
    grid = VoxelGrid(SIDE)
    kept = points[grid.admit(points)]
    for _ in range(times):
        kept = kept[grid.coarsen(kept)]
    side = SIDE * 2**times
    assert grid.side == side
    assert np.array_equal(kept, points[np.array(first_in_each(points, side), bool)])
    assert len(grid) == len(kept)
    # What is kept is kept again, and its voxels are taken.
    assert VoxelGrid(side).admit(kept).all()
    assert not grid.admit(points).any()


def test_many_points_agree_with_the_plain_way_while_the_table_grows():
    grid = VoxelGrid(0.02)
    parts = [random_points(3000, seed) for seed in range(20)]
    found = np.concatenate([grid.admit(part) for part in parts])
    assert found.tolist() == first_in_each(np.concatenate(parts), 0.02)
    assert grid.nbytes > 8 * FIRST_SLOTS


def test_crowded_slots_keep_every_key_apart(monkeypatch):
    monkeypatch.setattr(voxels, "_hash", lambda keys: keys & 3)
    grid = VoxelGrid(0.1)
    parts = [random_points(100, seed) for seed in range(3)]
    found = np.concatenate([grid.admit(part) for part in parts])
    assert found.tolist() == first_in_each(np.concatenate(parts), 0.1)


def test_hash_spreads_the_voxels_of_a_wall():
    grid = VoxelGrid(0.01)
    wall = random_points(200_000, 0)
    wall[:, 2] = 0.5
    grid.admit(wall)
    keys = grid._table[grid._table != voxels.EMPTY]
    assert len(keys) == len(grid) > 30_000
    displaced = np.flatnonzero(grid._table != voxels.EMPTY)
    mask = len(grid._table) - 1
    probes = (displaced - voxels._hash(keys)) & mask
    # Linear probing at a load of two thirds needs one step more on average.
    assert probes.mean() < 1.5


def test_points_that_are_not_finite_are_never_let_in_and_far_ones_overflow_nothing():
    bad = [[np.nan, 0, 0], [0, np.inf, 0], [0, 0, -np.inf], [np.inf, -np.inf, 0]]
    far = [[3e38, 0, 0], [-3e38, 0, 0], [1e30, -1e30, 1e30], [0, 0, 2.0**30]]
    points = np.array([*bad, *far, [0, 0, 0]], np.float32)
    grid = VoxelGrid(1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert grid.admit(points).tolist() == [False] * 4 + [True] * 5
        assert not grid.admit(points).any()
        for _ in range(CELL_BITS + 2):
            points = points[grid.coarsen(points)]
    # The voxel of everything is as far as it goes.
    assert grid.level == CELL_BITS
    assert len(points) == len(grid) == 1


@pytest.mark.parametrize("extent", [1.0, 1e3, 1e7])
def test_sides_nest_however_far_the_points_lie(extent):
    points = random_points(2000, 5, extent)
    grid = VoxelGrid(1e-3)
    kept = points[grid.admit(points)]
    for times in range(1, CELL_BITS + 1):
        kept = kept[grid.coarsen(kept)]
        from_nothing = VoxelGrid(1e-3)
        for _ in range(times):
            from_nothing.coarsen(points[:0])
        assert np.array_equal(kept, points[from_nothing.admit(points)])


def test_same_surface_costs_no_memory_and_the_table_follows_what_is_kept():
    grid = VoxelGrid(0.05)
    points = random_points(20_000, 1)
    for _ in range(50):
        grid.admit(points)
        assert grid.nbytes <= 24 * (len(grid) + len(points)) + 8 * FIRST_SLOTS
    kept = points[VoxelGrid(0.05).admit(points)]
    grid.coarsen(kept)
    grid.coarsen(kept)
    assert grid.nbytes <= 24 * len(grid) + 8 * FIRST_SLOTS


def test_no_points_are_no_trouble():
    grid = VoxelGrid(1.0)
    assert grid.admit(random_points(0, 0)).shape == (0,)
    assert grid.coarsen(random_points(0, 0)).shape == (0,)
    assert len(grid) == 0
