"""Twin view: two panes beside each other, each with one lane, that share one viewpoint.

A pane is a browser's connection whose websocket path is `/lane/K`. It gets every message that all
others get; then messages to it alone hide the other lanes. Our own page, which the gate serves at
`/twin`, holds two such panes in frames.
"""

from __future__ import annotations

import html

import numpy as np
import viser
from numpy.typing import NDArray
from viser import _messages

from ttt3r_viewer.viewer.layers.lane_layer import DRIFT_NODE
from ttt3r_viewer.viewer.server.clients import client_of, request_of
from ttt3r_viewer.viewer.tick import Part, Tick

PATH = "/lane/"
SAME_VIEW = 1e-4
"""Views nearer than this, in the scene's unit, are the same, so that no view is sent back."""
REPEATS = 3
"""Ticks in a row that resend a pane's own messages, which may come before everybody's."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>ttt3r-viewer: twin view</title>
<style>
  body {{ margin: 0; display: flex; height: 100vh; background: #1a1b1e; color: #ccc;
         font: 14px system-ui, sans-serif; }}
  section {{ flex: 1; display: flex; flex-direction: column; border-right: 1px solid #333; }}
  select {{ margin: 6px; padding: 4px; background: #25262b; color: inherit;
           border: 1px solid #444; }}
  iframe {{ flex: 1; border: 0; }}
</style>
<section><select id="left" aria-label="Lane on the left">{options}</select>
<iframe></iframe></section>
<section><select id="right" aria-label="Lane on the right">{options}</select>
<iframe></iframe></section>
<script>
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  ["left", "right"].forEach((side, lane) => {{
    const select = document.getElementById(side), pane = select.nextElementSibling;
    const show = () => {{
      pane.src = `/?websocket=${{scheme}}//${{location.host}}{path}${{select.value}}`;
    }};
    select.selectedIndex = Math.min(lane, select.options.length - 1);
    select.onchange = show;
    show();
  }});
</script>
</html>
"""


class TwinView(Part):
    """Makes the page of two panes, and keeps each pane to its lane and both to one view.

    `update` belongs to the publisher.
    """

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._lane_of: dict[int, int] = {}
        """Lane of each pane by its client's id; entries come and go on viser's loop."""
        self._session_of: dict[int, str] = {}
        """Browser session of each pane: nobody moves the panes of another browser."""
        self._sent: dict[int, tuple[object, int]] = {}
        """What each pane was sent last, and how often."""
        self._views: dict[str, tuple[NDArray[np.float64], ...]] = {}
        """Viewpoint of each browser session's panes."""
        self._names: tuple[str, ...] = ()
        server.on_client_connect(self._connect)
        server.on_client_disconnect(self._disconnect)

    @property
    def offered(self) -> bool:
        """Whether the page exists, which needs two lanes."""
        return len(self._names) > 1

    def update(self, tick: Tick) -> None:
        """Let each pane show its own lane only, in the middle, whenever all were sent otherwise."""
        names = self._names = tick.lane_names
        key = (
            *(tick.snapshot.epoch, tick.lane_count, tick.visible_lanes),
            *(tick.geometry.offsets, tick.drawn.arrangement),
        )
        clients = self._server.get_clients()
        for client_id, lane in list(self._lane_of.items()):
            known, times = self._sent.get(client_id, (None, 0))
            if client_id in clients and (known != key or times < REPEATS):
                self._sent[client_id] = (key, times + 1 if known == key else 1)
                _show_only(clients[client_id], lane, len(names))

    async def _connect(self, client: viser.ClientHandle) -> None:
        lane = lane_of_pane(self._server, client.client_id)
        if lane is None:
            return
        self._session_of[client.client_id] = client_of(self._server, client.client_id).session
        self._lane_of[client.client_id] = lane
        client.gui.main_panel.minimize()

        @client.camera.on_update
        async def _(camera: viser.CameraHandle) -> None:
            self._follow(client.client_id, camera)

    async def _disconnect(self, client: viser.ClientHandle) -> None:
        self._lane_of.pop(client.client_id, None)
        self._sent.pop(client.client_id, None)
        session = self._session_of.pop(client.client_id, None)
        if session is not None and session not in self._session_of.values():
            self._views.pop(session, None)

    def _follow(self, moved: int, camera: viser.CameraHandle) -> None:
        """Give the other panes of the same browser this one's viewpoint."""
        session = self._session_of.get(moved)
        if session is None:
            return
        view = (camera.position, camera.look_at, camera.up_direction)
        known = self._views.get(session)
        if known is not None and _same(view, known):
            return
        self._views[session] = view
        for client_id, client in self._server.get_clients().items():
            if client_id != moved and self._session_of.get(client_id) == session:
                with client.atomic():
                    client.camera.position = view[0]
                    client.camera.look_at = view[1]
                    client.camera.up_direction = view[2]

    def page(self) -> bytes:
        """Return the page of two panes; empty while there is none."""
        if not self.offered:
            return b""
        options = "".join(
            f'<option value="{lane}">{html.escape(name)}</option>'
            for lane, name in enumerate(self._names)
        )
        return PAGE.format(options=options, path=PATH).encode()


def lane_of_pane(server: viser.ViserServer, client_id: int) -> int | None:
    """Return the lane of a client that is a pane; None for a whole page."""
    request = request_of(server, client_id)
    path = "" if request is None else request.path.partition("?")[0]
    lane = path.removeprefix(PATH)
    return int(lane) if path.startswith(PATH) and lane.isdigit() else None


def _same(a: tuple[NDArray[np.float64], ...], b: tuple[NDArray[np.float64], ...]) -> bool:
    return all(np.allclose(one, other, atol=SAME_VIEW) for one, other in zip(a, b, strict=True))


def _show_only(client: viser.ClientHandle, lane: int, lanes: int) -> None:
    """Override, for this browser alone, the shared state of the lanes' roots."""
    queue = client.scene._websock_interface.queue_message
    for other in range(lanes):
        queue(_messages.SetSceneNodeVisibilityMessage(f"/lanes/{other}", other == lane))
        queue(_messages.SetPositionMessage(f"/lanes/{other}", (0.0, 0.0, 0.0)))
    queue(_messages.SetSceneNodeVisibilityMessage(DRIFT_NODE, False))
