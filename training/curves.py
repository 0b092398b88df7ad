"""Write down what training reports, show its progress, and draw it.

    python -m training.curves CHECKPOINTS/curves.csv PICTURE

Each loss over the steps, with the stages of the curriculum; lines join means of several reports.
"""

from __future__ import annotations

import csv
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TextIO

from training.recipe import Stage

SHOWN = (
    *("self", "world", "translation", "quaternion", "step_translation", "step_quaternion"),
    *("match", "store", "locate", "keep", "lens", "alone"),
    *("rays", "ray_shift", "edges", "validation_depth"),
)
REPORTS_PER_MEAN = 8
"""At most; a short training is shown report by report."""
FEWEST_MEANS = 40
_WIDTH = 30
_CLEAR = "\r\x1b[K"


class Curves:
    """Losses as a CSV that grows, and as lines to read."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.since = time.monotonic()
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, step: int, stage: Stage, report: dict[str, float]) -> None:
        """Take one step; every so often write the mean since the last row."""
        for name, value in report.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if step % self.every:
            return
        means = {name: value / self.count for name, value in self.sums.items()}
        seconds = time.monotonic() - self.since
        frames_per_sec = self.count * (stage.batch * stage.frames + stage.singles) / seconds
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            for name, value in (*means.items(), ("frames_per_sec", frames_per_sec)):
                writer.writerow((step, stage.name, name, f"{value:.6g}"))
        shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        print(f"{stage.name} step {step}  {frames_per_sec:.0f} fps  {shown}", flush=True)
        self.sums, self.count, self.since = {}, 0, time.monotonic()

    def validation(self, step: int, stage: Stage, depth_error: float) -> None:
        """Write the error on unseen rooms."""
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow((step, stage.name, "validation_depth", f"{depth_error:.6g}"))
        print(
            f"{stage.name} step {step}  validation: relative depth error {depth_error:.4f}",
            flush=True,
        )


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


def read_curves(path: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, int]]:
    """Give the values of each loss by step, and the first step of each stage."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    stages: dict[str, int] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for step, stage, name, value in csv.reader(file):
            curves[name].append((int(step), float(value)))
            stages.setdefault(stage, int(step))
    return curves, stages


def draw(path: Path, curves: dict[str, list[tuple[int, float]]], stages: dict[str, int]) -> None:
    """One panel for each loss that is there."""
    import numpy as np
    from matplotlib.figure import Figure

    names = [name for name in SHOWN if name in curves]
    figure = Figure(figsize=(13, 9), layout="constrained")
    panels = figure.subplots(4, 4).reshape(-1)
    for panel, name in zip(panels, names, strict=False):
        reports = np.array(curves[name])
        per_mean = min(max(len(reports) // FEWEST_MEANS, 1), REPORTS_PER_MEAN)
        count = -(-len(reports) // per_mean)
        means = np.array([part.mean(axis=0) for part in np.array_split(reports, count)])
        panel.plot(means[:, 0], means[:, 1], linewidth=1)
        low, high = np.percentile(reports[:, 1], (0.5, 99.5))
        panel.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        panel.set_title(name)
        for k, first in enumerate(stages.values()):
            panel.axvline(first, color="0.8", linewidth=0.7, zorder=0)
            panel.text(first, panel.get_ylim()[1], str(k + 1), fontsize=6, va="top", color="0.5")
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    figure.supxlabel(
        "step; stages: " + ", ".join(f"{k + 1} {one}" for k, one in enumerate(stages)), fontsize=8
    )
    figure.savefig(path, dpi=80)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 2 or not Path(given[0]).is_file():
        print("error: give the curves.csv of a training and the name of a picture", file=sys.stderr)
        return 2
    draw(Path(given[1]), *read_curves(Path(given[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
