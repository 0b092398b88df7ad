"""Made-up full-size frames at a fixed rate into the page: does it keep up, and what does it send?

    python -m benchmarks.publisher [--frames 3000] [--rate 20] [--max-points 600000] [--browser]

A camera flies round a painted room at 512x384; a client reads all that the page sends. With
--browser a headless Chromium opens the page after the last frame: seconds until points are drawn,
and milliseconds of script per frame while it draws without a pause for 10 s.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from dataclasses import replace

import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks.websocket_client import WebsocketClient
from tests.browser.conftest import CHROMIUM_FLAGS, DRAWN_POINTS, SCENE_READY, find_chromium
from tests.made_up_run import MadeUpRun, pose_at, room_result
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.publisher import Publisher

TURN = 120
"""Frames of one round through the room."""
BROWSER_SEC = 10.0
COUNT_FRAMES = """() => {
    window.__frames = 0;
    const count = () => {
        window.__frames += 1;
        window.__viserMutable.requestRender();
        requestAnimationFrame(count);
    };
    requestAnimationFrame(count);
}"""


class Ticks:
    """Notes how long the publisher takes each time it brings the page up to date."""

    def __init__(self, publisher: Publisher) -> None:
        self.ms: list[float] = []
        self._tick = publisher._tick
        publisher._tick = self

    def __call__(self, now_sec: float) -> None:
        """One of them."""
        before = time.perf_counter()
        self._tick(now_sec)
        self.ms.append(1e3 * (time.perf_counter() - before))

    def said(self) -> str:
        """In words; then starts again."""
        ms, self.ms = self.ms, []
        middle, high = np.percentile(ms, [50, 99])
        return f"{middle:.1f} ms, 99 %: {high:.1f} ms, at most {max(ms):.1f} ms"


def browser_measures(address: str) -> tuple[float, float, int]:
    """Seconds to the first points, ms of script per frame drawn without a pause, and the points."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(), headless=True, args=CHROMIUM_FLAGS
        )
        page = chromium.new_page(viewport={"width": 1280, "height": 720})
        opened = time.perf_counter()
        page.goto(f"{address}/?fixedDpr=1")
        page.wait_for_function(SCENE_READY)
        while page.evaluate(DRAWN_POINTS) <= 0:
            time.sleep(0.02)
        first_sec = time.perf_counter() - opened
        time.sleep(10)  # until everything is there
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")

        def script_sec() -> float:
            metrics = devtools.send("Performance.getMetrics")["metrics"]
            return next(one["value"] for one in metrics if one["name"] == "ScriptDuration")

        page.evaluate(COUNT_FRAMES)
        before = script_sec()
        time.sleep(BROWSER_SEC)
        spent, frames = script_sec() - before, page.evaluate("window.__frames")
        points = page.evaluate(DRAWN_POINTS)
        chromium.close()
    return first_sec, 1e3 * spent / frames, points


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=20.0, help="frames per second")
    parser.add_argument("--max-points", type=int, default=600_000)
    parser.add_argument("--browser", action="store_true")
    given = parser.parse_args()
    store = SceneStore(max_points=given.max_points, one_per_voxel=True)
    # The room is painted once per place; the run is never started, this loop is the worker.
    run = MadeUpRun(store, paused=True)
    round_trip = [room_result(k, 512, 384) for k in range(TURN)]
    viewer = Viewer(store, run.mailbox, port=0)
    viewer.start()
    client = WebsocketClient(int(viewer.url.rsplit(":", 1)[1]))
    time.sleep(2)
    ticks = Ticks(viewer._publisher)
    behind, add_ms = [], []
    started = time.perf_counter()
    for number in range(given.frames):
        due = started + number / given.rate
        time.sleep(max(0.0, due - time.perf_counter()))
        camera = replace(round_trip[0].camera, T_world_camera=pose_at(number, TURN))
        result = replace(round_trip[number % TURN], sequence=number, index=number, camera=camera)
        before = time.perf_counter()
        store.add(result)
        store.set_status(Status(phase="running", frames_done=number + 1, frames_total=given.frames))
        add_ms.append(1e3 * (time.perf_counter() - before))
        behind.append(number + 1 - int(probe(viewer)["frames_seen"]))
    spent = time.perf_counter() - started
    time.sleep(2)
    print(f"sent to the client: {client.bytes_read / 1e6:.1f} MB")
    state = probe(viewer)
    print(f"{given.frames} frames in {spent:.1f} s ({given.frames / spent:.1f} a second)")
    low, high = np.percentile(add_ms, [50, 99])
    print(f"store: {low:.1f} ms a frame, 99 %: {high:.1f} ms")
    low, high = np.percentile(behind, [50, 99])
    print(f"page behind the store: {low:.0f} frames, 99 %: {high:.0f}, at most {max(behind)}")
    print(f"publisher: {ticks.said()} each time")
    for color_by in ("confidence", "frame", "image"):
        viewer.controls.change(color_by=color_by)
        time.sleep(3)
    print(f"publisher while everything is recoloured: {ticks.said()}")
    for position in range(0, given.frames, max(given.frames // 50, 1)):
        viewer.controls.change(live=False, position=position)
        time.sleep(0.1)
    viewer.controls.change(live=True)
    print(f"publisher while the timeline is dragged: {ticks.said()}")
    print(f"nodes {state['nodes']}, points {state['points_shown']}")
    client.close()
    if given.browser:
        first_sec, script_ms, points = browser_measures(viewer.url)
        print(f"a late browser draws points after {first_sec:.1f} s")
        print(f"browser: {script_ms:.1f} ms of script a frame with {points} points")
    viewer.stop()
    return 0


def probe(viewer: Viewer) -> dict[str, int]:
    """What the page says to programs, as the publisher last wrote it."""
    text = viewer._publisher.probe.content
    found = re.search(r"\{.*\}", text.replace("&quot;", '"'))
    return json.loads(found[0]) if found else {"frames_seen": 0}


if __name__ == "__main__":
    raise SystemExit(main())
