"""Made-up cameras: a feed that a test drives, and a server that sends pictures over HTTP."""

import contextlib
import io
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from tests.media import LEVEL_STEP, flat_image
from ttt3r_viewer.frames.live import Arrival, LiveSource
from ttt3r_viewer.types import Frame, Waiting


class DrivenFeed:
    """Gives what a test puts: a level for a frame, None for "well", an error to raise, or "end"."""

    name = "driven"

    def __init__(self, silent_sec: float = 10.0) -> None:
        self.silent_sec = silent_sec
        self.put: queue.SimpleQueue[int | Exception | str | None] = queue.SimpleQueue()
        self.opened = 0

    def arrivals(self, closed: threading.Event) -> Iterator[Arrival | None]:
        self.opened += 1
        while not closed.is_set():
            item = self.put.get()
            if isinstance(item, Exception):
                raise item
            if item == "end":
                return
            if item is None:
                yield None
            else:
                level = int(item)
                yield Arrival("", time.monotonic(), lambda level=level: flat_image(level))

    def advice(self, reason: str) -> str:
        return f"driven cannot be opened ({reason}): drive it"


def levels(source: LiveSource, count: int) -> list[int]:
    """Levels of the next `count` frames, from one iteration."""
    found = []
    for item in source:
        assert isinstance(item, Frame), item
        found.append(int(item.image.mean()))
        if len(found) == count:
            break
    return found


def first_words(source: LiveSource) -> Iterator[str]:
    """What is said while there is no frame."""
    return (item.message for item in source.watch() if isinstance(item, Waiting))


def jpeg(level: int, height: int = 48, width: int = 64) -> bytes:
    buffer = io.BytesIO()
    image = np.full((height, width, 3), level, np.uint8)
    Image.fromarray(image).save(buffer, "jpeg")
    return buffer.getvalue()


@contextmanager
def served(respond: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """A local HTTP server whose every answer `respond` writes; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # the reader has gone
                respond(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def send_multipart(request: BaseHTTPRequestHandler, count: int, period_sec: float) -> None:
    """Send an MJPEG stream as cameras do: picture i has grey level LEVEL_STEP x (i modulo 20)."""
    request.send_response(200)
    request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    request.end_headers()
    for number in range(count):
        data = jpeg(LEVEL_STEP * (number % 20))
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        request.wfile.write(head.encode() + data + b"\r\n")
        time.sleep(period_sec)
