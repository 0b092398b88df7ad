"""Expectations of the states in the scene: tinted points and the camera of the query.

A lane's nodes are below its own root, so that they move, hide and blink with it.
"""

from collections.abc import Sequence

import numpy as np
import viser
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.metrics.palette import LANE_COLORS, RGB
from ttt3r_viewer.scene.budget import Layout, pixel_order, sample_spacing, spaced_point_size
from ttt3r_viewer.scene.seen import depth_of
from ttt3r_viewer.types import Expectation
from ttt3r_viewer.viewer.layers.camera_layer import LIVE_DEPTH, add_frustum
from ttt3r_viewer.viewer.layers.colors import tint
from ttt3r_viewer.viewer.layers.maps import color_map, robust_scale
from ttt3r_viewer.viewer.layers.nodes import LIVE_POINTS, Nodes, add_points
from ttt3r_viewer.viewer.view_settings import AskSettings

ASK_COLOR: RGB = (255, 90, 255)
"""Tint of a single lane, which has no colour of its own."""


def lane_tint(lane: int, count: int) -> RGB:
    """Return the colour that marks what a lane expects."""
    return LANE_COLORS[lane] if count > 1 else ASK_COLOR


def expected_points(
    found: Expectation, hidden_percent: float, most: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Choose at most `most` finite points, evenly scattered, without the least confident share.

    Returns the points (n, 3) in the world and their pixels (n,), counted row by row.
    """
    points, confidence = found.points_camera.reshape(-1, 3), found.confidence.reshape(-1)
    usable = np.flatnonzero(np.isfinite(points).all(axis=1) & np.isfinite(confidence))
    by_confidence = usable[np.argsort(confidence[usable], kind="stable")]
    shown = np.zeros(len(points), np.bool_)
    shown[by_confidence[round(hidden_percent / 100 * len(usable)) :]] = True
    pixels = pixel_order(found.confidence.shape, found.sequence)
    pixels = pixels[shown[pixels]][:most]
    points_world = transform_points(found.camera.T_world_camera, points[pixels])
    return points_world.astype(np.float32), pixels


def tinted(colors: NDArray[np.uint8], color: RGB, strength: float) -> NDArray[np.uint8]:
    """Blend colours (n, 3) towards the same ones painted in one colour; 0 leaves them."""
    blend = (1 - strength) * colors.astype(np.float64) + strength * tint(colors, color)
    return blend.round().astype(np.uint8)


def lane_camera(
    position: ArrayLike, wxyz: ArrayLike, look_at: ArrayLike, lanes: Sequence[tuple[float, float]]
) -> tuple[float, ...]:
    """Return a browser's camera (position, wxyz) as a pose (7,) in the world of the lanes.

    `lanes` are the drawn ones: x of each root on the page, and x of its shown camera in its own
    world. Where they are side by side, the camera belongs to the lane whose shown camera is nearest
    to `look_at`, which the view turns around.
    """
    x = float(np.asarray(look_at)[0])
    offset = min(lanes, key=lambda lane: abs(x - lane[0] - lane[1]), default=(0.0, 0.0))[0]
    place = np.asarray(position, np.float64) - [offset, 0.0, 0.0]
    # viser's cameras are OpenCV's: x right, y down, z forward.
    return (*map(float, place), *map(float, np.asarray(wxyz, np.float64)))


def expected_cloud(
    found: Expectation, most: int, chosen: AskSettings, color: RGB
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return at most `most` points (n, 3) of a lane in the world, and their tinted colours."""
    points_world, pixels = expected_points(found, chosen.hidden_percent, most)
    if chosen.color_by == "confidence":
        confidence = found.confidence.reshape(-1)[pixels]
        colors = color_map(confidence, robust_scale(found.confidence))
    else:
        colors = found.image.reshape(-1, 3)[pixels]
    return points_world, tinted(colors, color, chosen.tint)


class AskLayer(Nodes):
    """Draws what the states expect; called by the publisher only."""

    def __init__(self, server: viser.ViserServer) -> None:
        super().__init__()
        self._server = server

    @property
    def points_shown(self) -> tuple[int, ...]:
        """Number of drawn points of each lane."""
        clouds = (self.handles.get(name) for name in self._keys if "points" in name)
        return tuple(0 if cloud is None else len(cloud.points) for cloud in clouds)

    def show(
        self,
        lanes: Sequence[Expectation],
        chosen: AskSettings,
        *,
        point_size: float | None,
        layout: Layout,
    ) -> None:
        """Draw what every lane expects in place of what was drawn before.

        Points have the side `point_size`, or without one that which suits their pixels.
        """
        most = LIVE_POINTS // max(len(lanes), 1)
        with self._server.atomic():
            for found in lanes:
                color = lane_tint(found.lane, len(lanes))
                name = f"/lanes/{found.lane}/expected_"
                # Only its edges: its image would hide the scene from a view at this camera.
                depth = LIVE_DEPTH * layout.median_depth
                frustum = add_frustum(
                    self._server, f"{name}camera", found.camera, depth=depth, color=color
                )
                self.put(f"{name}camera", frustum)
                points_world, colors = expected_cloud(found, most, chosen, color)
                spacing = sample_spacing(depth_of(points_world, found.camera), found.camera, most)
                side = point_size or spaced_point_size(spacing, layout)
                scene, name = self._server.scene, f"{name}points"
                self.put(name, add_points(scene, name, points_world, colors, side, "circle"))
