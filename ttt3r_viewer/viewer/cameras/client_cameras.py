"""View of each browser: a first view of the scene, or one that follows the camera."""

import math

import numpy as np
import viser

from ttt3r_viewer.viewer.cameras.page_views import PageView, beside, view_behind
from ttt3r_viewer.viewer.tick import WORLD_UP, Part, Tick

FOLLOW_SEC = 0.6
"""Time in which a followed view covers 63 % of its way to the camera."""

SPAN_ASIDE = 0.65
"""Shift of the first view for lanes side by side, as a share of their span: the panel hides the
right of the page."""
SPAN_BACK = 0.5
"""Extra distance of the first view for lanes side by side, as a share of their span."""
MAX_FITTED_SCALE = 4
"""Only the first scales of the scene refit the first view: later moves would distract."""


def move_browser(client: viser.ClientHandle, view: PageView) -> None:
    """Move a browser to a viewpoint."""
    with client.atomic():
        client.camera.position = view.position
        client.camera.look_at = view.look_at
        client.camera.up_direction = view.up
        if view.fov_y_rad is not None:
            client.camera.fov = view.fov_y_rad


class ClientCameras(Part):
    """Moves the browsers' viewpoints; called by the publisher only."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._first_view = PageView(np.array([0.0, -0.45, -0.75]), np.array([0.0, 0.0, 1.0]))
        """The view of the first lane alone."""
        self._home = self._first_view
        self._fitted_to: tuple[int, int] | None = None
        self._following: dict[int, PageView] = {}
        self._last_sec = 0.0
        server.initial_camera.up = tuple(WORLD_UP)
        self._fit_home(0.0, motion=False)

    def update(self, tick: Tick) -> None:
        """Fit the first view to the scene's first frames, then follow the camera where chosen."""
        snapshot, position, span = tick.snapshot, tick.position, tick.span
        elapsed_sec, self._last_sec = tick.now_sec - self._last_sec, tick.now_sec
        fit = (snapshot.epoch, snapshot.layout.frames_scale)
        refit = position >= 0 and fit != self._fitted_to and fit[1] <= MAX_FITTED_SCALE
        if refit:
            self._fitted_to = fit
            depth = snapshot.layout.median_depth
            self._first_view = view_behind(snapshot.frames[0].camera, depth, back=0.75, up=0.45)
        if refit or span != self._span:
            self._fit_home(span, motion=tick.settings.show.motion_clock.going)
        if position < 0 or not tick.settings.follow_camera:
            self._following.clear()
            return
        # The same lane while lanes blink, or the view would move and hide what differs.
        k = min(tick.drawn.chosen_lanes(tick.lane_count), default=0)
        lane = snapshot.lanes[k]
        camera, depth = lane.frames[position].camera, lane.layout.median_depth
        target = view_behind(camera, depth, back=0.5, up=0.25)
        target = target.moved(np.array([tick.offsets[k], 0.0, 0.0]))
        self._follow(target, 1.0 - math.exp(-elapsed_sec / FOLLOW_SEC))

    def _fit_home(self, span: float, *, motion: bool) -> None:
        """Fit the first view to lanes side by side over `span`; during a motion move no browser."""
        before = self._home
        self._span, self._home = span, beside(self._first_view, span, SPAN_BACK, SPAN_ASIDE)
        self._server.initial_camera.position = self._home.position
        self._server.initial_camera.look_at = self._home.look_at
        for client in self._server.get_clients().values():
            # Users who have moved the view keep theirs.
            if not motion and np.allclose(client.camera.position, before.position, atol=1e-3):
                move_browser(client, self._home)

    def _follow(self, target: PageView, share: float) -> None:
        clients = self._server.get_clients()
        for client_id, client in clients.items():
            now = self._following.get(client_id)
            if now is None:
                now = PageView(client.camera.position, client.camera.look_at)
            self._following[client_id] = now.blended(target, share)
            move_browser(client, self._following[client_id])
        for client_id in self._following.keys() - clients.keys():
            del self._following[client_id]
