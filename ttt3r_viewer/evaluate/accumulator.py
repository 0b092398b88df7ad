"""One rule's results along a sequence, kept as far as they are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.evaluate.datasets.base import Measure
from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.metrics.depth import depth_measures
from ttt3r_viewer.metrics.points import point_measures
from ttt3r_viewer.metrics.samples import TrueSample
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES, Trajectory, ate, rpe
from ttt3r_viewer.types import FrameResult


class Accumulator:
    """Grows by one frame at a time; may be measured after any."""

    def __init__(self) -> None:
        self._times_sec: list[float] = []
        self._true_poses: list[NDArray[np.float64]] = []
        self._poses: list[NDArray[np.float64]] = []
        self._true_depth: list[NDArray[np.float32]] = []
        self._depth: list[NDArray[np.float32]] = []
        self._true_points: list[NDArray[np.float32]] = []
        self._points: list[NDArray[np.float32]] = []
        self._gains: list[float] = []

    def add(
        self, result: FrameResult, true_pose: NDArray[np.float64] | None, sample: TrueSample | None
    ) -> None:
        """Take the next frame; what the data set does not know of it is None."""
        T_world_camera = result.camera.T_world_camera
        self._gains.append(float(result.gain.mean()))
        if true_pose is not None:
            self._times_sec.append(result.time_sec)
            self._true_poses.append(true_pose)
            self._poses.append(T_world_camera)
        if sample is None:
            return
        seen = result.points_camera[sample.rows, sample.columns]
        self._true_depth.append(sample.depth_m)
        self._depth.append(seen[:, 2])
        if sample.points_world is not None:
            self._true_points.append(sample.points_world)
            self._points.append(transform_points(T_world_camera, seen).astype(np.float32))

    def measures(self, wanted: Sequence[Measure]) -> tuple[dict[str, float], str]:
        """Numbers by name, and why some are missing: one line, empty where none is."""
        numbers: dict[str, float] = {}
        reasons: list[str] = []
        for measure in wanted:
            try:
                match measure:
                    case "poses":
                        numbers |= self._pose_measures()
                    case "depth":
                        numbers |= depth_measures(_joined(self._true_depth), _joined(self._depth))
                    case "points":
                        numbers |= point_measures(
                            _joined(self._true_points, 3), _joined(self._points, 3)
                        )
            except EvaluationError as error:
                reasons.append(f"{measure}: {error}")
        return numbers, "; ".join(reasons)

    def unaligned(self) -> dict[str, float]:
        """Errors in the estimate's own metres, where every frame has a true pose and depth.

        `depth_error` is |z - z_true| / z_true, `world_point_error` the distance between a point and
        its truth as a share of its true distance from the camera, both in the first camera's frame:
        medians over frames of the median over pixels. `mean_gain` is the mean over frames.
        """
        pairs = zip(self._depth, self._true_depth, strict=True)
        depth = [np.median(np.abs(z - true) / true) for z, true in pairs]
        point = [
            np.median(np.linalg.norm(seen - true, axis=1) / np.linalg.norm(true - T[:3, 3], axis=1))
            for seen, true, T in zip(self._points, self._true_points, self._true_poses, strict=True)
        ]
        return {
            "depth_error": float(np.median(depth)),
            "world_point_error": float(np.median(point)),
            "mean_gain": float(np.mean(self._gains)),
        }

    def cameras(self) -> dict[str, float | None]:
        """The `pose_measures` of all poses, empty where they are too few."""
        few = len(self._poses) < FEWEST_POSES
        return {} if few else pose_measures(*self._trajectories())

    def _trajectories(self) -> tuple[Trajectory, Trajectory]:
        times_sec = np.array(self._times_sec)
        estimate = Trajectory(times_sec, np.array(self._poses, dtype=np.float64))
        return Trajectory(times_sec, np.array(self._true_poses)), estimate

    def _pose_measures(self) -> dict[str, float]:
        if len(self._poses) < FEWEST_POSES:
            raise EvaluationError(
                f"{len(self._poses)} frames have a true pose; wanted at least {FEWEST_POSES}"
            )
        truth, estimate = self._trajectories()
        relative = rpe(truth, estimate)
        return {
            "ate_m": ate(truth, estimate, with_scale=True).rmse_m,
            "ate_metric_m": ate(truth, estimate, with_scale=False).rmse_m,
            "rpe_translation_m": relative.translation_rmse_m,
            "rpe_rotation_deg": relative.rotation_rmse_deg,
            "path_m": truth.length_m,
        }


def pose_measures(truth: Trajectory, estimate: Trajectory) -> dict[str, float | None]:
    """Errors of cameras, also as shares of the path and of not moving; None where there is none.

    Relative errors take the estimate's metres at their word.
    """
    path_m = truth.length_m
    se3_m = ate(truth, estimate, with_scale=False).rmse_m
    relative = rpe(truth, estimate, with_scale=False)
    try:
        sim3_m = ate(truth, estimate, with_scale=True).rmse_m
    except EvaluationError:  # one of the two stands still, so there is no scale
        sim3_m = None
    return {
        "path_length_m": path_m,
        "true_turn_deg": relative.true_turn_deg,
        "ate_sim3_m": sim3_m,
        "ate_sim3_share": sim3_m / path_m if sim3_m is not None and path_m > 0 else None,
        "ate_se3_m": se3_m,
        "ate_se3_share": se3_m / path_m if path_m > 0 else None,
        "rpe_rotation_deg": relative.rotation_rmse_deg,
        "rpe_rotation_over_still": relative.rotation_over_still,
        "rpe_translation_m": relative.translation_rmse_m,
        "rpe_translation_over_still": relative.translation_over_still,
    }


def _joined(parts: Sequence[NDArray[np.float32]], width: int = 0) -> NDArray[np.float32]:
    empty = np.empty((0, width) if width else 0, dtype=np.float32)
    return np.concatenate(parts) if parts else empty
