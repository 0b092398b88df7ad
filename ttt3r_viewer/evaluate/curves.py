"""The papers' kind of picture: each measure over the number of frames, one line per rule."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from ttt3r_viewer.evaluate.records import ALL
from ttt3r_viewer.evaluate.tables import HEADINGS, Mean
from ttt3r_viewer.system.files import write_output

_ACROSS = 3


def plot_curves(path: Path, rows: Sequence[Mean], rules: Sequence[str], title: str) -> bool:
    """Write a PNG with a panel per measure; gives whether there was a curve to draw.

    A curve takes two lengths at least; `all` has no place on it. Raises `OutputError`.
    """
    numbered = [row for row in rows if row.length != ALL]
    if len({row.length for row in numbered}) < 2:
        return False
    # Imported here because it takes a second, and with no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    there = {row.measure for row in numbered}
    measures = [measure for measure in HEADINGS if measure in there and measure != "path_m"]
    down = -(-len(measures) // _ACROSS)
    figure = Figure(figsize=(4.2 * _ACROSS, 3.0 * down), layout="constrained")
    FigureCanvasAgg(figure)
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
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    write_output(path, png.getvalue())
    return True
