"""A program that speaks to a page as a browser does, and says what no browser would."""

import http.client
import socket
from collections.abc import Mapping
from typing import Any

import msgspec
import viser
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

PROTOCOL: Any = f"viser-v{viser.__version__}"
PLAIN: Any = {"subprotocols": [PROTOCOL], "max_size": None, "compression": None, "proxy": None}
CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": [1.0, 0.0, 0.0, 0.0],
    "position": [0.0, 0.0, 0.0],
    "fov": 1.0,
    "near": 0.01,
    "far": 1000.0,
    "image_height": 480,
    "image_width": 640,
    "look_at": [0.0, 0.0, 1.0],
    "up_direction": [0.0, -1.0, 0.0],
}
"""The first message of every browser; with it viser takes it for connected."""


def join(
    port: int, path: str = "/", headers: Mapping[str, str] | None = None, **options: Any
) -> ClientConnection:
    """Open a page's websocket; raises websockets' InvalidStatus where it is refused."""
    url = f"ws://127.0.0.1:{port}{path}"
    return connect(url, additional_headers=headers, **(PLAIN | options))


def echo(socket: Connection, message: Mapping[str, Any], **changed: Any) -> None:
    """Send a message with some of its fields changed."""
    socket.send(msgspec.msgpack.encode({**message, **changed}))


def set_value(socket: Connection, handle: Any, value: Any) -> None:
    """Do what a browser does when a person uses a widget."""
    uuid = handle._impl.uuid
    echo(socket, {"type": "GuiUpdateMessage", "uuid": uuid, "updates": {"value": value}})


def get(
    port: int, path: str = "/", headers: Mapping[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Ask for a path; gives status, headers and content, without following a redirection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def raw_get(port: int, request: bytes) -> bytes:
    """Send bytes as they are; gives all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def cookie_for(port: int, token: str) -> str:
    """Show a token, and take the cookie."""
    status, headers, _ = get(port, f"/?token={token}")
    assert status == 303
    return headers["Set-Cookie"].partition(";")[0]
