"""Viser's own door: only the gate comes in, and says for whom.

viser listens on a port of this machine, asks nobody who they are, and accepts any Origin: another
user of the machine, or any web page, could go around the gate. So the gate shows a key.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass

import viser
from viser.infra import WebsockClientConnection

from ttt3r_viewer.viewer.server.access import Role

KEY_HEADER = "X-Ttt3r-Key"
ROLE_HEADER = "X-Ttt3r-Role"
SESSION_HEADER = "X-Ttt3r-Session"
"""Of the gate's request to viser; nothing that a browser says in a header is passed on."""


@dataclass(frozen=True)
class Client:
    """A browser that the gate let in."""

    role: Role = "owner"
    session: str = ""
    """Names the browser, the same for all its pages; empty where nobody needs a token."""

    def headers(self, key: str) -> dict[str, str]:
        """What the gate tells viser."""
        return {KEY_HEADER: key, ROLE_HEADER: self.role, SESSION_HEADER: self.session}


def close_door(server: viser.ViserServer) -> str:
    """Let nobody in who does not show the key, which is given back."""
    key = secrets.token_urlsafe(32)
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
        # Whatever was said meanwhile is never read: viser's handler ends here.
        raise asyncio.CancelledError

    inner.on_client_connect(check)
    return key


def visitor_of(server: viser.ViserServer, client_id: int) -> Client:
    """Say who a client is, as the gate told."""
    connection = server._websock_server._live_connections.get(client_id)
    if connection is None or connection.request is None:
        return Client("guest")
    headers = connection.request.headers
    role: Role = "owner" if headers.get(ROLE_HEADER) == "owner" else "guest"
    return Client(role, headers.get(SESSION_HEADER, ""))
