"""What looking inside adds to the scene: points in a map's colours, and those of picked patches.

All of it is in `/lanes/K/inspect_map`, `inspect_patches` and `inspect_picture` beside it. A point
belongs to the patch in which the frame's own camera sees it, because the scene keeps no pixel
numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import viser
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.geometry import quaternion_wxyz_from_matrix, transform_points
from ttt3r_viewer.scene.store import FramePoints, LaneScene, thin_points
from ttt3r_viewer.types import Camera, Inspection
from ttt3r_viewer.viewer.layers.maps import PATCH_COLOR, TOKEN_COLOR, color_map, robust_scale
from ttt3r_viewer.viewer.layers.point_layer import LIVE_POINTS

LIFT = 0.004
"""Points are moved so far to the camera, as a share of the way, that they cover those below."""
PICKED_SIZE, COLORED_SIZE = 1.6, 1.15
"""Sides of the points, in those of the other points."""
TOP_PATCHES = 5
MAX_ANGLE_RAD = 0.03
"""A click farther than this from every point meets none."""
SAME_RAY_RAD = 0.01
"""Of points that lie so close to the ray, the first that it meets is meant."""


def rows_of_layer(rows: NDArray[np.float16], layer: int) -> NDArray[np.float32]:
    """Give one layer, counted from 1, of (layer, query, key); 0 is the mean of all."""
    return rows.mean(axis=0, dtype=np.float32) if layer == 0 else rows[layer - 1].astype(np.float32)


def token_over_patches(found: Inspection, token: int, layer: int) -> NDArray[np.float32]:
    """Give how much a state token takes from each patch (patch,)."""
    own = found.writes[:, token : token + 1, 1:]
    return rows_of_layer(own, layer)[0]


def tokens_of_patch(
    found: Inspection, patch: int, layer: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give how much a patch reads from each token (state,), and how much each takes from it."""
    reads = rows_of_layer(found.reads[:, 1 + patch : 2 + patch], layer)[0]
    writes = rows_of_layer(found.writes[:, :, 1 + patch : 2 + patch], layer)[:, 0]
    return reads, writes


def gain_support(found: Inspection) -> NDArray[np.float32]:
    """Give the mean gain of the tokens for each patch (patch,), weighted by what they take of it.

    The weights are the attention of the state to the patches, mean over heads and layers.
    """
    weights = rows_of_layer(found.writes[:, :, 1:], 0)
    return found.gain @ weights / np.maximum(weights.sum(axis=0), 1e-9)


def largest(values: NDArray[np.floating], count: int) -> tuple[int, ...]:
    """Give where the largest values (n,) are, the largest first."""
    return tuple(int(k) for k in np.argsort(-values, kind="stable")[:count])


def top_patches(found: Inspection, token: int, layer: int) -> tuple[int, ...]:
    """Give the patches that a state token takes from most, the first the most."""
    return largest(token_over_patches(found, token, layer), TOP_PATCHES)


def patches_of_points(
    points_world: NDArray[np.floating], camera: Camera, rows: int, columns: int
) -> NDArray[np.intp]:
    """Give in which patch, counted row by row, a camera sees its own frame's points (n, 3).

    They lie only roughly on the rays of their pixels, so that one beyond the picture belongs to the
    nearest patch at its edge. -1 for points behind the camera.
    """
    T_camera_world = np.linalg.inv(camera.T_world_camera)
    x, y, z = transform_points(T_camera_world, points_world).T
    ahead = z > 1e-9
    depth = np.where(ahead, z, 1.0)
    u = camera.focal_px * x / depth + camera.width // 2 + 0.5
    v = camera.focal_px * y / depth + camera.height // 2 + 0.5
    column = np.clip(u, 0, camera.width - 1).astype(np.intp) * columns // camera.width
    row = np.clip(v, 0, camera.height - 1).astype(np.intp) * rows // camera.height
    return np.where(ahead, row * columns + column, -1)


def patch_means(
    values: NDArray[np.floating], patches: NDArray[np.intp], rows: int, columns: int
) -> NDArray[np.float32]:
    """Give the mean (rows, columns) of the points' values (n,) in each patch; NaN without any."""
    known = patches >= 0
    size = rows * columns
    count = np.bincount(patches[known], minlength=size)
    total = np.bincount(patches[known], values[known].astype(np.float64), minlength=size)
    with np.errstate(invalid="ignore"):
        return (total / count).astype(np.float32).reshape(rows, columns)


def point_on_ray(
    points: NDArray[np.floating], origin: ArrayLike, direction: ArrayLike
) -> int | None:
    """Give which of the points (n, 3) a ray meets first, seen from its origin; None for none."""
    way = points - np.asarray(origin, np.float64)
    ray = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    along = way @ ray
    aside = np.linalg.norm(way - along[:, None] * ray, axis=1)
    angle = np.where(along > 1e-9, np.arctan2(aside, along), np.inf)
    if not len(angle) or angle.min() > MAX_ANGLE_RAD:
        return None
    near = np.flatnonzero(angle <= max(SAME_RAY_RAD, float(angle.min())))
    return int(near[along[near].argmin()])


def patch_on_image(
    origin: ArrayLike, direction: ArrayLike, camera: Camera, depth: float, rows: int, columns: int
) -> tuple[int, float] | None:
    """Give where a ray meets the picture that stands `depth` in front of a camera, if it does.

    The patch, counted row by row, and its distance from the ray's origin in the scene's unit.
    """
    R_camera_world = camera.T_world_camera[:3, :3].T
    start = R_camera_world @ (np.asarray(origin, np.float64) - camera.T_world_camera[:3, 3])
    way = R_camera_world @ (np.asarray(direction, np.float64) / np.linalg.norm(direction))
    if abs(way[2]) < 1e-9 or (depth - start[2]) / way[2] <= 0:
        return None
    distance = float((depth - start[2]) / way[2])
    x, y, _ = start + distance * way
    u = x / depth * camera.focal_px / camera.width + 0.5
    v = y / depth * camera.focal_px / camera.height + 0.5
    if not (0 <= u < 1 and 0 <= v < 1):
        return None
    return int(v * rows) * columns + int(u * columns), distance


def shown_points(lane: LaneScene, sequence: int) -> FramePoints:
    """Give the points that the page shows of a frame: of the newest, more than are kept."""
    latest = lane.latest
    if latest is not None and latest.sequence == sequence:
        return thin_points(latest, LIVE_POINTS)
    return lane.frames[sequence].points


class InspectLayer:
    """Keeps what looking inside draws in the scene; called by the publisher only."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._handles: dict[str, viser.PointCloudHandle | viser.ImageHandle] = {}
        self._scene: object = None
        self.picked_points = 0
        """How many points are highlighted."""

    def begin(self, scene: object) -> None:
        """Say which lanes these are: where they differ, all nodes have gone with the old lanes."""
        if scene != self._scene:
            self._scene = scene
            self._handles = {}
            self.picked_points = 0

    def clear(self) -> None:
        """Take everything out of the scene."""
        for name in tuple(self._handles):
            self._remove(name)
        self.picked_points = 0

    def show_patches(
        self,
        lane: int,
        points_world: NDArray[np.floating],
        camera: Camera,
        patches: NDArray[np.intp],
        *,
        top: Sequence[int],
        picked: int,
        point_size: float,
    ) -> None:
        """Highlight a frame's points (n, 3) in the `top` patches of the token, and in the picked.

        `patches` (n,) are those of the points.
        """
        is_picked = patches == picked
        chosen = np.isin(patches, top) | is_picked
        colors = np.where(is_picked[chosen, None], PATCH_COLOR, TOKEN_COLOR).astype(np.uint8)
        self.picked_points = int(chosen.sum())
        points = lifted(points_world[chosen], camera, 2 * LIFT)
        self._send("patches", lane, points, colors, PICKED_SIZE * point_size)

    def show_map(
        self,
        lane: int,
        points_world: NDArray[np.floating],
        camera: Camera,
        patches: NDArray[np.intp],
        *,
        values: NDArray[np.floating] | None,
        point_size: float,
    ) -> None:
        """Colour a frame's points by the values (patch,) of their patches; None colours none."""
        if values is None:
            self._remove("map")
            return
        known = patches >= 0
        points = lifted(points_world[known], camera, LIFT)
        colors = color_map(values[patches[known]], robust_scale(values))
        self._send("map", lane, points, colors, COLORED_SIZE * point_size)

    def show_image(self, lane: int, image: NDArray[np.uint8], camera: Camera, depth: float) -> None:
        """Cover the picture that the shown camera has, `depth` in front of it, with another."""
        node = f"/lanes/{lane}/inspect_picture"
        if "picture" in self._handles and self._handles["picture"].name != node:
            self._remove("picture")
        nearer = (1 - 2 * LIFT) * depth
        height = nearer * camera.height / camera.focal_px
        T_world_camera = camera.T_world_camera
        self._handles["picture"] = self._server.scene.add_image(
            node,
            image,
            render_width=height * camera.aspect,
            render_height=height,
            wxyz=quaternion_wxyz_from_matrix(T_world_camera[:3, :3]),
            position=T_world_camera[:3, 3] + nearer * T_world_camera[:3, 2],
        )

    def hide_image(self) -> None:
        """Let the shown camera have its own picture."""
        self._remove("picture")

    def _send(
        self,
        name: str,
        lane: int,
        points: NDArray[np.float32],
        colors: NDArray[np.uint8],
        point_size: float,
    ) -> None:
        """Replace a node; one without points, or below another lane, is taken away."""
        node = f"/lanes/{lane}/inspect_{name}"
        if name in self._handles and (self._handles[name].name != node or not len(points)):
            self._remove(name)
        if len(points):
            self._handles[name] = self._server.scene.add_point_cloud(
                node,
                points,
                colors,
                point_size=point_size,
                point_shape="square",
                point_shading="flat",
                precision="float32",
            )

    def _remove(self, name: str) -> None:
        if name in self._handles:
            self._handles.pop(name).remove()


def lifted(points_world: NDArray[np.floating], camera: Camera, share: float) -> NDArray[np.float32]:
    """Move points (n, 3) a share of the way towards the camera."""
    center = camera.T_world_camera[:3, 3]
    return (points_world + share * (center - points_world)).astype(np.float32)
