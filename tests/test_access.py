"""Who may come in: names, origins, tokens, sessions, waiting."""

import pytest

from ttt3r_viewer.viewer.server import access as entry
from ttt3r_viewer.viewer.server.clients import MAX_SESSIONS, Sessions

TOKEN = "sixteen-letters_"


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("LocalHost", ("localhost", None)),
        ("[::1]:8080", ("::1", 8080)),
        ("[2001:DB8::1]", ("2001:db8::1", None)),
        *((header, None) for header in ("::1", "", "a b:1", "[::1", ":80", "a,b")),
        *((f"127.0.0.1{rest}", None) for rest in ("/x", ":99999", ":x")),
        ("user@127.0.0.1", None),
    ],
)
def test_a_host_header_is_split_or_nothing(header, parts):
    assert entry.split_authority(header) == parts


@pytest.mark.parametrize(
    ("header", "here", "elsewhere"),
    [
        ("127.0.0.1:8080", True, True),
        ("127.0.0.1:9000", True, True),  # the near end of an SSH tunnel
        ("127.9.9.9", True, True),
        ("LOCALHOST:8080", True, True),
        ("[::1]:8080", True, True),
        ("10.0.0.5:8080", False, True),
        ("[2001:db8::1]:8080", False, True),
        ("0.0.0.0:8080", False, True),
        *((name, False, False) for name in ("evil.example:8080", "127.0.0.1.evil.example")),
        *((name, False, False) for name in ("localhost.evil.example", "localhost.")),
        *((name, False, False) for name in ("2130706433", "")),
    ],
)
def test_only_our_names_and_addresses_are_asked_for(header, here, elsewhere):
    assert entry.host_allowed(header, entry.own_names("127.0.0.1"), loopback=True) is here
    assert entry.host_allowed(header, entry.own_names("0.0.0.0"), loopback=False) is elsewhere


def test_a_name_in_host_and_the_machines_own_are_ours(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Desk.lab.example")
    names = entry.own_names("Viewer.lab.example")
    for name in ("viewer.lab.example", "desk.lab.example", "DESK", "desk.lab.example.local"):
        assert entry.host_allowed(f"{name}:80", names, loopback=False), name
    assert "desk" not in entry.own_names("localhost")


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "127.0.0.1:8080", True),  # no browser
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("HTTP://LOCALHOST:8080", "localhost:8080", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://host", "host:80", True),
        ("https://host", "host", True),
        ("https://host", "host:443", True),
        ("http://127.0.0.1:8081", "127.0.0.1:8080", False),
        ("http://localhost:8080", "127.0.0.1:8080", False),
        ("https://evil.example", "127.0.0.1:8080", False),
        ("http://127.0.0.1:8080.evil.example", "127.0.0.1:8080", False),
        ("http://evil.example/http://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("null", "127.0.0.1:8080", False),
        ("", "127.0.0.1:8080", False),
        ("file://", "127.0.0.1:8080", False),
        ("chrome-extension://abc", "abc", False),
        ("http://127.0.0.1:8080", "", False),
    ],
)
def test_only_our_own_page_uses_the_page(origin, host, allowed):
    assert entry.origin_allowed(origin, host) is allowed


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_alone_needs_no_token(host):
    assert entry.access_for(host) == entry.Access()
    assert entry.access_for(host, token=TOKEN).owner_token == TOKEN


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "desk", ""])
def test_any_other_address_has_one_made_up_unless_none_is_wanted(host):
    made_up = entry.access_for(host)
    assert len(made_up.owner_token or "") >= 43
    assert made_up.guest_token is None
    assert entry.access_for(host).owner_token != made_up.owner_token
    assert entry.access_for(host, no_auth=True) == entry.Access()


def test_guests_have_a_token_of_their_own_which_opens_less():
    access = entry.access_for("127.0.0.1", token=TOKEN, guests=True)
    assert access.role_of(TOKEN) == "owner"
    assert access.role_of(access.guest_token or "") == "guest"
    for wrong in ("", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\ud800", "ä" * 16):
        assert access.role_of(wrong) is None, wrong
    assert TOKEN not in repr(access)
    assert entry.Access().role_of("") is None


def test_a_session_is_not_the_token_and_the_oldest_go():
    sessions = Sessions()
    values = [sessions.begin("guest") for _ in range(MAX_SESSIONS + 1)]
    assert len(set(values)) == len(values)
    clients = [sessions.client_of(value) for value in (*values, None, "", "\ud800")]
    assert clients[0] is clients[-1] is clients[-2] is clients[-3] is None
    for value, client in zip(values[1:], clients[1:], strict=False):
        assert client is not None
        assert client.role == "guest"
        assert client.session not in value


def test_the_first_cookie_of_a_name_counts():
    assert entry.cookie_value(["a=1; b=2", "b=3"], "b") == "2"
    assert entry.cookie_value(["ab=1", "=", ";;"], "b") is None


def test_wrong_tokens_wait_longer_and_longer_and_others_do_not():
    throttle, now_sec = entry.Throttle(), 100.0
    for _ in range(entry.FREE_TRIES):
        assert throttle.wait_sec("10.0.0.1", now_sec) == 0
        throttle.failed("10.0.0.1", now_sec)
    waits = []
    for _ in range(9):
        waits.append(throttle.wait_sec("10.0.0.1", now_sec))
        throttle.failed("10.0.0.1", now_sec)
    assert waits == [1, 2, 4, 8, 16, 32, *[entry.LONGEST_WAIT_SEC] * 3]
    assert throttle.wait_sec("10.0.0.2", now_sec) == 0
    assert throttle.wait_sec("10.0.0.1", now_sec + entry.LONGEST_WAIT_SEC) == 0
    throttle.succeeded("10.0.0.1")
    assert throttle.wait_sec("10.0.0.1", now_sec) == 0


def test_what_is_kept_of_addresses_is_bounded():
    throttle = entry.Throttle()
    for number in range(entry.MAX_ADDRESSES + 50):
        throttle.failed(f"10.1.{number // 256}.{number % 256}", 0.0)
    assert len(throttle._wrong) == entry.MAX_ADDRESSES


def test_a_machine_cannot_take_a_new_ipv6_address_for_each_try():
    assert entry.network_of("2001:db8::1") == entry.network_of("2001:db8::ffff%eth0")
    assert entry.network_of("2001:db8::1") != entry.network_of("2001:db8:0:1::1")
    assert entry.network_of("::ffff:10.0.0.1") == entry.network_of("10.0.0.1") == "10.0.0.1"


def test_made_up_tokens_are_long_and_fit_an_address():
    token = entry.access_for("0.0.0.0").owner_token
    assert token is not None
    assert len(token) >= 43
    assert token.replace("-", "").replace("_", "").isalnum()
