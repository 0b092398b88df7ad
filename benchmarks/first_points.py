"""Seconds from the start of `ttt3r-view` to the first points that a browser draws.

    .venv/bin/python -m benchmarks.first_points [--runs 5] [--images 100000] [-- --stride 2 ...]

`--images` makes a folder of so many images for the input, and removes it afterwards. Needs the
packages of ".[dev]" and a Chromium (on the PATH, or named in CHROMIUM). The browser is started
before the clock; its page is opened as soon as the program names its address.
"""

from __future__ import annotations

import argparse
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import CHROMIUM_FLAGS, DRAWN_POINTS, SCENE_READY, find_chromium

GIVE_UP_SEC = 60


def measure(page: Page, words: list[str]) -> tuple[float, float]:
    """Start the program once: seconds until it names its address, and until points are drawn."""
    started = time.perf_counter()
    program = subprocess.Popen(
        [sys.executable, "-m", "ttt3r_viewer", "--port", "0", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        address = None
        for line in program.stdout:
            if address := re.search(r"open (http://\S+)", line):
                break
        if address is None:
            raise SystemExit(f"the program ended with {program.wait()} and named no address")
        served_sec = time.perf_counter() - started
        page.goto(f"{address[1]}/?fixedDpr=1")
        page.wait_for_function(SCENE_READY)
        while page.evaluate(DRAWN_POINTS) <= 0:
            if time.perf_counter() - started > GIVE_UP_SEC:
                raise SystemExit(f"no points after {GIVE_UP_SEC} s")
            time.sleep(0.02)
        return served_sec, time.perf_counter() - started
    finally:
        page.goto("about:blank")
        program.send_signal(signal.SIGINT)
        program.wait()


def fill(folder: Path, count: int) -> None:
    """Write `count` times the same image, under names that count."""
    y, x = np.mgrid[:128, :160]
    encoded = iio.imwrite("<bytes>", np.stack((x, y, x ^ y), -1).astype(np.uint8), extension=".jpg")
    for index in range(count):
        (folder / f"{index}.jpg").write_bytes(encoded)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--images", type=int, help="of a folder that is made for this")
    parser.add_argument("words", nargs="*", help="flags of ttt3r-view, after --")
    given = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("no Chromium found: install one, or name it in CHROMIUM")
    words: list[str] = given.words or ["--demo", "loop"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        if given.images:
            fill(Path(folder), given.images)
            words = ["--input", folder, *given.words]
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 960, "height": 540})
        times = [measure(page, words) for _ in range(given.runs)]
        browser.close()
    for name, seconds in zip(
        ("page served", "first points"), zip(*times, strict=True), strict=True
    ):
        print(
            f"{name:13} median {statistics.median(seconds):.2f} s  "
            f"({min(seconds):.2f} to {max(seconds):.2f}, {given.runs} runs)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
