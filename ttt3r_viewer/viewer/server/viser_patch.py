"""Patch of viser 1.1: wake the sender of messages from any thread.

viser sets an `asyncio.Event` from other threads, which is not thread-safe: where another thread
sets it between the sender's test of the event and its wait, the wake-up is lost. The event then
counts as set, no later message sets it again, and the page stands still. This happened to about one
page in half an hour at ten updates a second.
"""

import asyncio
import contextlib
from typing import Any

from viser.infra import _infra
from viser.infra._async_message_buffer import AsyncMessageBuffer


class WakingEvent(asyncio.Event):
    """An event that any thread may set: it is set on its loop's own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._owner = loop

    def set(self) -> None:
        """Set the event soon."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._owner.call_soon_threadsafe(super().set)


class WakingBuffer(AsyncMessageBuffer):
    """viser's message buffer with an event that every thread may set."""

    def __init__(self, event_loop: asyncio.AbstractEventLoop, **named: Any) -> None:
        super().__init__(event_loop, **named)
        self.message_event = WakingEvent(event_loop)


def patch_viser() -> None:
    """Make every server that is created afterwards use the patched buffer."""
    _infra.AsyncMessageBuffer = WakingBuffer  # pyright: ignore[reportPrivateImportUsage]
