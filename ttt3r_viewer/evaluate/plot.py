"""Plots: the lanes' paths, and measures over the number of frames.

matplotlib is imported when one is drawn: that takes a second.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.evaluate.records import ALL
from ttt3r_viewer.evaluate.tables import HEADINGS, Mean
from ttt3r_viewer.geometry import umeyama
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES
from ttt3r_viewer.system.files import write_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACROSS = 3
"""Panels side by side."""


def plot_trajectories(
    path: Path,
    lanes: Mapping[str, NDArray[np.float64]],
    truth: NDArray[np.float64] | None,
    colors: Mapping[str, tuple[int, int, int]],
) -> None:
    """Write a PNG of all paths from above (x right, z up the page) and from the side (z right).

    Per lane its camera positions (n, 3), row by row of the same frames, and its RGB colour, 0-255.
    `truth` is (n, 3), a row NaN where a frame has no true pose; in axes x right, y down, z forward,
    best those of its first camera, because it is drawn as it comes. Each lane is brought to it by
    Sim3 alignment, without a truth to the first lane; one that cannot be aligned is drawn as it is,
    and the legend says so. Raises `OutputError` where the file cannot be written; the file of
    before, if any, is then kept.
    """
    figure = _figure(11, 5.5)
    above, side = figure.subplots(1, 2)
    # A path's axes across and up the page.
    views = {above: (0, 2), side: (2, 1)}
    paths = []
    if truth is not None:
        paths.append((truth, "ground truth", "0.35", "--"))
    for name, positions in lanes.items():
        target = next(iter(lanes.values())) if truth is None else truth
        drawn, remark = _aligned(positions, target)
        paths.append((drawn, name + remark, [share / 255 for share in colors[name]], "-"))
    for positions, label, color, line in paths:
        text = label.replace("$", r"\$")  # a dollar sign would begin a formula
        for axes, (across, up) in views.items():
            axes.plot(positions[:, across], positions[:, up], line, color=color, label=text)
            axes.plot(positions[:1, across], positions[:1, up], "o", color=color, markersize=4)
    above.set(title="from above", xlabel="x, right (m)", ylabel="z, forward (m)")
    side.set(title="from the side", xlabel="z, forward (m)", ylabel="y, down (m)")
    for axes in (above, side):
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(visible=True, alpha=0.3)
    side.yaxis.set_inverted(True)
    if lanes or truth is not None:
        figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    _save(figure, path, dpi=130)


def plot_curves(path: Path, rows: Sequence[Mean], rules: Sequence[str], title: str) -> bool:
    """Write a PNG with a panel per measure; gives whether there was a curve to draw.

    A curve takes two lengths at least; `all` has no place on it. Raises `OutputError`.
    """
    numbered = [row for row in rows if row.length != ALL]
    if len({row.length for row in numbered}) < 2:
        return False
    there = {row.measure for row in numbered}
    measures = [measure for measure in HEADINGS if measure in there and measure != "path_m"]
    down = -(-len(measures) // _ACROSS)
    figure = _figure(4.2 * _ACROSS, 3.0 * down)
    panels = figure.subplots(down, _ACROSS, squeeze=False).ravel()
    for panel, measure in zip(panels, measures, strict=False):
        for rule in rules:
            own = [row for row in numbered if (row.rule, row.measure) == (rule, measure)]
            across = [int(row.length) for row in own]
            panel.plot(across, [row.mean for row in own], "o-", label=rule, markersize=3)
        panel.set(title=HEADINGS[measure], xlabel="frames")
        panel.set_ylim(bottom=0)
        panel.grid(visible=True, alpha=0.3)
    for panel in panels[len(measures) :]:
        panel.set_axis_off()
    figure.suptitle(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    _save(figure, path, dpi=110)
    return True


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches; without a display, so that any thread may draw it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: "Figure", path: Path, dpi: float) -> None:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=dpi)
    write_output(path, png.getvalue())


def _aligned(
    positions: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], str]:
    """The positions brought to the target, and what the legend adds to its name."""
    assert positions.shape == target.shape, (positions.shape, target.shape)
    both = np.isfinite(positions).all(axis=1) & np.isfinite(target).all(axis=1)
    if both.sum() < FEWEST_POSES:
        return positions, " (not aligned: too few poses)"
    try:
        return umeyama(positions[both], target[both], with_scale=True).apply(positions), ""
    except EvaluationError:
        return positions, " (not aligned: a camera stands still)"
