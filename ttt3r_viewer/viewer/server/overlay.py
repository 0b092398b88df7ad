"""What our script lays over the scene in every browser: parts by name, which the gate hands on.

viser has no place for it: HTML of its panel goes when a user folds that away.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping

WAIT_SEC = 6.0
"""Time after which a browser that has the latest is answered all the same."""
LOOK_SEC = 0.05
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
        end_sec = time.monotonic() + WAIT_SEC
        while have == f"{self._began}.{self._count}" and time.monotonic() < end_sec:
            await asyncio.sleep(LOOK_SEC)
        return self.content(have, page)
