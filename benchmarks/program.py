"""The program in a process of its own, and its page in a Chromium, for benchmarks and pictures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import CHROMIUM_FLAGS, SCENE_READY, find_chromium


@dataclass(frozen=True)
class Look:
    """What the program's process held at one time."""

    frames: int
    time_sec: float
    memory_mb: float
    threads: int
    handles: int


KEYS = ("VmRSS", "Threads")


class Program:
    """`ttt3r-view` with some words and a free port, in a process of its own."""

    def __init__(self, words: Sequence[str], log: Path, tree: Path | None = None) -> None:
        """`tree` is the checkout whose program it is; None: the one that is installed."""
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ttt3r_viewer", *words, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=tree,
            env=None if tree is None else os.environ | {"PYTHONPATH": str(tree.resolve())},
        )
        self.url = self._read_url()

    @property
    def process_id(self) -> int:
        """The process's number."""
        return self._process.pid

    def look(self, frames: int) -> Look:
        """Read what the system knows of the process."""
        proc = Path(f"/proc/{self._process.pid}")
        status = (proc / "status").read_text(encoding="ascii")
        numbers = {name: int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in KEYS}  # pyright: ignore[reportOptionalSubscript]
        handles = sum(1 for _ in (proc / "fd").iterdir())
        return Look(frames, time.monotonic(), numbers["VmRSS"] / 1024, numbers["Threads"], handles)

    def end(self) -> int:
        """End it as Ctrl-C does, which a shell's background jobs do not get; the exit code."""
        self._process.terminate()
        code = self._process.wait(30)
        self._log.close()
        return code

    def _read_url(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if match := re.search(r"http://\S+", line):
                return match[0]
        raise SystemExit("the program ended before it served a page")


@contextmanager
def chromium_page(width: int, height: int) -> Iterator[Page]:
    """An empty page of a Chromium (named by CHROMIUM, or found) of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), headless=True, args=CHROMIUM_FLAGS
        )
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()


def go_to(page: Page, url: str) -> None:
    """Open the program's page and wait for its scene."""
    page.goto(f"{url}/?fixedDpr=1")
    page.wait_for_function(SCENE_READY, timeout=60_000)


def probe(page: Page) -> dict[str, Any]:
    """What the page says to programs."""
    return json.loads(page.get_by_test_id("probe").text_content() or "{}")


def type_number(page: Page, label: str, value: float) -> None:
    """Type into the box beside a slider."""
    flex = "xpath=ancestor::div[contains(@class,'Flex-root')][1]"
    row = page.locator("label", has_text=label).locator(flex)
    box = row.locator("input:not([type=hidden])").first
    box.fill(str(value), timeout=5000)
    box.press("Enter")


def choose(page: Page, label: str, option: str) -> None:
    """Take an option of a dropdown."""
    page.get_by_label(label, exact=True).first.click(timeout=5000)
    page.get_by_role("option", name=option, exact=True).dispatch_event("click", timeout=5000)
