"""Lag of live input: frame by frame, as the program takes it, beside queues of encoded frames.

    python -m benchmarks.live [--fps 30] [--seconds 8] [--rounds 3] [--size 160]

A thread sends an MJPEG stream over local HTTP, which FFmpeg reads back. The miniature takes it in
three ways, in turn: `one by one` (what `view` and `run` do with live input), prefetching with
batch 1, and prefetching with batch 4, as for files. Lag is from the arrival of a frame's
packet to its results. Each turn's first second, in which queues fill, is left out.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# As the program does; before torch reads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image

from ttt3r_viewer.frames.live import LiveSource
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.reconstruct.prefetch import OnDemand, Prefetcher, PreparedFrame, on_demand
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.weights.load import load_network, share_cpu

WAYS = ("one by one", "batch 1", "batch 4")
WARM_UP_SEC = 1.0


def images(count: int = 30) -> list[bytes]:
    """JPEG files of 640x480 whose pattern moves."""
    y, x = np.mgrid[:480, :640]
    files = []
    for number in range(count):
        waves = 128 + 100 * np.sin((x + 8 * number) / 40) * np.cos(y / 30)
        buffer = io.BytesIO()
        Image.fromarray(np.repeat(waves.astype(np.uint8)[:, :, None], 3, 2)).save(buffer, "jpeg")
        files.append(buffer.getvalue())
    return files


def serve(fps: float) -> ThreadingHTTPServer:
    """Send the pictures round and round, each at its time, to whoever asks."""
    files = images()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            started, number = time.monotonic(), 0
            with suppress(OSError):  # the reader has gone
                while True:
                    data = files[number % len(files)]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
                    self.wfile.write(head.encode() + b"\r\n\r\n" + data + b"\r\n")
                    number += 1
                    time.sleep(max(0.0, started + number / fps - time.monotonic()))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def ready_frames(way: str, lanes: Lanes, source: LiveSource) -> OnDemand | Prefetcher:
    """The frames of the source, made ready in one of the ways."""
    if way == "one by one":
        return on_demand(source.watch(), lanes.prepare, lanes.encode)
    return Prefetcher(source, lanes.prepare, lanes.encode, int(way.removeprefix("batch ")))


def lags_sec(frames: Iterator, lanes: Lanes, source: LiveSource, seconds: float) -> list[float]:
    """Lag of every frame that is taken within so many seconds, after warming up."""
    started, lags = time.monotonic(), []
    for item in frames:
        if isinstance(item, PreparedFrame):
            (result, *_) = lanes.step(item)
            if time.monotonic() - started > WARM_UP_SEC:
                lags.append(source.age_sec(result.time_sec))
        if time.monotonic() - started > WARM_UP_SEC + seconds:
            break
    return lags


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="miniature")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, help="default: the network's own")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    network = load_network(given.weights, device=given.device, dtype="auto")
    share_cpu(network)
    lanes = Lanes(network, rules_from_text("ttt3r"), size=given.size)
    server = serve(given.fps)
    lags: dict[str, list[float]] = {way: [] for way in WAYS}
    dropped = dict.fromkeys(WAYS, 0)
    for _ in range(given.rounds):
        for way in WAYS:
            lanes.restart()
            source = open_source(f"http://127.0.0.1:{server.server_port}/")
            assert isinstance(source, LiveSource)
            with closing(source), closing(ready_frames(way, lanes, source)) as frames:
                lags[way] += lags_sec(frames, lanes, source, given.seconds)
                dropped[way] += source.dropped
    server.shutdown()
    where = torch.cuda.get_device_name() if given.device == "cuda" else platform.processor()
    print(f"{given.weights}, {lanes.device_text}, {where}, {given.fps:g} frames/s sent")
    one = float(np.median(lags[WAYS[0]]))
    total_sec = given.rounds * given.seconds
    for way in WAYS:
        median, high = np.percentile(lags[way], [50, 95])
        print(
            f"{way:10}: lag {1000 * median:.0f} ms (95 %: {1000 * high:.0f}), "
            f"{median / one:.2f} times one by one, {len(lags[way]) / total_sec:.1f} frames/s, "
            f"{dropped[way]} dropped"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
