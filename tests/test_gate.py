"""The gate in front of the page: tokens, Host and Origin, guests, and what goes through."""

import asyncio
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.connection import Connection

from tests.page_client import CAMERA, cookie_for, echo, get, join, raw_get, set_value
from tests.pages import running
from tests.waiting import wait_for
from ttt3r_viewer.cli import main
from ttt3r_viewer.commands.page import access_of
from ttt3r_viewer.commands.parser import parse
from ttt3r_viewer.commands.view import COMMAND
from ttt3r_viewer.reconstruct.messages import Mailbox, Step
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import PageOptions
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.panels.playback import PlaybackPanel
from ttt3r_viewer.viewer.panels.run import RunPanel
from ttt3r_viewer.viewer.server import gate as gate_module
from ttt3r_viewer.viewer.server.access import FREE_TRIES, Access, access_for
from ttt3r_viewer.viewer.server.address import links
from ttt3r_viewer.viewer.server.clients import Client
from ttt3r_viewer.viewer.server.guest_views import GuestViews
from ttt3r_viewer.viewer.server.twin import TwinView

TOKEN = "a-token-for-tests"


@pytest.fixture
def start(show) -> Callable[..., Viewer]:
    """Start pages with two lanes and three frames each."""

    def start_one(**access: Any) -> Viewer:
        page = {"access": access_for("127.0.0.1", **access)}
        return show(3, page, lanes=2, paused=True)[1]

    return start_one


@pytest.fixture
def viewer(start: Callable[..., Viewer]) -> Viewer:
    """A page with a token."""
    return start(token=TOKEN)


def refused(port: int, path: str = "/", **headers: str) -> int:
    """Give the status that a websocket's handshake ends with."""
    with pytest.raises(InvalidStatus) as caught:
        join(port, path, headers)
    return caught.value.response.status_code


def read_to_the_end(socket: Connection) -> int | None:
    """Read until the other side closes; gives the code."""
    try:
        while True:
            socket.recv(timeout=5)
    except ConnectionClosed:
        return socket.close_code


def has(message: str | bytes, cloud: np.ndarray) -> bool:
    return isinstance(message, bytes) and cloud.tobytes() in message


def test_without_a_token_nothing_comes_out_and_the_refusal_says_what_to_do(viewer):
    for path in ("/", "/twin", "/?token", "/?x=1", "/assets/x.js", "/?token="):
        status, headers, body = get(viewer.port, path)
        assert status == 403, path
        assert b"open the link that the program printed" in body
        assert body.count(b"\n") == 1
        assert "Set-Cookie" not in headers
        assert TOKEN.encode() not in body
    assert refused(viewer.port) == 403
    assert refused(viewer.port, "/lane/0") == 403
    assert refused(viewer.port, f"/?token={TOKEN}") == 403  # only a page takes a token


def test_a_token_becomes_a_cookie_and_leaves_the_address(viewer):
    assert viewer.url == f"{viewer.door.address}/?token={TOKEN}"
    status, headers, body = get(viewer.port, f"/?token={TOKEN}&fixedDpr=1&a=%26")
    assert (status, headers["Location"]) == (303, "/?fixedDpr=1&a=%26")
    cookie = headers["Set-Cookie"]
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert TOKEN not in cookie + body.decode()
    shown = {"Cookie": f"other=1; {cookie.partition(';')[0]}"}
    assert get(viewer.port, "/", shown)[0] == 200
    assert b"Lane on the left" in get(viewer.port, "/twin", shown)[2]
    with join(viewer.port, headers=shown) as socket:
        assert socket.recv(timeout=5)
    with join(viewer.port, "/lane/1", shown) as socket:
        assert socket.recv(timeout=5)
    # A second browser with the same link gets a session of its own.
    assert cookie_for(viewer.port, TOKEN) != cookie.partition(";")[0]


def test_cookies_of_others_or_of_a_run_before_open_nothing(viewer, start):
    cookie = cookie_for(viewer.port, TOKEN)
    other = start(token=TOKEN)
    name, _, value = cookie.partition("=")
    replayed = f"{name.replace(str(viewer.port), str(other.port))}={value}"
    for shown in (cookie, replayed, f"{name}={TOKEN}", f"{name}=", "garbage"):
        assert get(other.port, "/", {"Cookie": shown})[0] == 403
        assert refused(other.port, Cookie=shown) == 403


def test_wrong_tokens_have_to_wait_and_who_is_in_stays_in(viewer):
    cookie = cookie_for(viewer.port, TOKEN)
    for _ in range(FREE_TRIES):
        assert get(viewer.port, "/?token=wrong")[0] == 403
    status, headers, body = get(viewer.port, f"/?token={TOKEN}")
    assert status == 429
    assert int(headers["Retry-After"]) >= 1
    assert body.startswith(b"Too many wrong tokens")
    assert get(viewer.port, "/", {"Cookie": cookie})[0] == 200
    time.sleep(1.1)
    assert get(viewer.port, f"/?token={TOKEN}")[0] == 303


def test_a_click_in_another_page_comes_in_at_the_second_try(viewer):
    """Browsers keep a Strict cookie back where another page leads to ours."""
    status, headers, body = get(viewer.port, "/", {"Sec-Fetch-Site": "cross-site"})
    assert status == 403
    assert headers["Content-Type"].startswith("text/html")
    assert b'http-equiv="refresh" content="0"' in body


def test_no_log_holds_the_token(start, caplog):
    with caplog.at_level(logging.DEBUG):
        viewer = start(token=TOKEN)
        cookie = cookie_for(viewer.port, TOKEN)
        get(viewer.port, f"/?token={TOKEN}x")
        join(viewer.port, headers={"Cookie": cookie}).close()
        refused(viewer.port, f"/?token={TOKEN}")
        raw_get(viewer.port, f"BAD /?token={TOKEN} HTTP/1.1\r\n\r\n".encode())
        viewer.stop()
    # What the tests' own client says of itself does not count.
    ours = [one for one in caplog.records if one.name not in ("websockets.client",)]
    said = " ".join(one.getMessage() + str(one.exc_info) for one in ours)
    assert TOKEN not in said
    assert cookie.partition("=")[2] not in said


@pytest.mark.parametrize("token", [None, TOKEN])
def test_other_pages_and_rebound_names_are_refused_also_on_this_machine(start, token):
    viewer = start(token=token)
    port = viewer.port
    shown = {"Cookie": cookie_for(port, TOKEN)} if token else {}
    for origin in ("https://evil.example", "null", f"http://localhost:{port}", "http://127.0.0.1"):
        assert refused(port, **shown, Origin=origin) == 403
        assert get(port, "/", {**shown, "Origin": origin})[0] == 403
    for host in ("evil.example", f"evil.example:{port}", "10.0.0.1", "localhost.evil.example"):
        status, _, body = get(port, "/", {**shown, "Host": host})
        assert (status, b"open it by IP address" in body) == (403, True)
        assert get(port, "/twin", {**shown, "Host": host, "Origin": f"http://{host}"})[0] == 403
    for lines in ("", "Host: 127.0.0.1\r\nHost: evil.example\r\n"):
        request = f"GET / HTTP/1.1\r\n{lines}\r\n"
        assert b"403 Forbidden" in raw_get(port, request.encode())
    with join(port, headers={**shown, "Origin": f"http://127.0.0.1:{port}"}) as socket:
        assert socket.recv(timeout=5)


def test_only_the_page_is_served_and_nobody_may_frame_it(start):
    viewer = start()
    status, headers, _ = get(viewer.port, "/?fixedDpr=1", {"Accept-Encoding": "gzip"})
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert headers["Content-Security-Policy"] == "frame-ancestors 'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    outside = ("/etc/passwd", "/../x", "/%2e%2e/x", "//127.0.0.1:1/x", "/x?y=http://a", "/lane/1")
    for path in outside:
        assert get(viewer.port, path)[0] == 404, path
    for path in ("/x", "/lane/1234", "/lane/-1", "/lane/1/2"):
        assert refused(viewer.port, path) == 404
    for bad in (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00\r\n\r\n", b"GET / \r\n\r\n"):
        assert b" 200 " not in raw_get(viewer.port, bad)


def test_nobody_comes_in_around_the_gate(start):
    viewer = start()
    inner = viewer.server.get_port()
    assert inner != viewer.port
    run = viewer.part(RunPanel)
    taken = Mailbox()
    run._mailbox = taken
    for headers in ({}, {"X-Ttt3r-Key": "x"}, {"X-Ttt3r-Key": "", "X-Ttt3r-Role": "owner"}):
        with join(inner, headers=headers) as socket:
            for _ in range(20):
                try:
                    echo(socket, CAMERA)
                    set_value(socket, run._step, True)
                except ConnectionClosed:
                    break
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=5)
    assert viewer.server.get_clients() == {}
    assert not list(taken.waiting())
    assert viewer.server._websock_server._client_state_from_id == {}
    with join(viewer.port, headers={"X-Ttt3r-Role": "guest"}) as socket:
        echo(socket, CAMERA)
        wait_for(lambda: len(viewer.server.get_clients()) == 1, "who comes through the gate")


def test_a_guest_sees_everything_and_changes_nothing_and_the_owner_can(start):
    viewer = start(token=TOKEN, guests=True)
    assert viewer.door.guest_url
    guest_token = viewer.door.access.guest_token
    assert viewer.door.guest_url == f"{viewer.door.address}/?token={guest_token}"
    run, guests = viewer.part(RunPanel), viewer.part(GuestViews)
    channel = viewer.part(PlaybackPanel)._page.channel
    taken = Mailbox()
    run._mailbox = taken
    before = viewer.controls.settings
    guest_cookie = {"Cookie": cookie_for(viewer.port, guest_token)}
    with join(viewer.port, headers=guest_cookie) as guest:
        echo(guest, CAMERA)
        assert guest.recv(timeout=5)
        # viser knows a client before it has told those who wait for one.
        (own,) = wait_for(lambda: list(guests._guests.values()), "the guest")
        set_value(guest, run._step, True)
        set_value(guest, run._play, True)
        wait_for(lambda: b"playback" in get(viewer.port, "/overlay", guest_cookie)[2], "the bar")
        set_value(guest, channel._handle, '["p", 1, "talk", null]')
        set_value(guest, channel._handle, '["p", 2, "go", 1]')
        wait_for(lambda: own.layer is not None, "a timeline of their own")
        assert own.controls.settings.position == 1
        set_value(guest, channel._handle, '["p", 3, "live", null]')
        wait_for(lambda: own.layer is None, "the owner's view again")
        for uuid in viewer.server.gui._command_handle_from_uuid:
            echo(guest, {"type": "CommandTriggerMessage", "uuid": uuid})
        place = [1.0, 2.0, 3.0]
        echo(guest, CAMERA, position=place)
        (client,) = viewer.server.get_clients().values()
        wait_for(lambda: client.camera.position.tolist() == place, "the guest's own view")
        assert viewer.gate.dropped >= 2
        assert not list(taken.waiting())
        assert viewer.controls.settings is before
        guest.send(bytes(gate_module.client_messages.MAX_BYTES + 1))
        assert read_to_the_end(guest) == 1009
    wait_for(lambda: not viewer.server.get_clients(), "the guest to go")
    with join(viewer.port, headers={"Cookie": cookie_for(viewer.port, TOKEN)}) as owner:
        echo(owner, CAMERA)
        wait_for(viewer.server.get_clients, "the owner")
        set_value(owner, run._step, True)
        set_value(owner, channel._handle, '["p", 1, "go", 1]')
        assert isinstance(taken.get(timeout=10), Step)
        wait_for(lambda: viewer.controls.settings.position == 1, "the bar")


def test_the_twin_panes_of_one_browser_do_not_turn_those_of_another(start):
    viewer = start(token=TOKEN, guests=True)
    owner, guest = (
        {"Cookie": cookie_for(viewer.port, token or "")}
        for token in (viewer.door.access.owner_token, viewer.door.access.guest_token)
    )
    twin = viewer.part(TwinView)
    panes = [join(viewer.port, "/lane/0", owner), join(viewer.port, "/lane/1", owner)]
    for pane in panes:
        echo(pane, CAMERA)
    wait_for(lambda: len(twin._panes) == 2, "both panes")
    owned = dict(viewer.server.get_clients())
    panes += [join(viewer.port, "/lane/0", guest), join(viewer.port, "/lane/1", guest)]
    for pane in panes[2:]:
        echo(pane, CAMERA)
    wait_for(lambda: len(twin._panes) == 4, "the guest's panes")
    guests = {k: c for k, c in viewer.server.get_clients().items() if k not in owned}

    def stand_at(clients: dict[int, Any], place: float) -> bool:
        return all(c.camera.position.tolist() == [place] * 3 for c in clients.values())

    echo(panes[0], CAMERA, position=[5.0, 5.0, 5.0])
    wait_for(lambda: stand_at(owned, 5.0), "both of the owner's panes")
    echo(panes[2], CAMERA, position=[9.0, 9.0, 9.0])
    wait_for(lambda: stand_at(guests, 9.0), "both of the guest's panes")
    assert stand_at(owned, 5.0)
    echo(panes[1], CAMERA, position=[2.0, 2.0, 2.0])
    wait_for(lambda: stand_at(owned, 2.0), "both of the owner's panes again")
    assert stand_at(guests, 9.0)
    for pane in panes:
        pane.close()


def test_large_messages_come_through_bit_for_bit_both_ways(start):
    viewer = start()
    points = np.random.default_rng(0).random((300_000, 3)).astype(np.float32)
    with join(viewer.port) as socket:
        echo(socket, CAMERA)
        wait_for(lambda: len(viewer.server.get_clients()) == 1, "the client")
        colors = np.zeros((len(points), 3), np.uint8)
        viewer.server.scene.add_point_cloud("/big", points, colors, precision="float32")
        end = time.monotonic() + 20
        while not has(socket.recv(timeout=10), points):
            assert time.monotonic() < end
        asked: list[bytes] = []
        inner = next(iter(viewer.server.get_clients().values()))
        payload = np.random.default_rng(1).bytes(9_000_000)
        inner._websock_connection.register_handler(
            gate_module.viser._messages.GetRenderResponseMessage,  # type: ignore
            lambda _, message: asked.append(message.payload),
        )
        message = {"type": "GetRenderResponseMessage", "payload": payload, "render_uuid": "x"}
        socket.send(msgspec.msgpack.encode(message))
        wait_for(lambda: asked, "the picture")
        assert asked == [payload]


def test_a_slow_browser_holds_up_no_other(start):
    viewer = start()
    slow = join(viewer.port, max_queue=1, ping_interval=None)
    echo(slow, CAMERA)  # and never reads
    clouds = np.random.default_rng(0).random((12, 200_000, 3)).astype(np.float32)
    with join(viewer.port) as fast:
        echo(fast, CAMERA)
        wait_for(lambda: len(viewer.server.get_clients()) == 2, "both")
        for number, cloud in enumerate(clouds):
            viewer.server.scene.add_point_cloud(f"/{number}", cloud, (0, 0, 0), precision="float32")
            begin = time.monotonic()
            while not has(fast.recv(timeout=5), cloud):
                pass
            assert time.monotonic() - begin < 3
    assert viewer.gate.clients >= 1
    slow.socket.close()


def test_viser_does_not_give_up_a_browser_that_reads_for_minutes(start):
    viewer = start()
    with join(viewer.port) as socket:
        echo(socket, CAMERA)
        wait_for(lambda: len(viewer.server.get_clients()) == 1, "the client")
        (connection,) = viewer.server._websock_server._live_connections.values()
        assert connection.keepalive_task is not None
        wait_for(connection.keepalive_task.cancelled, "its pings to end")


def test_there_are_only_so_many_browsers(start, monkeypatch):
    monkeypatch.setattr(gate_module, "MAX_CLIENTS", 2)
    viewer = start()
    with join(viewer.port), join(viewer.port) as second:
        wait_for(lambda: viewer.gate.clients == 2, "both")
        assert refused(viewer.port) == 503
        second.close()
        wait_for(lambda: viewer.gate.clients == 1, "one to go")
        join(viewer.port).close()


def test_guests_who_wait_take_no_place_from_owners_nor_one_guest_all(start, monkeypatch):
    monkeypatch.setattr(gate_module, "MAX_CLIENTS", 3)
    monkeypatch.setattr(gate_module, "SESSION_WAITERS", 2)
    viewer = start(token=TOKEN, guests=True)
    gate, version = viewer.gate, json.loads(viewer.gate._overlay.content())["version"]
    monkeypatch.setattr(type(gate._overlay), "newer", lambda *_: asyncio.sleep(60, b"{}"))

    def statuses(*clients: Client) -> list[int | None]:
        """What each is answered, one after another; None where it waits."""

        async def ask() -> list[int | None]:
            waits = []
            for client in clients:
                waits.append(asyncio.create_task(gate._newer_overlay(f"have={version}", client)))
                await asyncio.sleep(0)
            found = [one.result().status_code if one.done() else None for one in waits]
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            return found

        return asyncio.run(ask())

    guest, other, owner = Client("guest", "a"), Client("guest", "b"), Client("owner", "c")
    assert statuses(guest, guest, guest, other, other) == [None, None, 503, None, 503]
    assert not gate._waiting
    assert statuses(*[guest, guest, other], owner, owner, owner, owner)[3:] == [None] * 3 + [503]


def test_a_browser_of_another_version_is_told_so(start):
    viewer = start()
    with join(viewer.port, subprotocols=["viser-v0.0.1"]) as socket:
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1002
        assert "Version mismatch" in caught.value.rcvd.reason


def test_closing_leaves_no_thread_and_no_port():
    before = set(threading.enumerate())
    viewer = Viewer(SceneStore(), Mailbox(), port=0)
    viewer.start()
    port = viewer.port
    get(port, "/")
    socket = join(port)
    begin = time.monotonic()
    viewer.stop()
    assert time.monotonic() - begin < 2.5
    assert read_to_the_end(socket) is not None
    with pytest.raises(ConnectionRefusedError):
        get(port, "/")

    def left() -> set[str]:
        alive = [thread for thread in threading.enumerate() if thread not in before]
        return {thread.name for thread in alive if thread.name.startswith(("page", "asyncio"))}

    wait_for(lambda: not left(), lambda: f"the threads to end, not {left()}")


def test_the_page_stays_up_where_viser_goes_away(start, caplog):
    viewer = start()
    viewer.server.stop()
    status, _, body = get(viewer.port, "/")
    assert (status, b"cannot be served now" in body) == (500, True)
    with join(viewer.port) as socket, pytest.raises(ConnectionClosed):
        socket.recv(timeout=5)
    assert caplog.text.count("a request could not be answered") == 1


def test_no_auth_on_every_network_warns(caplog):
    access = access_for("0.0.0.0", no_auth=True)
    viewer = Viewer(SceneStore(), Mailbox(), host="0.0.0.0", port=0, access=access)
    with running(viewer):
        assert f"anyone who can reach port {viewer.port} can watch and steer" in caplog.text
        assert get(viewer.port, "/", {"Host": f"10.0.0.1:{viewer.port}"})[0] == 200


def test_the_owner_then_the_guests_are_told_the_addresses_that_others_reach(monkeypatch):
    access = access_for("0.0.0.0", guests=True)
    viewer = Viewer(SceneStore(), Mailbox(), host="0.0.0.0", port=0, access=access)

    def addresses() -> tuple[list[str], list[str]]:
        you, guests = " ".join(viewer.door.lines()).split("guests:")
        return re.findall(r"http://([0-9.]+):", you), re.findall(r"http://([0-9.]+):", guests)

    with running(viewer):
        monkeypatch.setattr("ttt3r_viewer.viewer.server.address.FAR_HOSTS", {socket.AF_INET: ()})
        assert addresses() == (["127.0.0.1"], ["127.0.0.1"])
        assert all("this machine is in no network" in line for line in viewer.door.lines())
        monkeypatch.undo()
        you, guests = addresses()
        assert you[0] == "127.0.0.1"
        assert guests == (you[1:] or ["127.0.0.1"])
        for one in guests:
            query = f"/?token={access.guest_token}"
            socket.create_server((one, 0)).close()  # it is an address of this machine
            assert get(viewer.port, query, {"Host": f"{one}:{viewer.port}"})[0] == 303
        assert viewer.door.lines()[0].startswith("you:    open http")
    only_here = Viewer(SceneStore(), Mailbox(), port=0, access=access_for("127.0.0.1", guests=True))
    with running(only_here):
        you, guests = only_here.door.lines()
        assert you == f"you:    open {only_here.url}"
        assert guests.startswith(f"guests: open {only_here.door.guest_url} (on this machine only")


@pytest.mark.parametrize(
    ("host", "here", "others"),
    [
        ("127.0.0.1", "http://127.0.0.1:80", ()),
        ("::1", "http://[::1]:80", ()),
        ("10.0.0.5", "http://10.0.0.5:80", ("http://10.0.0.5:80",)),
        ("desk", "http://desk:80", ("http://desk:80",)),
    ],
)
def test_a_host_that_is_given_is_the_one_in_the_links(host, here, others):
    assert links(host, 80, None) == (here, others)
    assert links(host, 80, TOKEN)[0] == f"{here}/?token={TOKEN}"


def test_every_network_has_a_token_made_up_and_printed(monkeypatch, capsys):
    shown: list[str] = []

    def look(*_: object) -> None:
        out = capsys.readouterr().out.splitlines()
        shown.append(next(one.split()[2] for one in out if one.startswith("you:")))
        port = int(shown[0].split(":")[2].partition("/")[0])
        assert get(port, "/")[0] == 403
        assert get(port, shown[0].partition(str(port))[2])[0] == 303
        raise KeyboardInterrupt

    monkeypatch.setattr("ttt3r_viewer.runs.reconstruction.Reconstruction.watch", look)
    words = ["--input", "demo:loop", "--max-frames", "1", "--port", "0", "--device", "cpu"]
    monkeypatch.setattr("os._exit", lambda _: None)
    assert main([*words, "--host", "0.0.0.0"]) == 0
    assert len(shown[0].partition("token=")[2]) >= 43


def test_no_auth_is_a_flag_that_leaves_the_token_away():
    def page(*words: str) -> PageOptions:
        return parse("ttt3r-view", COMMAND, words, print)[1][PageOptions]

    assert access_of(page("--host", "0.0.0.0", "--no-auth")) == Access()
    guarded = page("--token", TOKEN, "--guests", "read-only")
    assert access_of(guarded).owner_token == TOKEN
    assert access_of(guarded).guest_token
