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
        self.poses: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
        """Time, true and estimated `T_world_camera` (4, 4) of each frame with a true pose."""
        self.depth: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        """True and estimated depth (n,) in metres of each frame's sample."""
        self.points: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        """True and estimated points (n, 3), each in its own world, of each frame's sample."""
        self.gains: list[float] = []
        """Mean gain of each frame."""

    def add(
        self, result: FrameResult, true_pose: NDArray[np.float64] | None, sample: TrueSample | None
    ) -> None:
        """Take the next frame; what the data set does not know of it is None."""
        T_world_camera = result.camera.T_world_camera
        self.gains.append(float(result.gain.mean()))
        if true_pose is not None:
            self.poses.append((result.time_sec, true_pose, T_world_camera))
        if sample is None:
            return
        seen = result.points_camera[sample.rows, sample.columns]
        self.depth.append((sample.depth_m, seen[:, 2]))
        if sample.points_world is not None:
            points_world = transform_points(T_world_camera, seen).astype(np.float32)
            self.points.append((sample.points_world, points_world))

    def trajectories(self) -> tuple[Trajectory, Trajectory]:
        """The true path and the estimated one. Raises `EvaluationError` for too few poses."""
        if len(self.poses) < FEWEST_POSES:
            raise EvaluationError(
                f"{len(self.poses)} frames have a true pose; wanted at least {FEWEST_POSES}"
            )
        times_sec, truth, estimate = (np.array(one) for one in zip(*self.poses, strict=True))
        return Trajectory(times_sec, truth), Trajectory(times_sec, estimate.astype(np.float64))

    def measures(self, wanted: Sequence[Measure]) -> tuple[dict[str, float], str]:
        """Numbers by name, and why some are missing: one line, empty where none is."""
        numbers: dict[str, float] = {}
        reasons: list[str] = []
        for measure in wanted:
            try:
                match measure:
                    case "poses":
                        numbers |= camera_measures(*self.trajectories())
                    case "depth":
                        numbers |= depth_measures(*_joined(self.depth, ()))
                    case "points":
                        numbers |= point_measures(*_joined(self.points, (3,)))
            except EvaluationError as error:
                reasons.append(f"{measure}: {error}")
        return numbers, "; ".join(reasons)


def camera_measures(truth: Trajectory, estimate: Trajectory) -> dict[str, float]:
    """Errors of a camera's path. Raises `EvaluationError` where a camera stands still."""
    relative = rpe(truth, estimate)
    return {
        "ate_m": ate(truth, estimate, with_scale=True).rmse_m,
        "ate_metric_m": ate(truth, estimate, with_scale=False).rmse_m,
        "rpe_translation_m": relative.translation_rmse_m,
        "rpe_rotation_deg": relative.rotation_rmse_deg,
        "path_m": truth.length_m,
    }


def _joined(
    pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], shape: tuple[int, ...]
) -> list[NDArray[np.float32]]:
    """All true values (n, *shape), and all estimates."""
    none = np.empty((0, *shape), np.float32)
    return [np.concatenate(parts) for parts in zip((none, none), *pairs, strict=True)]
