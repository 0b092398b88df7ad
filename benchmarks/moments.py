"""What a page shows of an input at four moments, as one picture: as it is now, or before and now.

    git worktree add ../before 39e72c6
    python -m benchmarks.moments docs/pictures/loop.jpg --input demo:loop --before ../before

The program runs in a process of its own on the input, and Chromium shows its page: after frames 15
and 69, at the end, and from outside (the wheel turned back, and the scene dragged). The panel is
cut off. `--before` names another checkout, whose program gets the same images: the upper row.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from benchmarks.pictures import close_notice
from benchmarks.program import Program, chromium_page, go_to, probe
from ttt3r_viewer.system.assets import with_demos

WINDOW, SCENE_WIDTH = (1366, 768), 1020
PICTURE_WIDTH = 480
"""Of each moment, in pixels."""
REST_MS = 6_000
"""After the end, until all points have come."""
LONGEST_SEC = 900.0


def pictures(words: list[str], tree: Path) -> list[NDArray[np.uint8]]:
    """Take the four pictures of the program in this checkout, each moment in a run up to it."""
    taken = []
    for most in ("16", "70", "1000000"):
        with tempfile.TemporaryDirectory() as folder:
            program = Program([*words, "--max-frames", most], Path(folder) / "stderr.txt", tree)
            try:
                with chromium_page(*WINDOW) as page:
                    go_to(page, program.url)
                    close_notice(page)
                    _wait_for_the_end(page)
                    taken.append(_picture(page, folder))
                    if len(taken) == 3:
                        taken.append(_from_outside(page, folder))
            finally:
                program.end()
    return taken


def _wait_for_the_end(page: Page) -> None:
    end = time.monotonic() + LONGEST_SEC
    while time.monotonic() < end and probe(page)["phase"] not in ("finished", "failed"):
        page.wait_for_timeout(100)
    page.wait_for_timeout(REST_MS)


def _from_outside(page: Page, folder: str) -> NDArray[np.uint8]:
    page.mouse.move(400, 400)
    for _ in range(4):
        page.mouse.wheel(0, 240)
        page.wait_for_timeout(300)
    page.mouse.down()
    page.mouse.move(460, 440, steps=8)
    page.mouse.up()
    page.wait_for_timeout(REST_MS)
    return _picture(page, folder)


def _picture(page: Page, folder: str) -> NDArray[np.uint8]:
    path = Path(folder) / "page.png"
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": SCENE_WIDTH, "height": WINDOW[1]})
    height = round(WINDOW[1] * PICTURE_WIDTH / SCENE_WIDTH)
    image = (
        Image.open(path).convert("RGB").resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
    )
    return np.asarray(image)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--input", required=True)
    parser.add_argument("--before", type=Path, help="another checkout of the program")
    parser.add_argument("--stride", type=int, default=1)
    given = parser.parse_args()
    folder = with_demos(given.input)
    words = ["--input", str(Path(folder).resolve()), "--stride", str(given.stride)]
    trees = [given.before] if given.before else []
    rows = [np.concatenate(pictures(words, tree), axis=1) for tree in (*trees, Path.cwd())]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(given.out, quality=82)
    return 0


if __name__ == "__main__":
    sys.exit(main())
