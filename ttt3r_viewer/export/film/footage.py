"""What films and scenes show: points of all frames in memory, and the cameras."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.export.conventions import FRUSTUM_SHARE, frustum_lines
from ttt3r_viewer.export.film.opening import SceneBox, box_of_lanes
from ttt3r_viewer.export.film.render import Lines, Points
from ttt3r_viewer.export.lane_source import ChosenPoints, Source, StepCount, Thinning, chosen_points
from ttt3r_viewer.scene.budget import SURE_BINS, point_sizes, sample_spacing
from ttt3r_viewer.scene.gravity import SAMPLES, UpEstimator
from ttt3r_viewer.scene.paths import FRUSTA_APART, PATH_APART, path_pairs, spaced
from ttt3r_viewer.scene.store import LaneScene, SceneStore
from ttt3r_viewer.types import Camera, Status

MOST_FRUSTA = 60
PAST_SHARE = FRUSTUM_SHARE / 2
"""Depth of past frusta as a share of the median depth."""
POINTS_PER_FRAME = 60_000
"""Of each frame, so many at most are offered to the voxels of a film."""
PATH_COLOR, FRUSTUM_COLOR, NOW_COLOR = (245, 190, 70), (110, 150, 200), (255, 90, 70)


@dataclass(frozen=True, eq=False)
class Footage:
    """A lane as it grew."""

    points: Points
    """Those of all frames, one frame after the other."""
    ends: NDArray[np.int64]
    """(frame,) how many points there are up to and with each frame."""
    sequences: list[int]
    """(frame,) their numbers in the recording."""
    cameras: list[Camera]
    """(frame,)"""
    depth: float
    """Median depth of the points, each in its own camera."""
    up: NDArray[np.float64]
    """(3,) unit vector, found from floors and walls, or from how cameras were held."""

    def points_of(self, first: int, shown: int) -> Points:
        """The points of the frames from `first` to before `shown`."""
        begin, end = int(self.ends[first - 1]) if first else 0, int(self.ends[shown - 1])
        return self.points.between(begin, end)

    def past_cameras(self, first: int, shown: int) -> Lines:
        """The cameras' way from the frame before `first` to before `shown`, and some frusta.

        A camera that stays in one place leaves no knot of them.
        """
        joined, marked = self._drawn
        joined = joined[(joined[:, 1] >= first) & (joined[:, 1] < shown)]
        way = self._centres[joined].astype(np.float32)
        cameras = [self.cameras[k] for k in marked if first <= k < shown]
        frusta = frustum_lines(cameras, PAST_SHARE * self.depth)
        colors = (_colors(PATH_COLOR, len(way)), _colors(FRUSTUM_COLOR, len(frusta)))
        return Lines(np.concatenate((way, frusta)), np.concatenate(colors))

    @cached_property
    def _centres(self) -> NDArray[np.float64]:
        return np.stack([one.T_world_camera[:3, 3] for one in self.cameras])

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which cameras are joined, (lines, 2), and which have a frustum, of all frames."""
        marked = spaced(self._centres, FRUSTA_APART * self.depth)
        marked = marked[:: -(-len(marked) // MOST_FRUSTA)]
        return path_pairs(self._centres, PATH_APART * self.depth), marked

    def newest_camera(self, shown: int) -> Lines:
        """The frustum of the frame before `shown`, larger than the others."""
        ends = frustum_lines([self.cameras[shown - 1]], 2 * FRUSTUM_SHARE * self.depth)
        return Lines(ends, _colors(NOW_COLOR, len(ends)))


def read_footage(
    source: Source,
    thinning: Thinning,
    progress: StepCount,
    look: Callable[[ChosenPoints], object] = lambda _: None,
) -> Footage:
    """Read the chosen points of all frames, at each of which `look` may look while it is whole.

    Raises `RecordingError` where there is no point.
    """
    positions: list[NDArray[np.float32]] = []
    colors: list[NDArray[np.uint8]] = []
    sequences: list[int] = []
    cameras: list[Camera] = []
    depths: list[float] = []
    ups = UpEstimator()
    for chosen in chosen_points(source, thinning, progress):
        look(chosen)
        positions.append(chosen.points_world.astype(np.float32))
        colors.append(chosen.colors)
        sequences.append(chosen.result.sequence)
        cameras.append(chosen.result.camera)
        ups.add_points(partial(_samples, positions[-1]))
        if len(chosen):
            depths.append(float(np.median(np.abs(chosen.points_camera[:, 2]))))
    if not depths:
        raise RecordingError(f"{source.recording.path}: nothing to show: {source.why_nothing()}")
    ends = np.cumsum([len(one) for one in colors])
    points = Points(np.concatenate(positions), np.concatenate(colors))
    depth = max(float(np.median(depths)), 1e-6)
    return Footage(points, ends, sequences, cameras, depth, ups.estimate(cameras)[0])


@dataclass(frozen=True, eq=False)
class Growth(Footage):
    """A lane as its page shows it: the best points of its voxels, each of its own size."""

    box: SceneBox
    """What a film goes round."""


def read_growth(
    source: Source, thinning: Thinning, progress: StepCount, *, cut_ceiling: bool = True
) -> Growth:
    """Read a lane as a page would keep it, and choose what a page would show of it.

    `thinning.max_points` is the budget, from which what is hidden is taken away: points at edges,
    the least sure, and (`cut_ceiling`) what a page cuts off for a look from outside.
    `thinning.pixel_stride` N takes a share of N^-2 of the pixels, at random. Raises
    `RecordingError` where there is no point.
    """
    most = thinning.max_points
    assert most is not None, "the format names a number where the user does not"
    pixels = source.pixel_count() // max(len(source), 1)
    per_frame = min(pixels // thinning.pixel_stride**2, POINTS_PER_FRAME)
    store = SceneStore(
        most, max(per_frame, 1), one_per_voxel=True, edge_filter=thinning.edge_filter
    )
    progress.expect(len(source))
    for result in source.frames(progress.step):
        store.add(result)
    store.set_status(Status(phase="finished"))
    lane = store.snapshot().lanes[0]
    if lane.point_count:
        growth = _shown(lane, thinning, cut_ceiling)
        if len(growth.points.colors):
            return growth
    raise RecordingError(f"{source.recording.path}: nothing to show: {source.why_nothing()}")


def _shown(lane: LaneScene, thinning: Thinning, cut_ceiling: bool) -> Growth:
    percentile = thinning.min_confidence_percentile or 0.0
    least = np.percentile(np.concatenate([one.points.sureness for one in lane.frames]), percentile)
    hidden_bins = min(round(percentile / 100 * SURE_BINS), SURE_BINS - 1)
    layout, parts, sizes = lane.layout, [], []
    for frame in lane.frames:
        points = frame.points.shown(float(least), thinning.edge_filter)
        if cut_ceiling:
            points = points.where(layout.below_cut(points.points_world))
        spacing = sample_spacing(points.depth, frame.camera, layout.points_per_frame)
        parts.append(points)
        sizes.append(point_sizes(spacing, layout))
    return Growth(
        points=Points(
            np.concatenate([one.points_world for one in parts]),
            np.concatenate([one.colors for one in parts]),
            np.concatenate(sizes),
        ),
        ends=np.cumsum([len(one) for one in parts]),
        sequences=[frame.sequence for frame in lane.frames],
        cameras=[frame.camera for frame in lane.frames],
        depth=max(layout.median_depth, 1e-6),
        up=layout.up,
        box=box_of_lanes([lane], [0.0], layout.up, hidden_bins),
    )


def _samples(positions_world: NDArray[np.float32]) -> NDArray[np.float32]:
    """Choose some of a frame's points (n, 3), evenly."""
    return positions_world[:: max(1, len(positions_world) // SAMPLES)][:SAMPLES]


def _colors(color: tuple[int, int, int], count: int) -> NDArray[np.uint8]:
    return np.tile(np.array(color, np.uint8), (count, 1))
