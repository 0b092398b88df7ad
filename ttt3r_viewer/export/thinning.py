"""Which points of a recording an export takes: all that are finite, or fewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.types import FrameResult

if TYPE_CHECKING:
    from ttt3r_viewer.export.lane_source import Source, StepCount


@dataclass(frozen=True)
class Thinning:
    """What is left out of the points. Raises `SettingsError` where a number is out of range."""

    pixel_stride: int = 1
    """Take every N-th pixel along both sides."""
    min_confidence_percentile: float = 0.0
    """Leave out this share, in percent, of the points of all frames: the least sure ones."""
    max_points: int | None = None
    """Take at most so many, the same number of every frame."""

    def __post_init__(self) -> None:
        if self.pixel_stride < 1:
            raise SettingsError(f"--pixel-stride {self.pixel_stride}: take 1 or more")
        if self.max_points is not None and self.max_points < 1:
            raise SettingsError(f"--max-points {self.max_points}: take 1 or more")
        if not 0 <= self.min_confidence_percentile < 100:
            raise SettingsError(
                f"--min-confidence-percentile {self.min_confidence_percentile:g}: take 0 to below "
                "100"
            )


@dataclass(frozen=True, eq=False)
class ChosenPoints:
    """A frame with those of its points that were chosen."""

    result: FrameResult
    pixels: NDArray[np.intp]
    """(n,) rising; pixel k is at row k // width and column k % width."""

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def points_camera(self) -> NDArray[np.float32]:
        """(n, 3) in the camera's frame."""
        return self.result.points_camera.reshape(-1, 3)[self.pixels]

    @property
    def points_world(self) -> NDArray[np.float64]:
        """(n, 3) in the world's frame."""
        return transform_points(self.result.camera.T_world_camera, self.points_camera)

    @property
    def colors(self) -> NDArray[np.uint8]:
        """(n, 3) RGB."""
        return self.result.image.reshape(-1, 3)[self.pixels]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(n,)."""
        return self.result.confidence.reshape(-1)[self.pixels]

    @property
    def pixels_xy(self) -> NDArray[np.int64]:
        """(n, 2) column and row."""
        width = self.result.image.shape[1]
        return np.stack((self.pixels % width, self.pixels // width), axis=1)


def usable(result: FrameResult, threshold: float) -> NDArray[np.bool_]:
    """Which points (height, width) are finite and at least so sure."""
    finite = np.isfinite(result.points_camera).all(-1) & np.isfinite(result.confidence)
    return finite & (result.confidence >= threshold)


def chosen_points(
    source: Source, thinning: Thinning, progress: StepCount
) -> Iterator[ChosenPoints]:
    """Give every frame of a source with its chosen points, one at a time.

    It is a step each, and two where a percentile has to be found first.
    """
    total, most = len(source), thinning.max_points
    progress.expect(total * (2 if thinning.min_confidence_percentile > 0 else 1))
    threshold = confidence_threshold(source, thinning.min_confidence_percentile, progress.step)
    for number, result in enumerate(source.frames(progress.step)):
        grid = np.zeros(result.confidence.shape, np.bool_)
        grid[:: thinning.pixel_stride, :: thinning.pixel_stride] = True
        pixels = np.flatnonzero(usable(result, threshold) & grid)
        if most is not None:
            share = (number + 1) * most // total - number * most // total
            if share < len(pixels):
                random = np.random.default_rng(result.sequence)
                pixels = np.sort(random.choice(pixels, share, replace=False))
        yield ChosenPoints(result, pixels)


def confidence_threshold(source: Source, percentile: float, step: Callable[[], None]) -> float:
    """Give the confidence below which `percentile` percent of all finite points lie.

    A recording keeps confidence as float16, so that counting how often each value occurs gives the
    percentile without error, in memory that does not depend on the number of frames.
    """
    if percentile <= 0:
        return -np.inf
    counts = np.zeros(1 << 16, np.int64)
    for result in source.frames(step):
        confidence = result.confidence[usable(result, -np.inf)].astype(np.float16)
        counts += np.bincount(confidence.view(np.uint16), minlength=1 << 16)
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    if not counts.any():
        return -np.inf
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])
    return float(values[order[np.searchsorted(below, percentile / 100 * below[-1], "right")]])
