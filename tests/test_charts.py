"""Charts without a browser: what is plotted, marked and measured."""

import csv
import io
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.made_up_run import MadeUpRun, drifted, pose_at, room_result, rule_info
from tests.ticks import tick_of
from ttt3r_viewer.metrics.comparison import comparison_csv, measure_lane
from ttt3r_viewer.metrics.ground_truth import CountedPoses
from ttt3r_viewer.metrics.trajectory import Trajectory, ate
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.panels import chart_lines, chart_series, charts


def run_of(lanes: int, frames: int) -> MadeUpRun:
    """A made-up run that has gone so far, and goes no further by itself."""
    store = SceneStore(max_points=2000, points_per_frame=20)
    return MadeUpRun(store, lanes=lanes, total=None).gone(frames)


def history_of(run: MadeUpRun, truth: CountedPoses | None = None) -> chart_series.ChartSeries:
    history = chart_series.ChartSeries(truth)
    history.update(run.store.snapshot())
    return history


def true_room(frames: int) -> CountedPoses:
    return CountedPoses(Path("poses.txt"), np.array([pose_at(i) for i in range(frames)]))


SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 4))
WAVES = arrays(float, SHAPES, elements=st.floats(-1e6, 1e6))


@given(WAVES, st.integers(10, 60))
@settings(max_examples=60)
def test_thinning_keeps_ends_order_and_every_extreme_within_its_limit(values, limit):
    rows = chart_lines.extreme_rows(values, limit)
    assert len(rows) == len(values) if len(values) <= limit else len(rows) <= limit
    assert (np.diff(rows) > 0).all()
    assert rows[0] == 0
    assert rows[-1] == len(values) - 1
    assert np.array_equal(values[rows].min(axis=0), values.min(axis=0))
    assert np.array_equal(values[rows].max(axis=0), values.max(axis=0))


@given(st.integers(1000, 5000), st.lists(st.integers(0, 999), max_size=10, unique=True))
@settings(max_examples=30)
def test_single_peaks_survive_in_the_stretch_where_they_are(count, places):
    values = np.zeros((count, 2))
    values[places, 1] = 1.0 + np.arange(len(places))
    stretches = (chart_lines.LINE_POINTS - 2) // 4
    rows = chart_lines.extreme_rows(values, chart_lines.LINE_POINTS)
    edges = np.linspace(0, count, stretches + 1).astype(int)
    for start, end in itertools.pairwise(edges):
        kept = rows[(rows >= start) & (rows < end)]
        assert values[kept, 1].max(initial=0) == values[start:end, 1].max()


def test_each_number_is_that_of_its_frame_and_lane():
    run = run_of(lanes=2, frames=9)
    history = history_of(run)
    for k, lane in enumerate(run.store.snapshot().lanes):
        value, low, high = history.chart("Gain").data[1 + 3 * k : 4 + 3 * k]
        assert value.tolist() == [frame.gain_mean for frame in lane.frames]
        assert low.tolist() == [frame.gain_range[0] for frame in lane.frames]
        assert high.tolist() == [frame.gain_range[1] for frame in lane.frames]
        positions = [frame.camera.T_world_camera[:3, 3] for frame in lane.frames]
        steps = [math.dist(a, b) for a, b in itertools.pairwise(positions)]
        assert history.chart("Step length").data[1 + k] == pytest.approx([0, *steps])
    chart = history.chart("Gain")
    rates = [0.75 * 1.0, 0.75 * 0.8]
    for k, rate in enumerate(rates):
        lines = (chart_lines.Line(k, part) for part in ("low", "value", "high"))
        low, value, high = (chart.data[1 + chart.lines.index(line)] for line in lines)
        assert value == pytest.approx(np.full(9, rate), rel=1e-6)
        assert (low < value).all()
        assert (value < high).all()
    assert np.array_equal(chart.data[0], np.arange(1, 10))
    assert np.array_equal(history.chart("State change").data[1], 0.1 / (1 + 0.1 * np.arange(9)))


def test_growing_history_is_the_history_made_at_once_and_a_restart_begins_anew():
    run = run_of(lanes=2, frames=0)
    grown = chart_series.ChartSeries(true_room(40))
    assert grown.chart("Gain").message == "no number yet"
    for _ in range(30):
        run.add_frame()
        grown.update(run.store.snapshot())
        grown.update(run.store.snapshot())
    at_once = history_of(run, true_room(40))
    for name in at_once.offered():
        for one, other in zip(grown.chart(name).data, at_once.chart(name).data, strict=True):
            assert np.array_equal(one, other)
    run.store.clear(1)
    grown.update(run.store.snapshot())
    assert len(grown.lanes[0].frames) == 0
    assert len(grown.lanes) == 1


def test_charts_are_offered_where_lanes_and_truth_allow():
    alone, pair = run_of(lanes=1, frames=1), run_of(lanes=2, frames=1)
    basic = ("Gain", "State change", "Confidence", "Step length")
    assert history_of(alone).offered() == basic
    assert history_of(pair).offered() == (*basic, "Lane separation")
    assert history_of(alone, true_room(9)).offered() == ("ATE so far", "Rotation error", *basic)


def test_running_error_is_that_of_the_poses_so_far_and_zero_for_the_truth():
    frames = 25
    run = run_of(lanes=2, frames=frames)
    history = history_of(run, true_room(frames))
    truth = true_room(frames).T_world_camera
    estimate = np.array([drifted(pose_at(i), 0.01 * i) for i in range(frames)])
    for count in (3, 11, 25):
        times = np.arange(count, dtype=float)
        expected = ate(
            Trajectory(times, truth[:count]), Trajectory(times, estimate[:count]), with_scale=True
        )
        assert history.lanes[1].ate_m[count - 1] == pytest.approx(expected, abs=1e-7)
    assert np.allclose(history.lanes[0].ate_m[3:], 0, atol=1e-6)
    # Two poses measure nothing, so that the line begins at the third frame.
    assert history.chart("ATE so far").data[0][0] == 3
    turned = np.degrees(0.01 * np.arange(1, frames)).mean()
    assert history.lanes[1].rotation_deg[-1] == pytest.approx(turned)


def test_lane_separation_ignores_another_world_and_scale_and_says_why_it_cannot_be():
    frames = 12
    store = SceneStore(points_per_frame=5)
    store.clear(2)
    history = chart_series.ChartSeries(None)
    moved = drifted(np.eye(4), 0.7)
    for i in range(frames):
        room = room_result(i, 8, 6)
        pose = moved @ room.camera.T_world_camera
        pose[:3, 3] *= 2.5
        store.add(room, replace(room, camera=replace(room.camera, T_world_camera=pose)))
        history.update(store.snapshot())
        if i == 1:
            assert "wanted at least 3" in history.chart("Lane separation").message
    chart = history.chart("Lane separation")
    assert chart.lines == (chart_lines.Line(0), chart_lines.Line(1))
    assert np.allclose(chart.data[1:3], 0, atol=1e-9)


def test_gaps_are_bridged_and_what_has_no_number_is_left_out():
    nan, inf = math.nan, math.inf
    rows = ([nan, 1, nan, 3, inf, nan], [nan, nan, 5, nan, 7, nan], [nan] * 6)
    lines = {chart_lines.Line(k): row for k, row in enumerate(rows)}
    chart = chart_lines.make_chart(range(1, 7), lines, [])
    assert chart.lines == (chart_lines.Line(0), chart_lines.Line(1))
    x, first, second, changes, resets = chart.data
    assert np.array_equal(x, [2, 3, 4, 5])
    assert np.array_equal(first, [1, 2, 3, 3])
    assert np.array_equal(second, [5, 5, 6, 7])
    assert (changes == chart_lines.SPIKE_FOOT).all()
    assert (resets == chart_lines.SPIKE_FOOT).all()


def test_marks_say_what_is_in_force_since_which_frame():
    run = run_of(lanes=2, frames=4)
    run.echo(lanes=(rule_info("steady", 0.3), run.store.snapshot().status.lanes[1]))
    run.gone(3).echo(reset_every=5)
    run.gone(2).echo(reset_every=0)
    run.add_frame()
    history = history_of(run)
    assert history.marks == [
        chart_lines.Mark(5, "change", "steady, rate 1 becomes steady, rate 0.3"),
        chart_lines.Mark(8, "change", "reset every 5 frames"),
        chart_lines.Mark(8, "reset", ""),
        chart_lines.Mark(10, "change", "no more resets"),
        chart_lines.Mark(10, "reset", ""),
    ]
    x, *_, changes, resets = history.chart("Gain").data
    assert (np.diff(x) >= 0).all()
    assert list(x[changes == chart_lines.SPIKE_TOP]) == [5, 8, 10]
    assert list(x[resets == chart_lines.SPIKE_TOP]) == [8, 10]
    assert "frame 10: no more resets" in charts.marks_html(history.marks[-2:-1], 2)
    assert "2 resets" in charts.marks_html((), 2)


def test_spikes_add_no_number_of_their_own_and_stay_within_the_limit():
    frames = 4000
    wave = np.sin(np.arange(frames) / 50)
    marks = [
        chart_lines.Mark(n, kind, "") for n in range(2, frames, 7) for kind in ("change", "reset")
    ]
    chart = chart_lines.make_chart(range(1, frames + 1), {chart_lines.Line(0): wave}, marks)
    x, values, changes, resets = chart.data
    assert len(x) <= chart_lines.LINE_POINTS + 6 * chart_lines.MOST_MARKS <= 1000
    assert np.array_equal(values, wave[x.astype(int) - 1])
    assert (np.diff(x) >= 0).all()
    for spikes in (changes, resets):
        at = np.flatnonzero(spikes == chart_lines.SPIKE_TOP)
        assert len(at) == chart_lines.MOST_MARKS
        assert x[at[-1]] == marks[-1].frame
        assert (spikes[at - 1] == chart_lines.SPIKE_FOOT).all()
        assert (spikes[at + 1] == chart_lines.SPIKE_FOOT).all()
        assert (x[at - 1] == x[at]).all()


def test_every_line_has_a_series_and_bands_join_the_edges_of_one_lane():
    chart = history_of(run_of(lanes=3, frames=5)).chart("Gain")
    names = ("a", "b", "c")
    series = charts.plot_series(chart, names)
    assert len(series) == len(chart.data)
    assert [one.get("label") for one in series if one.get("width") == 1.5] == list(names)
    bands = charts.plot_bands(chart)
    assert bands is not None
    for lane, band in enumerate(bands):
        high, low = (chart.lines[int(place) - 1] for place in band["series"])
        assert (high, low) == (chart_lines.Line(lane, "high"), chart_lines.Line(lane, "low"))
    assert charts.plot_bands(history_of(run_of(lanes=1, frames=5)).chart("Confidence")) is None


def test_table_escapes_names_and_reasons_and_has_a_dash_for_every_missing_number():
    run = run_of(lanes=1, frames=2)
    history = history_of(run, replace(true_room(1), path=Path("<b>.txt")))
    row = measure_lane("<script>", history.lanes[0].frames, history.ground_truth)
    text = charts.measures_html([row], history.ground_truth)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in text
    assert text.count("–") == 3  # noqa: RUF001
    assert "wanted at least 3" in text
    empty = charts.measures_html([measure_lane("a", [], None)], None)
    assert empty.count("–") == 5  # noqa: RUF001
    assert "--poses" in empty


def test_axes_name_units_and_a_lane_without_numbers_is_told():
    assert [one.get("label") for one in charts.plot_axes("step", "m")] == ["frame", "step (m)"]
    assert charts.plot_axes("confidence", "")[1].get("label") == "confidence"
    chart = chart_lines.make_chart([1, 2], {chart_lines.Line(1): [0.5, 0.6]}, [])
    assert chart.lanes_without(3) == [0, 2]
    assert "largest" not in charts.caption_html("Gain", "", "no number yet: <a>", False)
    assert "&lt;a&gt;" in charts.caption_html("Gain", "", "no number yet: <a>", False)


def test_the_best_of_each_column_is_marked_where_one_stands_out_and_copied_whole():
    history = history_of(run_of(lanes=3, frames=9), true_room(9))
    names = ("a\tb", "<c>", "d")
    lanes = zip(names, history.lanes, strict=True)
    rows = [measure_lane(name, lane.frames, history.ground_truth) for name, lane in lanes]
    ate_m, *_, confidence, time_ms = charts.MEASURES
    assert charts.best_of(ate_m, rows) == "0"
    assert charts.best_of(ate_m, rows[1:]) == charts.number_text(rows[1].ate_sim3_m)
    assert charts.best_of(ate_m, rows[:1]) is None
    assert charts.best_of(confidence, rows) is None  # all are the same
    surer = replace(rows[2], mean_confidence=9.0, sec_per_frame=1e-3)
    assert charts.best_of(confidence, [*rows, surer]) == "9"
    assert charts.best_of(time_ms, [*rows, surer]) is None
    table = [row.split("\t") for row in charts.measures_tsv(rows).split("\n")]
    assert {len(row) for row in table} == {len(charts.MEASURES) + 1}
    assert [row[0] for row in table] == ["lane", "a b", "<c>", "d"]
    assert float(table[2][1]) == pytest.approx(rows[1].ate_sim3_m, rel=1e-5)
    text = charts.measures_html(rows, history.ground_truth)
    assert "<c>" not in text
    assert text.count("<b ") == 3


def test_panel_draws_measures_and_saves_what_the_history_holds(server, monkeypatch):
    saved: dict[str, bytes] = {}
    monkeypatch.setattr(charts, "send_file", lambda _, name, content: saved.update({name: content}))
    run = run_of(lanes=2, frames=20)
    panel = charts.ChartsPanel(PageContext(server, ground_truth=true_room(20)))
    snapshot = run.store.snapshot()
    panel.update(tick_of(snapshot, now_sec=0.0))
    assert panel.probe() == {"chart": "ATE so far", "chart_points": 18, "marks": 0}
    for kind in ("CSV", "Markdown"):
        panel._save(None, kind)  # pyright: ignore[reportArgumentType]
    table = saved["comparison.csv"].decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    names = [row["lane"] for row in rows]
    assert names == list(snapshot.lane_labels) == ["steady, rate 1", "drifting, rate 0.8"]
    assert float(rows[0]["ate_sim3_m"]) < 1e-6 < 0.01 < float(rows[1]["ate_sim3_m"])
    assert table == comparison_csv(panel._rows)
    assert "drifting, rate 0.8" in saved["comparison.md"].decode()
    # Neither is made anew before its time, nor where nothing is new.
    drawn, rows = panel._plot.data, panel._rows
    run.add_frame()
    panel.update(tick_of(run.store.snapshot(), now_sec=0.1))
    assert panel._plot.data is drawn
    assert panel._rows is rows
    panel.update(tick_of(run.store.snapshot(), now_sec=1e6))
    assert panel.probe()["chart_points"] == 18
    assert panel._rows[0].frames == 21
    drawn = panel._plot.data
    panel.update(tick_of(run.store.snapshot(), now_sec=2e6))
    assert panel._plot.data is drawn


def test_degenerate_lanes_give_a_message_in_every_chart_and_no_exception(server):
    store = SceneStore(points_per_frame=5)
    store.clear(2)
    panel = charts.ChartsPanel(PageContext(server, ground_truth=true_room(3)))
    still = room_result(0, 8, 6)
    for i in range(6):
        wild = np.full((4, 4), math.nan) if i > 3 else still.camera.T_world_camera
        one = replace(still, sequence=i, index=i, confidence=still.confidence * math.nan)
        bad = replace(one, camera=replace(one.camera, T_world_camera=wild))
        store.add(one, bad)
        panel.update(tick_of(store.snapshot(), now_sec=10.0 * i))
    history = panel._history
    assert "stand" in history.chart("Lane separation").message or "finite" in (
        history.chart("Lane separation").message
    )
    assert history.chart("Confidence").message == "no number yet"
    assert history.chart("ATE so far").message == "no number yet"
    assert len(panel._rows) == 2
    assert all(row.ate_sim3_m is None for row in panel._rows)
