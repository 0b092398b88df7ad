"""Guests: an own timeline that moves nobody else's page.

Where a guest moves the playback bar, their browser alone gets a second set of lanes below `/own`,
drawn like the shared ones but up to the frame that the guest chose, and hides the shared set.
"""

import itertools
from dataclasses import dataclass, replace

import viser

from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers.lane_layer import SHARED_LANES, LaneLayer
from ttt3r_viewer.viewer.server.clients import client_of, show_to
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import GuestControls

OWN_LANES = "/own"


@dataclass(eq=False)
class _Guest:
    """One guest's page, and its lanes while they are their own."""

    client: viser.ClientHandle
    controls: GuestControls
    layer: LaneLayer | None = None


class GuestViews(Part):
    """Keeps guests' own timelines."""

    def __init__(self, page: PageContext) -> None:
        self._server = page.server
        self._series = page.series
        self._controls = page.guest_controls
        self._guests: dict[int, _Guest] = {}
        """By client; entries come and go on viser's loop."""
        self._turn = itertools.count()
        page.server.on_client_connect(self._connect)
        page.server.on_client_disconnect(self._disconnect)

    def update(self, tick: Tick) -> None:
        """Show each guest what they chose.

        Of several own timelines one is drawn per tick, so that many do not slow the page down.
        """
        guests = list(self._guests.values())
        count = len(tick.snapshot.frames)
        for guest in guests:
            live = guest.controls.settings.live
            if not live and guest.layer is None and count:
                guest.layer = LaneLayer(guest.client, OWN_LANES, self._series)
                show_to(guest.client, SHARED_LANES, False)
            elif live and guest.layer is not None:
                guest.layer.remove()
                guest.layer = None
                show_to(guest.client, SHARED_LANES, True)
        own = [guest for guest in guests if guest.layer is not None]
        if own and count:
            guest = own[next(self._turn) % len(own)]
            assert guest.layer is not None
            chosen = guest.controls.settings
            settings = replace(tick.drawn, live=False, position=chosen.position, show=chosen.show)
            guest.layer.update(replace(tick, settings=settings))

    async def _connect(self, client: viser.ClientHandle) -> None:
        who = client_of(self._server, client.client_id)
        if who.role != "guest" or who.lane is not None:
            return
        controls = self._controls[client.client_id] = GuestControls()
        self._guests[client.client_id] = _Guest(client, controls)

    async def _disconnect(self, client: viser.ClientHandle) -> None:
        self._controls.pop(client.client_id, None)
        self._guests.pop(client.client_id, None)
