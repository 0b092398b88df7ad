"""Messages to browsers leave, whenever they come: a race of viser's, forced."""

import asyncio
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from viser._messages import SetSceneNodeVisibilityMessage
from viser.infra._async_message_buffer import AsyncMessageBuffer

from tests.pages import running
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.server.viser_patch import WakingBuffer

FIRST, SECOND = (SetSceneNodeVisibilityMessage(name, True) for name in ("/one", "/two"))
PATIENCE_SEC = 2.0


class Intrusion(deque[Any]):
    """Waiters of an event: just before one lies down, another thread sends a message."""

    def __init__(self, buffer: AsyncMessageBuffer) -> None:
        super().__init__()
        self.buffer, self.done = buffer, False

    def append(self, waiter: Any) -> None:
        if not self.done:
            self.done = True
            thread = threading.Thread(target=self.buffer.push, args=(FIRST,))
            thread.start()
            thread.join()
        super().append(waiter)


def sent_by(kind: type[AsyncMessageBuffer]) -> list[str]:
    """Names of what leaves a buffer to which two messages come, the first at the worst moment."""

    async def receive() -> list[str]:
        buffer = kind(asyncio.get_running_loop(), persistent_messages=True)
        intrusion = buffer.message_event._waiters = Intrusion(buffer)
        names: list[str] = []

        async def take() -> None:
            async for window in buffer.window_generator(client_id=0):
                assert all(isinstance(one, SetSceneNodeVisibilityMessage) for one in window)
                names.extend(getattr(one, "name", "") for one in window)

        taking = asyncio.create_task(take())
        await asyncio.sleep(0.2)
        assert intrusion.done
        buffer.push(SECOND)
        end = asyncio.get_running_loop().time() + PATIENCE_SEC
        while len(names) < 2 and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        buffer.set_done()
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        return names

    # Not on this thread: where browser tests ran before, it has a loop already.
    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(asyncio.run, receive()).result()


def test_a_message_at_the_worst_moment_leaves_and_so_does_the_next():
    assert sent_by(WakingBuffer) == ["/one", "/two"]


def test_visers_own_buffer_would_stand_still():
    """Once this fails, viser is repaired, and `viser_patch.py` may go."""
    assert sent_by(AsyncMessageBuffer) == []


def test_the_page_uses_it():
    viewer = Viewer(SceneStore(), Mailbox(), port=0)
    with running(viewer):
        assert isinstance(viewer.server._websock_server._broadcast_buffer, WakingBuffer)
