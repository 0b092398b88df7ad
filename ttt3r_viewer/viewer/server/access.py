"""Access rules of the page: tokens, login throttle, Host and Origin checks.

Nothing here opens a socket; `gate.py` applies these rules to every request.
"""

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Literal
from urllib.parse import urlsplit

Role = Literal["owner", "guest"]
"""The owner steers the run; a guest only looks."""

FREE_TRIES = 5
"""Wrong tokens that a network may give before it has to wait."""
LONGEST_WAIT_SEC = 60.0
MAX_ADDRESSES = 1024
IPV6_SITE_BITS = 64
"""Prefix that one machine can own: it could use a new address in it for every try."""


@dataclass(frozen=True)
class Access:
    """The tokens that open the page."""

    owner_token: str | None = field(default=None, repr=False)
    """None: everyone who reaches the page is its owner."""
    guest_token: str | None = field(default=None, repr=False)
    """None: there are no guests."""

    def role_of(self, token: str) -> Role | None:
        """Return the role that a token opens; comparisons take constant time."""
        owner = _same(token, self.owner_token)
        guest = _same(token, self.guest_token)
        return "owner" if owner else "guest" if guest else None


def access_for(
    host: str, *, token: str | None = None, no_auth: bool = False, guests: bool = False
) -> Access:
    """Choose the tokens of a page that is served at `host`; generate those not given.

    Browsers on this machine need none, unless one is given or there are guests.
    """
    if token is None and not guests and (no_auth or is_loopback(host)):
        return Access()
    return Access(token or token_urlsafe(), token_urlsafe() if guests else None)


def is_loopback(host: str) -> bool:
    """Whether an address or name is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def split_authority(text: str) -> tuple[str, int | None] | None:
    """Split `host:port` of a Host header into a lower-case host without brackets and a port.

    None where no browser would send it; the port is None where it is left out.
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
    """Return the host names, besides IP addresses, that a page served at `host` answers to."""
    names = {"localhost", host.lower()}
    if not is_loopback(host):
        machine = socket.gethostname().lower()
        names |= {machine, f"{machine}.local", machine.partition(".")[0]}
    return frozenset(names)


def host_allowed(header: str, names: Iterable[str], *, loopback: bool) -> bool:
    """Whether a Host header is ours: one of `names`, or an IP address (`loopback`: a local one).

    This stops DNS rebinding: a page that rebinds its own name to our address still sends that name,
    and an IP address cannot be rebound. The port is free, because an SSH tunnel may change it.
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
    """Whether a request comes from our own page: its Origin equals its Host.

    Browsers always send an Origin with a websocket; other programs may send none.
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
    """Return the value of the first cookie of that name in the Cookie headers."""
    for header in headers:
        for piece in header.split(";"):
            key, _, value = piece.strip().partition("=")
            if key == name:
                return value
    return None


class Throttle:
    """Delays logins from networks that gave wrong tokens, twice as long each time."""

    def __init__(self) -> None:
        self._wrong: dict[str, tuple[int, float]] = {}
        """By network: number of wrong tokens, and the end of its wait in seconds."""

    def wait_sec(self, address: str, now_sec: float) -> float:
        """Return the rest of an address's wait; 0 where it may try."""
        _, until = self._wrong.get(network_of(address), (0, 0.0))
        return max(until - now_sec, 0.0)

    def failed(self, address: str, now_sec: float) -> None:
        """Count a wrong token."""
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
    """Return the network that is throttled for an address: the IPv4 address, or the IPv6 /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), IPV6_SITE_BITS), strict=False))


def _same(given: str, expected: str | None) -> bool:
    return expected is not None and hmac.compare_digest(
        given.encode("utf-8", "replace"), expected.encode()
    )
