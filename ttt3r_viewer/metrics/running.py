"""The error of a growing trajectory after every frame, at the same cost for each."""

import math

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import PairMoments
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES, faulty_poses, rotation_angles_rad


class RunningAlignment:
    """Errors of all pairs of poses so far, from sums and the first pair. One thread at a time."""

    def __init__(self) -> None:
        self._moments = PairMoments()
        self._first: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._angle_sum_rad = 0.0

    @property
    def count(self) -> int:
        """Pairs added."""
        return self._moments.count

    def add(
        self, T_world_camera_true: NDArray[np.float64], T_world_camera: NDArray[np.float64]
    ) -> None:
        """Add the true and the estimated pose (4, 4) of one frame, each in its own world.

        Raises `EvaluationError` for a pose that is not finite or not rigid; it is then not added.
        """
        pair = np.stack((T_world_camera_true, T_world_camera)).astype(np.float64)
        if faulty_poses(pair).any():
            raise EvaluationError(
                f"pair {self.count} holds a pose that is not a finite rotation and position;"
                " leave such poses out"
            )
        self._moments = self._moments.with_pair(source=pair[1, :3, 3], target=pair[0, :3, 3])
        R_true, R_estimate = pair[:, :3, :3]
        if self._first is None:
            self._first = (R_true, R_estimate)
        R_first_true, R_first_estimate = self._first
        # Rotations since the first frame do not depend on the worlds, and need no alignment.
        turned = (R_first_true.T @ R_true).T @ (R_first_estimate.T @ R_estimate)
        self._angle_sum_rad += float(rotation_angles_rad(turned))

    @property
    def ate_sim3_m(self) -> float:
        """Root mean square position error after Sim3 alignment of all pairs so far.

        NaN for fewer than three pairs, and while either camera stands still. From sums it is exact
        to about 1e-8 of the path's extent, where `ate` is exact to rounding.
        """
        if self.count < FEWEST_POSES or self._moments.still_side:
            return math.nan
        return self._moments.similarity(with_scale=True).rms

    @property
    def rotation_error_deg(self) -> float:
        """Mean angle between the true and the estimated rotation since the first frame.

        Over all frames but the first, whose angle is zero by definition; NaN for fewer than two.
        """
        if self.count < 2:
            return math.nan
        return math.degrees(self._angle_sum_rad / (self.count - 1))
