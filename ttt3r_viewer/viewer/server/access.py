"""Who may open the page: tokens, sessions, and which Host and Origin a request may carry.

Nothing here opens a socket; `gate.py` asks it about every request.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Role = Literal["owner", "guest"]
"""The owner steers the run; a guest looks."""

MAX_SESSIONS = 512
"""Browsers that have shown a token; beyond it the oldest has to show it again."""
FREE_TRIES = 5
"""Wrong tokens that an address may give before it has to wait."""
LONGEST_WAIT_SEC = 60.0
MAX_ADDRESSES = 1024
IPV6_SITE_BITS = 64
"""One machine owns at least so large a network, and could take a new address for every try."""


@dataclass(frozen=True)
class Access:
    """The tokens that let a browser in."""

    owner_token: str | None = field(default=None, repr=False)
    """None: everyone who reaches the page is its owner."""
    guest_token: str | None = field(default=None, repr=False)
    """None: there are no guests."""

    def role_of(self, token: str) -> Role | None:
        """Give what a token opens; every comparison takes the same time."""
        owner = _same(token, self.owner_token)
        guest = _same(token, self.guest_token)
        return "owner" if owner else "guest" if guest else None


def access_for(
    host: str, *, token: str | None = None, no_auth: bool = False, guests: bool = False
) -> Access:
    """Choose the tokens of a page that is served at `host`, and make up those not given.

    This machine's own browsers need none, unless one is given or guests are told apart.
    """
    if token is None and not guests and (no_auth or is_loopback(host)):
        return Access()
    return Access(token or new_token(), new_token() if guests else None)


def new_token() -> str:
    """Make up a token that nobody can guess, 256 bits in letters that an address may hold."""
    return secrets.token_urlsafe(32)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address or name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def split_authority(text: str) -> tuple[str, int | None] | None:
    """Split `host:port` of a Host header into a lower-case host without brackets and a port.

    None where it is nothing that a browser sends; the port is None where it is left out.
    """
    if not text or any(letter in text for letter in "/\\?#@ \t,"):
        return None
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or (host.count(":") and not text.startswith("[")):
        return None
    return host, port


def own_names(host: str) -> frozenset[str]:
    """The names by which a page served at `host` may be asked for, besides IP addresses."""
    names = {"localhost", host.lower()}
    if not is_loopback(host):
        machine = socket.gethostname().lower()
        names |= {machine, f"{machine}.local", machine.partition(".")[0]}
    return frozenset(names)


def host_allowed(header: str, names: Iterable[str], *, loopback: bool) -> bool:
    """Whether a request's Host is ours: one of `names`, or an IP address (`loopback`: of this
    machine).

    A page that rebinds its own DNS name to our address still sends that name. An IP address in the
    Host cannot be rebound. The port is not compared: an SSH tunnel may have another one.
    """
    parts = split_authority(header)
    if parts is None:
        return False
    try:
        address = ipaddress.ip_address(parts[0])
    except ValueError:
        return parts[0] in names
    return address.is_loopback or not loopback


def origin_allowed(origin: str | None, host_header: str) -> bool:
    """Whether a request comes from our own page: its Origin is what its Host says.

    A program that is no browser sends no Origin; every browser does with a websocket.
    """
    if origin is None:
        return True
    ours = split_authority(host_header)
    scheme, separator, authority = origin.partition("://")
    theirs = split_authority(authority) if separator else None
    default = {"http": 80, "https": 443}.get(scheme.lower())
    if ours is None or theirs is None or default is None:
        return False
    return (theirs[0], theirs[1] or default) == (ours[0], ours[1] or default)


def cookie_value(headers: Iterable[str], name: str) -> str | None:
    """Find a cookie in the Cookie headers; the first of that name counts."""
    for header in headers:
        for piece in header.split(";"):
            key, _, value = piece.strip().partition("=")
            if key == name:
                return value
    return None


class Sessions:
    """Random values that browsers carry as a cookie once they have shown a token."""

    def __init__(self) -> None:
        self._roles: dict[bytes, Role] = {}
        """By the value's hash, so that a look-up's time tells nothing of a value."""

    def begin(self, role: Role) -> str:
        """Make up a value for a browser."""
        value = new_token()
        self._roles[_digest(value)] = role
        while len(self._roles) > MAX_SESSIONS:
            self._roles.pop(next(iter(self._roles)))
        return value

    def role_of(self, value: str | None) -> Role | None:
        """Give what a cookie opens; None where it is not one of ours."""
        return None if value is None else self._roles.get(_digest(value))


def short_name(value: str) -> str:
    """Name a session where its value must not stand."""
    return _digest(value).hex()[:16]


class Throttle:
    """Lets an address that gives wrong tokens wait, twice as long each time."""

    def __init__(self) -> None:
        self._wrong: dict[str, tuple[int, float]] = {}
        """How many wrong tokens by network, and until when (seconds) it has to wait."""

    def wait_sec(self, address: str, now_sec: float) -> float:
        """How long this address still has to wait; 0 where it may try."""
        _, until = self._wrong.get(network_of(address), (0, 0.0))
        return max(until - now_sec, 0.0)

    def failed(self, address: str, now_sec: float) -> None:
        """Take note of a wrong token."""
        network = network_of(address)
        count = self._wrong.pop(network, (0, 0.0))[0] + 1
        beyond = count - FREE_TRIES
        wait = 0.0 if beyond < 0 else min(2.0 ** min(beyond, 16), LONGEST_WAIT_SEC)
        self._wrong[network] = (count, now_sec + wait)
        while len(self._wrong) > MAX_ADDRESSES:
            self._wrong.pop(next(iter(self._wrong)))

    def succeeded(self, address: str) -> None:
        """Forget an address's wrong tokens."""
        self._wrong.pop(network_of(address), None)


def network_of(address: str) -> str:
    """Give the network that an address stands for: IPv6 without what a machine chooses itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), IPV6_SITE_BITS), strict=False))


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "replace")).digest()


def _same(given: str, wanted: str | None) -> bool:
    if wanted is None:
        return False
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
