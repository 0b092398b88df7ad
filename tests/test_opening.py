"""The opening shot: the box of a scene, the view in which it fills a window, and what is up."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.made_up_run import MadeUpRun
from tests.page_client import CAMERA, echo, join
from tests.ticks import tick_of
from tests.waiting import wait_for
from ttt3r_viewer.export.film.opening import (
    BAR_PX,
    FILL,
    ORBIT_SEC,
    PANEL_PX,
    SHEET_SHARE,
    TURN_RAD,
    SceneBox,
    Window,
    box_of_lanes,
    filled_share,
    fitted_view,
    upright_axes,
)
from ttt3r_viewer.reconstruct.messages import Pause, Play
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.cameras.page_views import view_behind
from ttt3r_viewer.viewer.layers.clouds import batch_of, without_ceiling
from ttt3r_viewer.viewer.layers.grid_layer import CELLS, grid_lines, grid_step
from ttt3r_viewer.viewer.layers.lane_label import label_position
from ttt3r_viewer.viewer.view_settings import ViewSettings

sides = st.floats(0.05, 20.0)
windows = st.builds(Window, st.floats(0.4, 3.0), st.floats(0.0, 0.6), st.floats(0.0, 0.75))


def axes_of(seed: int) -> np.ndarray:
    up, forward = np.random.default_rng(seed).normal(size=(2, 3))
    return upright_axes(up, forward)


@given(
    st.tuples(sides, sides, sides),
    st.integers(0, 1000),
    st.floats(-4.0, 4.0),
    st.floats(0.0, math.pi / 2),
    st.floats(0.5, 1.4),
    windows,
)
def test_any_box_fills_the_free_part_of_any_window_and_stands_in_its_middle(
    half, seed, azimuth_rad, elevation_rad, fov_y_rad, window
):
    box = SceneBox(np.array([1.0, -2.0, 3.0]), np.array(half), axes_of(seed))
    view = fitted_view(box, azimuth_rad, elevation_rad, fov_y_rad, window)
    bounds = filled_share(box, view, window)
    assert (bounds[:, 1] - bounds[:, 0]).max() == pytest.approx(FILL, abs=0.01)
    assert bounds.mean(axis=1) == pytest.approx(0.5, abs=0.03)


def test_a_window_is_free_beside_the_panel_and_above_the_sheet_of_a_phone():
    assert Window.of(1366, 768).right == pytest.approx(PANEL_PX / 1366)
    # A sharp screen has several pixels for one of the page, and a large one has not.
    assert Window.of(2732, 1536, 2.0).right == pytest.approx(PANEL_PX / 1366)
    assert Window.of(2560, 1440).right == pytest.approx(PANEL_PX / 2560)
    for wide in (Window.of(1366, 768), Window.of(2732, 1536, 2.0)):
        assert wide.bottom == pytest.approx(BAR_PX / 768)
    for phone in (Window.of(390, 844), Window.of(1170, 2532, 3.0)):
        assert (phone.right, phone.bottom) == (0.0, pytest.approx(SHEET_SHARE + BAR_PX / 844))
    assert Window.of(390, 844, panel=False) == Window(390 / 844)


@given(st.floats(0, 500), st.booleans())
def test_the_orbit_begins_at_the_opening_and_comes_back(time_sec, all_round):
    box = SceneBox(np.zeros(3), np.ones(3), np.eye(3), all_round)
    assert box.turned(0.0) == pytest.approx(TURN_RAD)
    again = box.turned(time_sec + ORBIT_SEC) - box.turned(time_sec)
    assert again == pytest.approx(2 * math.pi if all_round else 0.0, abs=1e-9)
    assert all_round or abs(box.turned(time_sec)) <= box.swing_rad


def test_the_box_holds_nearly_all_points_of_all_lanes_side_by_side():
    store = SceneStore(max_points=5000)
    MadeUpRun(store, total=4).gone(4)
    lane = store.snapshot().lanes[0]
    up = np.array([0.0, -1.0, 0.0])
    one, two = (box_of_lanes([lane] * n, (0.0, 9.0)[:n], up) for n in (1, 2))
    points = np.concatenate([one.points.off_edges().points_world for one in lane.frames])
    inside = np.abs((points - one.centre) @ one.axes.T) <= one.half + 1e-3
    assert inside.mean(axis=0).min() > 0.88
    assert not one.all_round
    assert two.half[0] > one.half[0] + 4
    assert not two.all_round
    assert two.swing_rad < one.swing_rad
    fewer = box_of_lanes([lane], (0.0,), up, hidden_bins=9)
    assert np.prod(fewer.half) < np.prod(one.half)


def test_what_the_page_calls_up_follows_the_layout():
    store = SceneStore(max_points=5000)
    MadeUpRun(store, total=4).gone(4)
    snapshot, up = store.snapshot(), axes_of(3)[1]
    lane = snapshot.lanes[0]
    lane = replace(lane, layout=replace(lane.layout, up=up))
    tick = tick_of(replace(snapshot, lanes=(lane,)))
    assert np.array_equal(tick.up, up)
    assert label_position(lane) @ up > lane.layout.height_range[1]
    camera = lane.frames[0].camera
    behind, above = (view_behind(camera, 2.0, up, back=0.5, above=a) for a in (0.0, 0.3))
    assert above.position - behind.position == pytest.approx(0.6 * up)
    assert box_of_lanes([lane], (0.0,), tick.up).up == pytest.approx(up)


@given(st.floats(0.01, 1000.0))
def test_a_cell_of_the_grid_is_a_round_number_of_metres(length):
    step = grid_step(length)
    assert float(f"{step:e}".partition("e")[0]) in (1, 2, 5)
    assert CELLS / 2.51 <= length / step <= CELLS * 1.01


def test_the_grid_lies_on_the_floor_under_the_whole_box_and_its_bar_is_one_cell():
    box = SceneBox(np.array([1.0, -2.0, 3.0]), np.array([2.0, 1.0, 3.0]), axes_of(5))
    lines, bar = grid_lines(box, floor=-1.5, step=0.5)
    assert lines @ box.up == pytest.approx(-1.5, abs=1e-5)
    assert np.linalg.norm(bar[0, 1] - bar[0, 0]) == pytest.approx(0.5, abs=1e-5)
    flat = lines.reshape(-1, 3) @ box.axes.T
    corners = box.corners() @ box.axes.T
    for axis in (0, 2):
        assert flat[:, axis].min() <= corners[:, axis].min()
        assert flat[:, axis].max() >= corners[:, axis].max()


def test_the_ceiling_cut_hides_the_highest_points_alone_and_never_from_inside():
    store = SceneStore(max_points=5000)
    MadeUpRun(store, total=4).gone(4)
    snapshot = store.snapshot()
    batch = batch_of(snapshot.frames, 0, snapshot.layout)
    cut = without_ceiling(batch)
    heights = batch.points_world @ snapshot.layout.up
    assert len(cut.points_world) == (heights <= snapshot.layout.cut_height).sum() < len(heights)
    assert len(cut.points_world) == len(cut.colors) == len(cut.frames)
    settings = ViewSettings()
    assert settings.cuts_ceiling
    for inside in (replace(settings, follow_camera=True), replace(settings, extent="one")):
        assert not inside.cuts_ceiling


def places_of(viewer, draws: str, until) -> int:
    """Count the places that a page puts a browser to, which says how it draws."""
    before = set(viewer.server.get_clients())
    with join(viewer.port, headers={"Cookie": f"ttt3r-draws={draws}"}) as socket:
        echo(socket, CAMERA)
        (new,) = wait_for(lambda: set(viewer.server.get_clients()) - before, "the browser")
        camera, places = viewer.server.get_clients()[new].camera, set()
        wait_for(lambda: places.add(tuple(camera.position)) or until(places), "the end")
        return len(places)


def test_the_orbit_waits_in_a_browser_without_a_gpu_until_the_run_pauses(show):
    run, viewer = show(9, {"settings": ViewSettings()}, total=None)
    assert places_of(viewer, "gpu", lambda places: len(places) > 12) > 12
    done = run.frames_done
    still = places_of(viewer, "software", lambda _: run.frames_done > done + 40)
    assert 1 < still < 5, "its first place, the opening, and a step or two as the scene grows"
    run.mailbox.put(Pause())
    wait_for(lambda: run.store.snapshot().status.phase == "paused", "the pause")
    assert places_of(viewer, "software", lambda places: len(places) > 12) > 12
    run.mailbox.put(Play())
    wait_for(lambda: run.store.snapshot().status.phase == "running", "the run")
    # Who asks for the orbit gets it.
    show_settings = viewer.controls.settings.show.still().toggled_motion("orbit", time.monotonic())
    viewer.controls.change(show=show_settings)
    assert places_of(viewer, "software", lambda places: len(places) > 12) > 12
