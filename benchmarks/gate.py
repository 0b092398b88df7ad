"""What the gate costs: the same clouds read from viser's own port and through the gate.

    python -m benchmarks.gate [--clouds 40] [--points 200000]

Bytes per second of clouds of points sent one after the other, and the time from a small change on
the server to its message at a client that reads.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import viser
from websockets.sync.connection import Connection

from tests.page_client import CAMERA, echo, join
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.app import Viewer


def reader(port: int) -> Connection:
    """Join as a browser does, and read what is there already."""
    socket = join(port)
    echo(socket, CAMERA)
    try:
        while True:
            socket.recv(timeout=0.5)
    except TimeoutError:
        return socket


def bytes_per_sec(server: viser.ViserServer, port: int, clouds: int, points: int) -> float:
    """Send clouds, each when the one before has been read, and count what comes."""
    cloud = np.random.default_rng(0).random((points, 3)).astype(np.float32)
    colors = np.zeros((points, 3), np.uint8)
    size = 15 * points
    with reader(port) as socket:
        begin, total = time.perf_counter(), 0
        for _ in range(clouds):
            server.scene.add_point_cloud("/bench", cloud, colors, precision="float32")
            server.flush()
            read = 0
            while read < size:
                read += len(socket.recv())
            total += read
        return total / (time.perf_counter() - begin)


def latency_ms(server: viser.ViserServer, port: int, times: int) -> tuple[float, float]:
    """Milliseconds from a change to its message, median and 95th percentile."""
    frame = server.scene.add_frame("/moves", show_axes=False)
    taken = []
    with reader(port) as socket:
        for number in range(times):
            begin = time.perf_counter()
            frame.position = (float(number + 1), 0.0, 0.0)
            server.flush()
            socket.recv()
            taken.append(1000 * (time.perf_counter() - begin))
            time.sleep(0.02)
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1]


def main() -> None:
    """Measure around the gate and through it, in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", type=int, default=40)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    plain = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    viewer = Viewer(SceneStore(), Mailbox(), port=0)
    viewer.start()
    # The page's own messages would be counted among the answers.
    viewer._publisher.stop()
    ways = {
        "viser alone": (plain, plain.get_port()),
        "through the gate": (viewer.server, viewer.port),
    }
    for _ in range(given.rounds):
        for name, (server, port) in ways.items():
            rate = bytes_per_sec(server, port, given.clouds, given.points)
            middle, high = latency_ms(server, port, given.changes)
            print(
                f"{name:18} {rate / 1e6:8.0f} MB/s   {middle:6.2f} ms median   {high:6.2f} ms p95"
            )
    viewer.stop()
    plain.stop()


if __name__ == "__main__":
    main()
