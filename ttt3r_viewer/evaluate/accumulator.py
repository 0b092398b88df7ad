"""What one rule said along a sequence, kept as far as it is measured."""

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

    def add(
        self, result: FrameResult, true_pose: NDArray[np.float64] | None, sample: TrueSample | None
    ) -> None:
        """Take the next frame; what the data set does not know of it is None."""
        T_world_camera = result.camera.T_world_camera
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

    def _pose_measures(self) -> dict[str, float]:
        if len(self._poses) < FEWEST_POSES:
            raise EvaluationError(
                f"{len(self._poses)} frames have a true pose; wanted at least {FEWEST_POSES}"
            )
        times_sec = np.array(self._times_sec)
        truth = Trajectory(times_sec, np.array(self._true_poses))
        estimate = Trajectory(times_sec, np.array(self._poses, dtype=np.float64))
        relative = rpe(truth, estimate)
        return {
            "ate_m": ate(truth, estimate, with_scale=True).rmse_m,
            "ate_metric_m": ate(truth, estimate, with_scale=False).rmse_m,
            "rpe_translation_m": relative.translation_rmse_m,
            "rpe_rotation_deg": relative.rotation_rmse_deg,
            "path_m": truth.length_m,
        }


def _joined(parts: Sequence[NDArray[np.float32]], width: int = 0) -> NDArray[np.float32]:
    empty = np.empty((0, width) if width else 0, dtype=np.float32)
    return np.concatenate(parts) if parts else empty
