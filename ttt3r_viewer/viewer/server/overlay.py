"""What our script lays over the scene in every browser: parts by name, which the gate hands on.

viser has no place for it: HTML of its panel goes when a user folds that away.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Mapping

WAIT_SEC = 6.0
"""Time after which a browser that has the latest is answered all the same."""
GATHER_SEC = 0.03
"""What one update of the page replaces, part by part, goes out together."""
MOST_OWN_PARTS = 64
"""Kept for single pages; the oldest beyond it are forgotten."""


class Overlay:
    """The latest parts as JSON: the publisher replaces them, and the gate's loop reads them.

    A browser that names the version that it has gets only what was replaced since.
    """

    def __init__(self) -> None:
        self._began = secrets.token_hex(4)
        """Tells versions from those of a program before, which browsers may still have."""
        self._parts: dict[tuple[str, str], tuple[int, str]] = {}
        """By page, empty for all pages, and name: the count at which each was replaced, and JSON.
        Replaced as a whole."""
        self._count = 0
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        """What each browser that has the latest waits for, with its loop."""

    def show(self, name: str, part: Mapping[str, object] | None, *, page: str = "") -> None:
        """Replace a part of all pages, or of the one of this name; None takes it away."""
        content, key = json.dumps(part), (page, name)
        if key not in self._parts and part is None:
            return
        if key in self._parts and self._parts[key][1] == content:
            return
        parts = {**self._parts, key: (self._count + 1, content)}
        own = [one for one in parts if one[0]]
        for one in own[:-MOST_OWN_PARTS]:
            del parts[one]
        self._parts = parts
        self._count += 1
        for event, loop in list(self._waiting.items()):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

    def content(self, have: str = "", page: str = "") -> bytes:
        """Return the version, and what was replaced since the one that a browser has."""
        count, parts = self._count, self._parts
        began, _, number = have.partition(".")
        since = int(number) if began == self._began and number.isdecimal() else -1
        newer = [
            f", {json.dumps(name)}: {content}"
            for (place, name), (at, content) in parts.items()
            if place in ("", page) and at > since
        ]
        return f'{{"version": "{self._began}.{count}"{"".join(newer)}}}'.encode()

    async def newer(self, have: str, page: str = "") -> bytes:
        """Return what a browser has not got yet once there is some, or after `WAIT_SEC`."""
        event = asyncio.Event()
        self._waiting[event] = asyncio.get_running_loop()
        try:
            if have == f"{self._began}.{self._count}":
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), WAIT_SEC)
                    await asyncio.sleep(GATHER_SEC)
        finally:
            del self._waiting[event]
        return self.content(have, page)
