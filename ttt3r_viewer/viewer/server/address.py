"""Take a port of the page's host, and say by which addresses others reach it."""

import contextlib
import errno
import os
import socket

from ttt3r_viewer.errors import ViewerServerError
from ttt3r_viewer.viewer.server.access import is_loopback

NEIGHBOURS = 20
"""Number of ports tried from the given one on, before any free one is taken."""
FAR_HOSTS = {
    socket.AF_INET: ("192.0.2.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1"),
    socket.AF_INET6: ("2001:db8::1", "fd00::1"),
}
"""One host in each network that a machine may be in: documentation's and private ones."""
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""By host that stands for every network of this machine: the address that it has for itself."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen at the first port of `host` that is not busy: `port`, one of the next ones, or any.

    Port 0 asks for any free one. Gives a socket for each address of the host, all of one port.
    Raises ViewerServerError where the host or the port number is not usable.
    """
    if not 0 <= port <= 65535:
        raise ViewerServerError(f"--port {port} is no port: give 0 (any free one) to 65535")
    candidates = range(port, min(port + NEIGHBOURS, 65536)) if port else ()
    for candidate in (*candidates, 0):
        sockets = _listen_at(host, candidate)
        if sockets:
            return sockets
    raise ViewerServerError(f"no port is free on {host}: close a program that listens there")


def free_port(host: str, port: int) -> int:
    """Return the port that `listen` would take now. Raises ViewerServerError as it does."""
    sockets = listen(host, port)
    found = sockets[0].getsockname()[1]
    for one in sockets:
        one.close()
    return found


def links(host: str, port: int, token: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the link that opens a page at `host` on this machine, and those for other machines.

    For every network these have this machine's own addresses, as its routes say: nothing is sent.
    There are none where it is in no network, or where `host` is this machine alone.
    """
    others = () if is_loopback(host) else _own_addresses(host) if host in LOOPBACK else (host,)
    query = "" if token is None else f"/?token={token}"

    def link(one: str) -> str:
        return f"http://[{one}]:{port}{query}" if ":" in one else f"http://{one}:{port}{query}"

    return link(LOOPBACK.get(host, host)), tuple(map(link, others))


def _own_addresses(host: str) -> tuple[str, ...]:
    """Return the addresses that this machine would send from, the one of its default route first.

    A datagram socket that is connected has its route, and sends nothing.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found: dict[str, None] = {}
    for far in FAR_HOSTS[family]:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as one:
            one.connect((far, 9))
            found[one.getsockname()[0]] = None
    return tuple(one for one in found if not is_loopback(one))


def _listen_at(host: str, port: int) -> list[socket.socket]:
    """Listen at every address of the host; gives nothing where the port is busy."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ViewerServerError(
            f"--host {host!r} is not known here ({error}): give 127.0.0.1 for this machine only"
        ) from error
    sockets: list[socket.socket] = []
    try:
        for family, *_, address in addresses:
            bound = sockets[0].getsockname()[1] if sockets else port
            sockets.append(socket.create_server((address[0], bound, *address[2:]), family=family))
    except OSError as error:
        for one in sockets:
            one.close()
        if error.errno == errno.EADDRINUSE:
            return []
        if error.errno == errno.EACCES:
            raise ViewerServerError(
                f"--port {port} needs more rights on this system: give one above 1023"
            ) from error
        why = os.strerror(error.errno or 0)
        raise ViewerServerError(
            f"--host {host!r} cannot be served from this machine ({why}): "
            "give 127.0.0.1, or 0.0.0.0 for every network that it is in"
        ) from error
    return sockets
