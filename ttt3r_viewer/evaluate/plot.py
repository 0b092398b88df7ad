"""A picture of the lanes' paths; matplotlib is imported when it draws."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import umeyama
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES
from ttt3r_viewer.system.files import write_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRUTH_COLOR = "0.35"
_X, _Y, _Z = 0, 1, 2


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
    # Imported here because it takes a second, and with no display: a thread may draw it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    above, side = figure.subplots(1, 2)
    target = truth if truth is not None else next(iter(lanes.values()), None)
    if truth is not None:
        _draw(above, side, truth, "ground truth", _TRUTH_COLOR, "--")
    for name, positions in lanes.items():
        assert target is not None
        red, green, blue = colors[name]
        drawn, remark = _aligned(positions, target)
        _draw(above, side, drawn, name + remark, (red / 255, green / 255, blue / 255), "-")
    above.set(title="from above", xlabel="x, right (m)", ylabel="z, forward (m)")
    side.set(title="from the side", xlabel="z, forward (m)", ylabel="y, down (m)")
    for axes in (above, side):
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(visible=True, alpha=0.3)
    side.yaxis.set_inverted(True)
    if lanes or truth is not None:
        figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=130)
    write_output(path, png.getvalue())


def _aligned(
    positions: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], str]:
    """The positions brought to the target, and what the legend is to say about it."""
    assert positions.shape == target.shape, (positions.shape, target.shape)
    both = np.isfinite(positions).all(axis=1) & np.isfinite(target).all(axis=1)
    if both.sum() < FEWEST_POSES:
        return positions, " (not aligned: too few poses)"
    try:
        return umeyama(positions[both], target[both], with_scale=True).apply(positions), ""
    except EvaluationError:
        return positions, " (not aligned: a camera stands still)"


def _draw(
    above: Axes,
    side: Axes,
    positions: NDArray[np.float64],
    label: str,
    color: str | tuple[float, float, float],
    line: str,
) -> None:
    """One path in both views, with a dot at its first camera."""
    # A dollar sign would begin a formula.
    text = label.replace("$", r"\$")
    for axes, across, up in ((above, _X, _Z), (side, _Z, _Y)):
        axes.plot(positions[:, across], positions[:, up], line, color=color, label=text)
        axes.plot(positions[:1, across], positions[:1, up], "o", color=color, markersize=4)
