"""The door: the port and who may come in, which stay while one page follows another there."""

import logging
import socket

from ttt3r_viewer.viewer.server.access import Access, access_for, is_loopback
from ttt3r_viewer.viewer.server.address import links, listen
from ttt3r_viewer.viewer.server.clients import Sessions
from ttt3r_viewer.viewer.server.start_screen import StartScreen

logger = logging.getLogger(__name__)


class Door:
    """Listens at one port for one gate after another; who comes between two of them waits."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        access: Access | None = None,
        start: StartScreen | None = None,
    ) -> None:
        """Nothing is bound before `listen`. Port 0 means any free one. `access` says who may come
        in; None: everyone on this machine, and elsewhere who has a made-up token. `start` lets the
        owner choose what is shown; None where there is no choice.
        """
        self.host = host
        self.start = start
        self.access = access_for(host) if access is None else access
        self.sessions = Sessions()
        self.announced = False
        """The terminal says already where the page is."""
        self._first_port = port
        self.port = port
        """From `listen` on the one that is really listened at."""
        self._sockets: list[socket.socket] = []

    def listen(self) -> None:
        """Take the port; does nothing the second time.

        Raises ViewerServerError where host or port cannot be.
        """
        if self._sockets:
            return
        self._sockets = listen(self.host, self._first_port)
        self.port = self._sockets[0].getsockname()[1]
        if not is_loopback(self.host) and self.access.owner_token is None:
            logger.warning("anyone who can reach port %d can watch and steer this run", self.port)

    def sockets(self) -> list[socket.socket]:
        """Return sockets that listen at the port, to be closed by whom they are given to."""
        self.listen()
        return [one.dup() for one in self._sockets]

    def close(self) -> None:
        """Give up the port; harmless where none was taken."""
        for one in self._sockets:
            one.close()

    @property
    def note(self) -> str:
        """Says which port was taken where it was busy; empty otherwise."""
        if self._first_port in (0, self.port):
            return ""
        return f"port {self._first_port} is busy, so the page is at {self.port}"

    @property
    def address(self) -> str:
        """Where a browser on this machine finds the page, without a token."""
        return links(self.host, self.port, None)[0]

    @property
    def url(self) -> str:
        """The link that opens the page on this machine, as its owner."""
        return links(self.host, self.port, self.access.owner_token)[0]

    @property
    def guest_url(self) -> str | None:
        """The link on this machine for those who only look; None where there are no guests."""
        token = self.access.guest_token
        return links(self.host, self.port, token)[0] if token else None

    def lines(self) -> list[str]:
        """Say in lines who opens the page by which links: the owner, then the guests."""
        here, others = links(self.host, self.port, self.access.owner_token)
        nobody = "" if is_loopback(self.host) or others else " (this machine is in no network)"
        said = [f"you:    open {here}{nobody}"]
        said += [f"        or   {one} (from other machines)" for one in others if one != here]
        if self.access.guest_token:
            here, others = links(self.host, self.port, self.access.guest_token)
            alone = nobody or " (on this machine only: --host 0.0.0.0 lets others in)"
            guests = others or (f"{here}{alone}",)
            said += [f"guests: open {guests[0]}", *(f"        or   {one}" for one in guests[1:])]
        return said
