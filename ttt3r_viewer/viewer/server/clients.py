"""Identity of viser's clients: only the gate may connect to viser, and names each client to it.

viser listens on a local port, asks for no credentials and accepts any Origin: another user of the
machine, or any web page, could go around the gate. So the gate proves itself with a key.
"""

import asyncio
import hashlib
import hmac
import re
from dataclasses import dataclass
from secrets import token_urlsafe

import viser
from viser import _messages
from viser.infra import WebsockClientConnection

from ttt3r_viewer.viewer.server.access import Role

KEY_HEADER = "X-Ttt3r-Key"
ROLE_HEADER = "X-Ttt3r-Role"
SESSION_HEADER = "X-Ttt3r-Session"
DRAWS_HEADER = "X-Ttt3r-Draws"
PIXELS_HEADER = "X-Ttt3r-Pixels"
"""Headers of the gate's request to viser; the gate passes on no header of a browser."""
TWIN_PATH = "/twin"
"""Where the twin view is."""
PANE_PATH = "/lane/"
"""A websocket's path that begins with this and ends with a number is a pane of the twin view."""

PIXEL_RATIO = re.compile(r"[0-9]{1,2}(\.[0-9]{1,9})?", re.ASCII)
PIXEL_RATIOS = (0.25, 8.0)
"""Least and most pixels of a screen, along a line, for one of the page: zoom is among them."""

MAX_SESSIONS = 512
"""Number of browser sessions kept; the oldest beyond it must show its token again."""


@dataclass(frozen=True)
class Client:
    """A browser that the gate let in."""

    role: Role = "owner"
    session: str = ""
    """Name of the browser session, shared by all its pages; empty where no token is needed."""
    lane: int | None = None
    """The lane that a pane of the twin view shows; None for a whole page."""
    on_gpu: bool = False
    """Our script found WebGL on a GPU there, and no phone; without its word there is none."""
    pixel_ratio: float = 1.0
    """Pixels of its screen for one of the page, along a line, as our script found."""

    def offset_of(self, offset: float) -> float:
        """Return where a lane's root that stands at `offset` on the x axis of whole pages stands in
        this one: in the middle of a pane of the twin view.
        """
        return offset if self.lane is None else 0.0

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers that name this client to viser."""
        draws = "gpu" if self.on_gpu else "software"
        who = {ROLE_HEADER: self.role, SESSION_HEADER: self.session, DRAWS_HEADER: draws}
        return {KEY_HEADER: key, **who, PIXELS_HEADER: str(self.pixel_ratio)}


class Sessions:
    """Browser sessions: random cookie values given out in exchange for a token."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        """By the value's hash, so that the time of a look-up reveals nothing about a value."""

    def begin(self, role: Role) -> str:
        """Generate the cookie value of a new browser session."""
        value = token_urlsafe()
        digest = _digest(value)
        self._clients[digest] = Client(role, digest[:16])
        while len(self._clients) > MAX_SESSIONS:
            self._clients.pop(next(iter(self._clients)))
        return value

    def client_of(self, value: str | None) -> Client | None:
        """Return the client of a cookie value; None where it is unknown."""
        return None if value is None else self._clients.get(_digest(value))


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def require_key(server: viser.ViserServer) -> str:
    """Make viser refuse clients that do not show a key; return the key."""
    key = token_urlsafe()
    inner = server._websock_server

    async def check(connection: WebsockClientConnection) -> None:
        websocket = inner._live_connections[connection.client_id]
        request = websocket.request
        shown = [] if request is None else request.headers.get_all(KEY_HEADER)
        if len(shown) == 1 and hmac.compare_digest(shown[0].encode(), key.encode()):
            # The gate is in this process, and does not answer pings while a slow browser reads.
            if websocket.keepalive_task is not None:
                websocket.keepalive_task.cancel()
            return
        inner._live_connections.pop(connection.client_id, None)
        inner._client_state_from_id.pop(connection.client_id, None)
        websocket.transport.abort()
        # Ends viser's handler, so that nothing that was sent meanwhile is read.
        raise asyncio.CancelledError

    inner.on_client_connect(check)
    return key


def client_of(server: viser.ViserServer, client_id: int) -> Client:
    """Return who a client is, as the gate's request says; a guest where the client has gone."""
    connection = server._websock_server._live_connections.get(client_id)
    if connection is None or connection.request is None:
        return Client("guest")
    headers, path = connection.request.headers, connection.request.path.partition("?")[0]
    lane = path.removeprefix(PANE_PATH)
    return Client(
        role="owner" if headers.get(ROLE_HEADER) == "owner" else "guest",
        session=headers.get(SESSION_HEADER, ""),
        lane=int(lane) if path.startswith(PANE_PATH) and lane.isdigit() else None,
        on_gpu=headers.get(DRAWS_HEADER) == "gpu",
        pixel_ratio=pixel_ratio_of(headers.get(PIXELS_HEADER)),
    )


def pixel_ratio_of(text: str | None) -> float:
    """Read a browser's pixel ratio; 1 where it says none that a screen can have."""
    if text is None or not PIXEL_RATIO.fullmatch(text):
        return 1.0
    least, most = PIXEL_RATIOS
    return ratio if least <= (ratio := float(text)) <= most else 1.0


def show_to(client: viser.ClientHandle, node: str, visible: bool) -> None:
    """Show or hide a shared node in one browser alone, until a message to all says otherwise."""
    message = _messages.SetSceneNodeVisibilityMessage(node, visible)
    client.scene._websock_interface.queue_message(message)
