"""A mend of viser 1.1: a page that stands still for ever because nobody wakes what sends to it.

viser sets an `asyncio.Event` from whatever thread has a message, which such an event does not bear:
where that falls between the sender's look at the event and its lying down to wait, the event counts
as set, no later message sets it again, and the sender sleeps on. It happened to about one page in
half an hour at ten updates a second.
"""

from __future__ import annotations

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
        """Set it now on the loop's thread, and soon from any other one."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._owner:
            super().set()
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
                self._owner.call_soon_threadsafe(super().set)


class WakingBuffer(AsyncMessageBuffer):
    """viser's buffer of messages, with an event that every thread may set."""

    def __init__(self, event_loop: asyncio.AbstractEventLoop, **named: Any) -> None:
        super().__init__(event_loop, **named)
        self.message_event = WakingEvent(event_loop)


def patch_viser() -> None:
    """Let all servers that are made from now on use the mended buffer."""
    _infra.AsyncMessageBuffer = WakingBuffer  # pyright: ignore[reportPrivateImportUsage]
