"""The charts: one number per lane and frame, and the table that compares the lanes."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import viser
from viser import uplot

from ttt3r_viewer.metrics.comparison import (
    MISSING,
    LaneMeasures,
    comparison_csv,
    comparison_markdown,
    measure_lane,
)
from ttt3r_viewer.metrics.ground_truth import FILE_NAMES, GroundTruth
from ttt3r_viewer.metrics.palette import LANE_COLORS, css_color
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import (
    BAD,
    block,
    browser_button,
    colored,
    counted,
    escape,
    lines,
    muted,
    table,
)
from ttt3r_viewer.viewer.panels.chart_lines import Chart, Line, Mark
from ttt3r_viewer.viewer.panels.chart_series import CHARTS, LENGTH
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import Widgets, assign_changed, bind, send_file

CHART_SEC = 1 / 3
TABLE_SEC = 2.0
"""Charts and table are made again at most this often, and only where there are new frames."""
BUSY_SHARE = 0.05
"""Of the publisher's time that charts and table may take each, however long the run."""
PLOT_ASPECT = 1.4
"""Width by height of the plot, in the panel and where viser's button opens it large."""
LABEL_FONT = "12px system-ui, sans-serif"
LATEST_MARKS = 5
LEAST_SHOWN = 1e-4
HIDDEN_IN_LEGEND, VALUE_IN_LEGEND = "ttt3r-no-legend", "ttt3r-value"


@dataclass(frozen=True)
class MeasureColumn:
    """A column of the table of lanes."""

    name: str
    unit: str
    hint: str
    value: Callable[[LaneMeasures], float | None]
    best: Callable[[Sequence[float]], float] | None = min
    """Gives the best of several numbers; None where none is better."""


MEASURES = (
    MeasureColumn(
        "ATE",
        "m",
        "Root mean square position error after Sim3 alignment, in the true poses' unit",
        lambda one: one.ate_sim3_m,
    ),
    MeasureColumn(
        "RPE t",
        "m",
        "Root mean square error of the motion between consecutive frames, after Sim3 scale",
        lambda one: one.rpe_translation_m,
    ),
    MeasureColumn("RPE r", "°", "The same of the rotation", lambda one: one.rpe_rotation_deg),
    MeasureColumn(
        "confid.", "≥ 1", "Mean confidence of all frames", lambda one: one.mean_confidence, max
    ),
    MeasureColumn(
        "time",
        "ms",
        "Per frame, of all lanes together: they share the encoder and one batch",
        lambda one: 1000 * one.sec_per_frame,
        None,
    ),
)
"""What is measured of every lane."""
EMPTY_DATA = (np.zeros(1), np.zeros(1))
EMPTY_SERIES = (uplot.Series(label="frame"), uplot.Series(show=False))


class ChartsPanel(Part):
    """Widgets of the charts."""

    def __init__(self, page: PageContext) -> None:
        gui = page.server.gui
        self._server = page.server
        self._history = page.series
        self._drawn: tuple[object, ...] = ()
        """What the plot shows: chart, unit of lengths, lanes' names, epoch, count of frames."""
        self._measured: tuple[object, ...] = ()
        self._rows: tuple[LaneMeasures, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._chart_due_sec = self._table_due_sec = -math.inf
        charts, first = self._history.offered(), page.presentation.chart
        self._choice = gui.add_dropdown(
            "Chart", charts, initial_value=first if first in charts else charts[0]
        )
        bind(self._choice, lambda _: page.controls.changed.set())
        self._caption = gui.add_html("")
        self._plot = gui.add_uplot(
            EMPTY_DATA,
            EMPTY_SERIES,
            scales={"x": uplot.Scale(time=False), "mark": uplot.Scale(range=(0.0, 1.0))},
            aspect=PLOT_ASPECT,
            padding=(10, 14, 0, 0),
            visible=False,
        )
        self._marks = gui.add_html("", visible=False)
        self._table = gui.add_html("")
        Widgets(gui).buttons("Save table", ("CSV", "Markdown"), self._save)

    def probe(self) -> dict[str, object]:
        """Say which chart is shown, how long its lines are, and how many changes are marked."""
        return {
            "chart": self._choice.value,
            "chart_points": len(self._plot.data[0]) if self._plot.visible else 0,
            "marks": sum(mark.kind == "change" for mark in self._history.marks),
        }

    def update(self, tick: Tick) -> None:
        """Add new frames, and draw what differs where it is due."""
        snapshot, now_sec = tick.snapshot, tick.now_sec
        self._history.update(snapshot)
        assign_changed(self._choice, options=self._history.offered())
        names, unit = snapshot.lane_labels, "m" if tick.metric else "scene units"
        state = (unit, names, snapshot.epoch, len(snapshot.frames))
        name = self._choice.value
        other = self._drawn[:1] != (name,)
        if (name, *state) != self._drawn and (other or now_sec >= self._chart_due_sec):
            started = time.perf_counter()
            self._draw(name, names, unit)
            self._drawn = (name, *state)
            self._chart_due_sec = now_sec + _pause_sec(CHART_SEC, started)
        if state != self._measured and now_sec >= self._table_due_sec:
            started = time.perf_counter()
            self._measure(snapshot.status, names)
            self._measured = state
            self._table_due_sec = now_sec + _pause_sec(TABLE_SEC, started)

    def _draw(self, name: str, names: Sequence[str], length_unit: str) -> None:
        chart, kind = self._history.chart(name), CHARTS[name]
        unit = kind.unit.replace(LENGTH, length_unit)
        without = [names[lane] for lane in chart.lanes_without(len(names))]
        message = chart.message or (f"no number yet: {', '.join(without)}" if without else "")
        assign_changed(self._caption, content=caption_html(name, unit, message, bool(chart.data)))
        marks = self._history.marks
        shown = tuple(mark for mark in marks if mark.kind == "change")[-LATEST_MARKS:]
        resets = sum(mark.kind == "reset" for mark in marks)
        assign_changed(self._marks, content=marks_html(shown, resets), visible=bool(marks))
        # Browsers must not see new lines with the numbers of others.
        with self._server.atomic():
            if chart.data:
                series, bands = plot_series(chart, names), plot_bands(chart)
                axes = plot_axes(kind.axis, unit)
                assign_changed(self._plot, series=series, bands=bands, axes=axes)
                self._plot.data = chart.data
            assign_changed(self._plot, visible=bool(chart.data))

    def _measure(self, status: Status, names: Sequence[str]) -> None:
        truth = self._history.ground_truth
        lanes = zip(names, self._history.lanes, strict=True)
        self._rows = tuple(measure_lane(name, lane.frames, truth) for name, lane in lanes)
        changes = [
            f"from frame {m.frame}: {m.text}" for m in self._history.marks if m.kind == "change"
        ]
        self._notes = (
            f"model: {status.model}, on {status.device}",
            truth_text(truth),
            "rules: " + "; ".join(rule.text for rule in status.lanes),
            "time per frame is that of all lanes together: they share the encoder and one batch",
            *changes,
        )
        assign_changed(self._table, content=measures_html(self._rows, truth))

    def _save(self, client: viser.ClientHandle, kind: str) -> None:
        if kind == "CSV":
            send_file(client, "comparison.csv", comparison_csv(self._rows).encode())
        else:
            text = comparison_markdown(self._rows, self._notes)
            send_file(client, "comparison.md", text.encode())


def _pause_sec(least_sec: float, started: float) -> float:
    """How long to wait, so that work that began at `started` keeps to its share of the time."""
    return max(least_sec, (time.perf_counter() - started) / BUSY_SHARE)


def plot_axes(what: str, unit: str) -> tuple[uplot.Axis, uplot.Axis]:
    """Name both axes: frames, and what is plotted with its unit."""
    label = f"{what} ({unit})" if unit else what
    return (
        uplot.Axis(label="frame", size=32, labelFont=LABEL_FONT, labelSize=18, labelGap=0),
        uplot.Axis(label=label, size=46, labelFont=LABEL_FONT, labelSize=18, labelGap=0),
    )


def plot_series(chart: Chart, names: Sequence[str]) -> tuple[uplot.Series, ...]:
    """Return x, every line in its lane's colour, and the two kinds of marks as upright lines."""
    return (
        {"label": "frame"},
        *(_line_series(line, names[line.lane]) for line in chart.lines),
        _mark_series("change", "rgba(160,160,160,.9)", (4.0, 3.0)),
        _mark_series("reset", "rgba(255,107,107,.6)", (1.0, 3.0)),
    )


def _line_series(line: Line, name: str) -> uplot.Series:
    color = LANE_COLORS[line.lane]
    series: uplot.Series = {"label": name, "stroke": css_color(color), "width": 1.5}
    series["class"] = VALUE_IN_LEGEND
    if line.part != "value":
        series = {"label": f"{name} {line.part}", "stroke": f"rgba{(*color, 0.4)}", "width": 0.5}
        series["class"] = HIDDEN_IN_LEGEND
    return {**series, "points": {"show": False}}


def _mark_series(label: str, stroke: str, dash: tuple[float, float]) -> uplot.Series:
    return {
        "label": label,
        "scale": "mark",
        "stroke": stroke,
        "width": 1.0,
        "dash": dash,
        "points": {"show": False},
        "class": HIDDEN_IN_LEGEND,
    }


def plot_bands(chart: Chart) -> tuple[uplot.Band, ...] | None:
    """Fill between the edges of every lane that has both: the lower one comes right before."""
    bands = [
        uplot.Band(series=(k, k - 1), fill=f"rgba{(*LANE_COLORS[line.lane], 0.15)}")
        for k, line in enumerate(chart.lines, start=1)
        if line.part == "high"
    ]
    return tuple(bands) or None


def caption_html(name: str, unit: str, message: str, drawn: bool) -> str:
    """Say what a chart shows, and what is not there; where there is one, offers it larger.

    Its style hides the edges of bands in the legend, and puts the unit behind pointed values.
    """
    style = f".u-legend .{HIDDEN_IN_LEGEND}{{display:none}}"
    if unit:
        style += f"#ttt3r-values .{VALUE_IN_LEGEND} .u-value::after{{content:' {escape(unit)}'}}"
    larger = browser_button("larger", "Larger view") if drawn else ""
    text = lines((escape(CHARTS[name].text), escape(message), larger))
    return f"<style>{style}</style>" + block("chart-caption", text)


def marks_html(changes: Sequence[Mark], resets: int) -> str:
    """List the latest changes, newest first, and count the resets."""
    shown = [f"┆ frame {mark.frame}: {escape(mark.text)}" for mark in reversed(changes)]
    if resets:
        shown.append(f"{colored('┆', BAD)} {counted(resets, 'reset')}")
    return block("marks", lines(shown))


def truth_text(truth: GroundTruth | None) -> str:
    """Say which true poses are used, or how to bring some."""
    if truth is None:
        known = ", ".join(FILE_NAMES)
        return f"true poses: none; put {known} beside the input, or name a file with --poses"
    return f"true poses: {truth.path.name}, looked up by {truth.key}"


def measures_html(rows: Sequence[LaneMeasures], truth: GroundTruth | None) -> str:
    """Make the table of lanes, the line on the ground truth, and why numbers are missing.

    The best number of each column is marked, and a button copies the table.
    """
    reasons = dict.fromkeys(row.reason for row in rows if row.reason and truth is not None)
    numbers = [[number_text(column.value(row)) for column in MEASURES] for row in rows]
    best = [best_of(column, rows) for column in MEASURES]
    hints = {"lane": ""} | {f"{one.name}<br>{muted(one.unit)}": one.hint for one in MEASURES}
    names = (
        f"{colored('●', css_color(LANE_COLORS[k]))} {escape(one.lane, 60)}"
        for k, one in enumerate(rows)
    )
    cells = (
        (
            name,
            *(
                f'<b title="The best of this column">★ {text}</b>' if text == top else text
                for text, top in zip(texts, best, strict=True)
            ),
        )
        for name, texts in zip(names, numbers, strict=True)
    )
    notes = ["★ the best of its column" if any(best) else "", truth_text(truth), *reasons]
    content = table(hints, cells, align="right")
    content += browser_button("copy", "Copy table", measures_tsv(rows))
    content += f"<div>{lines(escape(text) for text in notes)}</div>"
    return block("measures", content, style="line-height:1.6;padding:0.4em 0.75em")


def best_of(column: MeasureColumn, rows: Sequence[LaneMeasures]) -> str | None:
    """Return the best number of a column as it is shown; None where no lane stands out."""
    known = [one for one in map(column.value, rows) if one is not None and math.isfinite(one)]
    if column.best is None or len({number_text(one) for one in known}) < 2:
        return None
    return number_text(column.best(known))


def measures_tsv(rows: Sequence[LaneMeasures]) -> str:
    """Write the table for a spreadsheet, tabs between its cells, with six digits of each number."""
    heads = ("lane", *(f"{one.name} ({one.unit})" for one in MEASURES))
    cells = ((row.lane, *(full_text(one.value(row)) for one in MEASURES)) for row in rows)
    return "\n".join("\t".join(" ".join(cell.split()) for cell in row) for row in (heads, *cells))


def full_text(number: float | None) -> str:
    """Write a number with six digits; nothing where there is none."""
    return f"{number:.6g}" if number is not None and math.isfinite(number) else ""


def number_text(number: float | None) -> str:
    """Write a number with three digits."""
    if number is None or not math.isfinite(number):
        return MISSING
    # Smaller ones are rounding errors of a perfect lane, and too wide for the table.
    return f"{number if abs(number) >= LEAST_SHOWN else 0.0:.3g}"
