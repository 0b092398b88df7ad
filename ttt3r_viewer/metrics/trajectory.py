"""How far an estimated camera path is from the true one; the formulas are in docs/evaluation.md.

`reference` is the truth and `estimate` what is judged. Their worlds may be any two: positions are
aligned first, by a rigid map (SE3), which takes the estimate's metres at their word, or by a
similarity (Sim3), which does not.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import PairMoments, Similarity, faulty_poses, umeyama

FEWEST_POSES = 3
"""Two positions can be laid over any other two by a similarity, so they measure nothing."""
_STILL_RAD = 1e-9


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses of one camera over time; raises `EvaluationError` where they are none."""

    times_sec: NDArray[np.float64]
    """(n,) never earlier than the one before."""
    T_world_camera: NDArray[np.float64]
    """(n, 4, 4) rigid transforms."""

    def __post_init__(self) -> None:
        count = len(self.times_sec)
        assert self.times_sec.shape == (count,), self.times_sec.shape
        assert self.T_world_camera.shape == (count, 4, 4), self.T_world_camera.shape
        bad = ~np.isfinite(self.times_sec) | faulty_poses(self.T_world_camera)
        if bad.any():
            raise EvaluationError(
                f"pose {int(bad.argmax())} of {count} is not a finite time, a rotation and a"
                " position; wanted finite numbers: leave such poses out"
            )
        if (np.diff(self.times_sec) < 0).any():
            raise EvaluationError("a pose is earlier than the one before it; sort them by time")

    def __len__(self) -> int:
        return len(self.times_sec)

    @property
    def positions(self) -> NDArray[np.float64]:
        """(n, 3) in the world."""
        return self.T_world_camera[:, :3, 3]

    @property
    def length_m(self) -> float:
        """Sum of the steps from pose to pose."""
        return float(np.linalg.norm(np.diff(self.positions, axis=0), axis=1).sum())

    def take(self, rows: NDArray[np.integer]) -> "Trajectory":
        """The poses in these rows."""
        return Trajectory(self.times_sec[rows], self.T_world_camera[rows])


@dataclass(frozen=True)
class RelativeError:
    """How far the motion between consecutive poses is off."""

    translation_rmse_m: float
    rotation_rmse_deg: float
    translation_over_still: float | None
    """Mean error over the mean size of the true motion: 1 is what an estimate that never moves
    would get. None where the truth does not move.
    """
    rotation_over_still: float | None
    """Likewise of the angle; None where the truth does not turn."""
    true_turn_deg: float
    """Mean size of the true rotation."""


def rotation_angles_rad(R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles (...) in [0, pi] of rotation matrices (..., 3, 3), exact near 0 and near pi."""
    x = R[..., 2, 1] - R[..., 1, 2]
    y = R[..., 0, 2] - R[..., 2, 0]
    z = R[..., 1, 0] - R[..., 0, 1]
    twice_sine = np.sqrt(x * x + y * y + z * z)
    return np.arctan2(twice_sine, np.trace(R, axis1=-2, axis2=-1) - 1)


def aligned_distances(
    reference: Trajectory, estimate: Trajectory, *, with_scale: bool
) -> NDArray[np.float64]:
    """Distances (n,) of matched positions after SE3 or (`with_scale`) Sim3 alignment, in the
    reference's unit.

    Raises `EvaluationError` for fewer than three poses, and with scale for a camera that stands
    still.
    """
    aligned = _alignment(reference, estimate, with_scale).apply(estimate.positions)
    return np.linalg.norm(aligned - reference.positions, axis=1)


def ate(reference: Trajectory, estimate: Trajectory, *, with_scale: bool) -> float:
    """Absolute trajectory error: the root mean square of `aligned_distances`, which see."""
    return _rms(aligned_distances(reference, estimate, with_scale=with_scale))


def rpe(reference: Trajectory, estimate: Trajectory, *, with_scale: bool = True) -> RelativeError:
    """Relative pose error over consecutive matched poses, the estimate scaled as Sim3 alignment
    says, or taken at its word (not `with_scale`). Raises `EvaluationError` as `ate` does.
    """
    scale = _alignment(reference, estimate, with_scale).scale
    R_true, t_true_m = _motion(reference)
    R_estimate, t_estimate = _motion(estimate)
    shift_m = np.linalg.norm(scale * t_estimate - t_true_m, axis=1)
    turn_rad = rotation_angles_rad(R_true.transpose(0, 2, 1) @ R_estimate)
    true_shift_m = float(np.linalg.norm(t_true_m, axis=1).mean())
    true_turn_rad = float(rotation_angles_rad(R_true).mean())
    return RelativeError(
        translation_rmse_m=_rms(shift_m),
        rotation_rmse_deg=float(np.degrees(_rms(turn_rad))),
        translation_over_still=float(shift_m.mean()) / true_shift_m if true_shift_m > 0 else None,
        rotation_over_still=(
            float(turn_rad.mean()) / true_turn_rad if true_turn_rad > _STILL_RAD else None
        ),
        true_turn_deg=float(np.degrees(true_turn_rad)),
    )


def _alignment(reference: Trajectory, estimate: Trajectory, with_scale: bool) -> Similarity:
    assert len(reference) == len(estimate), (len(reference), len(estimate))
    if len(reference) < FEWEST_POSES:
        raise EvaluationError(
            f"{len(reference)} matched poses; wanted at least {FEWEST_POSES}: measure more frames"
        )
    return umeyama(estimate.positions, reference.positions, with_scale)


def _motion(path: Trajectory) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotations (n - 1, 3, 3) and positions (n - 1, 3) of each camera in the one before it."""
    before, after = path.T_world_camera[:-1], path.T_world_camera[1:]
    R_before_world = before[:, :3, :3].transpose(0, 2, 1)
    steps_world = after[:, :3, 3] - before[:, :3, 3]
    return R_before_world @ after[:, :3, :3], (R_before_world @ steps_world[..., None])[..., 0]


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


class RunningAlignment:
    """Errors of all pairs of poses so far, at the same cost for each, from sums and the first pair.

    One thread at a time.
    """

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
