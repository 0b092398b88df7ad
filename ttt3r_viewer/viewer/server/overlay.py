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


class Overlay:
    """The latest parts as JSON: the publisher replaces them, and the gate's loop reads them."""

    def __init__(self) -> None:
        self._parts: dict[str, object] = {}
        self._count = 0
        self._began = secrets.token_hex(4)
        """Tells versions from those of a program before, which browsers may still have."""
        self.latest = ("", b"")
        """Version, and the content with it; replaced as a whole."""
        self._publish()

    def show(self, name: str, part: Mapping[str, object] | None) -> None:
        """Replace a part; None takes it away."""
        if self._parts.get(name) != part:
            self._parts[name] = part
            self._publish()

    def _publish(self) -> None:
        self._count += 1
        version = f"{self._began}.{self._count}"
        self.latest = (version, json.dumps({"version": version, **self._parts}).encode())

    async def newer(self, have: str) -> bytes:
        """Return the latest content once its version is another, or after `WAIT_SEC`."""
        end_sec = time.monotonic() + WAIT_SEC
        while self.latest[0] == have and time.monotonic() < end_sec:
            await asyncio.sleep(LOOK_SEC)
        return self.latest[1]
