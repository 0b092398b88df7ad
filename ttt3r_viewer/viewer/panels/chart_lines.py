"""Lines of a chart: thinned so that peaks survive, with marks of what happened between frames."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LinePart = Literal["value", "low", "high"]
Column = Sequence[float] | NDArray[np.float64]
"""A number for every frame."""

LINE_POINTS = 600
"""The panel is about 300 pixels wide, and twice that where a chart is opened large."""
MOST_MARKS = 60
"""How many of the latest marks of either kind are drawn; each takes three points of a line."""
SPIKE_FOOT, SPIKE_TOP = -1.0, 2.0
"""Marks are drawn on a scale from 0 to 1, so that the foot line between them is out of sight."""


@dataclass(frozen=True)
class Mark:
    """Something that happened right before a frame."""

    frame: int
    """Number of the frame in the whole input, from 1 as people count."""
    kind: Literal["change", "reset"]
    text: str
    """What is in force from here on; empty for a reset."""


@dataclass(frozen=True)
class Line:
    """Which lane a plotted line belongs to, and whether it is an edge of its band."""

    lane: int
    part: LinePart = "value"


@dataclass(frozen=True, eq=False)
class Chart:
    """One chart's lines, ready to be plotted."""

    lines: tuple[Line, ...] = ()
    data: tuple[NDArray[np.float64], ...] = ()
    """x, then one array per line, then the spikes of changes and those of resets; all finite and
    of one length. Empty where there is nothing to plot.
    """
    message: str = ""
    """Why there is nothing to plot."""

    def lanes_without(self, lanes: int) -> list[int]:
        """Return those of so many lanes that have no line."""
        return sorted(set(range(lanes)) - {line.lane for line in self.lines})


def make_chart(
    frame_numbers: Sequence[int],
    columns: Mapping[Line, Column],
    marks: Sequence[Mark],
) -> Chart:
    """Thin the columns and add the marks' spikes.

    A gap (a number that is not finite) is bridged by a straight line; frames before the first and
    after the last number of all lines are left out, and so is a line without any number.
    """
    found = {line: np.asarray(values, dtype=np.float64) for line, values in columns.items()}
    finite = {line: np.isfinite(values) for line, values in found.items()}
    lines = tuple(line for line in found if finite[line].any())
    if not lines:
        return Chart(message="no number yet")
    known = np.flatnonzero(np.any([finite[line] for line in lines], axis=0))
    span = slice(known[0], known[-1] + 1)
    x = np.asarray(frame_numbers, dtype=np.float64)
    values = np.stack(
        [np.interp(x[span], x[finite[line]], found[line][finite[line]]) for line in lines], axis=1
    )
    x = x[span]
    # A mark is three rows of its frame's own values, in which the mark alone goes up and down. A
    # vertical line so needs no gap in the data, which viser's plots cannot carry.
    inside = [mark for mark in marks if x[0] <= mark.frame <= x[-1]]
    marked = [
        np.searchsorted(x, [mark.frame for mark in inside if mark.kind == kind][-MOST_MARKS:])
        for kind in ("change", "reset")
    ]
    rows = extreme_rows(values, LINE_POINTS)
    kept = np.sort(np.concatenate([rows, *(np.repeat(places, 3) for places in marked)]))
    spikes = np.full((len(marked), len(kept)), SPIKE_FOOT)
    for heights, places in zip(spikes, marked, strict=True):
        heights[np.searchsorted(kept, places) + 1] = SPIKE_TOP
    return Chart(lines, (x[kept], *values[kept].T, *spikes))


def extreme_rows(values: NDArray[np.float64], limit: int) -> NDArray[np.intp]:
    """Choose at most `limit` rows of (n, columns) finite numbers, in order.

    The first and last row are kept, and in each of equal stretches the row of every column's
    smallest and of its largest number, so that no peak is lost. Needs a limit of at least two rows
    per column, and two more.
    """
    count, columns = values.shape
    if count <= limit:
        return np.arange(count)
    stretches = (limit - 2) // (2 * columns)
    assert stretches > 0, (limit, columns)
    edges = np.linspace(0, count, stretches + 1).astype(np.intp)
    chosen = [np.array([0, count - 1])]
    for start, end in itertools.pairwise(edges):
        stretch = values[start:end]
        chosen += [start + stretch.argmin(axis=0), start + stretch.argmax(axis=0)]
    extremes = np.unique(np.concatenate(chosen))
    # Columns that rise or fall together leave room, which evenly spaced rows make use of.
    even = np.linspace(0, count - 1, limit - len(extremes)).astype(np.intp)
    return np.union1d(extremes, even)
