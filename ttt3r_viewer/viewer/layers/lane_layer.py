"""Lanes of the page: a root node for each, its place and label, and a line that shows the drift.

Everything of lane K is below `/lanes/K` (in a guest's own view below another root), so that one
message shows, hides or moves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.metrics.lane_errors import LaneError, lane_errors
from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.scene.store import LaneScene
from ttt3r_viewer.system.memory import give_back
from ttt3r_viewer.viewer.layers.camera_layer import CameraLayer, Fly
from ttt3r_viewer.viewer.layers.colors import COLOR_MODES, line_colors
from ttt3r_viewer.viewer.layers.lane_label import LaneLabel
from ttt3r_viewer.viewer.layers.nodes import Nodes, add_lines
from ttt3r_viewer.viewer.layers.point_layer import PointLayer
from ttt3r_viewer.viewer.layers.truth_layer import TruthLayer
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import Page, assign_changed

if TYPE_CHECKING:
    from ttt3r_viewer.viewer.panels.chart_series import ChartSeries

SHARED_LANES = "/lanes"
"""Root of the lanes that all browsers show."""
DRIFT_NODE = f"{SHARED_LANES}/drift"


@dataclass(frozen=True, eq=False)
class _LaneNodes:
    """What the page has of one lane."""

    root: viser.FrameHandle
    points: PointLayer
    cameras: CameraLayer
    truth: TruthLayer
    label: LaneLabel


class LaneLayer(Part):
    """Keeps the page's lanes equal to the scene; called by the publisher only."""

    def __init__(
        self,
        page: Page,
        root: str = SHARED_LANES,
        series: "ChartSeries | None" = None,
        fly: Fly | None = None,
    ) -> None:
        """`series` has every lane's errors; None where the truth is not known. `fly` moves a
        browser to the camera that was clicked in it.
        """
        self._page = page
        self._fly = fly
        self._series = series
        self._name = root
        self._root = page.scene.add_frame(root, show_axes=False)
        self._lanes: list[_LaneNodes] = []
        self._epoch = 0
        self._drift = Nodes()
        self.points_shown_by_lane: tuple[int, ...] = ()
        """Number of drawn points of each lane."""

    @property
    def median_point_size(self) -> float:
        """Median automatic side of the points of all lanes; 0 where there are none."""
        sizes = sorted(size for nodes in self._lanes for size in nodes.points.sizes_shown)
        if not sizes:
            return 0.0
        reached = np.cumsum([count for _, count in sizes])
        return sizes[int(np.searchsorted(reached, reached[-1] / 2))][0]

    def probe(self) -> dict[str, object]:
        """Return how many points are drawn, and how many nodes are below the lanes' root."""
        nodes = list(self._page.scene._handle_from_node_name)
        return {
            "points_shown": sum(self.points_shown_by_lane),
            "points_shown_by_lane": self.points_shown_by_lane,
            "nodes": sum(name.startswith(self._name) for name in nodes),
        }

    def update(self, tick: Tick) -> None:
        """Send what changed and show what the settings choose."""
        if tick.snapshot.epoch != self._epoch or tick.lane_count != len(self._lanes):
            self._rebuild(tick.lane_count)
            self._epoch = tick.snapshot.epoch
        visible = tick.visible_lanes
        errors = self._errors(tick)
        for k, (nodes, offset) in enumerate(zip(self._lanes, tick.offsets, strict=True)):
            nodes.root.position = (offset, 0.0, 0.0)
            nodes.points.update(tick)
            nodes.cameras.update(tick)
            nodes.truth.update(tick)
            nodes.label.update(tick, errors[k])
            assign_changed(nodes.root, visible=k in visible)
        self._send_drift(tick)
        self.points_shown_by_lane = tuple(
            nodes.points.points_shown if k in visible else 0 for k, nodes in enumerate(self._lanes)
        )

    def _errors(self, tick: Tick) -> Sequence[LaneError | None]:
        """Return every lane's error so far; None where the truth is not known."""
        ate_m = None
        if self._series is not None:
            self._series.update(tick.snapshot)
            by_error = COLOR_MODES[tick.drawn.color_by].needs_depth
            if by_error or tick.drawn.show_true_cloud:
                self._series.read_surface()
            ate_m = self._series.ate_so_far(tick.position)
        return [None] * tick.lane_count if ate_m is None else lane_errors(ate_m)

    def remove(self) -> None:
        """Remove all lanes and their root; the layer is not used afterwards."""
        self._root.remove()

    def _rebuild(self, count: int) -> None:
        """Remove all lanes with everything below them, and make empty ones."""
        assert count <= len(LANE_COLORS), "more lanes than colours"
        with self._page.atomic():
            for lane in self._lanes:
                lane.root.remove()
            self._drift.clear()
        if self._lanes:
            give_back()
        self._lanes = [
            _LaneNodes(
                root=self._page.scene.add_frame(f"{self._name}/{k}", show_axes=False),
                points=PointLayer(self._page, f"{self._name}/{k}", k, count, self._series),
                cameras=CameraLayer(self._page, f"{self._name}/{k}", k, count, self._fly),
                truth=TruthLayer(self._page, f"{self._name}/{k}", k, self._series),
                label=LaneLabel(self._page, f"{self._name}/{k}", k),
            )
            for k in range(count)
        ]

    def _send_drift(self, tick: Tick) -> None:
        """Join the shown cameras of overlaid lanes: the length of the lines is their drift."""
        visible, position, settings = tick.visible_lanes, tick.position, tick.drawn
        overlay = settings.arrangement == "overlay" and settings.show_cameras
        shown = position >= 0 and len(visible) > 1 and overlay
        key = (position, visible) if shown else None
        if self._drift.outdated("drift", key):
            points, colors = drift_segments(tick.snapshot.lanes, visible, position)
            lines = add_lines(self._page.scene, f"{self._name}/drift", points, colors, 3.0)
            self._drift.put("drift", lines, key)


def drift_segments(
    lanes: Sequence[LaneScene], visible: Sequence[int], position: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Join a frame's cameras, the first lane's to each other's.

    Returns points and colours (visible lanes - 1, 2, 3); each end has its lane's colour.
    """
    centers = [lanes[k].frames[position].camera.T_world_camera[:3, 3] for k in visible]
    points = [[centers[0], center] for center in centers[1:]]
    colors = [[LANE_COLORS[visible[0]], LANE_COLORS[k]] for k in visible[1:]]
    return np.array(points, np.float32), line_colors(colors)
