"""Maps as pictures and what they are made of: laws of scale, history, age, patches and clicks."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tests.made_up_run import made_up_inspection, room_result
from ttt3r_viewer.reconstruct.messages import Inspect
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Inspection
from ttt3r_viewer.viewer.html import note as html_note
from ttt3r_viewer.viewer.layers import inspect_layer, maps
from ttt3r_viewer.viewer.layers.colors import VIRIDIS
from ttt3r_viewer.viewer.layers.inspect_layer import Shown
from ttt3r_viewer.viewer.panels import inspect_views as views
from ttt3r_viewer.viewer.view_settings import InspectSettings

NUMBERS = arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e3, 1e3, width=32))


def gains(count: int, state: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, state)).astype(np.float16)


def shown_of(found: Inspection, rows: np.ndarray | None = None, **chosen: Any) -> Shown:
    lane = SceneStore(points_per_frame=10).snapshot().lanes[0]
    gains_so_far = gains(1, len(found.gain)) if rows is None else rows
    return Shown(lane, found, InspectSettings(**chosen), gains_so_far)


@given(NUMBERS)
def test_scale_leaves_out_two_percent_and_one_at_most_at_either_end(values):
    low, high = maps.robust_scale(values)
    most = 0.02 * (len(values) - 1) + 1
    slack = 1e-6 * max(abs(low), abs(high), 1.0)
    assert (values < low - slack).sum() <= most
    assert (values > high + slack).sum() <= most
    assert values.min() - slack <= low <= high <= values.max() + slack


def test_scale_knows_no_nan_and_names_both_ends_apart():
    assert maps.robust_scale(np.array([np.nan, 2.0, np.inf])) == (2.0, 2.0)
    assert maps.robust_scale(np.array([np.nan])) == (0.0, 1.0)
    assert maps.scale_numbers((0.3001, 0.3004)) == ("0.3001", "0.3004")
    assert maps.scale_numbers((0.25, 1.0)) == ("0.25", "1")


def test_colours_go_from_one_end_to_the_other_and_nan_has_its_own():
    colors = maps.color_map(np.array([[-1.0, 2.0, 9.0, np.nan]]), (0.0, 2.0))
    assert colors.shape == (1, 4, 3)
    assert (colors[0, 0] == VIRIDIS[0]).all()
    assert (colors[0, 1] == VIRIDIS[-1]).all()
    assert (colors[0, 2] == VIRIDIS[-1]).all()
    assert tuple(colors[0, 3]) == maps.NO_VALUE


def test_state_image_has_every_token_in_its_place_and_marks_the_picked():
    values = np.arange(10, dtype=np.float32)
    image = maps.state_image(values, 4, "gain", token=5, lit=[0])
    assert image.shape[1] == maps.WIDTH_PX
    side = maps.STATE_PX // 4

    def at(row, column):
        return tuple(image[row * side + side // 2, column * side + side // 2])

    scale = maps.robust_scale(values)
    for token in range(10):
        assert at(*divmod(token, 4)) == tuple(maps.color_map(values[token : token + 1], scale)[0])
    assert at(2, 3) == maps.NO_VALUE
    assert tuple(image[side, side]) == maps.TOKEN_COLOR
    assert tuple(image[0, 0]) == maps.PATCH_COLOR
    other = maps.state_image(values, 4, "gain", token=6)
    assert (other != image).any()
    again = np.asarray(Image.open(io.BytesIO(maps.png(image))))
    assert np.array_equal(again, image)


def test_overlay_leaves_the_image_where_nothing_is_known_or_nothing_is_laid_over():
    room = room_result(0).image
    plain = maps.overlay_image(room, None, 1.0, "", patches=(3, 4))
    values = np.full((3, 4), np.nan, np.float32)
    values[0] = [0, 1, 2, 3]
    covered = maps.overlay_image(room, values, 1.0, "unit", patches=(3, 4))
    height = plain.shape[0]
    third = height // 3
    assert np.array_equal(covered[third:height], plain[third:])
    assert tuple(covered[5, 5]) == tuple(VIRIDIS[0])
    assert len(covered) > height
    half = maps.overlay_image(room, values, 0.5, "unit", patches=(3, 4))
    blend = (plain[5, 5].astype(float) + covered[5, 5]) / 2
    assert np.abs(half[5, 5] - blend).max() <= 1


@given(st.integers(1, 70), st.integers(1, 5), st.integers(0, 99))
def test_history_keeps_what_lies_farthest_from_each_tokens_mean(count, state, seed):
    rows = gains(count, state, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "HISTORY_COLUMNS", 8)
        shown, stretch = maps.decimated(rows), maps.frames_per_column(count)
    assert shown.shape == (state, -(-count // stretch))
    assert shown.shape[1] <= 8
    assert stretch == 1 or shown.shape[1] > 4
    mean = rows.astype(np.float64).mean(axis=0)
    distance = np.abs(rows - mean).max(axis=0)
    assert np.allclose(np.abs(shown - mean[:, None]).max(axis=1), distance, atol=1e-6)
    for token in range(state):
        assert set(shown[token]) <= set(rows[:, token].astype(np.float32))
    for column in range(shown.shape[1]):
        part = rows[column * stretch : (column + 1) * stretch].astype(np.float32)
        low, high = part.min(axis=0), part.max(axis=0)
        assert np.array_equal(shown[:, column], np.where(high - mean >= mean - low, high, low))


@pytest.mark.parametrize("state", [5, 768])
def test_history_image_fits_and_marks_token_and_frame(state):
    history = gains(50, state)
    first, last = (
        maps.history_image(history, by_mean=False, token=0, position=p, unit="gain")
        for p in (0, 49)
    )
    assert first.shape == last.shape
    assert first.shape[1] == maps.WIDTH_PX
    assert first.shape[0] <= maps.HISTORY_ROWS + 40
    assert first.shape[0] > maps.HISTORY_ROWS / 2

    def marked(image):
        return np.flatnonzero((image[2] == maps.PATCH_COLOR).all(-1))

    assert marked(first)[0] < 10
    assert marked(last)[-1] > maps.WIDTH_PX - 10
    ordered = maps.history_image(history, by_mean=True, token=0, position=0, unit="gain")
    assert (ordered != first).any()


def test_age_by_hand():
    rows = np.array([[0.9, 0.1, 0.9], [0.9, 0.1, 0.2], [0.6, 0.1, 0.2]], np.float16)
    assert maps.frames_since_above(rows, 0.5).tolist() == [0, 3, 2]
    assert maps.frames_since_above(rows, 0.7).tolist() == [1, 3, 2]
    assert maps.frames_since_above(rows, 0.0).tolist() == [0, 0, 0]


def test_histogram_counts_every_token():
    x, y = maps.histogram_steps(np.array([0.1, 0.1, 0.2, np.nan]), bins=4)
    assert len(x) == len(y) == 10
    assert y[1:-1:2].sum() == 3
    assert (x[0], y[0], y[-1]) == (0.1, 0.0, 0.0)


def test_state_modes_by_hand():
    rows = np.array([[0.5, 1.0], [0.25, 0.5], [1.0, 0.0]], np.float16)
    found = made_up_inspection(0, 0, 1, rows[1])

    def values(mode, position):
        shown = shown_of(found, rows[: position + 1], threshold=0.4)
        return np.asarray(views.STATE_MAPS[mode].values(shown)).tolist()

    assert values("gain", 1) == [0.25, 0.5]
    assert values("mean gain", 1) == [0.375, 0.75]
    assert values("gain change", 2) == [0.75, -0.5]
    assert values("gain change", 0) == [0.0, 0.0]
    assert values("age", 1) == [1, 0]
    assert values("state change", 1) == found.state_change.tolist()
    assert values("from start", 1) == found.from_start.tolist()


def test_attention_goes_both_ways_and_layers_add_up_to_their_mean():
    found = made_up_inspection(0, 0, 0, np.linspace(0.1, 0.9, 16))
    # In layer L, token k takes from patch (k + L - 1) mod 12, as the made-up run says.
    assert shown_of(found, token=5, layer=1).top_patches[0] == 5
    assert shown_of(found, token=5, layer=2).top_patches[0] == 6
    reads, writes = inspect_layer.tokens_of_patch(found, 6, layer=2)
    assert reads.argmax() == writes.argmax() == 5
    layers = [inspect_layer.token_over_patches(found, 5, layer) for layer in (1, 2)]
    mean = inspect_layer.token_over_patches(found, 5, 0)
    assert np.allclose(mean, np.mean(layers, axis=0), atol=1e-4)
    picked = shown_of(found, row=1, column=2, layer=2)
    assert all(tokens[0] == 5 for _, tokens in views.listed_tokens(picked))


def test_support_is_a_mean_of_gains_and_that_of_equal_gains_is_the_gain():
    equal = made_up_inspection(0, 0, 0, np.full(16, 0.3))
    assert np.allclose(inspect_layer.gain_support(equal), 0.3, atol=1e-6)
    found = made_up_inspection(0, 0, 0, np.linspace(0.1, 0.9, 16))
    support = inspect_layer.gain_support(found)
    assert support.shape == (12,)
    assert found.gain.min() < support.min() < support.max() < found.gain.max()


def test_what_is_picked_stays_within_what_there_is():
    found = made_up_inspection(0, 0, 0, np.zeros(16))
    wild = InspectSettings(token=99, layer=-3, row=7, column=-5)
    kept = views.picked_within(wild, found, found)
    assert (kept.token, kept.layer, kept.row, kept.column) == (15, 0, 2, 0)


def test_a_look_begins_at_the_middle_patch_and_stays_with_the_token_that_moved_most_at_first():
    first, later = (made_up_inspection(0, 0, k, np.zeros(16)) for k in (3, 4))
    most = int(first.state_change.argmax())
    assert most != int(later.state_change.argmax())
    for found in (first, later):
        begun = views.picked_within(InspectSettings(), found, first)
        assert (begun.token, begun.row, begun.column) == (most, 1, 2)
    assert views.picked_within(InspectSettings(token=0, row=0, column=0), later, first).token == 0


def test_a_token_is_told_in_words_and_its_numbers_explain_them():
    found = made_up_inspection(0, 0, 3, np.linspace(0.0, 0.75, 16))
    most = int(found.state_change.argmax())
    words, explanations = views.token_html(shown_of(found, token=most)).split("ttt3r-why")
    assert f"accepted {5 * most} % of what was proposed" in words
    assert "moved more than 94 % of all tokens in this frame" in words
    for number in (found.state_change[most], found.from_start[most]):
        assert f"{number:.3g}:" in explanations
        assert f"{number:.3g}:" not in words
    assert explanations.count("no unit") == 2


def test_every_point_belongs_to_the_patch_of_its_pixel():
    room = room_result(7, 64, 48)
    camera = room.camera
    points = room.points_camera.reshape(-1, 3) @ camera.T_world_camera[:3, :3].T
    points += camera.T_world_camera[:3, 3]
    y, x = np.mgrid[:48, :64]
    wanted = (y * 3 // 48) * 4 + x * 4 // 64
    got = inspect_layer.patches_of_points(points, camera, 3, 4)
    assert np.array_equal(got, wanted.reshape(-1))
    aside = points + 9 * (points - camera.T_world_camera[:3, 3]) @ np.diag([1.0, 0.0, 0.0])
    assert set(inspect_layer.patches_of_points(aside, camera, 3, 4)) <= set(range(12))
    behind = 2 * camera.T_world_camera[:3, 3] - points
    assert (inspect_layer.patches_of_points(behind, camera, 3, 4) == -1).all()
    means = inspect_layer.patch_means(room.confidence.reshape(-1), got, 3, 4)
    assert np.allclose(means[0, 0], room.confidence[:16, :16].mean(), rtol=1e-5)
    assert np.isnan(inspect_layer.patch_means(np.ones(1), np.array([-1]), 1, 1)).all()


def test_a_ray_meets_the_first_of_the_points_that_lie_on_it():
    points = np.array([[0, 0, 5.0], [0, 0.01, 3.0], [1, 0, 3.0], [0, 0, -2.0]])
    assert inspect_layer.point_on_ray(points, (0, 0, 0), (0, 0, 2)) == 1
    assert inspect_layer.point_on_ray(points, (0, 0, 4), (0, 0, 1)) == 0
    assert inspect_layer.point_on_ray(points, (0, 0, 0), (1, 0, 3)) == 2
    assert inspect_layer.point_on_ray(points, (0, 0, 0), (0, 1, 0)) is None
    assert inspect_layer.point_on_ray(points[:0], (0, 0, 0), (0, 1, 0)) is None


def test_a_click_on_the_image_of_a_camera_finds_its_patch_and_distance():
    camera = room_result(9, 64, 48).camera
    R_world_camera, center = camera.T_world_camera[:3, :3], camera.T_world_camera[:3, 3]
    for row, column in ((0, 0), (1, 2), (2, 3)):
        u, v = (column + 0.5) / 4 - 0.5, (row + 0.5) / 3 - 0.5
        depth = 0.4
        at = np.array([u * 64, v * 48, camera.focal_px]) * depth / camera.focal_px
        target = center + R_world_camera @ at
        for origin in (center - R_world_camera[:, 2], center + np.array([3.0, -2.0, 8.0])):
            hit = inspect_layer.patch_on_image(origin, target - origin, camera, depth, 3, 4)
            assert hit is not None
            assert hit[0] == 4 * row + column
            assert hit[1] == pytest.approx(np.linalg.norm(target - origin))
            assert inspect_layer.patch_on_image(origin, origin - target, camera, 0.4, 3, 4) is None
    side = R_world_camera[:, 0]
    assert inspect_layer.patch_on_image(center, side, camera, 0.4, 3, 4) is None
    beside, ahead = center + 9 * side, R_world_camera[:, 2]
    assert inspect_layer.patch_on_image(beside, ahead, camera, 0.4, 3, 4) is None


def test_questions_wait_for_the_answer_and_are_never_asked_twice():
    store = SceneStore(points_per_frame=10)
    for k in range(3):
        store.add(room_result(k))
    schedule = views.InspectionSchedule()

    def ask(position, now):
        return schedule.due(store.snapshot(), 0, position, now)

    assert ask(-1, 0.0) is None
    assert ask(1, 0.0) == Inspect(0, 1)
    assert ask(1, 9.0) is None
    assert ask(2, 1.0) is None
    assert ask(2, 2.1) == Inspect(0, 2)
    store.set_inspection(made_up_inspection(0, 0, 2, np.zeros(16)), "")
    assert ask(0, 2.2) is None
    assert ask(0, 2.5) == Inspect(0, 0)
    store.clear()
    store.add(room_result(0))
    assert ask(0, 9.0) == Inspect(0, 0)


def test_the_note_says_what_is_shown_and_why_something_is_not():
    store = SceneStore(points_per_frame=10)

    def note(found, position):
        return views.note_text(store.snapshot(), found, position)

    assert note(None, -1) == "No frame yet."
    assert note(None, 2) == "frame 3 is being looked into."
    store.set_inspection(None, "frame 3 cannot be looked into")
    assert note(None, 2) == "frame 3 cannot be looked into."
    found = made_up_inspection(0, 0, 1, np.zeros(16))
    assert note(found, 1) == "Looked into frame 2, after 1 replayed frame."
    assert note(replace(found, frames_replayed=0), 1) == "Looked into frame 2."
    html = html_note("note", "<b>&")
    assert "<b>" not in html


def test_frames_that_moved_most_come_first():
    store = SceneStore(points_per_frame=10)
    for k, change in enumerate([0.1, 0.5, 0.2]):
        store.add(replace(room_result(k), state_change=change))
    moved = views.most_moved(store.snapshot().frames)
    assert list(moved.values()) == [1, 2, 0]
    assert next(iter(moved)) == "Frame 2: state changed by 50 %"
