"""Choose a port of the page's host that can be bound."""

import errno
import socket

from ttt3r_viewer.errors import ViewerServerError

NEIGHBOURS = 20
"""Number of ports tried from the given one on, before any free one is taken."""


def free_port(host: str, port: int) -> int:
    """Return the first port that can be bound on `host`: `port`, one of the next ones, or any.

    Port 0 asks for any free one. viser would hang on a host that cannot be bound, so it is checked
    here. Raises ViewerServerError where the host or the port number is not usable.
    """
    if not 0 <= port <= 65535:
        raise ViewerServerError(f"--port {port} is no port: give 0 (any free one) to 65535")
    candidates = range(port, min(port + NEIGHBOURS, 65536)) if port else ()
    for candidate in (*candidates, 0):
        bound = _bind(host, candidate)
        if bound is not None:
            return bound
    raise ViewerServerError(f"no port is free on {host}: close a program that listens there")


def _bind(host: str, port: int) -> int | None:
    """Bind every address of the host briefly; None where the port is busy."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ViewerServerError(
            f"--host {host!r} is not known here ({error}): give 127.0.0.1 for this machine only"
        ) from error
    bound = port
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address[0], bound, *address[2:]))
                bound = probe.getsockname()[1]
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return None
            if error.errno == errno.EACCES:
                raise ViewerServerError(
                    f"--port {port} needs more rights on this system: give one above 1023"
                ) from error
            raise ViewerServerError(
                f"--host {host!r} cannot be served from this machine ({error.strerror}): "
                "give 127.0.0.1, or 0.0.0.0 for every network that it is in"
            ) from error
    return bound
