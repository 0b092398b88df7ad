"""How far an estimated camera path is from the true one; the formulas are in docs/evaluation.md.

`reference` is the truth and `estimate` what is judged. Their worlds may be any two: positions are
aligned first, by a rigid map (SE3), which takes the estimate's metres at their word, or by a
similarity (Sim3), which does not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import Similarity, umeyama

FEWEST_POSES = 3
"""Two positions can be laid over any other two by a similarity, so they measure nothing."""
FARTHEST_M = 1e12
"""Coordinates beyond this are no camera positions, and their squares would overflow in time."""
ROTATION_TOLERANCE = 1e-3
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


@dataclass(frozen=True, eq=False)
class AbsoluteError:
    """How far the poses are off after the whole path is aligned."""

    rmse_m: float
    rotation_rmse_deg: float | None
    """None where the positions lie on a line: they leave the rotation about it open."""
    scale: float
    """What the estimate was multiplied with; 1 for SE3."""
    positions_aligned: NDArray[np.float64]
    """(n, 3) estimated positions in the reference's world."""


@dataclass(frozen=True)
class RelativeError:
    """How far the motion between two poses is off."""

    pairs: int
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


def faulty_poses(T_world_camera: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell of (n, 4, 4) matrices which are not rigid: (n,), true where a number is not finite, a
    position lies beyond `FARTHEST_M`, or the rotation is none within `ROTATION_TOLERANCE`.
    """
    near, rotation = sound_parts(T_world_camera, ROTATION_TOLERANCE)
    return ~(near & rotation)


def sound_parts(
    T_world_camera: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell of (n, 4, 4) matrices which positions lie within `FARTHEST_M`, and which rotations are
    ones within `tolerance` in every number of R.T @ R: (n,) each.
    """
    R = T_world_camera[:, :3, :3]
    # The determinant divides by pivots, which may be next to nothing.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        off = np.abs(R.transpose(0, 2, 1) @ R - np.eye(3)).max(axis=(1, 2), initial=0.0)
        near = (np.abs(T_world_camera[:, :3, 3]) <= FARTHEST_M).all(axis=1)
        proper = np.linalg.det(R) > 0
    # Written so that NaN, for which no comparison holds, is not sound.
    return np.asarray(near), (off <= tolerance) & proper


def rotation_angles_rad(R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles (...) in [0, pi] of rotation matrices (..., 3, 3), exact near 0 and near pi."""
    x = R[..., 2, 1] - R[..., 1, 2]
    y = R[..., 0, 2] - R[..., 2, 0]
    z = R[..., 1, 0] - R[..., 0, 1]
    twice_sine = np.sqrt(x * x + y * y + z * z)
    return np.arctan2(twice_sine, np.trace(R, axis1=-2, axis2=-1) - 1)


def associate(
    reference: Trajectory, estimate: Trajectory, tolerance_sec: float = 0.01
) -> tuple[Trajectory, Trajectory]:
    """Pair poses that are each other's nearest in time, at most `tolerance_sec` apart.

    Gives two trajectories of the same length, row i of the one beside row i of the other. No pose
    is used twice. Raises `EvaluationError` where no pair is found.
    """
    to_estimate = nearest_rows(reference.times_sec, estimate.times_sec)
    to_reference = nearest_rows(estimate.times_sec, reference.times_sec)
    rows = np.arange(len(estimate))[: len(to_reference)]
    if rows.size:
        mutual = to_estimate[to_reference] == rows
        apart_sec = np.abs(reference.times_sec[to_reference] - estimate.times_sec)
        rows = rows[mutual & (apart_sec <= tolerance_sec)]
    if not rows.size:
        raise EvaluationError(
            f"none of {len(estimate)} estimated poses is within {tolerance_sec:g} s of one of"
            f" {len(reference)} true poses; wanted times of one clock"
        )
    return reference.take(to_reference[rows]), estimate.take(rows)


def ate(reference: Trajectory, estimate: Trajectory, *, with_scale: bool) -> AbsoluteError:
    """Absolute trajectory error of matched poses, after SE3 or (`with_scale`) Sim3 alignment.

    Raises `EvaluationError` for fewer than three poses, and with scale for a camera that stands
    still. Positions on a line have a well-defined error; only their rotation has none.
    """
    alignment = _alignment(reference, estimate, with_scale)
    aligned = alignment.apply(estimate.positions)
    rotation_rmse_deg = None
    if alignment.rotation_determined:
        R_aligned = alignment.R_target_source @ estimate.T_world_camera[:, :3, :3]
        R_true = reference.T_world_camera[:, :3, :3]
        angles_rad = rotation_angles_rad(R_true.transpose(0, 2, 1) @ R_aligned)
        rotation_rmse_deg = float(np.degrees(_rms(angles_rad)))
    distances_m = np.linalg.norm(aligned - reference.positions, axis=1)
    return AbsoluteError(_rms(distances_m), rotation_rmse_deg, alignment.scale, aligned)


def rpe(
    reference: Trajectory,
    estimate: Trajectory,
    *,
    distance_m: float | None = None,
    with_scale: bool = True,
) -> RelativeError:
    """Relative pose error of matched poses, the estimate scaled as Sim3 alignment says, or taken at
    its word (not `with_scale`).

    Compares the motion over consecutive poses or, given `distance_m`, from every pose to the first
    one that lies at least so far ahead along the true path. Raises `EvaluationError` as `ate` does,
    and where no two poses are so far apart.
    """
    scale = _alignment(reference, estimate, with_scale=with_scale).scale
    first, second = _pairs(reference, distance_m)
    R_true, t_true_m = _motion(reference.T_world_camera, first, second)
    R_estimate, t_estimate = _motion(estimate.T_world_camera, first, second)
    shift_m = np.linalg.norm(scale * t_estimate - t_true_m, axis=1)
    turn_rad = rotation_angles_rad(R_true.transpose(0, 2, 1) @ R_estimate)
    true_shift_m = float(np.linalg.norm(t_true_m, axis=1).mean())
    true_turn_rad = float(rotation_angles_rad(R_true).mean())
    return RelativeError(
        pairs=len(first),
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


def _pairs(
    reference: Trajectory, distance_m: float | None
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Rows of the first and of the second pose of every pair."""
    rows = np.arange(len(reference))
    if distance_m is None:
        return rows[:-1], rows[1:]
    if not (distance_m > 0 and np.isfinite(distance_m)):
        raise EvaluationError(f"pairs {distance_m} m apart cannot be; wanted a distance above 0")
    steps_m = np.linalg.norm(np.diff(reference.positions, axis=0), axis=1)
    along_m = np.concatenate(([0.0], np.cumsum(steps_m)))
    # Equal steps add up to the distance only to rounding, which must not cost a whole step.
    second = np.searchsorted(along_m, along_m + distance_m - 1e-9 * along_m[-1])
    there = (second < len(rows)) & (second > rows)
    if not there.any():
        raise EvaluationError(
            f"no two poses are {distance_m:g} m apart on a path of {along_m[-1]:.3g} m; wanted a"
            " shorter distance"
        )
    return rows[there], second[there]


def _motion(
    T_world_camera: NDArray[np.float64], first: NDArray[np.integer], second: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotations (pairs, 3, 3) and positions (pairs, 3) of the second camera in the first one."""
    R_first_world = T_world_camera[first, :3, :3].transpose(0, 2, 1)
    steps_world = T_world_camera[second, :3, 3] - T_world_camera[first, :3, 3]
    return (
        R_first_world @ T_world_camera[second, :3, :3],
        (R_first_world @ steps_world[..., None])[..., 0],
    )


def nearest_rows(
    times_sec: NDArray[np.float64], among_sec: NDArray[np.float64]
) -> NDArray[np.integer]:
    """For each time (n,) the row of the nearest of increasing ones, the earlier of two equals."""
    if not among_sec.size:
        return np.empty(0, dtype=np.intp)
    after = np.searchsorted(among_sec, times_sec).clip(max=len(among_sec) - 1)
    before = (after - 1).clip(min=0)
    earlier = np.abs(times_sec - among_sec[before]) <= np.abs(among_sec[after] - times_sec)
    return np.where(earlier, before, after)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
