"""How many points the scene may keep, by what the browsers can draw: the rule, in one place."""

import viser

from ttt3r_viewer.reconstruct.messages import Mailbox, SetBudget
from ttt3r_viewer.viewer.html import escape, rounded
from ttt3r_viewer.viewer.server.clients import client_of
from ttt3r_viewer.viewer.tick import Part, Tick

STAYS = "Voxels that were merged before it was raised stay merged until Restart"


class PointBudget(Part):
    """Raises the scene's budget once, when every owner's browser draws on a GPU.

    It never falls again: points that were sent cannot be taken back. Guests do not count, so that
    nobody who only looks decides on the run.
    """

    def __init__(self, server: viser.ViserServer, mailbox: Mailbox, gpu_points: int | None) -> None:
        """`gpu_points` is the budget with a GPU; None leaves the scene's as it is."""
        self._server = server
        self._mailbox = mailbox
        self._gpu_points = gpu_points
        self._raised = False

    def update(self, tick: Tick) -> None:  # noqa: ARG002
        """Ask for more points where the owners' browsers can draw them."""
        if self._gpu_points is None or self._raised:
            return
        clients = (client_of(self._server, one) for one in self._server.get_clients())
        owners = [client for client in clients if client.role == "owner"]
        if owners and all(client.on_gpu for client in owners):
            self._raised = True
            self._mailbox.put(SetBudget(self._gpu_points))

    def limit_html(self, max_points: int) -> str:
        """Say how many points may be kept, and in a hint why, and how to change it."""
        if self._gpu_points is None:
            word, why = "", "As --max-points says"
        elif max_points < self._gpu_points:
            word = " (no GPU)"
            why = (
                "No browser of an owner was found to draw on a GPU, or one draws in software or on "
                f"a phone; with a GPU it is {rounded(self._gpu_points)}. --max-points sets another "
                "limit"
            )
        else:
            word, why = "", f"Raised for a browser that draws on a GPU. {STAYS}"
        return f'<span title="{escape(why)}">at most {rounded(max_points)}{word}</span>'
