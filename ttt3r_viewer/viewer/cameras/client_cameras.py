"""The view that follows the shown camera, in all browsers alike."""

import math
from collections.abc import Callable

import numpy as np
import viser

from ttt3r_viewer.export.film.opening import PageView
from ttt3r_viewer.viewer.cameras.page_views import view_behind, view_from
from ttt3r_viewer.viewer.tick import Part, Tick

FOLLOW_SEC = 0.6
"""Time in which a followed view covers 63 % of its way to the camera."""


def move_browser(client: viser.ClientHandle, view: PageView) -> None:
    """Move a browser to a viewpoint."""
    with client.atomic():
        client.camera.position = view.position
        client.camera.look_at = view.look_at
        client.camera.up_direction = view.up
        if view.fov_y_rad is not None:
            client.camera.fov = view.fov_y_rad


def view_of(client: viser.ClientHandle) -> PageView:
    """Return where a browser is."""
    at = client.camera
    return PageView(at.position, at.look_at, at.up_direction, float(at.fov))


def fly_to_shown(fly: Callable[..., object], client: viser.ClientHandle, tick: Tick) -> None:
    """Send a browser to the shown frame's camera; `fly` takes it, where the lane stands, and a
    function that gives the view for where it stands.
    """
    k = next(iter(tick.visible_lanes), 0)
    lane = tick.snapshot.lanes[k]
    camera, depth = lane.frames[tick.position].camera, lane.layout.median_depth

    def view_at(offset: float) -> PageView:
        return view_from(camera, depth).moved(np.array([offset, 0.0, 0.0]))

    fly(client, tick.offsets[k], view_at)


class ClientCameras(Part):
    """Lets all browsers follow the shown camera where chosen; called by the publisher only."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._following: dict[int, PageView] = {}
        self._last_sec = 0.0

    def update(self, tick: Tick) -> None:
        """Move every browser on its way to the view from behind the shown camera."""
        position = tick.position
        elapsed_sec, self._last_sec = tick.now_sec - self._last_sec, tick.now_sec
        self.moves = position >= 0 and tick.settings.follow_camera
        if not self.moves:
            self._following.clear()
            return
        # The same lane while lanes blink, or the view would move and hide what differs.
        k = min(tick.drawn.chosen_lanes(tick.lane_count), default=0)
        lane = tick.snapshot.lanes[k]
        camera, depth = lane.frames[position].camera, lane.layout.median_depth
        target = view_behind(camera, depth, tick.up, back=0.5, above=0.25)
        target = target.moved(np.array([tick.offsets[k], 0.0, 0.0]))
        self._follow(target, 1.0 - math.exp(-elapsed_sec / FOLLOW_SEC))

    def _follow(self, target: PageView, share: float) -> None:
        clients = self._server.get_clients()
        for client_id, client in clients.items():
            now = self._following.get(client_id) or view_of(client)
            self._following[client_id] = now.blended(target, share)
            move_browser(client, self._following[client_id])
        for client_id in self._following.keys() - clients.keys():
            del self._following[client_id]
