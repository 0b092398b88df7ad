"""The start screen behind the gate: who may use it, what it refuses, and what a choice does."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.media import write_images
from tests.page_client import cookie_for, get, join
from tests.waiting import wait_for
from ttt3r_viewer.errors import InputError, ViewerError
from ttt3r_viewer.runs import start_offers
from ttt3r_viewer.runs.start_offers import RULES, StartOffers
from ttt3r_viewer.settings import Settings
from ttt3r_viewer.viewer.server.access import access_for
from ttt3r_viewer.viewer.server.door import Door
from ttt3r_viewer.viewer.server.gate import Gate
from ttt3r_viewer.viewer.server.start_screen import MAX_MESSAGE_BYTES, START_PATHS, StartScreen
from ttt3r_viewer.viewer.server.uploads import UploadFolder

TOKEN = "a-token-for-tests"
PAGE, SOCKET = START_PATHS


class MadeUpOffers:
    """Offers one input, which alone may be chosen."""

    def offer(self) -> Mapping[str, Any]:
        return {"demos": [{"value": "it", "image": np.zeros((3, 4, 3), np.uint8)}]}

    def complete(self, text: str) -> list[str]:
        return [f"{text}!"]

    def look_at(self, given: str) -> Mapping[str, Any]:
        if given != "it":
            raise InputError("there is no\nsuch thing")
        return {"value": given}

    def choose(self, choice: Mapping[str, Any]) -> Any:
        return self.look_at(choice["input"])["value"]


class Browser:
    """Speaks to the start screen as its page does."""

    def __init__(self, socket: Connection) -> None:
        self.socket = socket

    def ask(self, **question: Any) -> dict[str, Any]:
        self.socket.send(json.dumps({"id": 7, **question}))
        answer = self.hear()
        assert answer.pop("id") == 7
        return answer

    def hear(self) -> dict[str, Any]:
        return json.loads(self.socket.recv(timeout=10))


@pytest.fixture
def screen(tmp_path: Path) -> StartScreen:
    inputs = UploadFolder(tmp_path / "inputs", frozenset({".mp4"}), frozenset({".png"}))
    return StartScreen(MadeUpOffers(), inputs)


@pytest.fixture
def opened(screen: StartScreen) -> Iterator[Any]:
    """Start gates with nothing behind them, and open their start screen's websocket."""
    with ExitStack() as stack:

        def start(**access: Any) -> Door:
            door = Door(port=0, access=access_for("127.0.0.1", **access), start=screen)
            stack.callback(door.close)
            gate = Gate(door)
            gate.start()
            stack.callback(gate.stop)
            return door

        def browser(door: Door, **headers: str) -> Browser:
            url = f"ws://127.0.0.1:{door.port}{SOCKET}"
            return Browser(stack.enter_context(connect(url, additional_headers=headers)))

        start.browser = browser  # pyright: ignore[reportFunctionMemberAccess]
        yield start


def files(*sizes: int, suffix: str = "png") -> list[dict[str, Any]]:
    return [{"name": f"{k}.{suffix}", "bytes": size} for k, size in enumerate(sizes)]


def refused(door: Door, path: str = SOCKET, **headers: str) -> int:
    with pytest.raises(InvalidStatus) as caught:
        join(door.port, path, headers)
    return caught.value.response.status_code


def test_before_anything_is_shown_every_address_leads_to_the_start_screen(opened):
    door = opened()
    for path in ("/", "/twin", "/index.html", "/overlay", "/x"):
        status, headers, _ = get(door.port, path)
        assert (status, headers["Location"]) == (303, PAGE)
    status, headers, body = get(door.port, PAGE)
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert headers["Content-Security-Policy"] == "frame-ancestors 'self'"
    assert b"Drop a video" in body
    for path in ("/", "/lane/0", PAGE):
        assert refused(door, path) == 404


def test_strangers_guests_and_other_pages_get_neither_page_nor_websocket(opened, show, screen):
    first = opened(token=TOKEN, guests=True)
    door = Door(port=0, access=first.access, start=screen)
    viewer = show(1, {"door": door}, paused=True)[1]
    assert viewer.door is door
    for one in (first, door):  # without a run, and beside one
        assert one.access.guest_token is not None
        owner = {"Cookie": cookie_for(one.port, TOKEN)}
        guest = {"Cookie": cookie_for(one.port, one.access.guest_token)}
        assert get(one.port, PAGE)[0] == refused(one) == 403
        status, _, body = get(one.port, PAGE, guest)
        assert (status, b"owner of this page chooses" in body) == (403, True)
        assert refused(one, **guest) == 403
        host = f"127.0.0.1:{one.port}"
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            assert refused(one, **owner, Origin=origin) == 403, origin
        assert refused(one, **owner, Host="evil.example") == 403
        assert get(one.port, PAGE, owner)[0] == 200
        browser = opened.browser(one, **owner, Origin=f"http://{host}")
        assert browser.ask(ask="complete", text="a") == {"paths": ["a!"]}
    door.close()


def test_a_page_without_a_start_screen_has_none(show):
    viewer = show(1, paused=True)[1]
    assert get(viewer.port, PAGE)[0] == refused(viewer.door) == 404


def test_offers_come_as_json_with_their_pictures_and_errors_in_a_line(opened):
    browser = opened.browser(opened())
    offer = browser.ask(ask="offer")
    assert offer["demos"][0]["image"].startswith("data:image/jpeg;base64,")
    assert (offer["trouble"], offer["at_stake"]) == ("", "")
    assert browser.ask(ask="look", text="it") == {"input": {"value": "it"}}
    assert browser.ask(ask="look", text="x") == {"refused": "there is no such thing"}
    assert browser.ask(ask="delete") == {"refused": "the page asked delete: load it again"}
    for message in ("", "{", "[1]", "7", "[" * 100_000):
        browser.socket.send(message)
        assert "load the page again" in browser.hear()["refused"]
    browser.socket.send("x" * (MAX_MESSAGE_BYTES + 1))
    with pytest.raises(ConnectionClosed):
        browser.hear()


def test_an_upload_arrives_whole_and_one_at_a_time(opened, tmp_path):
    door = opened()
    browser, other = opened.browser(door), opened.browser(door)
    assert browser.ask(ask="upload", files=files(3, 2)) == {"ready": True}
    for one in (browser, other):
        assert "another upload goes on" in one.ask(ask="upload", files=files(1))["refused"]
    browser.socket.send(b"1234")
    assert browser.hear() == {"received": 4}
    browser.socket.send(b"5")
    assert browser.hear() == {"uploaded": str(tmp_path / "inputs" / "0")}
    assert (tmp_path / "inputs" / "0" / "1.png").read_bytes() == b"45"
    assert other.ask(ask="upload", files=files(1)) == {"ready": True}


@pytest.mark.parametrize("how", ["closed", "too much", "too large a piece"])
def test_an_aborted_upload_leaves_nothing_and_the_next_may_begin(opened, tmp_path, how):
    door = opened()
    browser = opened.browser(door)
    assert browser.ask(ask="upload", files=files(10, suffix="mp4")) == {"ready": True}
    browser.socket.send(b"1234")
    assert browser.hear() == {"received": 4}
    assert len(list((tmp_path / "inputs").iterdir())) == 1
    match how:
        case "closed":
            browser.socket.close()
        case "too much":
            browser.socket.send(b"1234567")
            assert "more bytes came" in browser.hear()["refused"]
        case _:
            browser.socket.send(b"1" * (MAX_MESSAGE_BYTES + 1))
            with pytest.raises(ConnectionClosed):
                browser.hear()
    wait_for(lambda: not list((tmp_path / "inputs").iterdir()), "the part to go")
    again = opened.browser(door)
    assert again.ask(ask="upload", files=files(1)) == {"ready": True}
    again.socket.send(b"1")
    assert "uploaded" in again.hear()


def test_bytes_without_an_upload_are_refused(opened):
    browser = opened.browser(opened())
    browser.socket.send(b"1")
    assert "nothing is being uploaded" in browser.hear()["refused"]


def test_a_choice_waits_for_who_takes_it_and_asks_where_something_would_be_lost(opened, screen):
    browser = opened.browser(opened())
    screen.at_stake = lambda: "This ends a run."
    assert browser.ask(ask="start", input="it") == {"at_stake": "This ends a run."}
    assert browser.ask(ask="start", input="it", sure="yes") == {"at_stake": "This ends a run."}
    assert browser.ask(ask="start", input="x", sure=True) == {"refused": "there is no such thing"}
    assert not screen.chosen.is_set()
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.append(screen.take()))
    thread.start()
    assert browser.ask(ask="start", input="it", sure=True) == {"started": True}
    thread.join(10)
    assert taken == ["it"]
    assert (screen.chosen.is_set(), screen.at_stake()) == (False, "")


def test_who_comes_while_one_page_follows_another_waits_and_stays_logged_in(screen):
    door = Door(port=0, access=access_for("127.0.0.1", token=TOKEN), start=screen)
    gate = Gate(door)
    gate.start()
    cookie = {"Cookie": cookie_for(door.port, TOKEN)}
    gate.stop()
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(get(door.port, PAGE, cookie)[0]))
    thread.start()
    later = Gate(door)
    later.start()
    thread.join(10)
    later.stop()
    door.close()
    assert answers == [200]
    with pytest.raises(ConnectionRefusedError):
        get(door.port, PAGE)


@pytest.fixture
def offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StartOffers:
    """Those of a program that was started in a folder with images beside a folder outside."""
    monkeypatch.setattr(start_offers, "kept_folder", lambda: tmp_path / "kept")
    write_images(tmp_path / "here" / "images", ["a.png", "b.png"])
    write_images(tmp_path / "outside", ["a.png"])
    (tmp_path / "here" / "link").symlink_to(tmp_path / "outside")
    monkeypatch.chdir(tmp_path / "here")
    return StartOffers(Settings())


def test_every_demo_rule_and_the_miniature_are_offered_and_can_be_chosen(offers):
    offer = offers.offer()
    assert [one["name"] for one in offer["demos"]] == ["loop", "walk", "hand-held", "compare"]
    assert offer["weights"][0]["weights"] == "miniature"
    for demo in offer["demos"]:
        assert demo["image"].shape == (192, 256, 3)
        for rules in RULES.values():
            chosen = offers.choose(
                {"input": demo["value"], "rules": rules, "weights": "miniature", "keep": False}
            )
            assert (chosen.input.input, chosen.rules.rules) == (demo["value"], rules)
            assert chosen.output.output is None


def test_a_path_inside_is_looked_at_and_kept_under_a_name_that_is_free(offers, tmp_path):
    looked = offers.look_at("images")
    assert (looked["name"], looked["text"], looked["own"]) == ("images", "2 frames", True)
    choice = {"input": "images", "rules": "ttt3r", "weights": "miniature", "keep": True}
    folder = tmp_path / "kept" / "recordings" / "images"
    assert offers.choose(choice).output.output == str(folder)
    folder.mkdir(parents=True)
    assert offers.choose(choice).output.output == f"{folder}-2"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input": "../outside"}, "is not inside"),
        ({"input": "link"}, "is not inside"),
        ({"input": "camera:0"}, "there is no file or folder camera:0"),
        ({"input": "rtsp://10.0.0.1/x"}, "there is no file or folder rtsp"),
        ({"input": "demo:other"}, "there is no demo 'other'"),
        ({"input": "demo:../../../outside"}, "there is no demo"),
        ({"rules": "constant:0.5"}, "rules that it does not offer"),
        ({"rules": None}, "rules that it does not offer"),
        ({"weights": "/etc/passwd"}, "weights that it does not offer"),
        ({"recording": True}, "recording"),
        ({"recording": True, "input": "link"}, "is not inside"),
    ],
)
def test_a_choice_of_what_is_not_offered_is_refused_in_a_line(offers, changed, message):
    choice = {"input": "images", "rules": "ttt3r", "weights": "miniature", "keep": False}
    with pytest.raises(ViewerError, match=message) as caught:
        offers.choose(choice | changed)
    assert "\n" not in str(caught.value)
