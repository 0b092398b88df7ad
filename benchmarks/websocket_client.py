"""A client of a viewer's page that reads everything and draws nothing, as a process of its own."""

from __future__ import annotations

import multiprocessing
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import viser
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


class WebsocketClient:
    """Reads all that a viser server sends, until it is closed."""

    def __init__(self, port: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._bytes: Synchronized[int] = context.Value("q", 0)
        self._process = context.Process(target=_read, args=(port, self._bytes), daemon=True)
        self._process.start()

    @property
    def bytes_read(self) -> int:
        """What came so far."""
        return self._bytes.value

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def _read(port: int, count: Any) -> None:
    protocol: Any = f"viser-v{viser.__version__}"
    address = f"ws://127.0.0.1:{port}"
    try:
        with connect(address, subprotocols=[protocol], max_size=None, compression=None) as socket:
            for message in socket:
                count.value += len(message)
    except ConnectionClosed:
        return
