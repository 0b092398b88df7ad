"""What films and recordings show: the chosen points of all frames in memory, and the cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.export.conventions import FRUSTUM_SHARE, frustum_lines
from ttt3r_viewer.export.film.render import Lines, Points
from ttt3r_viewer.export.thinning import Thinning, chosen_points
from ttt3r_viewer.types import Camera

if TYPE_CHECKING:
    from ttt3r_viewer.export.lane_source import Source, StepCount

MOST_FRUSTA = 60
PATH_COLOR, FRUSTUM_COLOR, NOW_COLOR = (245, 190, 70), (110, 150, 200), (255, 90, 70)


@dataclass(frozen=True, eq=False)
class Footage:
    """A lane as it grew."""

    points: Points
    """Those of all frames, one frame after the other."""
    ends: NDArray[np.int64]
    """(frame,) how many points there are up to and with each frame."""
    cameras: list[Camera]
    """(frame,)"""
    depth: float
    """Median depth of the points, each in its own camera."""

    def points_of(self, first: int, shown: int) -> Points:
        """The points of the frames from `first` to before `shown`."""
        begin, end = int(self.ends[first - 1]) if first else 0, int(self.ends[shown - 1])
        return Points(self.points.positions_world[begin:end], self.points.colors[begin:end])

    def past_cameras(self, first: int, shown: int) -> Lines:
        """The cameras' way from the frame before `first` to before `shown`, and some frusta."""
        cameras = self.cameras[max(first - 1, 0) : shown]
        centres = np.stack([one.T_world_camera[:3, 3] for one in cameras]).astype(np.float32)
        way = np.stack((centres[:-1], centres[1:]), axis=1)
        spacing = -(-len(self.cameras) // MOST_FRUSTA)
        marked = [self.cameras[k] for k in range(first, shown) if k % spacing == 0]
        frusta = [_frustum(one, FRUSTUM_SHARE * self.depth) for one in marked]
        colors = [_colors(PATH_COLOR, len(way)), *(_colors(FRUSTUM_COLOR, len(f)) for f in frusta)]
        return Lines(np.concatenate((way, *frusta)), np.concatenate(colors))

    def newest_camera(self, shown: int) -> Lines:
        """The frustum of the frame before `shown`, larger than the others."""
        ends = _frustum(self.cameras[shown - 1], 2 * FRUSTUM_SHARE * self.depth)
        return Lines(ends, _colors(NOW_COLOR, len(ends)))


def read_footage(source: Source, thinning: Thinning, progress: StepCount) -> Footage:
    """Read the chosen points of all frames. Raises `RecordingError` where there is none."""
    positions: list[NDArray[np.float32]] = []
    colors: list[NDArray[np.uint8]] = []
    cameras: list[Camera] = []
    depths: list[float] = []
    for chosen in chosen_points(source, thinning, progress):
        positions.append(chosen.points_world.astype(np.float32))
        colors.append(chosen.colors)
        cameras.append(chosen.result.camera)
        if len(chosen):
            depths.append(float(np.median(np.abs(chosen.points_camera[:, 2]))))
    if not depths:
        why = "; ".join(source.notes) or "no point is finite"
        raise RecordingError(f"{source.recording.path}: nothing to show: {why}")
    ends = np.cumsum([len(one) for one in colors])
    points = Points(np.concatenate(positions), np.concatenate(colors))
    return Footage(points, ends, cameras, max(float(np.median(depths)), 1e-6))


def _frustum(camera: Camera, depth: float) -> NDArray[np.float32]:
    """Give its lines (8, 2, 3); none where the camera has no focal length."""
    if camera.focal_px <= 0:
        return np.zeros((0, 2, 3), np.float32)
    return frustum_lines(camera, depth).reshape(-1, 2, 3)


def _colors(color: tuple[int, int, int], count: int) -> NDArray[np.uint8]:
    return np.tile(np.array(color, np.uint8), (count, 1))
