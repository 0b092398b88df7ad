"""The lanes of the page: a root node for each, where it stands, its name, and how far they drift.

Everything of lane K is below `/lanes/K` (in a guest's own view another root), so that one message
shows, hides or moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.scene.store import LaneScene, SceneSnapshot
from ttt3r_viewer.system.memory import give_back
from ttt3r_viewer.viewer.layers.camera_layer import CameraLayer
from ttt3r_viewer.viewer.layers.colors import line_colors
from ttt3r_viewer.viewer.layers.point_layer import PointLayer
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ViewSettings
from ttt3r_viewer.viewer.widgets import Page, assign_changed

SHARED_LANES = "/lanes"
"""The root of what all browsers are shown."""
DRIFT_NODE = f"{SHARED_LANES}/drift"
LABEL_HEIGHT = 0.12
"""Distance between a lane and its name, as a share of the scene's median depth."""
BAR_WIDTH = 0.3
"""Width of the bar in the lane's colour under its name, as a share of the median depth."""


@dataclass
class _LaneNodes:
    """What the page has of one lane."""

    root: viser.FrameHandle
    points: PointLayer
    cameras: CameraLayer
    label_root: viser.FrameHandle | None = None
    label: viser.LabelHandle | None = None
    label_key: object = None
    offset: float = 0.0
    """Where the root stands on the world's x axis."""

    @property
    def node_count(self) -> int:
        """Number of nodes of this lane in the page; a name has a root, a text and a bar."""
        label = 3 if self.label is not None else 0
        return 1 + self.points.node_count + self.cameras.node_count + label


class LaneLayer(Part):
    """Keeps the page's lanes equal to the scene; called by the publisher only."""

    def __init__(self, page: Page, root: str = SHARED_LANES) -> None:
        self._page = page
        self._name = root
        self._root = page.scene.add_frame(root, show_axes=False)
        self._lanes: list[_LaneNodes] = []
        self._epoch = 0
        self._drift: viser.LineSegmentsHandle | None = None
        self._drift_key: object = None
        self.points_shown_by_lane: tuple[int, ...] = ()
        """How many points of each lane the page draws now."""

    @property
    def node_count(self) -> int:
        """Number of nodes of all lanes in the page."""
        return 1 + (self._drift is not None) + sum(lane.node_count for lane in self._lanes)

    def probe(self) -> dict[str, object]:
        """Say how many points and nodes the page draws."""
        return {
            "points_shown": sum(self.points_shown_by_lane),
            "points_shown_by_lane": self.points_shown_by_lane,
            "nodes": self.node_count,
        }

    def update(self, tick: Tick) -> None:
        """Send what changed and show what the settings ask for."""
        snapshot, settings, position = tick.snapshot, tick.drawn, tick.position
        count, now_sec = tick.lane_count, tick.now_sec
        if snapshot.epoch != self._epoch or count != len(self._lanes):
            self._rebuild(count)
            self._epoch = snapshot.epoch
        visible = tick.visible_lanes
        for nodes, offset in zip(self._lanes, tick.geometry.offsets, strict=True):
            if nodes.offset != offset:
                nodes.offset = offset
                nodes.root.position = (offset, 0.0, 0.0)
        for k, (nodes, lane) in enumerate(zip(self._lanes, snapshot.lanes, strict=True)):
            running = snapshot.status.phase == "running"
            nodes.points.update(
                lane, settings, position, now_sec, tick.geometry.point_size, snapshot.recording
            )
            nodes.cameras.update(lane, settings, position, now_sec, running)
            self._send_label(k, lane, tick.lane_names[k], settings)
            assign_changed(nodes.root, visible=k in visible)
        self._send_drift(snapshot, settings, position)
        self.points_shown_by_lane = tuple(
            nodes.points.points_shown if k in visible else 0 for k, nodes in enumerate(self._lanes)
        )

    def remove(self) -> None:
        """Take all lanes away, and their root; nothing may be asked of this layer afterwards."""
        self._root.remove()

    def _rebuild(self, count: int) -> None:
        """Take away all lanes with everything below them, and make empty ones."""
        assert count <= len(LANE_COLORS), "more lanes than colours"
        with self._page.atomic():
            for lane in self._lanes:
                lane.root.remove()
            if self._drift is not None:
                self._drift.remove()
        if self._lanes:
            give_back()
        self._drift = self._drift_key = None
        self._lanes = []
        for k in range(count):
            name, color = f"{self._name}/{k}", LANE_COLORS[k]
            self._lanes.append(
                _LaneNodes(
                    root=self._page.scene.add_frame(name, show_axes=False),
                    points=PointLayer(self._page, name, k, color, count),
                    cameras=CameraLayer(self._page, name, color if count > 1 else None),
                )
            )

    def _send_label(self, k: int, lane: LaneScene, name: str, settings: ViewSettings) -> None:
        """Write the lane's name above it; where lanes lie on each other, names would too."""
        nodes = self._lanes[k]
        wanted = bool(lane.frames) and settings.arrangement != "overlay"
        key = (lane.layout.generation, name)
        if wanted and key != nodes.label_key:
            nodes.label_key = key
            root, half = f"{self._name}/{k}/label", BAR_WIDTH / 2 * lane.layout.median_depth
            with self._page.atomic():
                nodes.label_root = self._page.scene.add_frame(
                    root, show_axes=False, position=label_position(lane)
                )
                nodes.label = self._page.scene.add_label(
                    f"{root}/text", name, anchor="bottom-center", font_screen_scale=1.2
                )
                self._page.scene.add_line_segments(
                    f"{root}/bar",
                    np.array([[[-half, 0.0, 0.0], [half, 0.0, 0.0]]], np.float32),
                    np.broadcast_to(line_colors(LANE_COLORS[k]), (1, 2, 3)),
                    thickness=6.0,
                    thickness_units="screen",
                )
        if nodes.label_root is not None:
            assign_changed(nodes.label_root, visible=wanted)

    def _send_drift(self, snapshot: SceneSnapshot, settings: ViewSettings, position: int) -> None:
        """Join the shown cameras of lanes that lie on each other: that is how far they drift."""
        visible = settings.visible_lanes(len(snapshot.lanes))
        apart = settings.arrangement != "overlay"
        if position < 0 or len(visible) < 2 or apart or not settings.show_cameras:
            visible = ()
        key = (position, visible)
        if key == self._drift_key:
            return
        self._drift_key = key
        if visible:
            self._drift = self._page.scene.add_line_segments(
                f"{self._name}/drift",
                *drift_segments(snapshot.lanes, visible, position),
                thickness=3.0,
                thickness_units="screen",
            )
        elif self._drift is not None:
            self._drift.remove()
            self._drift = None


def label_position(lane: LaneScene) -> NDArray[np.float64]:
    """Give the point (3,) above the middle of a lane's cameras and above nearly all its points."""
    centers = np.stack([frame.camera.T_world_camera[:3, 3] for frame in lane.frames])
    x, _, z = np.median(centers, axis=0)
    depth = lane.layout.median_depth
    # The cameras look at things in front of them, above which a name is seen best.
    return np.array([x, -lane.layout.height_range[1] - LABEL_HEIGHT * depth, z + depth / 2])


def drift_segments(
    lanes: Sequence[LaneScene], visible: Sequence[int], position: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Join a frame's cameras, the first lane's to each other's.

    Gives points and colours (visible lanes - 1, 2, 3); each end has its lane's colour.
    """
    centers = [lanes[k].frames[position].camera.T_world_camera[:3, 3] for k in visible]
    points = [[centers[0], center] for center in centers[1:]]
    colors = [[LANE_COLORS[visible[0]], LANE_COLORS[k]] for k in visible[1:]]
    return np.array(points, np.float32), line_colors(colors)
