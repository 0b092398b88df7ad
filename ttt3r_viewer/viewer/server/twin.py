"""Twin view: two panes beside each other, each with one lane, that share one viewpoint.

A pane is a browser's connection whose websocket path is `/lane/K`. It gets every message that all
others get; then messages to it alone hide the other lanes. Our own page, which the gate serves at
`TWIN_PATH`, holds two such panes in frames; it reads the lanes from the overlay, and waits for two.
"""

from dataclasses import dataclass
from pathlib import Path

import viser
from viser import _messages

from ttt3r_viewer.export.film.opening import PageView
from ttt3r_viewer.viewer.cameras.client_cameras import move_browser
from ttt3r_viewer.viewer.layers.lane_layer import DRIFT_NODE, SHARED_LANES
from ttt3r_viewer.viewer.server.clients import client_of, show_to
from ttt3r_viewer.viewer.server.overlay import Overlay
from ttt3r_viewer.viewer.tick import Part, Tick

SAME_VIEW = 1e-4
"""Views nearer than this, in the scene's unit, are the same, so that no view is sent back."""
REPEATS = 3
"""Ticks in a row that resend a pane's own messages, which may come before everybody's."""

PAGE = Path(__file__).with_name("twin.html")
"""The page of two panes."""


@dataclass
class _Pane:
    lane: int
    session: str
    """Its browser session: nobody moves the panes of another browser."""
    sent: object = None
    """Key of what it was sent last, and how often."""
    times: int = 0


class TwinView(Part):
    """Keeps each pane to its lane and both panes of a browser to one view."""

    def __init__(self, server: viser.ViserServer, overlay: Overlay) -> None:
        self._server = server
        self._overlay = overlay
        self._panes: dict[int, _Pane] = {}
        """By client; entries come and go on viser's loop."""
        self._views: dict[str, PageView] = {}
        """View of each browser session's panes."""
        server.on_client_connect(self._connect)
        server.on_client_disconnect(self._disconnect)

    def update(self, tick: Tick) -> None:
        """Show each pane its own lane only, in the middle, after each change of the shared page."""
        starting = tick.snapshot.status.phase == "starting"
        self._overlay.show("twin", {"lanes": tick.lane_names, "starting": starting})
        where = (tick.visible_lanes, tick.offsets, tick.drawn.arrangement)
        key = (tick.snapshot.epoch, tick.lane_count, where)
        clients = self._server.get_clients()
        for client_id, pane in list(self._panes.items()):
            if client_id in clients and (pane.sent != key or pane.times < REPEATS):
                pane.times = pane.times + 1 if pane.sent == key else 1
                pane.sent = key
                _show_only(clients[client_id], pane.lane, tick.lane_count)

    async def _connect(self, client: viser.ClientHandle) -> None:
        who = client_of(self._server, client.client_id)
        if who.lane is None:
            return
        self._panes[client.client_id] = _Pane(who.lane, who.session)
        client.gui.main_panel.minimize()

        @client.camera.on_update
        async def _(camera: viser.CameraHandle) -> None:
            self._follow(client.client_id, camera)

    async def _disconnect(self, client: viser.ClientHandle) -> None:
        pane = self._panes.pop(client.client_id, None)
        if pane and all(pane.session != other.session for other in self._panes.values()):
            self._views.pop(pane.session, None)

    def _follow(self, moved: int, camera: viser.CameraHandle) -> None:
        """Give the other panes of the same browser this one's viewpoint."""
        pane = self._panes.get(moved)
        if pane is None:
            return
        view = PageView(camera.position, camera.look_at, camera.up_direction)
        known = self._views.get(pane.session)
        if known is not None and view.is_close(known, SAME_VIEW):
            return
        self._views[pane.session] = view
        for client_id, client in self._server.get_clients().items():
            other = self._panes.get(client_id)
            if client_id != moved and other is not None and other.session == pane.session:
                move_browser(client, view)


def _show_only(client: viser.ClientHandle, lane: int, lanes: int) -> None:
    """Override, for this browser alone, the shared state of the lanes' roots."""
    for other in range(lanes):
        name = f"{SHARED_LANES}/{other}"
        show_to(client, name, other == lane)
        in_the_middle = _messages.SetPositionMessage(name, (0.0, 0.0, 0.0))
        client.scene._websock_interface.queue_message(in_the_middle)
    show_to(client, DRIFT_NODE, False)
