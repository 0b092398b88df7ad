"""A soak: thousands of frames with a browser whose widgets are moved at random every second.

    python -m benchmarks.soak [--frames 20000] [--max-points 20000] [--seed 0] [--every 1.0]

The program runs in a process of its own, on the demo there and back again; Chromium (named by
CHROMIUM, or found) shows its page. Each act is acknowledged when the page's own report says what
was asked for; one that is not within ten seconds is repeated up to twice, and then lost. Prints
memory, threads and file handles after each tenth of the run, acts by kind, and what was wrong.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page

from benchmarks.long_run import there_and_back
from benchmarks.program import Look, Program, choose, chromium_page, go_to, probe, type_number

ACKNOWLEDGED_SEC = 10.0
ATTEMPTS = 3
"""Who types a number into the slider's box while the slider moves on may have to type it again."""
COLORS = {"Image": "image", "Confidence": "confidence", "Frame": "frame", "Height": "height"}
EXTENTS = ("All up to here", "This frame only")


@dataclass
class Report:
    """What happened."""

    looks: list[Look] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    missed: int = 0
    """Clicks that did not land in five seconds."""
    lost: list[str] = field(default_factory=list)
    page_errors: list[str] = field(default_factory=list)


class User:
    """Moves a widget of the page at random, and looks whether the page followed."""

    def __init__(self, page: Page, report: Report, seed: int) -> None:
        self._page, self._report, self._random = page, report, random.Random(seed)

    def probe(self) -> dict[str, Any]:
        """What the page says to programs."""
        return probe(self._page)

    def act(self) -> None:
        """Move one widget; say in the report whether it was acknowledged, at once or repeated."""
        kinds = {
            "percentile": self._percentile,
            "colour": self._color,
            "timeline": self._timeline,
            "live": self._live,
            "extent": self._extent,
            "pause": self._pause,
        }
        name = self._random.choice(list(kinds))
        do, wanted = kinds[name]()
        self._report.acts[name] += 1
        for attempt in range(ATTEMPTS):
            try:
                do()
            except Error:
                # The browser draws twice a second here: what is to be clicked may not stand still.
                self._report.missed += 1
                self._page.keyboard.press("Escape")
            if self._is_acknowledged(wanted):
                return
            self._report.repeated += attempt == 0
        self._report.lost.append(f"{name}: wanted {wanted}, the page says {self.probe()}")
        print(f"lost {self._report.lost[-1]}", flush=True)

    def _is_acknowledged(self, wanted: dict[str, Any]) -> bool:
        end = time.monotonic() + ACKNOWLEDGED_SEC
        while time.monotonic() < end:
            state = self.probe()
            # A run that has come to its end meanwhile goes on no more.
            ended = {"phase"} if state.get("phase") == "finished" else set[str]()
            if all(state.get(key) == value for key, value in wanted.items() if key not in ended):
                return True
            self._page.wait_for_timeout(50)
        return False

    def _percentile(self) -> tuple[Callable[[], None], dict[str, Any]]:
        value = 10 * self._random.randrange(0, 10)
        return lambda: type_number(self._page, "Hide least sure", value), {"percentile": value}

    def _timeline(self) -> tuple[Callable[[], None], dict[str, Any]]:
        frame = self._random.randint(1, max(self.probe()["frames_seen"] - 50, 1))
        return lambda: type_number(self._page, "Frame", frame), {
            "position": frame - 1,
            "live": False,
        }

    def _color(self) -> tuple[Callable[[], None], dict[str, Any]]:
        name = self._random.choice(list(COLORS))
        return lambda: choose(self._page, "Colour by", name), {"color_by": COLORS[name]}

    def _extent(self) -> tuple[Callable[[], None], dict[str, Any]]:
        name = self._random.choice(EXTENTS)
        wanted = "one" if name == EXTENTS[1] else "all"
        return lambda: choose(self._page, "Show", name), {"extent": wanted}

    def _live(self) -> tuple[Callable[[], None], dict[str, Any]]:
        box = self._page.get_by_label("Live", exact=True)
        return lambda: box.set_checked(True, force=True), {"live": True}

    def _pause(self) -> tuple[Callable[[], None], dict[str, Any]]:
        """Pause and go on, so that the run comes to its end."""

        def press() -> None:
            if self.probe()["phase"] == "running":  # it may have come so far before
                self._page.get_by_role("button", name="Pause", exact=True).click(timeout=5000)
            self._page.get_by_role("button", name="Play", exact=True).click(timeout=10_000)

        return press, {"phase": "running"}


def soak(program: Program, page: Page, given: argparse.Namespace, report: Report) -> None:
    """Act until the run has come to its end."""
    page.on("pageerror", lambda error: report.page_errors.append(str(error)))
    go_to(page, program.url)
    user = User(page, report, given.seed)
    deciles = [given.frames * k // 10 for k in range(1, 11)]
    while True:
        started = time.monotonic()
        state = user.probe()
        while deciles and state.get("frames_done", 0) >= deciles[0]:
            report.looks.append(program.look(state["frames_done"]))
            print(line_of(report.looks[-1]), flush=True)
            deciles.pop(0)
        if state.get("phase") in ("finished", "failed", "stopped"):
            if deciles:
                raise SystemExit(f"the run ended early: {state['phase']}")
            return
        if state.get("frames_seen", 0) > 60 and state.get("phase") == "running":
            user.act()
        page.wait_for_timeout(max(0.0, given.every - (time.monotonic() - started)) * 1000)


def line_of(look: Look) -> str:
    """One look as a line."""
    return (
        f"frame {look.frames:6d}: {look.memory_mb:6.0f} MB, {look.threads} threads, "
        f"{look.handles} file handles"
    )


def main() -> int:
    """The command line; 1 where something was lost or went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--max-points", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=1.0, help="seconds from act to act")
    given = parser.parse_args()
    report = Report()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        there_and_back(Path(folder), given.frames)
        log = Path(other) / "stderr.txt"
        program = Program(("--input", folder, "--max-points", str(given.max_points)), log)
        try:
            with chromium_page(640, 480) as page:
                soak(program, page, given, report)
        finally:
            code = program.end()
        said = log.read_text(encoding="utf-8", errors="replace").strip()
    seconds = time.monotonic() - began
    print(f"{seconds:.0f} s, {given.frames / seconds:.1f} frames/s")
    print(f"acts: {sum(report.acts.values())}: {dict(report.acts)}")
    print(f"repeated: {report.repeated}, of which {report.missed} times a click did not land")
    print(f"lost: {len(report.lost)}", *report.lost, sep="\n  ")
    print(f"page errors: {len(report.page_errors)}", *report.page_errors[:10], sep="\n  ")
    print(f"exit code {code}; the program's errors: {said or 'none'}")
    return 1 if report.lost or report.page_errors or said else 0


if __name__ == "__main__":
    raise SystemExit(main())
