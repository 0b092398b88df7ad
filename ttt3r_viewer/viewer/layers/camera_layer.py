"""Cameras of a lane: the shown one with its image, the path, and small past ones."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.export.conventions import pyramid_segments
from ttt3r_viewer.export.film.opening import PageView
from ttt3r_viewer.geometry import quaternion_wxyz_from_matrix
from ttt3r_viewer.metrics.palette import LANE_COLORS, RGB
from ttt3r_viewer.scene.budget import Layout
from ttt3r_viewer.scene.paths import FRUSTA_APART, PATH_APART, path_pairs, spaced
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.scene.store import LaneScene
from ttt3r_viewer.types import Camera
from ttt3r_viewer.viewer.cameras.page_views import view_from
from ttt3r_viewer.viewer.layers.colors import (
    OLDEST_SHARE,
    PLASMA,
    apply_color_map,
    frame_share,
    line_colors,
)
from ttt3r_viewer.viewer.layers.nodes import Nodes, add_lines
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ViewSettings
from ttt3r_viewer.viewer.widgets import Page

Fly = Callable[[viser.ClientHandle, float, Callable[[float], PageView]], object]
"""Moves one browser to a view of a lane that stands at an offset on the x axis, if not in the
middle: the view is given for where it stands."""

LIVE_DEPTH = 0.14
"""Length of the shown camera as a share of the scene's median depth."""
PAST_DEPTH = 0.035
PATH_POINTS = 1000
PAST_CAMERAS = 200
REFRESH_SEC = 1.0
"""Path and past cameras are sent again at most this often while the scene grows."""
REFRESH_FRAMES = 600
"""Frames a second of a longer path, because all of it is sent."""
LIVE_COLOR = (125, 80, 255)
"""Of a single lane's shown camera: violet, which no lane and no colour map has."""
FACE_COLOR, FACE_OPACITY = (150, 160, 180), 0.12


class CameraLayer(Part):
    """Keeps one lane's cameras in the page equal to the scene; called by the publisher only."""

    def __init__(
        self, page: Page, root: str, lane: int, lane_count: int, fly: Fly | None = None
    ) -> None:
        """`root` is the prefix of all node names; the colours of a single lane show the time.

        `fly` moves a browser to the view of the camera that was clicked in it.
        """
        self._page = page
        self._fly = fly
        self._drawn: dict[str, tuple[list[Camera], float]] = {}
        """The cameras that a node shows, and the median depth, by its name."""
        self._offset = 0.0
        self._picks_patches = False
        """A click picks what is inspected, and moves nothing."""
        self._lane = lane
        self._color = LANE_COLORS[lane] if lane_count > 1 else None
        self._name = f"{root}/camera"
        page.scene.add_frame(self._name, show_axes=False)
        self._nodes = Nodes()
        self._past_key: object = None
        self._past_sent_at_sec = -math.inf

    def update(self, tick: Tick) -> None:
        """Send what changed."""
        lane, settings, position = tick.snapshot.lanes[self._lane], tick.drawn, tick.position
        self._offset = tick.offsets[self._lane]
        self._picks_patches = tick.settings.inspect.on
        self._send_live(lane, position, settings.show_cameras)
        key = (lane.layout.generation, position, settings.show_cameras, settings.show_path)
        running = tick.snapshot.status.phase == "running"
        growing = settings.live and running and position > 0
        rest_sec = max(REFRESH_SEC, len(lane.frames) / REFRESH_FRAMES)
        due = tick.now_sec - self._past_sent_at_sec >= rest_sec
        if key != self._past_key and (due or not growing):
            self._send_past(lane, settings, position)
            self._past_key, self._past_sent_at_sec = key, tick.now_sec

    def _send_live(self, lane: LaneScene, position: int, show_cameras: bool) -> None:
        key = (position, lane.layout.generation) if position >= 0 and show_cameras else None
        if self._nodes.outdated("live", key):
            frame = lane.frames[position]
            handle = add_frustum(
                self._page,
                f"{self._name}/live",
                frame.camera,
                depth=LIVE_DEPTH * lane.layout.median_depth,
                color=self._color or LIVE_COLOR,
                image=frame.image,
            )
            self._nodes.put("live", handle, key)
            self._flies_to("live", handle, [frame.camera], lane.layout)

    def _send_past(self, lane: LaneScene, settings: ViewSettings, position: int) -> None:
        frames, layout, color = lane.frames[: position + 1], lane.layout, self._color
        for name, shown, segments, thickness_px in (
            ("path", settings.show_path, path_segments, 1.6),
            ("past", settings.show_cameras, past_frusta, 1.0),
        ):
            if not shown or len(frames) < 2:
                for node in (name, f"{name}_faces"):
                    self._nodes.remove(node)
                continue
            points, colors = segments(frames, layout, color)
            lines = add_lines(
                self._page.scene, f"{self._name}/{name}", points, colors, thickness_px
            )
            self._nodes.put(name, lines)
            if name == "past":
                self._send_faces(points, frames, layout)

    def _send_faces(
        self, lines: NDArray[np.float32], frames: Sequence[FrameSummary], layout: Layout
    ) -> None:
        """Fill the pyramids of `lines` faintly: viser's lines cannot be clicked, but faces can."""
        vertices, faces = pyramid_faces(lines)
        handle = self._page.scene.add_mesh_simple(
            f"{self._name}/past_faces",
            vertices,
            faces,
            color=FACE_COLOR,
            opacity=FACE_OPACITY,
            side="double",
            cast_shadow=False,
            receive_shadow=False,
        )
        self._nodes.put("past_faces", handle)
        cameras = [frames[i].camera for i in past_cameras(frames, layout)]
        self._flies_to("past_faces", handle, cameras, layout)

    def _flies_to(self, name: str, handle: Any, cameras: list[Camera], layout: Layout) -> None:
        """Let a click on a node move the browser to the nearest of the cameras that it shows."""
        if self._fly is None:
            return
        self._drawn[name] = cameras, layout.median_depth

        @handle.on_click
        async def _(event: viser.SceneNodePointerEvent[Any]) -> None:
            assert self._fly is not None
            if self._picks_patches:
                return
            cameras, median_depth = self._drawn[name]
            ray = np.array(event.ray_origin), np.array(event.ray_direction)

            def view_at(offset: float) -> PageView:
                stands_at = np.array([offset, 0.0, 0.0])
                camera = clicked_camera(cameras, ray[0] - stands_at, ray[1])
                return view_from(camera, median_depth).moved(stands_at)

            self._fly(event.client, self._offset, view_at)


def clicked_camera(
    cameras: Sequence[Camera], origin: NDArray[np.float64], direction: NDArray[np.float64]
) -> Camera:
    """Return the camera nearest to a ray, as seen from its origin (3,)."""
    to_camera = np.stack([one.T_world_camera[:3, 3] for one in cameras]) - origin
    lengths = np.maximum(np.linalg.norm(to_camera, axis=1), 1e-9)
    return cameras[int((to_camera @ direction / lengths).argmax())]


def add_frustum(
    page: Page,
    name: str,
    camera: Camera,
    *,
    depth: float,
    color: RGB,
    image: NDArray[np.uint8] | None = None,
) -> viser.CameraFrustumHandle:
    """Draw a camera with its image (height, width, 3), or its edges alone, `depth` in front."""
    return page.scene.add_camera_frustum(
        name,
        fov=camera.fov_y_rad,
        aspect=camera.aspect,
        scale=frustum_scale(camera, depth),
        thickness=2.5,
        thickness_units="screen",
        color=color,
        image=image,
        wxyz=quaternion_wxyz_from_matrix(camera.T_world_camera[:3, :3]),
        position=camera.T_world_camera[:3, 3],
    )


def frustum_scale(camera: Camera, depth: float) -> float:
    """Return viser's `scale` of a frustum whose image is `depth` in front of the camera.

    viser divides the pyramid of depth 1 by the cube root of its volume before it scales it.
    """
    half_height = math.tan(camera.fov_y_rad / 2)
    return depth * (half_height * half_height * camera.aspect / 3) ** (1 / 3)


def camera_colors(frames: NDArray[np.intp], layout: Layout, color: RGB | None) -> NDArray[np.uint8]:
    """Return colours (N, 3) of frames (N,): `color`, or time on a map; older ones are fainter."""
    share = frame_share(frames, layout)
    newest = max(float(share.max(initial=0.0)), 1e-9)
    strength = (OLDEST_SHARE + (1 - OLDEST_SHARE) * share / newest)[:, None]
    if color is None:
        return (strength * apply_color_map(share, PLASMA)).round().astype(np.uint8)
    return line_colors(strength * np.array(color))


def path_segments(
    frames: Sequence[FrameSummary], layout: Layout, color: RGB | None = None
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the line through the camera centres, once where it goes over the same place again, up
    to the newest one: points and colours (segments, 2, 3).
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, PATH_POINTS).astype(np.intp))
    centers = centers_of(frames)[chosen]
    pairs = path_pairs(centers[:-1], PATH_APART * layout.median_depth)
    near = np.linalg.norm(centers[:-1] - centers[-1], axis=1).argmin()
    pairs = np.concatenate((pairs, [[near, len(centers) - 1]]))
    return centers[pairs].astype(np.float32), camera_colors(chosen, layout, color)[pairs]


def past_frusta(
    frames: Sequence[FrameSummary], layout: Layout, color: RGB | None = None
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return small pyramids of chosen frames: points and colours (8 * cameras, 2, 3)."""
    chosen = past_cameras(frames, layout)
    depth = PAST_DEPTH * layout.median_depth
    segments = [pyramid_segments(frames[i].camera, depth) for i in chosen.tolist()]
    colors = camera_colors(chosen, layout, color)
    return (
        np.concatenate(segments).astype(np.float32),
        np.broadcast_to(colors[:, None, None, :], (len(chosen), 8, 2, 3)).reshape(-1, 2, 3),
    )


def pyramid_faces(
    lines: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Return vertices (5 * cameras, 3) and faces (6 * cameras, 3) of pyramids that are drawn as
    lines (8 * cameras, 2, 3).
    """
    rays = lines.reshape(-1, 8, 2, 3)[:, :4]
    vertices = np.concatenate((rays[:, :1, 0], rays[:, :, 1]), axis=1)
    one = [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1], [1, 2, 3], [1, 3, 4]]
    faces = 5 * np.arange(len(rays))[:, None, None] + np.array(one)
    return vertices.reshape(-1, 3), faces.reshape(-1, 3).astype(np.uint32)


def past_cameras(frames: Sequence[FrameSummary], layout: Layout) -> NDArray[np.intp]:
    """Choose the frames whose cameras stay in view."""
    chosen = spaced(centers_of(frames), FRUSTA_APART * layout.median_depth)
    return chosen[:: -(-len(chosen) // PAST_CAMERAS)]


def centers_of(frames: Sequence[FrameSummary]) -> NDArray[np.float64]:
    """Return the places (n, 3) of all cameras."""
    return np.stack([frame.camera.T_world_camera[:3, 3] for frame in frames])
