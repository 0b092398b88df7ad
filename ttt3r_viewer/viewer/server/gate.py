"""The gate: the one port that browsers reach, in front of viser, which lets everybody in.

It checks Host, Origin and token, passes files and websockets through to viser on a local port, and
drops every message that `client_messages.py` does not allow. It runs in a thread with its own
asyncio loop.
"""

import asyncio
import contextlib
import gzip
import http.client
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

import viser
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from ttt3r_viewer.viewer.server import access as rules
from ttt3r_viewer.viewer.server import client_messages
from ttt3r_viewer.viewer.server.access import Role
from ttt3r_viewer.viewer.server.client_messages import Widgets
from ttt3r_viewer.viewer.server.clients import ROLE_HEADER, Client, pixel_ratio_of, require_key
from ttt3r_viewer.viewer.server.door import Door
from ttt3r_viewer.viewer.server.overlay import Overlay
from ttt3r_viewer.viewer.server.responses import response, text_response
from ttt3r_viewer.viewer.server.start_screen import START_PATHS, start_response

MAX_CLIENTS = 32
"""Open websockets at a time; a page has one, a twin view two."""
SESSION_WAITERS = 8
"""Of one guest's browser that wait for the overlay at a time: each of its pages is one."""
MESSAGES_PER_SEC = 300
"""A browser that sends more is read more slowly; the page sends about 40 during a drag."""
FRAMES_AHEAD = 2
"""Messages buffered from viser for one browser: viser itself leaves out what is outdated."""
PING_TIMEOUT_SEC = 180.0
"""Time in which a large scene gets through a line of 1 Mbit/s; the pong comes only after it."""
INNER_TIMEOUT_SEC = 10.0
STOP_SEC, CLOSE_SEC = 1.0, 0.3
INNER_HOST = "127.0.0.1"
SOCKET_PATH = re.compile(r"/(lane/\d{1,2})?")
FILE_PATH = re.compile(r"/[A-Za-z0-9._/-]*")
CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1008, 1009, 1011, 1012, 1013})
"""Codes of a closed websocket that may be passed on."""
NO_TOKEN = "This page needs a token: open the link that the program printed in its terminal."
HTML = "text/html; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"
INDEX_PATHS = ("/", "/index.html")
"""Where viser's page is; our script is added to it."""
SCRIPT_PATH, SCRIPTS = "/page.js", ("playback.js", "page.js", "accessible.js", "panel.js")
GUEST_SCRIPTS = (*SCRIPTS, "guest.js")
OVERLAY_PATH = "/overlay"
HEAD_TAG, SCRIPT_TAG = b"<head>", b'<script src="%s"></script>' % SCRIPT_PATH.encode()
DRAWS_COOKIE = "ttt3r-draws"
"""Which our script sets: `gpu`, `phone` or `software`; browsers send it to all ports of a host."""
PIXELS_COOKIE = "ttt3r-pixels"
"""Which it sets to the number of pixels of the screen for one of the page."""

logger = logging.getLogger(__name__)
_wire = logging.getLogger(f"{__name__}.wire")
# websockets would log every request with its token, and a traceback for each that is refused.
_wire.setLevel(logging.CRITICAL + 1)


class Gate:
    """Serves viser's page to the browsers that may see it."""

    def __init__(
        self,
        door: Door,
        server: viser.ViserServer | None = None,
        *,
        pages: Mapping[str, bytes] = MappingProxyType({}),
        overlay: Overlay | None = None,
        owner_widgets: Widgets = lambda _: None,
        guest_widgets: Widgets = lambda _: None,
    ) -> None:
        """Without a server only the door's start screen is there. `pages` are our own by path;
        `overlay` is what our script lays over the scene. Owners may change `owner_widgets` besides
        the page's, guests no others than `guest_widgets`.
        """
        self._access, self._start = door.access, door.start
        self._sockets = door.sockets()
        self.port = door.port
        self._cookie = f"ttt3r-view-{self.port}"
        """Name of our cookie; browsers send a cookie to all ports of a host, so it has the port."""
        self._pages = pages
        self._overlay = overlay or Overlay()
        self._waiting: Counter[tuple[str, str]] = Counter()
        """How many requests wait for something new in it, by role and by role and session."""
        self._scripts: dict[Role, bytes] = {
            "owner": _joined(SCRIPTS),
            "guest": _joined(GUEST_SCRIPTS),
        }
        self._index = b""
        """viser's page with our script, compressed; empty until it was asked for."""
        self._inner_port = 0
        """viser's; 0 where there is none."""
        self._widgets: dict[Role, Widgets] = {"guest": guest_widgets}
        if server is not None:
            self._inner_port, self._key = server.get_port(), require_key(server)
            shared = server.gui._gui_input_handle_from_uuid  # its `get` is safe from any thread
            self._widgets["owner"] = lambda uuid: shared.get(uuid) or owner_widgets(uuid)
        self._names = rules.own_names(door.host)
        self._loopback = rules.is_loopback(door.host)
        self._sessions = door.sessions
        self._throttle = rules.Throttle()
        self.clients = 0
        """Number of open websockets."""
        self.dropped = 0
        """Number of messages that were not passed on."""
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="page-gate", daemon=True)

    def start(self) -> None:
        """Let browsers in."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port and all connections, and end the thread."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_SEC)
        for one in self._sockets:
            one.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        servers = [
            await serve(
                self._pass_through,
                sock=one,
                process_request=self._answer,
                select_subprotocol=lambda _, offered: next(
                    (name for name in offered if name.startswith("viser-v")), None
                ),
                server_header=None,
                compression=None,
                max_size=client_messages.MAX_RENDER_BYTES,
                max_queue=16,
                ping_timeout=PING_TIMEOUT_SEC,
                close_timeout=CLOSE_SEC,
                logger=_wire,
            )
            for one in self._sockets
        ]
        await self._stopping.wait()
        for server in servers:
            server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SEC):
                await asyncio.gather(*(server.wait_closed() for server in servers))

    async def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Respond to a request; None opens a websocket."""
        try:
            return await self._decide(connection, request)
        except Exception:
            logger.exception("a request could not be answered")
            return text_response(500, "This page cannot be served now: the program's log says why.")

    async def _decide(self, connection: ServerConnection, request: Request) -> Response | None:
        foreign = self._refuse_foreign(request)
        if foreign is not None:
            return foreign
        path, _, query = request.path.partition("?")
        websocket = any("websocket" in one.lower() for one in request.headers.get_all("Upgrade"))
        if not websocket and path == "/" and self._access.owner_token is not None:
            fields = parse_qsl(query, keep_blank_values=True)
            tokens = [value for name, value in fields if name == "token"]
            if tokens:
                rest = urlencode([(name, value) for name, value in fields if name != "token"])
                remote = connection.remote_address
                return self._log_in(tokens[0], rest, str(remote[0]) if remote else "")
        client = self._client(request)
        if client is None:
            if "cross-site" not in request.headers.get_all("Sec-Fetch-Site"):
                return text_response(403, NO_TOKEN)
            # After a click in another page browsers withhold the cookie; a refresh sends it.
            refresh = f'<!doctype html><meta http-equiv="refresh" content="0"><p>{NO_TOKEN}</p>'
            return response(403, refresh.encode(), {"Content-Type": HTML})
        if path in START_PATHS or not self._inner_port:
            return start_response(self._start, path, client.role, websocket=websocket)
        if websocket:
            if self.clients >= MAX_CLIENTS:
                return text_response(
                    503, f"{MAX_CLIENTS} browsers are connected already: close one."
                )
            if not SOCKET_PATH.fullmatch(path):
                return text_response(404, "There is no such websocket.")
            return None
        if path in self._pages:
            return response(200, self._pages[path], {"Content-Type": HTML})
        if path == SCRIPT_PATH:
            return response(200, self._scripts[client.role], {"Content-Type": SCRIPT})
        if path == OVERLAY_PATH:
            return await self._newer_overlay(query, client)
        if not FILE_PATH.fullmatch(path):
            return text_response(404, "There is no such page.")
        zipped = any("gzip" in one for one in request.headers.get_all("Accept-Encoding"))
        return await asyncio.to_thread(self._file, path, zipped)

    async def _newer_overlay(self, query: str, client: Client) -> Response:
        """Wait for another overlay than the one that a browser has.

        Guests take no place from owners, and one guest's browser not all of the guests'.
        """
        limits = {(client.role, ""): MAX_CLIENTS}
        if client.role == "guest":
            limits[client.role, client.session] = SESSION_WAITERS
        for place, most in limits.items():
            if self._waiting[place] >= most:
                return text_response(503, f"{most} requests wait already.", {"Retry-After": "2"})
        self._waiting.update(limits.keys())
        try:
            fields = dict(parse_qsl(query))
            content = await self._overlay.newer(fields.get("have", ""), fields.get("page", ""))
        finally:
            self._waiting.subtract(limits.keys())
            self._waiting = +self._waiting  # without those that have gone
        return response(
            200, content, {"Content-Type": "application/json", ROLE_HEADER: client.role}
        )

    def _refuse_foreign(self, request: Request) -> Response | None:
        """Refuse requests of another page, or for a name that is not ours."""
        hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
        host = hosts[0] if len(hosts) == 1 else ""
        if not rules.host_allowed(host, self._names, loopback=self._loopback):
            return text_response(
                403, "This page has no such name: open it by IP address, or name it in --host."
            )
        if len(origins) > 1 or not rules.origin_allowed(next(iter(origins), None), host):
            return text_response(403, "Another page may not use this one: open its own address.")
        return None

    def _log_in(self, token: str, query: str, address: str) -> Response:
        """Exchange a token for a session cookie, and redirect to an address without the token."""
        now_sec = time.monotonic()
        wait_sec = self._throttle.wait_sec(address, now_sec)
        if wait_sec > 0:
            return text_response(
                429,
                f"Too many wrong tokens came from your address: wait {wait_sec:.0f} s.",
                {"Retry-After": str(round(wait_sec) + 1)},
            )
        role = self._access.role_of(token)
        if role is None:
            self._throttle.failed(address, now_sec)
            return text_response(
                403,
                "This token is not the one of this run: open the link that the program printed.",
            )
        self._throttle.succeeded(address)
        cookie = f"{self._cookie}={self._sessions.begin(role)}; Path=/; HttpOnly; SameSite=Strict"
        location = f"/?{query}" if query else "/"
        return text_response(303, "The page is at /.", {"Location": location, "Set-Cookie": cookie})

    def _client(self, request: Request) -> Client | None:
        """Return who sent a request; None where a token is needed and was not shown."""
        cookies = request.headers.get_all("Cookie")
        client: Client | None = Client("owner")
        if self._access.owner_token is not None:
            client = self._sessions.client_of(rules.cookie_value(cookies, self._cookie))
        on_gpu = rules.cookie_value(cookies, DRAWS_COOKIE) == "gpu"
        pixel_ratio = pixel_ratio_of(rules.cookie_value(cookies, PIXELS_COOKIE))
        return client and replace(client, on_gpu=on_gpu, pixel_ratio=pixel_ratio)

    def _file(self, path: str, zipped: bool) -> Response:
        """Fetch a file of viser's page; the page itself gets our script."""
        if path in INDEX_PATHS:
            self._index = self._index or gzip.compress(_with_script(self._fetch(path, False)[1]))
            headers = {"Content-Type": HTML, **({"Content-Encoding": "gzip"} if zipped else {})}
            page = self._index if zipped else gzip.decompress(self._index)
            return response(200, page, headers)
        status, content, headers = self._fetch(path, zipped)
        if status != 200:
            return text_response(404, "There is no such page.")
        return response(200, content, headers)

    def _fetch(self, path: str, zipped: bool) -> tuple[int, bytes, dict[str, str]]:
        """Ask viser for a file: its status, content, and headers."""
        inner = http.client.HTTPConnection(INNER_HOST, self._inner_port, timeout=INNER_TIMEOUT_SEC)
        with contextlib.closing(inner):
            inner.request("GET", path, headers={"Accept-Encoding": "gzip" if zipped else ""})
            answer = inner.getresponse()
            kept = ("Content-Type", "Content-Encoding")
            headers = {name: answer.headers[name] for name in kept if name in answer.headers}
            return answer.status, answer.read(), headers

    async def _pass_through(self, browser: ServerConnection) -> None:
        """Connect a browser with viser until one of them closes."""
        client = None if browser.request is None else self._client(browser.request)
        if browser.request is None or client is None or self.clients >= MAX_CLIENTS:
            await browser.close(1013, "too many browsers are connected")
            return
        self.clients += 1
        if client.role == "guest":
            browser.protocol.max_message_size = client_messages.MAX_BYTES
        try:
            path = browser.request.path.partition("?")[0]
            if self._start is not None and path in START_PATHS:
                await self._start.serve(browser)
                return
            offered = [Subprotocol(browser.subprotocol)] if browser.subprotocol else None
            async with connect(
                f"ws://{INNER_HOST}:{self._inner_port}{path}",
                subprotocols=offered,
                additional_headers=client.headers(self._key),
                user_agent_header=None,
                compression=None,
                max_size=None,
                max_queue=FRAMES_AHEAD,
                ping_interval=None,
                close_timeout=CLOSE_SEC,
                open_timeout=INNER_TIMEOUT_SEC,
                proxy=None,
                logger=_wire,
            ) as inner:
                await self._relay(browser, inner, client.role)
        except (OSError, WebSocketException, TimeoutError):
            # viser is closing, or has refused the connection: the browser retries by itself.
            await browser.close(1012, "the page is not there now")
        finally:
            self.clients -= 1

    async def _relay(self, browser: ServerConnection, inner: ClientConnection, role: Role) -> None:
        async def to_browser() -> None:
            async for message in inner:
                await browser.send(message)

        ways = [
            asyncio.create_task(to_browser()),
            asyncio.create_task(self._to_viser(browser, inner, role)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            ended = await asyncio.gather(*ways, return_exceptions=True)
        for one in ended:
            if isinstance(one, Exception) and not isinstance(one, ConnectionClosed):
                logger.error("a browser's connection failed: %r", one)
        code = inner.close_code if inner.close_code in CLOSE_CODES else 1011
        await browser.close(code, inner.close_reason or "")

    async def _to_viser(
        self, browser: ServerConnection, inner: ClientConnection, role: Role
    ) -> None:
        """Pass on allowed messages at a bounded rate."""
        logged = False
        allowance, then_sec = float(MESSAGES_PER_SEC), time.monotonic()
        async for message in browser:
            now_sec = time.monotonic()
            allowance = min(allowance + MESSAGES_PER_SEC * (now_sec - then_sec), MESSAGES_PER_SEC)
            allowance, then_sec = allowance - 1.0, now_sec
            if allowance < 0:
                await asyncio.sleep(-allowance / MESSAGES_PER_SEC)
            why = client_messages.refusal(message, role, self._widgets[role])
            if not why:
                await inner.send(message)
                continue
            self.dropped += 1
            if role == "owner" and not logged:
                logged = True
                logger.debug("a browser's message was dropped: %s", why)


def _joined(scripts: Sequence[str]) -> bytes:
    return b"\n".join(Path(__file__).with_name(name).read_bytes() for name in scripts)


def _with_script(page: bytes) -> bytes:
    """Let viser's page load our script before its own."""
    before, head, after = page.partition(HEAD_TAG)
    if not head:
        raise ValueError(f"viser's page has no {HEAD_TAG.decode()}")
    return before + head + SCRIPT_TAG + after
