"""Lanes of the page: a root node for each, its place, its name, and a line that shows the drift.

Everything of lane K is below `/lanes/K` (in a guest's own view below another root), so that one
message shows, hides or moves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.scene.store import LaneScene
from ttt3r_viewer.system.memory import give_back
from ttt3r_viewer.viewer.layers.camera_layer import CameraLayer
from ttt3r_viewer.viewer.layers.colors import line_colors
from ttt3r_viewer.viewer.layers.nodes import Nodes, add_lines
from ttt3r_viewer.viewer.layers.point_layer import PointLayer
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import Page, assign_changed

SHARED_LANES = "/lanes"
"""Root of the lanes that all browsers show."""
DRIFT_NODE = f"{SHARED_LANES}/drift"
LABEL_HEIGHT = 0.12
"""Distance between a lane and its name, as a share of the scene's median depth."""
BAR_WIDTH = 0.3
"""Width of the bar in the lane's colour under its name, as a share of the median depth."""


@dataclass(frozen=True, eq=False)
class _LaneNodes:
    """What the page has of one lane."""

    root: viser.FrameHandle
    points: PointLayer
    cameras: CameraLayer
    label: Nodes
    """The name's root, text and bar."""


class LaneLayer(Part):
    """Keeps the page's lanes equal to the scene; called by the publisher only."""

    def __init__(self, page: Page, root: str = SHARED_LANES) -> None:
        self._page = page
        self._name = root
        self._root = page.scene.add_frame(root, show_axes=False)
        self._lanes: list[_LaneNodes] = []
        self._epoch = 0
        self._drift = Nodes()
        self.points_shown_by_lane: tuple[int, ...] = ()
        """Number of drawn points of each lane."""

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
        for k, (nodes, offset) in enumerate(zip(self._lanes, tick.offsets, strict=True)):
            nodes.root.position = (offset, 0.0, 0.0)
            nodes.points.update(tick)
            nodes.cameras.update(tick)
            self._send_label(k, tick)
            assign_changed(nodes.root, visible=k in visible)
        self._send_drift(tick)
        self.points_shown_by_lane = tuple(
            nodes.points.points_shown if k in visible else 0 for k, nodes in enumerate(self._lanes)
        )

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
                points=PointLayer(self._page, f"{self._name}/{k}", k, count),
                cameras=CameraLayer(self._page, f"{self._name}/{k}", k, count),
                label=Nodes(),
            )
            for k in range(count)
        ]

    def _send_label(self, k: int, tick: Tick) -> None:
        """Write the lane's name above it; in an overlay, names would lie on each other."""
        lane, nodes, scene = tick.snapshot.lanes[k], self._lanes[k].label, self._page.scene
        shown = bool(lane.frames) and tick.drawn.arrangement != "overlay"
        key = (lane.layout.generation, tick.lane_names[k])
        if shown and nodes.outdated("root", key):
            name, half = f"{self._name}/{k}/label", BAR_WIDTH / 2 * lane.layout.median_depth
            with self._page.atomic():
                root = scene.add_frame(name, show_axes=False, position=label_position(lane))
                nodes.put("root", root, key)
                text = scene.add_label(
                    f"{name}/text", key[1], anchor="bottom-center", font_screen_scale=1.2
                )
                nodes.put("text", text)
                ends = np.array([[[-half, 0.0, 0.0], [half, 0.0, 0.0]]], np.float32)
                colors = np.broadcast_to(line_colors(LANE_COLORS[k]), ends.shape)
                nodes.put("bar", add_lines(scene, f"{name}/bar", ends, colors, 6.0))
        if "root" in nodes.handles:
            assign_changed(nodes.handles["root"], visible=shown)

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


def label_position(lane: LaneScene) -> NDArray[np.float64]:
    """Return a point (3,) above the middle of a lane's cameras and above nearly all its points."""
    poses = np.stack([frame.camera.T_world_camera[:3] for frame in lane.frames])
    layout = lane.layout
    # The cameras look at things in front of them, above which a name is seen best.
    ahead = np.median(poses[..., 3], axis=0) + layout.median_depth / 2 * poses[0, :, 2]
    height = layout.height_range[1] + LABEL_HEIGHT * layout.median_depth
    return ahead + (height - ahead @ layout.up) * layout.up


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
