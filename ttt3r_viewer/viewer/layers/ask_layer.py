"""What the states expect, drawn in the scene: tinted points and the camera that was asked about.

A lane's are below its own root, so that they stand, hide and blink with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import viser
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.geometry import quaternion_wxyz_from_matrix, transform_points
from ttt3r_viewer.metrics.palette import LANE_COLORS, RGB
from ttt3r_viewer.scene.budget import random_subset
from ttt3r_viewer.types import Expectation
from ttt3r_viewer.viewer.layers.camera_layer import LIVE_DEPTH, frustum_scale
from ttt3r_viewer.viewer.layers.colors import tint
from ttt3r_viewer.viewer.layers.maps import color_map, robust_scale
from ttt3r_viewer.viewer.layers.point_layer import LIVE_POINTS
from ttt3r_viewer.viewer.view_settings import AskSettings

ASK_COLOR: RGB = (255, 90, 255)
"""The tint where one lane has no colour of its own."""


@dataclass(frozen=True, eq=False)
class ExpectedPoints:
    """The points of an expectation that are drawn."""

    points_world: NDArray[np.float32]
    """(n, 3)"""
    colors: NDArray[np.uint8]
    """(n, 3) RGB of the picture."""
    confidence: NDArray[np.float32]
    """(n,)"""


def lane_tint(lane: int, count: int) -> RGB:
    """Give the colour that marks what a lane expects."""
    return LANE_COLORS[lane] if count > 1 else ASK_COLOR


def chosen_points(found: Expectation, hidden_percent: float, most: int) -> ExpectedPoints:
    """Choose finite points, without the least sure share, and at most so many at random."""
    points, confidence = found.points_camera.reshape(-1, 3), found.confidence.reshape(-1)
    usable = np.flatnonzero(np.isfinite(points).all(axis=1) & np.isfinite(confidence))
    by_confidence = usable[np.argsort(confidence[usable], kind="stable")]
    usable = by_confidence[round(hidden_percent / 100 * len(usable)) :]
    usable = random_subset(usable, most, np.random.default_rng(found.sequence))
    return ExpectedPoints(
        transform_points(found.camera.T_world_camera, points[usable]).astype(np.float32),
        found.image.reshape(-1, 3)[usable],
        confidence[usable],
    )


def tinted(colors: NDArray[np.uint8], color: RGB, strength: float) -> NDArray[np.uint8]:
    """Blend colours (n, 3) towards the same picture painted in one colour; 0 leaves them."""
    blend = (1 - strength) * colors.astype(np.float64) + strength * tint(colors, color)
    return blend.round().astype(np.uint8)


def lane_camera(
    position: ArrayLike, wxyz: ArrayLike, look_at: ArrayLike, lanes: Sequence[tuple[float, float]]
) -> tuple[float, ...]:
    """Give a browser's camera (position, wxyz) as a pose (7,) in the world that the lanes share.

    `lanes` are those drawn: where each root stands on the page's x axis, and its shown camera on
    its own. They may stand side by side; the camera is then taken to be among the frames of the
    lane whose shown camera is nearest to `look_at`, which the view turns around.
    """
    x = float(np.asarray(look_at)[0])
    offset = min(lanes, key=lambda lane: abs(x - lane[0] - lane[1]), default=(0.0, 0.0))[0]
    place = np.asarray(position, np.float64) - [offset, 0.0, 0.0]
    # viser's cameras are OpenCV's: x right, y down, z forward.
    return (*map(float, place), *map(float, np.asarray(wxyz, np.float64)))


class AskLayer:
    """Keeps what the states expect in the scene; called by the publisher only."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._scene: object = None
        self._handles: dict[str, viser.PointCloudHandle | viser.CameraFrustumHandle] = {}
        self.points_shown: tuple[int, ...] = ()
        """How many points of each lane are drawn."""

    def begin(self, scene: object) -> None:
        """Say which lanes these are: where they differ, all nodes have gone with the old lanes."""
        if scene != self._scene:
            self._scene, self._handles, self.points_shown = scene, {}, ()

    def clear(self) -> None:
        """Take everything out of the scene."""
        for handle in self._handles.values():
            handle.remove()
        self._handles, self.points_shown = {}, ()

    def show(
        self,
        lanes: Sequence[Expectation],
        chosen: AskSettings,
        *,
        point_size: float,
        median_depth: float,
    ) -> None:
        """Draw what every lane expects in place of what was drawn before."""
        most = LIVE_POINTS // max(len(lanes), 1)
        shown = []
        with self._server.atomic():
            for found in lanes:
                points = chosen_points(found, chosen.hidden_percent, most)
                self._send_points(found, points, chosen, len(lanes), point_size)
                self._send_camera(found, len(lanes), median_depth)
                shown.append(len(points.points_world))
        self.points_shown = tuple(shown)

    def _send_points(
        self,
        found: Expectation,
        points: ExpectedPoints,
        chosen: AskSettings,
        count: int,
        point_size: float,
    ) -> None:
        name, colors = f"/lanes/{found.lane}/expected_points", points.colors
        if chosen.color_by == "confidence":
            colors = color_map(points.confidence, robust_scale(found.confidence))
        if not len(colors):
            if name in self._handles:
                self._handles.pop(name).remove()
            return
        self._handles[name] = self._server.scene.add_point_cloud(
            name,
            points.points_world,
            tinted(colors, lane_tint(found.lane, count), chosen.tint),
            point_size=point_size,
            point_shape="circle",
            point_shading="flat",
            precision="float32",
        )

    def _send_camera(self, found: Expectation, count: int, median_depth: float) -> None:
        """Draw the camera's edges alone: its picture would hide the scene from who stands there."""
        name, camera = f"/lanes/{found.lane}/expected_camera", found.camera
        self._handles[name] = self._server.scene.add_camera_frustum(
            name,
            fov=camera.fov_y_rad,
            aspect=camera.aspect,
            scale=frustum_scale(camera, LIVE_DEPTH * median_depth),
            thickness=2.5,
            thickness_units="screen",
            color=lane_tint(found.lane, count),
            wxyz=quaternion_wxyz_from_matrix(camera.T_world_camera[:3, :3]),
            position=camera.T_world_camera[:3, 3],
        )
