"""How far each frame's points lie from where they truly are, measured as the frames come."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import FrameError
from ttt3r_viewer.geometry import invert_pose, transform_points
from ttt3r_viewer.metrics.dense import TrueSample, sample_truth, world_point_error
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.metrics.true_depth import warn_once
from ttt3r_viewer.types import FrameResult


class PointErrors:
    """Measures frames in the order in which they come; one thread at a time."""

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth
        self._T_first_world: NDArray[np.float64] | None = None
        """From the world of the true poses to the first frame's true camera."""

    def __call__(self, results: Sequence[FrameResult]) -> tuple[float, ...]:
        """Measure what every lane made of the next frame: `world_point_error` in the world of the
        run's first camera, as `training.evaluate` has it; NaN where the truth is not known.
        """
        first = results[0]
        pose = self._truth.pose_of(first.index, first.time_sec, first.name)
        if first.sequence == 0:
            self._T_first_world = None if pose is None else invert_pose(pose)
        unknown = (math.nan,) * len(results)
        if pose is None or self._T_first_world is None:
            return unknown
        T_first_camera = self._T_first_world @ pose
        sample = self._sample(first, T_first_camera)
        if sample is None or sample.points_world is None:
            return unknown
        pixels, errors = (sample.rows, sample.columns), []
        for result in results:
            seen = transform_points(result.camera.T_world_camera, result.points_camera[pixels])
            errors.append(world_point_error(sample.points_world, seen, T_first_camera[:3, 3]))
        return tuple(errors)

    def _sample(self, frame: FrameResult, T_first_camera: NDArray[np.float64]) -> TrueSample | None:
        """True points of a frame; None where its depth is not known, or cannot be read."""
        depth = self._truth.depth_of and self._truth.depth_of(frame.name)
        if depth is None:
            return None
        try:
            depth_m = depth.read()
        except FrameError as error:
            warn_once(self._truth, error)
            return None
        return sample_truth(
            depth_m,
            frame.crop,
            frame.confidence.shape,
            frame.sequence,
            intrinsics=depth.intrinsics,
            T_world_camera=T_first_camera,
        )
