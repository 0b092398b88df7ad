"""Draw the documents' pictures of the page and of the rooms anew, with the shipped weights.

    python -m benchmarks.pictures [--out assets] [--only page,compare,inspect,present,rooms]

Each is what a person would see: the program runs in a process of its own on a bundled demo, and
Chromium (named by CHROMIUM, or found) shows its page.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Error, Page

from benchmarks.program import Program, choose, chromium_page, go_to, probe, type_number
from ttt3r_viewer.system.assets import DEMOS, demo_path

MOMENTS = 8
"""Pictures of each demo in the picture of the rooms."""
TOKEN = 44
"""Of the state, near the middle of its grid: the one whose attention is shown."""
WAIT_SEC = 180.0


def draw_page(out: Path) -> None:
    """The whole page after a run."""
    with finished_page("--input", "demo:hand-held") as page:
        page.screenshot(path=out / "page.png")


def draw_compare(out: Path) -> None:
    """TTT3R beside the constant rate 1, the least sure points hidden."""
    with finished_page("--input", "demo:hand-held", "--rules", "ttt3r,constant:1.0") as page:
        until(page, "40 %", lambda: type_number(page, "Hide least sure", 40), percentile=40)
        step_back(page)
        page.screenshot(path=out / "compare.png")


def draw_inspect(out: Path) -> None:
    """The tab "Inspect" on every fourth frame of a demo, and the maps that it saves."""
    with finished_page("--input", "demo:loop", "--stride", "4") as page:
        page.get_by_role("tab", name="Inspect").click()
        page.wait_for_timeout(500)
        page.get_by_label("Look inside", exact=True).click()
        page.get_by_text("State map", exact=True).wait_for(timeout=60_000)
        page.wait_for_timeout(2000)
        again(page, lambda: choose(page, "Lay over", "Token's attention"))
        box = page.get_by_label("Token", exact=True)
        box.fill(str(TOKEN))
        box.press("Enter")
        page.wait_for_timeout(3000)
        page.screenshot(path=out / "inspect_page.png")
        open_folder(page, "Save", "State")
        for button in ("State", "Image", "History"):
            save(page, button, out / f"inspect_{button.lower()}.png")
        again(page, lambda: choose(page, "Lay over", "Patch alignment"))
        page.wait_for_timeout(3000)
        save(page, "Image", out / "inspect_alignment.png")


def draw_present(out: Path) -> None:
    """A session of two rules, presented."""
    with tempfile.TemporaryDirectory() as folder:
        session = str(Path(folder) / "talk")
        words = ("run", "--input", "demo:loop", "--rules", "ttt3r,constant:1.0")
        subprocess.run(
            [sys.executable, "-m", "ttt3r_viewer", *words, "--output", session],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        presented = ("open", session, "--present", "--title", "Rooms from a stream")
        with opened_page(*presented, "--logo-text", "Example Lab", height=720) as page:
            page.wait_for_timeout(8_000)
            close_notice(page)
            page.screenshot(path=out / "present.png")


def draw_rooms(out: Path) -> None:
    """Each row one bundled demo, at evenly spaced moments."""
    rows = []
    for name in DEMOS:
        files = sorted(demo_path(name).glob("*.jpg"))
        places = np.linspace(0, len(files) - 1, MOMENTS).round().astype(int)
        rows.append(np.concatenate([np.asarray(Image.open(files[n])) for n in places], axis=1))
    Image.fromarray(np.concatenate(rows)).save(out / "rooms.png")


IMAGES = {
    "page": draw_page,
    "compare": draw_compare,
    "inspect": draw_inspect,
    "present": draw_present,
    "rooms": draw_rooms,
}


@contextmanager
def opened_page(*words: str, height: int = 760) -> Iterator[Page]:
    """The page of a program that was started with these words."""
    with tempfile.TemporaryDirectory() as folder:
        program = Program(words, Path(folder) / "stderr.txt")
        try:
            with chromium_page(1280, height) as page:
                go_to(page, program.url)
                yield page
        finally:
            program.end()


@contextmanager
def finished_page(*words: str) -> Iterator[Page]:
    """The same once the run is finished and all its points have come."""
    with opened_page(*words) as page:
        until(page, "the run's end", lambda: None, phase="finished")
        page.wait_for_timeout(6000)
        close_notice(page)
        yield page


def again(page: Page, act: Callable[[], object]) -> None:
    """Act, up to five times where the panel moved under a click, or the page dropped a message."""
    for _ in range(5):
        try:
            act()
        except Error:
            page.keyboard.press("Escape")
            page.wait_for_timeout(500)
            continue
        return
    raise SystemExit("the panel never stood still")


def until(page: Page, what: str, act: Callable[[], object], **wanted: object) -> None:
    """Act until the page says what was wanted; it drops messages now and then."""
    end = time.monotonic() + WAIT_SEC
    while time.monotonic() < end:
        try:
            act()
        except Error:  # the panel moved under the click
            page.keyboard.press("Escape")
        page.wait_for_timeout(1500)
        state = probe(page)
        if all(state.get(key) == value for key, value in wanted.items()):
            return
    raise SystemExit(f"{what} never came: the page says {probe(page)}")


def close_notice(page: Page) -> None:
    """Close the page library's notice of a browser that draws without a GPU."""
    notice = page.locator(".mantine-Notification-closeButton")
    if notice.count():
        notice.first.click()
    page.wait_for_timeout(500)


def step_back(page: Page) -> None:
    """Turn the mouse's wheel over the scene, and drag it to the left, until both lanes are seen."""
    page.mouse.move(640, 380)
    for _ in range(5):
        page.mouse.wheel(0, 240)
        page.wait_for_timeout(600)
    page.mouse.down(button="right")
    for x in range(620, 440, -20):
        page.mouse.move(x, 380)
        page.wait_for_timeout(150)
    page.mouse.up(button="right")
    page.wait_for_timeout(4000)


def open_folder(page: Page, name: str, button: str) -> None:
    """Open a folder of the panel, in which there is a button."""

    def click() -> None:
        page.get_by_text(name, exact=True).click()
        page.get_by_role("button", name=button, exact=True).wait_for(timeout=3000)

    again(page, click)


def save(page: Page, button: str, path: Path) -> None:
    """Press a button that sends a file."""

    def press() -> None:
        page.wait_for_timeout(300)
        with page.expect_download(timeout=8000) as waiting:
            page.get_by_role("button", name=button, exact=True).click()
        waiting.value.save_as(path)

    again(page, press)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("assets"))
    parser.add_argument("--only", default=",".join(IMAGES), help="some of them, by name")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.only.split(","):
        IMAGES[name](given.out)
        print(name, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
