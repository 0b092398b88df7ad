"""The look of the page: legends, the crop box, past cameras, and where lanes stand."""

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import viser
from hypothesis import given
from hypothesis import strategies as st

from tests.made_up_run import MadeUpRun, look_at, made_up_inspection, room_result
from tests.pages import EVERY_POINT, on_own_loop
from tests.ticks import tick_of
from ttt3r_viewer.export.film.opening import SceneBox
from ttt3r_viewer.scene.budget import Layout, largest_point_size
from ttt3r_viewer.scene.crop_box import CropBox
from ttt3r_viewer.scene.paths import LONGEST_GAP, path_pairs, spaced
from ttt3r_viewer.scene.seen import depth_of
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Expectation
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers import colors as palette
from ttt3r_viewer.viewer.layers.ask_layer import AskLayer
from ttt3r_viewer.viewer.layers.camera_layer import clicked_camera
from ttt3r_viewer.viewer.layers.clouds import batch_of
from ttt3r_viewer.viewer.layers.crop_layer import CropLayer
from ttt3r_viewer.viewer.layers.inspect_layer import COLORED_SIZE, InspectLayer, Shown
from ttt3r_viewer.viewer.layers.lane_layer import LaneLayer
from ttt3r_viewer.viewer.layers.looks import (
    NO_SECTOR,
    SECTORS,
    level_parts,
    sector_looks,
    sector_of,
)
from ttt3r_viewer.viewer.layers.near_walls import facing_sectors
from ttt3r_viewer.viewer.panels.legend import LegendPanel
from ttt3r_viewer.viewer.panels.look import LookPanel, up_html
from ttt3r_viewer.viewer.view_settings import (
    AskSettings,
    InspectSettings,
    ViewControls,
    ViewSettings,
)


def scene(lanes: int, frames: int = 5) -> SceneStore:
    """What a made-up run of so many lanes leaves behind."""
    store = SceneStore(max_points=100_000, points_per_frame=100)
    return MadeUpRun(store, lanes=lanes, total=None, paused=True).gone(frames).store


def test_a_legend_says_what_its_colours_are():
    edges = np.arange(11.0) ** 2
    layout = Layout(height_range=(-1.0, 1.5), frames_scale=301, confidence_edges=edges)

    def ticks(mode: str, unit: str = "m") -> dict[float, str]:
        make = palette.COLOR_MODES[mode].legend
        assert make is not None
        return dict(make(palette.LegendInput(layout, unit=unit)).ticks)

    assert ticks("frame") == {0.0: "1", 0.5: "151", 1.0: "301"}
    assert ticks("height") == {0.0: "0.00 m", 0.5: "1.25 m", 1.0: "2.50 m"}
    assert ticks("height", "units")[1.0] == "2.50 units"
    assert ticks("confidence") == {0.0: "0: lowest", 0.5: "25: median", 1.0: "100: highest"}
    assert ticks("error", "units")[1.0] == f"{palette.MOST_ERROR_M:.2f} m and more"
    # Each tick stands where a point of that value has its colour.
    drawn = batch_of(scene(1).snapshot().frames, 0, layout)
    batch = replace(drawn, confidence=edges.astype(np.float32))
    colors = palette.COLOR_MODES["confidence"].colors(batch)
    assert np.array_equal(colors, palette.apply_color_map(np.linspace(0, 1, 11), palette.VIRIDIS))


def test_the_page_shows_a_legend_where_colours_need_one(server):
    panel, store = LegendPanel(PageContext(server)), scene(2)
    for color_by in palette.COLOR_MODES:
        panel.update(tick_of(store, ViewSettings(color_by=color_by)))
        assert panel._html.visible == (color_by not in ("image", "lane"))
    panel.update(tick_of(store, ViewSettings(color_by="height")))
    assert "Height above the grid (steady, rate 1)" in panel._html.content
    one = ViewSettings(color_by="height", hidden_lanes=frozenset({0}))
    panel.update(tick_of(store, one))
    assert "(steady" not in panel._html.content
    assert "(drifting" not in panel._html.content
    panel.update(tick_of(SceneStore(), one))
    assert not panel._html.visible


@given(st.integers(0, 2**32), st.integers(1, 80), st.floats(0.01, 3.0))
def test_a_camera_in_one_place_leaves_few_lines_and_more_frames_move_none(seed, count, apart):
    steps = np.random.default_rng(seed).normal(0, 0.1, (count, 3))
    path = np.cumsum(steps, axis=0) if seed % 2 else steps
    kept = spaced(path, apart)
    gaps = np.linalg.norm(path[kept][:, None] - path[kept], axis=2)
    assert (gaps[~np.eye(len(kept), dtype=bool)] >= apart).all()
    nearest = np.linalg.norm(path[:, None] - path[kept], axis=2).min(axis=1)
    assert (nearest < apart).all()
    pairs = path_pairs(path, apart)
    lengths = np.linalg.norm(path[pairs[:, 1]] - path[pairs[:, 0]], axis=1)
    assert ((lengths <= LONGEST_GAP * apart) | (pairs[:, 1] - pairs[:, 0] == 1)).all()
    some = path_pairs(path[: count // 2 + 1], apart)
    assert np.array_equal(some, pairs[: len(some)])


def test_a_straight_path_is_drawn_whole_and_a_second_round_not_again():
    once = np.zeros((40, 3))
    once[:, 0] = np.arange(40)
    assert np.array_equal(path_pairs(once, 0.5), np.stack((np.arange(39), np.arange(1, 40)), 1))
    assert len(path_pairs(np.concatenate((once, once[::-1])), 0.5)) == 39


UP = np.array([0.0, -1.0, 0.0])


def test_the_crop_box_waits_for_points_and_the_panel_says_where_up_comes_from(server):
    page, store = PageContext(server), SceneStore()
    panel = LookPanel(page)

    def update() -> None:
        panel.update(replace(tick_of(store), settings=page.controls.settings))

    update()
    assert panel._crop.disabled
    assert not panel._up.visible
    panel._crop.value = True  # ticked in a browser before the first points came
    panel._set_crop(True)
    update()
    assert panel._crop.value is False
    store = scene(1, 9)
    update()
    panel._set_crop(True)
    update()
    assert (panel._crop.value, panel._crop.disabled) == (True, False)
    for seen, said in ((True, "from floors and walls"), (False, "guessed from how the camera")):
        assert said in up_html(Layout(up_is_seen=seen))
    assert panel._up.visible


def cameras_towards(*turns_deg: float) -> list:
    """Frames of cameras in the middle of a room that look so far to the right of the z axis."""
    frame = scene(1, 1).snapshot().frames[0]
    turns = np.radians(turns_deg)
    targets = np.stack((np.sin(turns), 0 * turns, np.cos(turns)), axis=1)
    return [
        replace(frame, camera=replace(frame.camera, T_world_camera=look_at((0, 0, 0), one)))
        for one in targets
    ]


def test_frames_have_the_sector_in_which_they_looked_or_none():
    assert [sector_of(cameras_towards(45 * k + 5), UP) for k in range(SECTORS)] == list("01234567")
    assert sector_of(cameras_towards(80, 90, 120), UP) == "2"
    assert sector_of(cameras_towards(0, 90, 180, 270), UP) == NO_SECTOR


def test_walls_are_hidden_between_an_eye_outside_and_walls_that_were_seen_from_its_side():
    box = SceneBox(np.zeros(3), np.ones(3), np.array([[1.0, 0, 0], UP, [0, 0, 1.0]]))
    around = sector_looks()
    behind, above = np.array([0.0, -1.0, -4.0]), np.array([0.0, -9.0, -0.5])
    assert facing_sectors(box, around, behind) == (3, 4, 5)
    assert facing_sectors(box, around, np.array([4.0, 0.0, 0.0])) == (1, 2, 3)
    assert facing_sectors(box, around, above) == ()
    assert facing_sectors(box, around, np.array([0.0, 0.0, 0.9])) == ()
    one_side = level_parts(np.array([[0.1, 0.0, 1.0], [-0.1, 0.0, 1.0]]), UP)
    assert facing_sectors(box, one_side, -behind) == ()


def test_a_click_means_the_camera_nearest_to_its_ray():
    frames = cameras_towards(0, 0, 0)
    places = ([0, 0, 2], [1, 0, 4], [-1, 0, 9])
    cameras = []
    for frame, place in zip(frames, places, strict=True):
        pose = frame.camera.T_world_camera.copy()
        pose[:3, 3] = place
        cameras.append(replace(frame.camera, T_world_camera=pose))
    for number, place in enumerate(places):
        ray = np.add(place, [0.02, 0.01, 0]) - [0, 0, -5]
        found = clicked_camera(cameras, np.array([0, 0, -5.0]), ray / np.linalg.norm(ray))
        assert found is cameras[number]


def test_a_crop_box_holds_nearly_all_points_and_its_corners_can_be_moved_past_each_other():
    lane = scene(1, 9).snapshot().lanes[0]
    box = CropBox.around(lane)
    points = np.concatenate([frame.points.points_world for frame in lane.frames])
    assert 0.7 < box.holds(points).mean() < 1.0
    edges = box.edges()
    assert edges.shape == (12, 2, 3)
    lengths = np.sort(np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1).reshape(3, 4))
    sides = np.subtract(box.high, box.low)
    assert np.allclose(np.sort(lengths.ravel()), np.sort(np.repeat(sides, 4)), atol=1e-4)
    middle = box.world(tuple(np.mean([box.low, box.high], axis=0)))
    half = box.moved("low", middle)
    assert box.moved("high", middle).holds(points).sum() < box.holds(points).sum()
    assert np.allclose(half.low, box.axes @ middle)
    beyond = half.moved("low", 2 * box.world(box.high) - middle)
    assert np.allclose(beyond.low, box.high)


def test_the_page_draws_what_lies_in_the_crop_box_and_handles_change_it(server):
    store, layer, controls = scene(1, 8), LaneLayer(server), ViewControls()
    everything, shown = replace(EVERY_POINT, live=False, position=7), 0
    crop = CropBox.around(store.snapshot().lanes[0])
    points = np.concatenate([one.points.points_world for one in store.snapshot().frames])
    lower = crop.moved("high", crop.world((crop.high[0], 0.0, crop.high[2])))
    for number, one in enumerate((None, crop, lower)):
        for tick in range(3):
            now_sec = 10.0 * (3 * number + tick)
            layer.update(tick_of(store, replace(everything, crop=one), now_sec))
        shown = sum(layer.points_shown_by_lane)
        assert shown == (len(points) if one is None else one.holds(points).sum())
    assert 0 < shown < len(points)
    handles = CropLayer(server, controls)
    handles.update(tick_of(store, replace(everything, crop=crop)))
    nodes = server.scene._handle_from_node_name
    assert {"/crop/edges", "/crop/low", "/crop/high"} <= set(nodes)
    handle = nodes["/crop/high"]
    phases: tuple[tuple[Literal["update", "end"], CropBox | None], ...]
    phases = (("update", None), ("end", lower))
    for phase, wanted in phases:
        handle._impl.position = lower.world(lower.high)
        event = viser.TransformControlsEvent(None, None, handle, phase)
        on_own_loop(handle._impl_aux.update_cb[0](event))
        assert controls.settings.crop == wanted
        handles.update(tick_of(store, replace(everything, crop=crop)))
    handles.update(tick_of(store, everything))
    assert not [name for name in nodes if name.startswith("/crop/")]


def test_points_are_sized_by_the_spacing_of_their_pixels_everywhere_and_the_slider_begins_there(
    server,
):
    store, layer, page = scene(1, 8), LaneLayer(server), PageContext(server)
    page.median_point_size = lambda: layer.median_point_size
    panel = LookPanel(page)
    for now_sec in (0.0, 10.0):
        tick = tick_of(store, replace(EVERY_POINT, live=False, position=7), now_sec)
        layer.update(tick)
        panel.update(tick)
    layout, lane = tick.snapshot.layout, tick.snapshot.lanes[0]
    nodes = server.scene._handle_from_node_name
    sizes = [
        node.point_size
        for name, node in nodes.items()
        if "chunk" in name
        for _ in range(len(node.points))
    ]
    assert panel._size.value == pytest.approx(np.median(sizes), rel=0.06)
    # A camera with many pixels, so that they lie closer together than the largest points.
    fine = replace(lane.frames[7].camera, focal_px=1e5, width=2000, height=1500)
    frames = [*lane.frames[:7], replace(lane.frames[7], camera=fine)]
    lane = replace(lane, frames=frames, latest=None)
    found = made_up_inspection(0, 0, 7, np.ones(16))
    shown = Shown(
        lane, found, InspectSettings(token=0, row=0, column=0), np.zeros((8, 16), np.float16)
    )
    depth = depth_of(shown.points.points_world, fine)
    wanted = 1.4 * np.median(depth) / 1e5 * math.sqrt(2000 * 1500 / len(depth))
    assert wanted < largest_point_size(layout) / 2
    inspected = InspectLayer(server)
    for chosen in (None, 0.5):
        inspected.show_points(shown, np.ones(12), point_size=chosen, offset=0.0, image_depth=None)
        size = nodes["/lanes/0/inspect_map"].point_size
        assert size == pytest.approx(COLORED_SIZE * (chosen or wanted), rel=0.05)
    room = room_result(4, 160, 120)
    memory = Expectation(0, 4, room.camera, room.image, room.points_camera, room.confidence)
    asked, spacing = AskLayer(server), np.median(room.points_camera[..., 2]) / room.camera.focal_px
    for chosen in (None, 0.5):
        asked.show([memory], AskSettings(hidden_percent=0), point_size=chosen, layout=layout)
        size = nodes["/lanes/0/expected_points"].point_size
        assert size == pytest.approx(chosen or min(1.4 * spacing, largest_point_size(layout)))
