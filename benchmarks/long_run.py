"""A long run of the whole program: frames per second and memory from its start to its end.

    python -m benchmarks.long_run [--frames 3000] [--max-points 60000] [--rules ttt3r] [--no-client]

The demo is gone through there and back again until there are enough frames. Frames, network, scene
and page run in this process, as in `ttt3r-view`; a client in another reads all that the page sends.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.websocket_client import WebsocketClient
from ttt3r_viewer.runs.reconstruction import Reconstruction
from ttt3r_viewer.settings import settings_from
from ttt3r_viewer.system.assets import demo_path
from ttt3r_viewer.system.memory import keep_few_arenas
from ttt3r_viewer.viewer.app import Viewer

LOOK_SEC = 0.25


@dataclass(frozen=True)
class Look:
    """What was seen at one time."""

    time_sec: float
    frames: int
    points: int
    points_per_frame: int
    memory_mb: float


def memory_mb() -> float:
    """This process's resident memory."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def there_and_back(folder: Path, frames: int) -> None:
    """Fill a folder with links to the demo's pictures."""
    images = sorted(demo_path().glob("*.jpg"))
    once = [*images, *images[-2:0:-1]]
    for number in range(frames):
        source = once[number % len(once)]
        (folder / f"{number:06d}.jpg").symlink_to(source.resolve())


def watch(reconstruction: Reconstruction) -> list[Look]:
    """Look at the run until it has ended."""
    looks: list[Look] = []
    while True:
        scene = reconstruction.store.snapshot()
        sizes = (scene.point_count, scene.layout.points_per_frame)
        looks.append(Look(time.perf_counter(), len(scene.frames), *sizes, memory_mb()))
        if scene.status.phase in ("finished", "failed", "stopped"):
            if scene.status.phase != "finished":
                raise SystemExit(f"the run ended: {scene.status.message}")
            return looks
        time.sleep(LOOK_SEC)


def rate(looks: list[Look], low: float, high: float) -> float:
    """Frames per second while that part of all frames was done."""
    total = looks[-1].frames
    part = [look for look in looks if low * total <= look.frames <= high * total and look.frames]
    return (part[-1].frames - part[0].frames) / (part[-1].time_sec - part[0].time_sec)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--max-points", type=int, default=60_000)
    parser.add_argument("--rules", default="ttt3r")
    parser.add_argument("--no-client", action="store_true", help="nobody looks at the page")
    given = parser.parse_args()
    keep_few_arenas()  # as the command line does
    with tempfile.TemporaryDirectory() as name:
        there_and_back(Path(name), given.frames)
        reconstruction = Reconstruction.prepare(
            settings_from({"input": name, "rules": given.rules, "max_points": given.max_points})
        )
        viewer = Viewer(reconstruction.store, reconstruction.mailbox, port=0)
        viewer.start()
        client = None if given.no_client else WebsocketClient(int(viewer.url.rsplit(":", 1)[1]))
        reconstruction.worker.start()
        looks = watch(reconstruction)
        time.sleep(1.0)
        sent_mb = client.bytes_read / 1e6 if client else 0.0
        if client:
            client.close()
        viewer.stop()
        reconstruction.worker.stop(30)
    full = next((k for k, look in enumerate(looks) if look.points > 0.9 * given.max_points), 0)
    print(f"{looks[-1].frames} frames, {looks[-1].points} points kept of {given.max_points}")
    print(f"frames per second: {rate(looks, 0, 1):.1f}; in tenths of the run: ", end="")
    print(" ".join(f"{rate(looks, k / 10, (k + 1) / 10):.1f}" for k in range(10)))
    print(
        f"first tenth to last: {rate(looks, 0.9, 1.0) / rate(looks, 0.0, 0.1):.2f} times the rate"
    )
    deciles = [next(x for x in looks if x.frames >= k * given.frames // 10) for k in range(1, 11)]
    print("memory in MB after each tenth:", " ".join(f"{look.memory_mb:.0f}" for look in deciles))
    last_tenth = statistics.median(look.memory_mb for look in looks[-len(looks) // 10 :])
    print(
        f"memory: {looks[full].memory_mb:.0f} MB at frame {looks[full].frames} (budget full), "
        f"{looks[-1].memory_mb:.0f} MB at the end, median of the last tenth {last_tenth:.0f} MB"
    )
    print(f"sent to the client: {sent_mb:.1f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
