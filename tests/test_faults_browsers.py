"""Browsers that come, go, are many or slow, and a race of viser's: no other browser notices."""

import asyncio
import gc
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from viser._messages import SetSceneNodeVisibilityMessage
from viser.infra._async_message_buffer import AsyncMessageBuffer
from websockets.sync.client import ClientConnection

from tests.made_up_run import room_result
from tests.page_client import join
from tests.pages import running
from tests.waiting import wait_for
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.server.address import free_port, listen
from ttt3r_viewer.viewer.server.viser_patch import WakingBuffer

SEEN = re.compile(rb"frames_seen&quot;: (\d+)")


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    store = SceneStore(max_points=100_000, points_per_frame=2_000)
    store.set_status(Status(phase="running"))
    viewer = Viewer(store, Mailbox(), port=0)
    with running(viewer):
        yield viewer


class Browser:
    """Reads the page, all of it or at so many bytes a second, and keeps which frame it shows."""

    def __init__(self, viewer: Viewer, bytes_per_sec: float = 0.0) -> None:
        self.seen = self.bytes = 0
        self._stopping = threading.Event()
        self._socket = self._connect(viewer.port, bytes_per_sec)
        self._thread = threading.Thread(target=self._read, args=(bytes_per_sec,), daemon=True)
        self._thread.start()

    @staticmethod
    def _connect(port: int, bytes_per_sec: float) -> ClientConnection:
        line = socket.socket()
        if bytes_per_sec:  # else the system would take megabytes for it
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        line.connect(("127.0.0.1", port))
        return join(port, sock=line, max_queue=1, ping_interval=None)

    def _read(self, bytes_per_sec: float) -> None:
        try:
            for message in self._socket:
                assert isinstance(message, bytes)
                self.bytes += len(message)
                packed = message[16 : 16 + int.from_bytes(message[8:16], "little")]
                for found in SEEN.findall(zstandard.decompress(packed)):
                    self.seen = int(found)
                if bytes_per_sec and self._stopping.wait(len(message) / bytes_per_sec):
                    return
        except Exception:  # noqa: BLE001 -- the connection is gone, which the test sees by itself
            return

    def close(self) -> None:
        self._stopping.set()
        self._socket.close()
        self._thread.join(5)


def add_frames(viewer: Viewer, first: int, count: int, pause_sec: float = 0.0) -> None:
    result = room_result(0, 160, 128)
    for sequence in range(first, first + count):
        viewer._store.add(replace(result, sequence=sequence, index=sequence))
        time.sleep(pause_sec)


def test_ten_browsers_see_the_run_and_leave_nothing_behind(viewer):
    add_frames(viewer, 0, 20)
    first = Browser(viewer)
    wait_for(lambda: first.seen == 20, "the first browser")
    first.close()
    wait_for(lambda: viewer.gate.clients == 0, "it to be gone")
    threads = threading.active_count()
    for round_ in (1, 2):  # closed, and opened again
        browsers = [Browser(viewer) for _ in range(10)]
        count = 20 + 20 * round_
        add_frames(viewer, count - 20, 20)
        wait_for(lambda: all(one.seen == count for one in browsers), "all ten", 30)  # noqa: B023
        # Whoever comes late is shown all that there is.
        assert min(one.bytes for one in browsers) > 100_000
        for one in browsers:
            one.close()
        wait_for(lambda: viewer.gate.clients == 0, "all to be gone")
    wait_for(lambda: threading.active_count() <= threads, "their threads to end")
    known = viewer.server._websock_server._client_state_from_id
    wait_for(lambda: not known, "viser to forget them")


def memory_bytes() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_slow_browser_holds_up_nobody_and_costs_a_bounded_memory(viewer):
    add_frames(viewer, 0, 200)
    quick = Browser(viewer)
    wait_for(lambda: quick.seen == 200, "the quick browser")
    slow = Browser(viewer, bytes_per_sec=125_000)  # 1 Mbit/s
    gc.collect()
    before = memory_bytes()
    for hundred in range(2):
        add_frames(viewer, 200 + 100 * hundred, 100, pause_sec=0.01)
        newest = 300 + 100 * hundred
        wait_for(lambda: quick.seen == newest, "the quick one", 5)  # noqa: B023
    gc.collect()
    # The scene itself is full already; what is new is what waits for the slow one.
    assert memory_bytes() - before < 64e6
    assert slow.bytes < 0.5 * quick.bytes
    assert viewer.gate.clients == 2
    assert not viewer._publisher._trouble
    quick.close()
    slow.close()
    wait_for(lambda: viewer.gate.clients == 0, "both to be gone")


def test_a_port_is_held_from_its_choice_on():
    (first,) = listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    (second,) = listen("127.0.0.1", port)
    assert second.getsockname()[1] != port
    assert free_port("127.0.0.1", port) != port
    first.close()
    second.close()
    assert free_port("127.0.0.1", port) == port


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
