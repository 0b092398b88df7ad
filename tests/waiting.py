"""Wait for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], what: str, timeout_sec: float = 60.0) -> T:
    """Poll until the condition gives something true, and give that."""
    end = time.monotonic() + timeout_sec
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {timeout_sec} s for {what}"
        time.sleep(0.01)
    return value
