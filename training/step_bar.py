"""The progress bar of training; rich draws the program's others, but training does without it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TextIO

_WIDTH = 30
_CLEAR = "\r\x1b[K"


class StepBar:
    """How far a stage is, in the last line of a terminal; nothing is written anywhere else."""

    def __init__(
        self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.stream = stream or sys.stderr
        self.now = now
        self.seen: tuple[str, int, float] | None = None
        """The stage, its steps done and the time, where this process began with it."""

    def clear(self) -> None:
        """Give the line back, for others to print in."""
        if self.stream.isatty():
            print(_CLEAR, end="", file=self.stream, flush=True)

    def show(self, stage: str, done: int, steps: int) -> None:
        """Draw `done` of `steps`, and the time left at the mean pace so far."""
        if not self.stream.isatty():
            return
        if self.seen is None or self.seen[0] != stage:
            self.seen = (stage, done, self.now())
        _, first, since = self.seen
        bar = "#" * (_WIDTH * done // steps)
        line = f"{stage} [{bar:<{_WIDTH}}] {done}/{steps}"
        if done > first:
            sec_per_step = (self.now() - since) / (done - first)
            left = timedelta(seconds=round(sec_per_step * (steps - done)))
            line += f"  {sec_per_step:.1f} s a step, {left} left"
        print(f"{_CLEAR}{line}", end="", file=self.stream, flush=True)
