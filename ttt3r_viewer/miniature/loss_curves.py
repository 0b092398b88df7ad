"""Draw what training wrote down.

    python -m ttt3r_viewer.miniature.loss_curves CHECKPOINTS/curves.csv PICTURE

Each loss over the steps, with the stages of the curriculum; lines join means of several reports.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

SHOWN = (
    *("self", "world", "translation", "quaternion", "step_translation", "step_quaternion"),
    *("match", "store", "locate", "keep", "lens", "alone"),
)
REPORTS_PER_MEAN = 8
"""At most; a short training is shown report by report."""
FEWEST_MEANS = 40


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
    figure = Figure(figsize=(13, 7), layout="constrained")
    panels = figure.subplots(3, 4).reshape(-1)
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
