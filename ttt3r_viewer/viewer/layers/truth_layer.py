"""The truth beside a lane: the true path, dashed, how far each camera is from its place, and the
true surface as a faint cloud.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.metrics.palette import RGB
from ttt3r_viewer.metrics.true_surface import some_of_points
from ttt3r_viewer.scene.paths import spaced
from ttt3r_viewer.viewer.layers.colors import OLDEST_SHARE, line_colors
from ttt3r_viewer.viewer.layers.nodes import Nodes, add_lines, add_points
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import Page

if TYPE_CHECKING:
    from ttt3r_viewer.viewer.panels.chart_series import ChartSeries

DASHES = 500
DASH = 0.06
"""A dash with the gap after it, as a share of the median depth; longer where there would be more
than `DASHES`."""
DASHED_SHARE = 0.6
DASHES_APART = 0.9
"""Dashes begin at least this share of their spacing apart, also where the path comes back."""
ERROR_LINES = 12
ERROR_SPACING = 0.12
"""Cameras from which an error line goes stand at least this share of the median depth apart."""
REFRESH_SEC = 1.0
"""The truth is sent again at most this often while the scene grows."""
REFRESH_FRAMES = 3000
"""Frames a second of a longer path, because all of it is aligned again."""
TRUE_COLOR: RGB = (255, 255, 255)
ERROR_COLOR: RGB = (255, 70, 70)
"""No lane and no colour map has these."""
SURFACE_COLOR: RGB = (105, 110, 118)
SURFACE_POINTS = 30_000
SURFACE_POINT = 0.003
"""Side of a point of the true surface, as a share of the median depth."""
SURFACE_SEC = 2.0
"""The true surface is sent again at most this often while the scene grows."""


class TruthLayer(Part):
    """Keeps the truth beside one lane equal to the scene; called by the publisher only."""

    def __init__(self, page: Page, root: str, lane: int, series: "ChartSeries | None") -> None:
        """`root` is the prefix of all node names; `series` has the lane's alignment, if any."""
        self._page = page
        self._lane = lane
        self._series = series
        self._name = f"{root}/truth"
        self._nodes = Nodes()
        self._key: object = None
        self._sent_at_sec = -math.inf
        self._surface_sent_sec = -math.inf

    def update(self, tick: Tick) -> None:
        """Send what changed; the series has the frames of this tick."""
        if self._series is None or self._series.ground_truth is None:
            return
        lane, count, shown = tick.snapshot.lanes[self._lane], tick.position + 1, tick.drawn
        key = (lane.layout.generation, count) if shown.show_truth else None
        growing = shown.live and tick.snapshot.status.phase == "running" and key is not None
        rest_sec = max(REFRESH_SEC, count / REFRESH_FRAMES)
        due = tick.now_sec - self._sent_at_sec >= rest_sec
        if key != self._key and (due or not growing):
            series = self._series.lanes[self._lane]
            pairs = series.paired_centers(count) if shown.show_truth else None
            self._send(pairs, lane.layout.median_depth)
            self._key, self._sent_at_sec = key, tick.now_sec
        self._update_surface(self._series, tick)

    def _update_surface(self, series: "ChartSeries", tick: Tick) -> None:
        """Send the true surface that the frames up to the shown one saw, as far as it is read."""
        lane, count = tick.snapshot.lanes[self._lane], tick.position + 1
        if series.surface is None or not tick.drawn.show_true_cloud:
            self._nodes.outdated("surface", None)
            return
        cuts = tick.drawn.cuts_ceiling
        key = (lane.layout.generation, min(count, len(series.surface)), cuts)
        rested = tick.now_sec - self._surface_sent_sec >= SURFACE_SEC
        read = not tick.drawn.live and len(series.surface) >= count
        if self._nodes.outdated("surface", key) and (rested or read):
            points = series.surface.points(count)
            if cuts:
                points = points[lane.layout.below_cut(points)]
            points = some_of_points(points, SURFACE_POINTS)
            colors = np.broadcast_to(np.array(SURFACE_COLOR, np.uint8), points.shape)
            side = SURFACE_POINT * lane.layout.median_depth
            scene, name = self._page.scene, f"{self._name}/surface"
            self._nodes.put("surface", add_points(scene, name, points, colors, side), key)
            self._surface_sent_sec = tick.now_sec

    def _send(self, pairs: NDArray[np.float64] | None, median_depth: float) -> None:
        """Draw the truth beside these cameras (n, 2, 3), or take it away."""
        if pairs is None:
            for name in ("path", "error"):
                self._nodes.outdated(name, None)
            return
        for name, points, color, thickness_px in (
            ("path", dashes(pairs[:, 1], DASH * median_depth), TRUE_COLOR, 1.6),
            ("error", error_lines(pairs, ERROR_SPACING * median_depth), ERROR_COLOR, 1.0),
        ):
            strength = np.linspace(OLDEST_SHARE, 1.0, len(points))[:, None, None]
            colors = np.broadcast_to(line_colors(strength * np.array(color)), points.shape)
            lines = add_lines(
                self._page.scene, f"{self._name}/{name}", points, colors, thickness_px
            )
            self._nodes.put(name, lines)


def dashes(path: NDArray[np.float64], length: float) -> NDArray[np.float32]:
    """Cut a path (n, 3) into at most `DASHES` dashes (dashes, 2, 3), each `length` from the next.

    Where that would be more, `length` grows. What goes over the same place again is left out.
    """
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    total = along[-1]
    starts = np.linspace(0.0, total, _dash_count(total, length), endpoint=False)
    gap = total / max(len(starts), 1)
    at = np.stack([starts, starts + DASHED_SHARE * gap], axis=1)
    axes = [np.interp(at, along, path[:, axis]) for axis in range(3)]
    cut = np.stack(axes, axis=-1).astype(np.float32)
    return cut[spaced(cut[:, 0], DASHES_APART * gap)]


def _dash_count(total: float, length: float) -> int:
    return min(math.ceil(total / length), DASHES) if length > 0 else DASHES


def error_lines(pairs: NDArray[np.float64], apart: float) -> NDArray[np.float32]:
    """Choose at most `ERROR_LINES` of the lines (n, 2, 3) from cameras to their true places, from
    cameras that stand at least `apart`, and the newest one.
    """
    chosen = spaced(pairs[:-1, 0], apart)
    chosen = chosen[:: -(-len(chosen) // (ERROR_LINES - 1)) or 1]
    return pairs[[*chosen, len(pairs) - 1]].astype(np.float32)
