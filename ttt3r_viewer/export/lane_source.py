"""What an export reads: one lane of a recording, a frame at a time, and which of its points."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import RecordingError, SettingsError
from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.scene.edges import DEFAULT_EDGE_FILTER, edge_strength, strongest_kept
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.system.options import Options, option
from ttt3r_viewer.types import FrameResult, lane_labels

if TYPE_CHECKING:
    from ttt3r_viewer.recording.reader import Recording

T = TypeVar("T")
F = TypeVar("F", FrameSummary, FrameResult)
OnProgress = Callable[[int, int], None]
"""Takes how many steps are done, and of how many; what it raises ends the export."""


class StepCount:
    """Counts the steps of an export for an `OnProgress`."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._done = self._total = 0

    def expect(self, steps: int) -> None:
        """So many steps are to come, beside those that were expected before."""
        self._total += steps
        self._on_progress(self._done, self._total)

    def step(self) -> None:
        """One step is done."""
        self._done += 1
        self._on_progress(self._done, self._total)


class Source:
    """One lane of a recording; every `stride`-th of the frames that were there when it was made.

    Damaged frames are left out, and `notes` says which. Raises `RecordingError` where there is no
    frame, also while reading when a restart has taken them all away, and `SettingsError` where
    there is no such lane.
    """

    def __init__(self, recording: "Recording", lane: int = 0, stride: int = 1) -> None:
        """`lane` counts from 0."""
        if stride < 1:
            raise SettingsError(f"--stride {stride}: take 1 or more")
        self.recording = recording
        self.lane = lane
        self.sequences = recording.sequences[::stride]
        self.notes = [recording.note] if recording.note else []
        self.lane_count = self._count_lanes()
        if not 0 <= lane < self.lane_count:
            known = recording.manifest.status.lanes
            names = f" ({', '.join(lane_labels(known))})" if known else ""
            raise SettingsError(
                f"--lane {lane + 1}: this recording has {self.lane_count}{names}; take 1 to "
                f"{self.lane_count}"
            )
        self.T_level_world: NDArray[np.float64] | None = None
        """(4, 4) what turns the world that is written; None: it is the first camera's frame."""

    def __len__(self) -> int:
        """How many frames there are, damaged ones included."""
        return len(self.sequences)

    def cameras(self, step: Callable[[], object] = lambda: None) -> Iterator[FrameSummary]:
        """Every frame without its arrays; `step` is called after each, damaged or not."""
        return self._each(
            lambda sequence: self._level(self.recording.camera(sequence, self.lane)), step
        )

    def frames(self, step: Callable[[], object] = lambda: None) -> Iterator[FrameResult]:
        """Every frame in full, one at a time; `step` as in `cameras`."""
        return self._each(
            lambda sequence: self._level(self.recording.lane(sequence, self.lane)), step
        )

    def _level(self, frame: F) -> F:
        """The frame with its camera in the world that is written."""
        if self.T_level_world is None:
            return frame
        pose = self.T_level_world @ frame.camera.T_world_camera
        return replace(frame, camera=replace(frame.camera, T_world_camera=pose))

    def leave_out(self, note: str) -> None:
        """Say once why a frame is not in the export, or what else is to be known of it."""
        if note not in self.notes:
            self.notes.append(note)

    def why_nothing(self) -> str:
        """Say why nothing came of the frames, once all have been read."""
        return "; ".join(self.notes) or "no point is finite"

    def pixel_count(self) -> int:
        """How many pixels the frames have, all together."""
        return sum(one.camera.width * one.camera.height for one in self.cameras())

    def _each(self, read: Callable[[int], T], step: Callable[[], object]) -> Iterator[T]:
        """What `read` gives for every frame; a damaged one is left out."""
        for sequence in self.sequences:
            try:
                yield read(sequence)
            except RecordingError as error:
                # All are gone after a restart.
                if not len(self.recording):
                    raise
                self.leave_out(str(error))
            step()

    def _count_lanes(self) -> int:
        for facts in self._each(self.recording.facts, lambda: None):
            return len(facts["lanes"])
        why = f" ({'; '.join(self.notes)})" if self.notes else ""
        raise RecordingError(f"{self.recording.path}: no frame to export{why}; run it again")


@dataclass(frozen=True)
class Thinning(Options):
    """Which points are taken."""

    pixel_stride: int = option(1, "every N-th pixel of both sides", metavar="N", least=1)
    min_confidence_percentile: float | None = option(
        None,
        "leave out the P %% of all points that are least sure (default: none; of films 30)",
        metavar="P",
    )
    edge_filter: float = option(
        DEFAULT_EDGE_FILTER,
        "leave out points where the depth's logarithm changes by more (0.12: by 13 %%); 0: none",
        metavar="X",
        least=0.0,
    )
    max_points: int | None = option(
        None, "at most so many, the same of every frame (see formats)", metavar="N", least=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        percentile = self.min_confidence_percentile or 0.0
        if not 0 <= percentile < 100:
            raise SettingsError(f"--min-confidence-percentile {percentile:g}: take 0 to below 100")


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


def usable(
    result: FrameResult, threshold: float = -np.inf, edge_filter: float = 0.0
) -> NDArray[np.bool_]:
    """Which points (height, width) are finite, at least so sure, and off the edges of the depth."""
    finite = np.isfinite(result.points_camera).all(-1) & np.isfinite(result.confidence)
    sure = finite & (result.confidence >= threshold)
    if edge_filter <= 0:
        return sure
    return sure & (edge_strength(result.points_camera[..., 2]) <= strongest_kept(edge_filter))


def chosen_points(
    source: Source, thinning: Thinning, progress: StepCount
) -> Iterator[ChosenPoints]:
    """Give every frame of a source with its chosen points, one at a time.

    It is a step each, and two where a percentile has to be found first.
    """
    total, most = len(source), thinning.max_points
    percentile = thinning.min_confidence_percentile or 0.0
    progress.expect(total * (2 if percentile > 0 else 1))
    threshold = confidence_threshold(source, percentile, progress.step)
    for number, result in enumerate(source.frames(progress.step)):
        grid = np.zeros(result.confidence.shape, np.bool_)
        grid[:: thinning.pixel_stride, :: thinning.pixel_stride] = True
        pixels = np.flatnonzero(usable(result, threshold, thinning.edge_filter) & grid)
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
        confidence = result.confidence[usable(result)].astype(np.float16)
        counts += np.bincount(confidence.view(np.uint16), minlength=1 << 16)
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    if not counts.any():
        return -np.inf
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])
    return float(values[order[np.searchsorted(below, percentile / 100 * below[-1], "right")]])
