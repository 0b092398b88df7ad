"""Inspection in the scene: points in a map's colours, points of picked patches, a map on an image.

The nodes are `/lanes/K/inspect_map`, `inspect_patches` and `inspect_image`. A point belongs to the
patch in which its frame's camera sees it, because the scene keeps no pixel numbers.
"""

from dataclasses import dataclass

import numpy as np
import viser
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.geometry import quaternion_wxyz_from_matrix, transform_points
from ttt3r_viewer.scene.budget import sample_spacing, spaced_point_size
from ttt3r_viewer.scene.seen import FramePoints, depth_of, thin_points
from ttt3r_viewer.scene.store import LaneScene
from ttt3r_viewer.types import Camera, Inspection
from ttt3r_viewer.viewer.layers.maps import PATCH_COLOR, TOKEN_COLOR, color_map, robust_scale
from ttt3r_viewer.viewer.layers.nodes import LIVE_POINTS, Nodes, add_points
from ttt3r_viewer.viewer.view_settings import InspectSettings

LIFT = 0.004
"""Share of the way to the camera by which points are moved, to cover those below."""
PICKED_SIZE, COLORED_SIZE = 1.6, 1.15
"""Sides of these points, relative to the other points."""
TOP_PATCHES = 5
MAX_ANGLE_RAD = 0.03
"""Largest angle between a click's ray and the point that it hits."""
SAME_RAY_RAD = 0.01
"""Of points this close to the ray, the nearest is hit."""


def rows_of_layer(rows: NDArray[np.float16], layer: int) -> NDArray[np.float32]:
    """Return one layer, counted from 1, of (layer, query, key); 0 is the mean of all."""
    return rows.mean(axis=0, dtype=np.float32) if layer == 0 else rows[layer - 1].astype(np.float32)


def token_over_patches(found: Inspection, token: int, layer: int) -> NDArray[np.float32]:
    """Return the attention of a state token to each patch (patch,)."""
    own = found.writes[:, token : token + 1, 1:]
    return rows_of_layer(own, layer)[0]


def tokens_of_patch(
    found: Inspection, patch: int, layer: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return attention (state,) of a patch to each state token, and of each token to the patch."""
    reads = rows_of_layer(found.reads[:, 1 + patch : 2 + patch], layer)[0]
    writes = rows_of_layer(found.writes[:, :, 1 + patch : 2 + patch], layer)[:, 0]
    return reads, writes


def gain_support(found: Inspection) -> NDArray[np.float32]:
    """Return the mean gain of the tokens for each patch (patch,).

    Weights are the attention of the state to the patches, mean over heads and layers.
    """
    weights = rows_of_layer(found.writes[:, :, 1:], 0)
    return found.gain @ weights / np.maximum(weights.sum(axis=0), 1e-9)


def largest(values: NDArray[np.floating], count: int) -> tuple[int, ...]:
    """Return the indices of the largest values (n,), the largest first."""
    return tuple(int(k) for k in np.argsort(-values, kind="stable")[:count])


def patches_of_points(
    points_world: NDArray[np.floating], camera: Camera, rows: int, columns: int
) -> NDArray[np.intp]:
    """Return the patch (n,), row by row, in which a camera sees its own frame's points (n, 3).

    Points lie only roughly on the rays of their pixels, so one outside of the image belongs to the
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
    """Return the mean (rows, columns) of the points' values (n,) per patch; NaN without points."""
    known = patches >= 0
    size = rows * columns
    count = np.bincount(patches[known], minlength=size)
    total = np.bincount(patches[known], values[known].astype(np.float64), minlength=size)
    with np.errstate(invalid="ignore"):
        return (total / count).astype(np.float32).reshape(rows, columns)


def point_on_ray(
    points: NDArray[np.floating], origin: ArrayLike, direction: ArrayLike
) -> int | None:
    """Return the index of the point (n, 3) that a ray hits first; None for none."""
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
    """Return where a ray hits the image that is `depth` in front of a camera; None where it misses.

    The patch, row by row, and its distance from the ray's origin in the scene's unit.
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


def key_of(found: Inspection) -> tuple[int, int, int]:
    """Say which step of which lane and run was inspected."""
    return found.epoch, found.lane, found.sequence


@dataclass(frozen=True, eq=False)
class Shown:
    """An inspection, and what the user picked in it, within what there is."""

    lane: LaneScene
    found: Inspection
    chosen: InspectSettings
    gains: NDArray[np.float16]
    """(frame, state) up to the frame that the page stands at; of two lanes, their difference."""

    @property
    def camera(self) -> Camera:
        """The inspected frame's."""
        return self.lane.frames[self.found.sequence].camera

    @property
    def patch(self) -> int:
        """The picked patch, counted row by row."""
        return self.chosen.row * self.found.columns + self.chosen.column

    @property
    def key(self) -> tuple[object, ...]:
        """What everything drawn of it depends on."""
        return key_of(self.found), self.chosen.layer, self.chosen.token, self.patch

    @property
    def top_patches(self) -> tuple[int, ...]:
        """The patches to which the picked token attends most, in descending order."""
        chosen = self.chosen
        return largest(token_over_patches(self.found, chosen.token, chosen.layer), TOP_PATCHES)

    @property
    def points(self) -> FramePoints:
        """The points that the page shows of the frame: more than are kept of the newest."""
        latest, sequence = self.lane.latest, self.found.sequence
        if latest is not None and latest.sequence == sequence:
            return thin_points(latest, LIVE_POINTS)
        return self.lane.frames[sequence].points


class InspectLayer(Nodes):
    """Draws an inspection in the scene; called by the publisher only."""

    def __init__(self, server: viser.ViserServer) -> None:
        super().__init__()
        self._server = server
        self._hit: tuple[Shown, NDArray[np.float32], NDArray[np.intp]] | None = None
        """What a click can hit: the drawn frame, its points (n, 3) and their patches (n,)."""
        self.offset = 0.0
        """Where the lane's root stands on the x axis of whole pages."""
        self._image_depth: float | None = None

    @property
    def picked_points(self) -> int:
        """Number of highlighted points."""
        patches = self.handles.get("patches")
        return 0 if patches is None else len(patches.points)

    def clear(self) -> None:
        """Take all nodes out of the page; a click then hits nothing."""
        super().clear()
        self._hit = None

    def patch_at(self, origin: ArrayLike, direction: ArrayLike) -> tuple[int, int] | None:
        """Return row and column of the patch that a ray of the lane's world hits first, on a point
        or the image.
        """
        if self._hit is None:
            return None
        shown, points, patches = self._hit
        grid = (shown.found.rows, shown.found.columns)
        start = np.asarray(origin, np.float64)
        hit, met, depth = point_on_ray(points, start, direction), None, self._image_depth
        if depth is not None:
            met = patch_on_image(start, direction, shown.camera, depth, *grid)
        if met is not None and (hit is None or met[1] < np.linalg.norm(points[hit] - start)):
            return divmod(met[0], grid[1])
        return None if hit is None else divmod(int(patches[hit]), grid[1])

    def show_points(
        self,
        shown: Shown,
        values: NDArray[np.floating] | None,
        *,
        point_size: float | None,
        offset: float,
        image_depth: float | None,
    ) -> None:
        """Highlight the frame's points in the top patches and the picked one.

        All points are coloured by the `values` (patch,) of their patches, where there are any, and
        sized by `point_size`, or without one by how far apart their pixels lie. The
        lane's root stands at `offset` on the x axis, and the frame's image `image_depth` in front
        of its camera; None where it is not drawn.
        """
        found, camera, points = shown.found, shown.camera, shown.points.points_world
        patches = patches_of_points(points, camera, found.rows, found.columns)
        points, patches = points[patches >= 0], patches[patches >= 0]
        spacing = sample_spacing(depth_of(points, camera), camera, len(points))
        side = point_size or spaced_point_size(spacing, shown.lane.layout)
        self._hit, self.offset, self._image_depth = (shown, points, patches), offset, image_depth
        is_picked = patches == shown.patch
        chosen = np.isin(patches, shown.top_patches) | is_picked
        colors = np.where(is_picked[chosen, None], PATCH_COLOR, TOKEN_COLOR).astype(np.uint8)
        name, size = f"/lanes/{found.lane}/inspect_", PICKED_SIZE * side
        near, scene = lifted(points[chosen], camera, 2 * LIFT), self._server.scene
        self.put("patches", add_points(scene, f"{name}patches", near, colors, size))
        if values is None:
            self.remove("map")
            return
        colors = color_map(values[patches], robust_scale(values))
        near, size = lifted(points, camera, LIFT), COLORED_SIZE * side
        self.put("map", add_points(scene, f"{name}map", near, colors, size))

    def show_image(self, shown: Shown, image: NDArray[np.uint8], depth: float) -> None:
        """Cover the frame's image, `depth` in front of its camera, with one (height, width, 3)."""
        nearer, camera = (1 - 2 * LIFT) * depth, shown.camera
        height = nearer * camera.height / camera.focal_px
        T_world_camera = camera.T_world_camera
        handle = self._server.scene.add_image(
            f"/lanes/{shown.found.lane}/inspect_image",
            image,
            render_width=height * camera.aspect,
            render_height=height,
            wxyz=quaternion_wxyz_from_matrix(T_world_camera[:3, :3]),
            position=T_world_camera[:3, 3] + nearer * T_world_camera[:3, 2],
        )
        self.put("image", handle)


def lifted(points_world: NDArray[np.floating], camera: Camera, share: float) -> NDArray[np.float32]:
    """Move points (n, 3) a share of the way towards the camera."""
    center = camera.T_world_camera[:3, 3]
    return (points_world + share * (center - points_world)).astype(np.float32)
