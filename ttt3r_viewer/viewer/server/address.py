"""Take a port of the page's host."""

import errno
import os
import socket

from ttt3r_viewer.errors import ViewerServerError

NEIGHBOURS = 20
"""Number of ports tried from the given one on, before any free one is taken."""


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
