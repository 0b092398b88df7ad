"""The truth beside the lanes: dashes, lines to true places, the labels' errors and bars."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.made_up_run import MadeUpRun, pose_at, room_result
from tests.ticks import tick_of
from ttt3r_viewer.geometry import Similarity, umeyama
from ttt3r_viewer.metrics.ground_truth import CountedPoses
from ttt3r_viewer.metrics.lane_errors import ahead_text, lane_errors
from ttt3r_viewer.scene.budget import SURE_BINS
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Camera
from ttt3r_viewer.viewer.app import PANELS, charts_first
from ttt3r_viewer.viewer.context import PageContext, Presentation
from ttt3r_viewer.viewer.layers.lane_label import bar_segments, label_text
from ttt3r_viewer.viewer.layers.lane_layer import LaneLayer
from ttt3r_viewer.viewer.layers.point_layer import MAX_NODES, OTHER_NODES, chunks_per_lane
from ttt3r_viewer.viewer.layers.truth_layer import DASHES, ERROR_LINES, dashes, error_lines
from ttt3r_viewer.viewer.panels.chart_series import ChartSeries
from ttt3r_viewer.viewer.panels.charts import ChartsPanel
from ttt3r_viewer.viewer.panels.compare import lane_html
from ttt3r_viewer.viewer.panels.look import LookPanel
from ttt3r_viewer.viewer.panels.run import RunPanel
from ttt3r_viewer.viewer.view_settings import ViewSettings

TURN = Similarity(2.5, pose_at(17)[:3, :3], np.array([3.0, -1.0, 8.0]), rms=0.5)
"""From the lane's world to that of the true poses."""


def turned_room(frames: int) -> CountedPoses:
    """The room's true poses in a world of their own."""
    poses = np.array([pose_at(i) for i in range(frames)])
    poses[:, :3, 3] = TURN.apply(poses[:, :3, 3])
    poses[:, :3, :3] = TURN.R_target_source @ poses[:, :3, :3]
    return CountedPoses(Path("poses.txt"), poses)


def run_of(frames: int, lanes: int = 2) -> MadeUpRun:
    store = SceneStore(max_points=2000, points_per_frame=20)
    return MadeUpRun(store, lanes=lanes, total=None).gone(frames)


def truth_nodes(server) -> dict[str, int]:
    """Segments of each node that shows the truth."""
    nodes = server.scene._handle_from_node_name
    return {name: len(node.points) for name, node in nodes.items() if "/truth/" in name}


def test_a_similarity_and_its_inverse_undo_each_other():
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert np.allclose(TURN.inverse.apply(TURN.apply(points)), points)
    back = umeyama(TURN.apply(points), points, with_scale=True)
    assert np.allclose(back.R_target_source, TURN.inverse.R_target_source)
    assert (back.scale, TURN.inverse.rms) == (pytest.approx(0.4), pytest.approx(0.2))


def test_a_lane_without_error_stands_at_its_true_places_and_a_drifting_one_does_not():
    series = ChartSeries(turned_room(25))
    run = run_of(30)  # the truth ends before
    series.update(run.store.snapshot())
    exact, drifting = (lane.paired_centers(30) for lane in series.lanes)
    assert exact is not None
    assert drifting is not None
    assert exact.shape == (25, 2, 3)
    lines = error_lines(exact, 0.0)
    assert np.allclose(lines[:, 0], lines[:, 1], atol=1e-5)
    own = [one.camera.T_world_camera[:3, 3] for one in run.store.snapshot().lanes[1].frames[:25]]
    assert np.allclose(drifting[:, 0], own)
    # The lines are what the chart measures, in the lane's unit.
    lengths = np.linalg.norm(drifting[:, 1] - drifting[:, 0], axis=1)
    true = series.ground_truth.T_world_camera[:, :3, 3]  # pyright: ignore[reportOptionalMemberAccess]
    scale = umeyama(np.array(own), true, with_scale=True).scale
    assert scale * np.sqrt(np.mean(lengths**2)) == pytest.approx(series.lanes[1].ate_m[24])
    assert series.lanes[0].paired_centers(2) is None


def test_dashes_and_error_lines_stay_few_and_end_with_the_path():
    turn = np.linspace(0, 60 * np.pi, 3000)
    path = np.stack([np.sin(turn), np.cos(turn), 0.01 * turn], axis=1)
    found = dashes(path, 0.01)
    assert len(found) <= DASHES
    assert found.dtype == np.float32
    assert np.allclose(found[0, 0], path[0], atol=1e-6)
    straight = dashes(np.array([[0.0, 0, 0], [0.25, 0, 0], [1.0, 0, 0]]), 0.1)
    assert np.allclose(straight[:, 0, 0], np.arange(10) / 10)
    assert np.allclose(straight[:, 1, 0], np.arange(10) / 10 + 0.06)
    assert dashes(path[:1], 0.1).shape == (0, 2, 3)
    lines = error_lines(np.stack([path, path + 1], axis=1), 0.01)
    assert len(lines) <= ERROR_LINES
    assert np.allclose(lines[[0, -1], 0], path[[0, -1]], atol=1e-5)


def test_the_page_draws_hides_and_renews_the_truth_at_most_once_a_second(server):
    run, page = run_of(12), PageContext(server, ground_truth=turned_room(60))
    layer = LaneLayer(server, series=page.series)
    layer.update(tick_of(run.store, now_sec=10.0))
    first = truth_nodes(server)
    assert set(first) == {f"/lanes/{k}/truth/{name}" for k in (0, 1) for name in ("path", "error")}
    assert 1 < first["/lanes/1/truth/error"] <= 12
    run.gone(3)
    layer.update(tick_of(run.store, now_sec=10.5))
    assert truth_nodes(server) == first
    layer.update(tick_of(run.store, now_sec=11.1))
    assert truth_nodes(server) != first
    layer.update(tick_of(run.store, ViewSettings(show_truth=False), now_sec=11.2))
    assert not truth_nodes(server)
    layer.update(tick_of(run.store, ViewSettings(live=False, position=5), now_sec=11.3))
    assert 1 <= truth_nodes(server)["/lanes/0/truth/error"] <= 6
    run.store.clear(1)
    layer.update(tick_of(run.store, now_sec=20.0))
    assert not truth_nodes(server)


def test_after_3000_frames_the_truth_is_still_small(server):
    store = SceneStore(max_points=2000, points_per_frame=1)
    room, count = room_result(0, 8, 6), 3000
    poses = [pose_at(i) for i in range(count)]
    for i, pose in enumerate(poses):
        camera = Camera(pose, 8.0, 8, 6)
        store.add(replace(room, sequence=i, index=i, camera=camera))
    page = PageContext(server, ground_truth=CountedPoses(Path("p"), np.array(poses)))
    LaneLayer(server, series=page.series).update(tick_of(store, now_sec=1.0))
    found = truth_nodes(server)
    assert set(found) == {"/lanes/0/truth/path", "/lanes/0/truth/error"}
    assert max(found.values()) <= DASHES
    assert found["/lanes/0/truth/error"] <= ERROR_LINES


def test_without_truth_there_is_neither_path_nor_switch_nor_error(server, monkeypatch):
    labels = []
    monkeypatch.setattr(
        "ttt3r_viewer.viewer.panels.look.FieldWidgets.add",
        lambda _self, _make, label, *_rest, **_more: labels.append(label),
    )
    for truth in (None, turned_room(9)):
        LookPanel(PageContext(server, ground_truth=truth))
    assert labels.count("Path") == 2
    assert labels.count("True path") == 1
    for series in (None, ChartSeries(None)):
        LaneLayer(server, series=series).update(tick_of(run_of(9).store, now_sec=1.0))
        assert not truth_nodes(server)
        label = server.scene._handle_from_node_name["/lanes/1/label/text"]
        assert label.text == "drifting, rate 0.8"


def test_charts_can_stand_above_all_tabs_and_begin_with_the_one_that_is_asked_for(server):
    places = charts_first(PANELS)
    assert [(one.tab, one.make) for one in places[:2]] == [("", RunPanel), ("", ChartsPanel)]
    assert {one.make for one in places} == {one.make for one in PANELS}
    for truth, chart in ((turned_room(3), "ATE so far"), (None, "Gain")):
        asked = Presentation(chart="ATE so far")
        page = PageContext(server, ground_truth=truth, presentation=asked)
        assert ChartsPanel(page).probe()["chart"] == chart


def test_errors_are_set_beside_the_largest_and_the_first():
    first, second, unknown = lane_errors((0.154, 0.432, float("nan")))
    assert (first.text, second.text) == ("ATE 0.154 m", "ATE 0.432 m, 2.81 times the first lane's")
    assert (first.share, second.share) == (pytest.approx(0.3565, abs=1e-3), 1.0)
    assert (unknown.share, unknown.text) == (0.0, "ATE –")  # noqa: RUF001
    assert lane_errors((1e-9, 0.5))[1].ratio is None
    assert lane_errors(()) == ()
    lane = run_of(2).store.snapshot().lanes[0]
    lane = replace(lane, layout=replace(lane.layout, up=np.array([0.6, 0.0, -0.8])))
    bar = bar_segments(lane, first)
    # It lies under its text, which stands upright in the page, and is level.
    assert (bar @ lane.layout.up < 0).all()
    assert np.ptp(bar @ lane.layout.up) == pytest.approx(0.0, abs=1e-6)
    filled, rest = np.linalg.norm(bar[:, 1] - bar[:, 0], axis=1)
    assert filled / (filled + rest) == pytest.approx(first.share)
    assert np.ptp(bar_segments(lane, None)[1], axis=0) == pytest.approx(0.0)
    assert "ATE 0.432 m, 2.81 times the first lane's" in lane_html(1, "a", True, second)
    assert label_text("a", None) == "a"


def test_the_captions_say_who_is_ahead_and_how_far():
    names = ("TTT3R", "constant 1", "constant 0.3")
    assert ahead_text(names[:2], lane_errors((0.154, 0.432))) == "TTT3R ahead: 0.36 of constant 1"
    told = ahead_text(names, lane_errors((0.4, 0.2, 0.25)))
    assert told == "constant 1 ahead: 0.80 of constant 0.3, 0.50 of TTT3R"
    assert ahead_text(names[:2], lane_errors((0.4, 0.399))) == "constant 1 and TTT3R level"
    assert ahead_text(names[:1], lane_errors((0.4,))) == ""
    assert ahead_text(names[:2], lane_errors((0.4, float("nan")))) == ""


def test_labels_say_what_the_chart_plots_and_follow_it(server):
    run, page = run_of(12), PageContext(server, ground_truth=turned_room(60))
    layer = LaneLayer(server, series=page.series)
    for now_sec in (1.0, 2.0):
        layer.update(tick_of(run.store, now_sec=now_sec))
        ate_m = [lane.ate_m[-1] for lane in page.series.lanes]
        label = server.scene._handle_from_node_name["/lanes/1/label/text"]
        assert label.text == f"drifting, rate 0.8\n{lane_errors(ate_m)[1].text}"
        run.gone(6)


def test_a_lane_has_no_more_nodes_beside_its_chunks_than_are_kept_free_for_them(server):
    run, page = run_of(12), PageContext(server, ground_truth=turned_room(12))
    layer = LaneLayer(server, series=page.series, fly=lambda *_: None)
    nodes = server.scene._handle_from_node_name
    for settings in (ViewSettings(), ViewSettings(live=False, position=5)):
        for now_sec in (10.0, 20.0):
            layer.update(tick_of(run.store, settings, now_sec))
        for lane in ("/lanes/0", "/lanes/1"):
            mine = [one for one in nodes if f"{one}/".startswith(f"{lane}/") and "chunk" not in one]
            drawn_elsewhere = 6  # the true surface, 3 of an inspection, 2 of an expectation
            assert OTHER_NODES - 1 <= len(mine) + drawn_elsewhere <= OTHER_NODES
    for count in (1, 2, 3, 4):
        chunks = count * chunks_per_lane(count) * SURE_BINS
        assert chunks + count * OTHER_NODES <= MAX_NODES
