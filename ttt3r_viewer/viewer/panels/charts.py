"""The charts: one number per lane and frame, and the table that compares the lanes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import viser
from viser import uplot

from ttt3r_viewer.export.results import lane_names
from ttt3r_viewer.metrics.comparison import (
    MISSING,
    LaneMeasures,
    comparison_csv,
    comparison_markdown,
    measure_lane,
)
from ttt3r_viewer.metrics.ground_truth import FILE_NAMES, GroundTruth
from ttt3r_viewer.metrics.palette import LANE_COLORS, css_color
from ttt3r_viewer.scene.store import SceneSnapshot
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.panels.chart_series import (
    CHART_TEXTS,
    Chart,
    ChartName,
    Line,
    Mark,
)
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import assign_changed, escape

CHART_SEC = 1 / 3
TABLE_SEC = 2.0
"""Charts and table are made anew at most so often, and only where there are new frames."""
BUSY_SHARE = 0.05
"""Of the publisher's time that charts and table may take each, however long the run."""
PLOT_HEIGHT = 230
LATEST_MARKS = 5
LEAST_SHOWN = 1e-4
HIDDEN_IN_LEGEND = "ttt3r-no-legend"
EMPTY_DATA = (np.zeros(1), np.zeros(1))
EMPTY_SERIES = (uplot.Series(label="frame"), uplot.Series(show=False))


class ChartsPanel(Part):
    """Widgets of the charts."""

    def __init__(self, page: PageContext) -> None:
        gui = page.server.gui
        self._server = page.server
        self._history = page.series
        self._drawn: tuple[object, ...] = ()
        """What the plot shows: chart, names of the lanes, epoch and count of frames."""
        self._measured: tuple[object, ...] = ()
        self._rows: tuple[LaneMeasures, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._chart_due_sec = self._table_due_sec = -math.inf
        self._style: tuple[object, ...] = ()
        self.chart_points = 0
        """How many points each line of the plot has."""

        self._choice = gui.add_dropdown("Chart", self._history.offered())

        @self._choice.on_update
        async def _(event: viser.GuiEvent[viser.GuiDropdownHandle[ChartName]]) -> None:
            if event.client is not None:
                page.controls.changed.set()

        self._caption = gui.add_html("")
        self._plot = gui.add_uplot(
            EMPTY_DATA,
            EMPTY_SERIES,
            scales={"x": uplot.Scale(time=False), "mark": uplot.Scale(range=(0.0, 1.0))},
            height=PLOT_HEIGHT,
            visible=False,
        )
        self._marks = gui.add_html("", visible=False)
        self._table = gui.add_html("")
        self._save = gui.add_button_group("Save table", ("CSV", "Markdown"))

        @self._save.on_click
        async def _(event: viser.GuiEvent[viser.GuiButtonGroupHandle]) -> None:
            if event.client is not None:
                name, content = self._file(self._save.value)
                event.client.send_file_download(name, content, save_immediately=True)

    @property
    def chart_name(self) -> ChartName:
        """The chart that is shown, of those that these lanes can have."""
        chosen = cast(ChartName, self._choice.value)
        return chosen if chosen in CHART_TEXTS else "Gain"

    def probe(self) -> dict[str, object]:
        """Say which chart is shown, how long its lines are, and how many changes are marked."""
        return {
            "chart": self.chart_name,
            "chart_points": self.chart_points,
            "marks": sum(mark.kind == "change" for mark in self._history.marks),
        }

    def update(self, tick: Tick) -> None:
        """Take in new frames, and draw what differs where it is due."""
        snapshot, now_sec = tick.snapshot, tick.now_sec
        self._history.update(snapshot)
        assign_changed(self._choice, options=self._history.offered())
        names = names_of(snapshot)
        state = (names, snapshot.epoch, len(snapshot.frames))
        name = self.chart_name
        other = self._drawn[:1] != (name,)
        if (name, *state) != self._drawn and (other or now_sec >= self._chart_due_sec):
            started = time.perf_counter()
            self._draw(name, names)
            self._drawn = (name, *state)
            self._chart_due_sec = now_sec + _pause_sec(CHART_SEC, started)
        if state != self._measured and now_sec >= self._table_due_sec:
            started = time.perf_counter()
            self._measure(snapshot.status, names)
            self._measured = state
            self._table_due_sec = now_sec + _pause_sec(TABLE_SEC, started)

    def _draw(self, name: ChartName, names: Sequence[str]) -> None:
        chart = self._history.chart(name)
        self.chart_points = len(chart.data[0]) if chart.data else 0
        assign_changed(self._caption, content=caption_html(name, chart.message))
        marks = self._history.marks
        shown = tuple(mark for mark in marks if mark.kind == "change")[-LATEST_MARKS:]
        resets = sum(mark.kind == "reset" for mark in marks)
        assign_changed(self._marks, content=marks_html(shown, resets), visible=bool(marks))
        style = (chart.lines, tuple(names))
        # Browsers must not see new lines with the numbers of others.
        with self._server.atomic():
            if chart.data and style != self._style:
                self._style = style
                self._plot.series = plot_series(chart, names)
                self._plot.bands = plot_bands(chart)
            if chart.data:
                self._plot.data = chart.data
            assign_changed(self._plot, visible=bool(chart.data))

    def _measure(self, status: Status, names: Sequence[str]) -> None:
        truth = self._history.ground_truth
        lanes = zip(names, self._history.lanes, strict=True)
        self._rows = tuple(measure_lane(name, lane.measured, truth) for name, lane in lanes)
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

    def _file(self, kind: str) -> tuple[str, bytes]:
        if kind == "CSV":
            return "comparison.csv", comparison_csv(self._rows).encode()
        return "comparison.md", comparison_markdown(self._rows, self._notes).encode()


def _pause_sec(least_sec: float, started: float) -> float:
    """How long to wait, so that work that began at `started` keeps to its share of the time."""
    return max(least_sec, (time.perf_counter() - started) / BUSY_SHARE)


def names_of(snapshot: SceneSnapshot) -> tuple[str, ...]:
    """Name every lane as the files of `compare` do; by number before the run says its rules."""
    count = len(snapshot.lanes)
    names = lane_names(snapshot.status.lanes)
    return names if len(names) == count else tuple(f"lane {k + 1}" for k in range(count))


def plot_series(chart: Chart, names: Sequence[str]) -> tuple[uplot.Series, ...]:
    """Give x, every line in its lane's colour, and the two kinds of marks as upright lines."""
    return (
        {"label": "frame"},
        *(_line_series(line, names[line.lane]) for line in chart.lines),
        _mark_series("change", "rgba(255,255,255,.75)", (4.0, 3.0)),
        _mark_series("reset", "rgba(255,107,107,.6)", (1.0, 3.0)),
    )


def _line_series(line: Line, name: str) -> uplot.Series:
    color = LANE_COLORS[line.lane]
    if line.part == "value":
        return {
            "label": name,
            "stroke": css_color(color),
            "width": 1.5,
            "points": {"show": False},
        }
    return {
        "label": f"{name} {line.part}",
        "stroke": f"rgba{(*color, 0.4)}",
        "width": 0.5,
        "points": {"show": False},
        "class": HIDDEN_IN_LEGEND,
    }


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
    """Fill between the edges of every lane that has both."""
    place = {line: number for number, line in enumerate(chart.lines, start=1)}
    bands = [
        uplot.Band(
            series=(place[line], place[Line(line.lane, "low")]),
            fill=f"rgba{(*LANE_COLORS[line.lane], 0.15)}",
        )
        for line in chart.lines
        if line.part == "high" and Line(line.lane, "low") in place
    ]
    return tuple(bands) or None


def caption_html(name: ChartName, message: str) -> str:
    """Say what a chart shows, and why it shows nothing; hides the edges of bands in its legend."""
    why = f"<div>{escape(message)}</div>" if message else ""
    return (
        f"<style>.uplot .u-legend .{HIDDEN_IN_LEGEND}{{display:none}}</style>"
        '<div data-testid="chart-caption" style="font-size:0.75em;opacity:.75;padding:0 0.75em">'
        f"{escape(CHART_TEXTS[name])}{why}</div>"
    )


def marks_html(changes: Sequence[Mark], resets: int) -> str:
    """List the latest changes, newest first, and count the resets."""
    lines = [f"┆ frame {mark.frame}: {escape(mark.text)}" for mark in reversed(changes)]
    if resets:
        noun = "reset" if resets == 1 else "resets"
        lines.append(f'<span style="color:#ff8787">┆</span> {resets} {noun}')
    return (
        '<div data-testid="marks" style="font-size:0.75em;line-height:1.5;padding:0 0.75em;'
        f'overflow-wrap:anywhere">{"<br>".join(lines)}</div>'
    )


def truth_text(truth: GroundTruth | None) -> str:
    """Say which true poses are used, or how to bring some."""
    if truth is None:
        known = ", ".join(FILE_NAMES)
        return f"true poses: none; put {known} beside the input, or name a file with --poses"
    return f"true poses: {truth.path.name}, looked up by {truth.key}"


def measures_html(rows: Sequence[LaneMeasures], truth: GroundTruth | None) -> str:
    """Make the table of lanes, the line on the ground truth, and why numbers are missing."""
    headings = ("lane", "ATE", "RPE t", "RPE r", "confid.", "ms")
    hints = (
        "",
        "Root mean square position error after Sim3 alignment, in the true poses' unit",
        "Root mean square error of the motion between consecutive frames, after Sim3 scale",
        "The same of the rotation, in degrees",
        "Mean confidence of all frames",
        "Milliseconds per frame, of all lanes together: they share the encoder and one batch",
    )
    head = "".join(
        f'<th title="{escape(hint)}" style="text-align:{"right" if k else "left"};'
        f'font-weight:normal;opacity:.65;padding:0 0.3em">{name}</th>'
        for k, (name, hint) in enumerate(zip(headings, hints, strict=True))
    )
    body = "".join(_row_html(lane, row) for lane, row in enumerate(rows))
    reasons = dict.fromkeys(row.reason for row in rows if row.reason and truth is not None)
    notes = "".join(f"<div>{escape(text)}</div>" for text in (truth_text(truth), *reasons))
    return (
        '<div data-testid="measures" style="font-size:0.75em;line-height:1.6;padding:0.4em 0.75em">'
        '<table style="width:100%;border-collapse:collapse">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f'<div style="opacity:.75;overflow-wrap:anywhere">{notes}</div></div>'
    )


def _row_html(lane: int, row: LaneMeasures) -> str:
    numbers = (
        _number(row.ate_sim3_m),
        _number(row.rpe_translation_m),
        _number(row.rpe_rotation_deg),
        _number(row.mean_confidence),
        MISSING if math.isnan(row.sec_per_frame) else f"{1000 * row.sec_per_frame:.0f}",
    )
    cells = "".join(
        f'<td style="text-align:right;padding:0 0.3em;white-space:nowrap">{number}</td>'
        for number in numbers
    )
    color = css_color(LANE_COLORS[lane])
    return (
        f'<tr><td style="overflow-wrap:anywhere;padding:0 0.3em"><span style="color:{color}">●'
        f"</span> {escape(row.lane, 60)}</td>{cells}</tr>"
    )


def _number(number: float | None) -> str:
    if number is None or not math.isfinite(number):
        return MISSING
    # Smaller ones are rounding errors of a perfect lane, and too wide for the table.
    return f"{number if abs(number) >= LEAST_SHOWN else 0.0:.3g}"
