"""Guests: a notice, and an own timeline that moves nobody else's page.

Only the guest's browser gets a second set of lanes below `/own`, drawn like the shared ones but up
to the frame that the guest chose, and hides the shared set.
"""

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import viser

from ttt3r_viewer.viewer.layers.lane_layer import SHARED_LANES, LaneLayer
from ttt3r_viewer.viewer.server.clients import client_of, show_to
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ViewControls
from ttt3r_viewer.viewer.widgets import assign_changed, bind

if TYPE_CHECKING:
    from ttt3r_viewer.viewer.panels.chart_series import ChartSeries

OWN_LANES = "/own"
GUEST_TEXT = (
    "You look around as you like, and 'My own timeline' shows you any frame. All else that the "
    "panel shows is the owner's: buttons, keys and sliders do nothing here."
)


@dataclass(eq=False)
class _Guest:
    """One guest's page: its widgets, and its lanes while they are their own."""

    client: viser.ClientHandle
    own: viser.GuiCheckboxHandle
    frame: viser.GuiSliderHandle[int]
    layer: LaneLayer | None = None


class GuestViews(Part):
    """Greets guests and keeps their own timelines."""

    def __init__(
        self, server: viser.ViserServer, controls: ViewControls, series: "ChartSeries"
    ) -> None:
        self._server = server
        self._controls = controls
        self._series = series
        self._guests: dict[int, _Guest] = {}
        """By client; entries come and go on viser's loop."""
        self._turn = itertools.count()
        server.on_client_connect(self._connect)
        server.on_client_disconnect(self._disconnect)

    def widget(self, identifier: str) -> Any:
        """Return a guest's own widget of this identifier, or None; from any thread."""
        handles = (one for guest in list(self._guests.values()) for one in (guest.own, guest.frame))
        return next((one for one in handles if one._impl.uuid == identifier), None)

    def update(self, tick: Tick) -> None:
        """Show each guest what they chose.

        Of several own timelines one is drawn per tick, so that many do not slow the page down.
        """
        guests = list(self._guests.values())
        count = len(tick.snapshot.frames)
        for guest in guests:
            assign_changed(guest.frame, max=max(count, 2), disabled=not guest.own.value)
            if guest.own.value and guest.layer is None and count:
                assign_changed(guest.frame, value=tick.position + 1)
                guest.layer = LaneLayer(guest.client, OWN_LANES, self._series)
                show_to(guest.client, SHARED_LANES, False)
            elif not guest.own.value and guest.layer is not None:
                guest.layer.remove()
                guest.layer = None
                show_to(guest.client, SHARED_LANES, True)
        own = [guest for guest in guests if guest.layer is not None]
        if own and count:
            guest = own[next(self._turn) % len(own)]
            assert guest.layer is not None
            show = replace(tick.settings.show, replaying=False)
            position = int(guest.frame.value) - 1
            settings = replace(tick.drawn, live=False, position=position, show=show)
            guest.layer.update(replace(tick, settings=settings))

    async def _connect(self, client: viser.ClientHandle) -> None:
        who = client_of(self._server, client.client_id)
        if who.role != "guest" or who.lane is not None:
            return
        client.add_notification("You are a guest", GUEST_TEXT, auto_close_seconds=False)
        with client.gui.add_folder("You", order=-1.0):
            own = client.gui.add_checkbox("My own timeline", False)
            frame = client.gui.add_slider(
                "My frame", min=1, max=2, step=1, initial_value=1, disabled=True
            )

        for handle in (own, frame):
            bind(handle, lambda _: self._controls.changed.set())
        self._guests[client.client_id] = _Guest(client, own, frame)

    async def _disconnect(self, client: viser.ClientHandle) -> None:
        self._guests.pop(client.client_id, None)
