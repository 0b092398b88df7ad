"""What one point per voxel costs: milliseconds per frame at a full budget, and per coarsening.

    python -m benchmarks.voxels [--voxels 2500000] [--points 20000] [--frames 200]

A frame's points lie on the walls of a room, nine tenths of them where it was seen before; that part
grows to the number of voxels first. The processor's time is told beside the clock's, because only
the first means anything on a machine that does other work.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.scene.voxels import VoxelGrid

SIDE = 0.01
WALLS = 6
NEW_SHARE = 0.1
"""Of a frame's points, how many lie where none was."""
POINTS_PER_VOXEL = 3
"""Of what is seen for the first time: enough to leave nearly no voxel free."""


class Walls:
    """Parallel walls, one voxel thick, of which ever longer strips have been seen."""

    def __init__(self) -> None:
        self._generator = np.random.default_rng(0)
        self._height = 4.0
        self._length = 0.0

    def grow(self, points: int) -> NDArray[np.float32]:
        """See new voxels, a few times each, at the strips' ends."""
        step = points / POINTS_PER_VOXEL * SIDE**2 / (WALLS * self._height)
        self._length += step
        return self._points(points, self._length - step, self._length)

    def frame(self, points: int) -> NDArray[np.float32]:
        """See what has been seen, and a little more."""
        new = round(NEW_SHARE * points)
        seen = self._points(points - new, 0.0, self._length)
        return self._generator.permutation(np.concatenate([seen, self.grow(new)]))

    def _points(self, count: int, low: float, high: float) -> NDArray[np.float32]:
        across = self._generator.integers(WALLS, size=count) + SIDE / 2
        along = self._generator.uniform(low, high, count)
        up = self._generator.uniform(0.0, self._height, count)
        return np.stack([across, up, along], axis=1).astype(np.float32)


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of this thread's processor time, and of the clock."""
    busy, clock = time.thread_time(), time.perf_counter()
    action()
    return 1e3 * (time.thread_time() - busy), 1e3 * (time.perf_counter() - clock)


def report(name: str, times: list[tuple[float, float]]) -> None:
    """Print both times: median, 95th percentile, largest."""
    for kind, values in zip(("processor", "clock"), zip(*times, strict=True), strict=True):
        median, high = np.percentile(values, (50, 95))
        print(f"{name:9} {kind:9} median {median:.1f} ms, 95 % {high:.1f}, most {max(values):.1f}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, default=2_500_000)
    parser.add_argument("--points", type=int, default=20_000, help="of each frame")
    parser.add_argument("--frames", type=int, default=200)
    given = parser.parse_args()
    walls, grid = Walls(), VoxelGrid(SIDE)
    kept: list[NDArray[np.float32]] = []
    random = np.random.default_rng(1)

    def offer(points: NDArray[np.float32]) -> NDArray[np.bool_]:
        level = random.integers(0, 3, len(points)).astype(np.uint8)
        return grid.offer(points, level, random.uniform(1, 4, len(points)).astype(np.float32)).new

    def keep(points: NDArray[np.float32]) -> None:
        kept.append(points[offer(points)])

    growing: list[tuple[float, float]] = []
    while len(grid) < given.voxels:
        growing.append(timed(functools.partial(keep, walls.grow(given.points))))
    report("filling", growing)
    frames = [walls.frame(given.points) for _ in range(given.frames)]
    report("a frame", [timed(functools.partial(keep, points)) for points in frames])
    print(f"          {len(grid):,} voxels in {grid.nbytes / 1e6:.0f} MB")
    everything = np.concatenate(kept)
    report("coarser", [timed(lambda: grid.coarsen(everything, len(grid)))])
    print(f"          {len(grid):,} voxels left; load {os.getloadavg()[0]:.1f} on {os.cpu_count()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
