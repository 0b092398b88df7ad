"""The true surface that frames saw, from their true depth, and how far points lie from it."""

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import FrameError
from ttt3r_viewer.geometry import invert_pose, transform_points
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.metrics.true_depth import warn_once
from ttt3r_viewer.scene.voxels import VoxelGrid, voxel_keys
from ttt3r_viewer.types import FrameFacts

FRAME_STRIDE = 3
"""Every so many frames, true depth becomes part of the surface."""
SIDE_SHARE = 0.01
"""Of the first frame's median depth: nearer points of the surface are one."""
MOST_PER_FRAME = 20_000
NO_PLACES = np.zeros((0, 3), np.float32)


class TrueSurface:
    """Grows by one frame at a time, in the world of the first frame's true camera.

    Every lane's world is that of its first camera, so the surface lies among a lane's points as
    `world_point_error` measures them: nothing is aligned or scaled. One thread at a time.
    """

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth
        self._grid: VoxelGrid | None = None
        self._T_first_world: NDArray[np.float64] | None = None
        self._parts: list[NDArray[np.float32]] = []
        """New points (n, 3) of every frame."""

    def __len__(self) -> int:
        """How many frames it knows."""
        return len(self._parts)

    def add(self, frame: FrameFacts) -> None:
        """Add what the next frame saw, where that is known and its turn."""
        points = NO_PLACES
        if len(self._parts) % FRAME_STRIDE == 0:
            try:
                points = self._seen(frame)
            except FrameError as error:
                warn_once(self._truth, error)
        self._parts.append(points)

    def points(self, frames: int) -> NDArray[np.float32]:
        """The surface (n, 3) that the first `frames` frames saw."""
        return np.concatenate([NO_PLACES, *self._parts[:frames]])

    def _seen(self, frame: FrameFacts) -> NDArray[np.float32]:
        """Points (n, 3) of voxels that no frame before saw."""
        pose = self._truth.pose_of(frame.index, frame.time_sec, frame.name)
        if frame.sequence == 0 and pose is not None:
            self._T_first_world = invert_pose(pose)
        depth = self._truth.depth_of and self._truth.depth_of(frame.name)
        if pose is None or self._T_first_world is None or depth is None or depth.intrinsics is None:
            return NO_PLACES
        depth_m = depth.read()
        with np.errstate(invalid="ignore"):
            rows, columns = np.nonzero(depth_m > 0)
        some = slice(None, None, -(-len(rows) // MOST_PER_FRAME) or 1)
        rows, columns = rows[some], columns[some]
        z = depth_m[rows, columns]
        rays = np.linalg.solve(depth.intrinsics, np.stack([columns, rows, np.ones(len(rows))]))
        T_first_camera = self._T_first_world @ pose
        points = transform_points(T_first_camera, rays.T * z[:, None]).astype(np.float32)
        if self._grid is None and len(points):
            self._grid = VoxelGrid(SIDE_SHARE * float(np.median(z)))
        if self._grid is None:
            return points
        alike = np.ones(len(points), np.float32)
        return points[self._grid.offer(points, np.zeros(len(points), np.uint8), alike).new]


class SurfaceDistance:
    """How far points lie from the true surface, up to a limit."""

    def __init__(
        self, surface: NDArray[np.floating], most_m: float, step_m: float, frames: int = 0
    ) -> None:
        """`surface` (n, 3) is in the points' world, and what so many frames saw. Points in one cube
        with a side of `step_m` count as one.
        """
        from scipy.spatial import KDTree  # half a second, and only this needs it

        self.frames = frames
        # Made in a third of the usual time, and no slower to ask.
        self._tree = KDTree(surface, compact_nodes=False, balanced_tree=False)
        self._most_m, self._step_m = most_m, step_m

    def __call__(self, points_world: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distances (n,) of points (n, 3), `most_m` at most."""
        keys = voxel_keys(points_world, self._step_m, np.zeros(len(points_world), np.uint8))
        _, first, cube = np.unique(keys, return_index=True, return_inverse=True)
        places = points_world[first]
        apart_m, _ = self._tree.query(places, distance_upper_bound=self._most_m)
        return np.minimum(apart_m, self._most_m)[cube]


def why_unmeasured(truth: GroundTruth, first: FrameFacts) -> str:
    """Say why nothing is measured against true depth, in a line, from a run's first frame."""
    if truth.pose_of(first.index, first.time_sec, first.name) is None:
        return f"{first.name}, the first frame, has no true pose: errors are measured from there"
    depth = truth.depth_of and truth.depth_of(first.name)
    if depth is None:
        return f"no true depth of {first.name} is known"
    try:
        depth.read()
    except FrameError as error:
        return str(error)
    return (
        "nothing measured yet: errors are found where frames are read in full, which those of a "
        "large recording are not"
    )


def some_of_points(points: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """At most `most` of the points (n, 3), evenly chosen."""
    return points[:: -(-len(points) // most) or 1]
