"""Presenting without a browser: clocks, moving views, captions, tours and what is kept of them."""

import json
import math
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.made_up_run import look_at
from tests.refusals import refusal
from ttt3r_viewer.commands.open import COMMAND, LookOptions
from ttt3r_viewer.commands.parser import parse
from ttt3r_viewer.errors import OutputError, SettingsError
from ttt3r_viewer.export.film.opening import ELEVATION_RAD, PageView, SceneBox, Window, fitted_view
from ttt3r_viewer.metrics.lane_errors import LaneError
from ttt3r_viewer.recording.tour import TOUR_FILE, Keyframe, Tour, read_tour, write_tour
from ttt3r_viewer.settings import PageOptions
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.cameras.camera_throttle import LONGEST_PAUSE_SEC, TURN_SEC, CameraThrottle
from ttt3r_viewer.viewer.cameras.guided_cameras import was_sent_there
from ttt3r_viewer.viewer.cameras.page_views import (
    APPROACH_SEC,
    approached,
    tour_view,
)
from ttt3r_viewer.viewer.cameras.tour_recorder import NOT_KEPT, TourRecorder
from ttt3r_viewer.viewer.context import Presentation
from ttt3r_viewer.viewer.panels.captions import KEYS, captions_html, keys_html, lane_caption_html
from ttt3r_viewer.viewer.panels.present import LONGEST_SIDE, image_size, on_background
from ttt3r_viewer.viewer.view_settings import REPLAY_SEC, Clock, ShowSettings

BOX = SceneBox(np.array([1.0, 2.0, 3.0]), np.ones(3), np.diag([1.0, -1.0, 1.0]))
FOV_Y_RAD = 1.2


def orbit_view(time_sec: float) -> PageView:
    return fitted_view(BOX, BOX.turned(time_sec), ELEVATION_RAD, FOV_Y_RAD, Window(1.5, 0.2))


START = PageView(np.zeros(3), np.array([0.0, 0.0, 1.0]), np.array([0.0, -1.0, 0.0]), 1.0)


def keyframe(x: float, seconds: float = 2.0, fov: float = 1.0) -> Keyframe:
    return Keyframe(look_at([x, -1.0, 0.3 * x * x], [0.0, 0.2, 5.0]), fov, seconds)


TOUR = Tour((keyframe(-2, 0), keyframe(0, 1.5, 0.7), keyframe(1, 4.0), keyframe(3, 0.5)))


def test_a_view_comes_from_its_start_to_its_goal_and_stays_there():
    goal = orbit_view(3.0)
    np.testing.assert_allclose(approached(START, goal, 0.0).position, START.position)
    assert approached(START, goal, APPROACH_SEC) is goal
    halfway = approached(START, goal, APPROACH_SEC / 2)
    np.testing.assert_allclose(halfway.position, (START.position + goal.position) / 2)
    assert np.linalg.norm(halfway.up) == pytest.approx(1.0)


def test_the_tour_passes_its_keyframes_and_looks_along_them():
    for time_sec, one in zip((0.0, 1.5, 5.5, 6.0), TOUR.keyframes, strict=True):
        assert np.allclose(TOUR.at(time_sec).T_world_camera, one.T_world_camera, atol=1e-9)
        view = tour_view(TOUR, time_sec, 2.5)
        np.testing.assert_allclose(view.position, one.T_world_camera[:3, 3], atol=1e-9)
        forward = (view.look_at - view.position) / 2.5
        np.testing.assert_allclose(forward, one.T_world_camera[:3, 2], atol=1e-9)
        np.testing.assert_allclose(view.up, -one.T_world_camera[:3, 1], atol=1e-9)
        assert view.fov_y_rad == pytest.approx(one.fov_y_rad)
    for outside, inside in ((-1.0, 0.0), (7.0, 6.0)):
        expected = TOUR.at(inside).T_world_camera
        assert np.array_equal(TOUR.at(outside).T_world_camera, expected)


def test_only_a_place_that_was_sent_counts_as_sent():
    sent = [orbit_view(t).position for t in np.arange(0, 4, 0.04)]
    for place in sent:
        assert was_sent_there(place + 1e-9, BOX.centre, sent)
    moved = orbit_view(1.0).position + np.array([0.0, 1e-3, 0.0])
    assert not was_sent_there(moved, BOX.centre, sent)
    assert not was_sent_there(orbit_view(1.02).position, BOX.centre, sent)


def answered(
    turns: CameraThrottle, image_sec: float, start_sec: float, seconds: float
) -> list[bool]:
    """Ask every 0.04 s whether it pauses, while a browser answers after each image it draws."""
    whose, drawn_sec = [], start_sec
    for now_sec in np.arange(start_sec, start_sec + seconds, 0.04):
        whose.append(turns.pauses(now_sec))
        if not whose[-1] and now_sec - drawn_sec >= image_sec:
            drawn_sec = now_sec
            turns.answer(now_sec)
    return whose


@pytest.mark.parametrize("image_sec", [0.02, math.inf])
def test_a_browser_that_draws_fast_or_never_answers_is_never_left_alone(image_sec):
    assert not any(answered(CameraThrottle(TURN_SEC), image_sec, 0.0, 30.0))


@pytest.mark.parametrize("image_sec", [0.2, 0.7, 1.4])
def test_a_slow_browser_has_turns_in_which_it_draws_what_its_person_did(image_sec):
    whose = answered(CameraThrottle(TURN_SEC), image_sec, 0.0, 40 * image_sec)
    runs = [(who, len(list(group)) * 0.04) for who, group in groupby(whose)]
    persons = [seconds for who, seconds in runs[:-1] if who]
    programs = [seconds for who, seconds in runs[:-1] if not who]
    assert len(persons) >= 2
    # One image may still show a view that was sent before; a whole one after it shows none.
    assert min(persons) > 2 * image_sec
    assert min(programs) >= TURN_SEC - 0.04


def test_a_tab_that_was_hidden_is_soon_guided_again():
    turns = CameraThrottle(TURN_SEC)
    turns.answer(0.5)
    assert not turns.pauses(100.0)
    turns.answer(100.0)
    assert turns.pauses(100.04)
    assert not any(answered(turns, 0.02, 100.08 + LONGEST_PAUSE_SEC, 10.0))


def test_a_clock_stands_while_it_is_stopped():
    clock = Clock().started(10.0)
    assert clock.at(13.0) == 3.0
    stopped = clock.stopped(13.0)
    assert stopped.at(99.0) == 3.0
    assert not stopped.going
    assert stopped.started(100.0).at(101.0) == 4.0


def test_what_moves_is_stopped_and_goes_on_where_it_was():
    show = ShowSettings().replayed(0.0)
    assert show.moving(60, 1.0)
    assert show.replay_position(60, 1.0) == 10
    stopped = show.stopped(1.0)
    assert not stopped.moving(60, 50.0)
    assert stopped.started(50.0).replay_position(60, 51.0) == 20
    # At its end the growth does not move any more; a long one takes no longer than it may.
    assert not show.moving(60, 100.0)
    assert show.replay_position(60, 100.0) == 59
    assert show.replay_position(3000, REPLAY_SEC) == 2999
    orbiting = show.toggled_motion("orbit", 100.0)
    assert orbiting.moving(60, 100.0)
    assert orbiting.toggled_motion("tour", 101.0).motion == "tour"
    assert orbiting.toggled_motion("orbit", 101.0).motion == "still"
    # Where nothing moves the view, its clock does not go either.
    for still in (show, orbiting.still()):
        assert not still.stopped(101.0).started(102.0).motion_clock.going


def test_the_tour_is_kept_in_its_folder_and_read_again(tmp_path):
    book = TourRecorder(tmp_path)
    assert book.tour is None
    book.keep((keyframe(-1.0), keyframe(1.0, 3.0)))
    again = TourRecorder(tmp_path)
    assert again.tour is not None
    assert again.tour.duration_sec == 3.0
    assert again.note == ""
    again.keep(again.keyframes[:-1])
    assert len(read_tour(tmp_path / TOUR_FILE).keyframes) == 1
    for _ in range(2):
        again.keep(())
        assert not (tmp_path / TOUR_FILE).exists()
    assert TourRecorder(tmp_path).keyframes == ()


def test_a_damaged_tour_is_named_and_left_alone(tmp_path):
    path = tmp_path / TOUR_FILE
    path.write_text(json.dumps({"format": "ttt3r-viewer tour", "version": 9}))
    before = path.read_bytes()
    book = TourRecorder(tmp_path)
    assert "version 9" in book.note
    assert "left alone" in book.note
    book.keep((keyframe(0.0),))
    assert path.read_bytes() == before
    assert "left alone" in book.note


def test_a_tour_that_is_not_kept_says_so_and_stays_in_memory(tmp_path):
    for folder, said in ((None, NOT_KEPT), (tmp_path / "gone", "not saved")):
        book = TourRecorder(folder)
        book.keep((keyframe(0.0),))
        assert said in book.note
        assert len(book.keyframes) == 1


def test_the_captions_name_lanes_and_errors_and_hold_no_markup_of_others():
    lanes = (
        lane_caption_html(0, "<b>rule</b>", True, LaneError(0.12345, 1.0, None)),
        lane_caption_html(1, "other", False, LaneError(None, 0.0, None)),
    )
    given = Presentation(title="A & B", logo_text="<i>lab</i>")
    text = captions_html(given, Status(phase="paused"), "frame 3 of 60", lanes)
    for wanted in ("A &amp; B", "&lt;i&gt;lab", "&lt;b&gt;rule", "ATE 0.123 m", "frame 3 of 60"):
        assert wanted in text
    assert "paused" in text
    assert "nan" not in text
    assert "ATE" not in lane_caption_html(0, "x", True, None)
    failed = captions_html(given, Status(phase="failed", message="no <disk>"), "no frame yet", ())
    assert "no &lt;disk&gt;" in failed
    assert "Space" in keys_html()


def test_an_image_is_twice_the_canvas_unless_that_is_too_large():
    assert image_size(800, 600) == (1600, 1200)
    width, height = image_size(6000, 3000)
    assert (width, height) == (LONGEST_SIDE, LONGEST_SIDE // 2)
    clear = np.zeros((1, 2, 4), np.uint8)
    clear[0, 1] = (200, 100, 0, 255)
    assert on_background(clear).tolist() == [[[20, 20, 20], [200, 100, 0]]]


def test_open_takes_the_settings_of_the_page_from_a_file_and_flags_win(tmp_path):
    path = tmp_path / "talk.yaml"
    path.write_text("title: A\nlogo-text: Lab\npresent: true\nweights: w\nport: 1\nmax_points:\n")
    words = ["folder", "--config", str(path), "--port", "0"]
    _, given = parse("ttt3r-view open", COMMAND, words, print)
    page = given[PageOptions]
    assert (page.title, page.logo_text, page.present, page.port) == ("A", "Lab", True, 0)
    assert given[LookOptions].weights is None, "weights of a run are not loaded unasked"
    path.write_text("titel: Rooms\n")
    with pytest.raises(SettingsError, match="did you mean title"):
        parse("ttt3r-view open", COMMAND, words, print)


def test_a_tour_reads_back(tmp_path):
    write_tour(tmp_path / "tour.json", TOUR)
    again = read_tour(tmp_path / "tour.json")
    assert [one.name for one in tmp_path.iterdir()] == ["tour.json"]
    for before, after in zip(TOUR.keyframes, again.keyframes, strict=True):
        assert np.array_equal(before.T_world_camera, after.T_world_camera)
        assert (before.fov_y_rad, before.seconds) == (after.fov_y_rad, after.seconds)
    assert again.duration_sec == 6.0


@given(time_sec=st.floats(0.01, 5.99))
def test_it_is_a_rigid_pose_whose_speed_has_no_jump(time_sec):
    pose = TOUR.at(time_sec).T_world_camera
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    step = 1e-5
    before, after = (TOUR.at(time_sec + sign * step).T_world_camera for sign in (-1, 1))
    # With a constant acceleration of 100 per second squared, the two slopes differ by 1e-3.
    assert np.abs((after - pose) - (pose - before)).max() / step < 1e-2


def test_it_takes_the_shorter_way_round():
    turned = [look_at([0, 0, 0], [math.sin(a), 0, math.cos(a)]) for a in (3.0, 3.3)]
    tour = Tour((Keyframe(turned[0], 1.0, 0), Keyframe(turned[1], 1.0, 1)))
    middle = look_at([0, 0, 0], [math.sin(3.15), 0, math.cos(3.15)])
    assert np.allclose(tour.at(0.5).T_world_camera, middle, atol=1e-6)


def test_one_keyframe_is_a_view_and_it_rests_between_two_that_are_the_same():
    tour = Tour((keyframe(1),))
    assert tour.duration_sec == 0
    assert np.allclose(tour.at(3.0).T_world_camera, keyframe(1).T_world_camera)
    still = keyframe(0, 2.0)
    tour = Tour((keyframe(-2, 0), still, still, keyframe(3, 1.0)))
    for time_sec in np.linspace(2, 4, 9):
        assert np.allclose(tour.at(time_sec).T_world_camera, still.T_world_camera, atol=1e-9)


ONE = {"T_world_camera": np.eye(4).tolist(), "fov_y_rad": 1.0, "seconds": 1.0}


def document(**changes: object) -> dict[str, object]:
    base = {"format": "ttt3r-viewer tour", "version": 1, "keyframes": [ONE, ONE]}
    return base | changes


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "it is not JSON"),
        (b"[]", 'no tour: wanted an object with "format"'),
        (document(version=2), "a tour of version 2, and this program reads 1"),
        (document(keyframes=[]), "a tour without a keyframe"),
        (document(keyframes=[{"fov_y_rad": 1}]), "keyframe 1: KeyError('T_world_camera')"),
        (document(keyframes=[ONE | {"T_world_camera": [[2, 0], [0, 2]]}]), "is not a rigid trans"),
        (document(keyframes=[ONE | {"fov_y_rad": 4.0}]), "keyframe 1: fov_y_rad 4: take more than"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, content, said):
    path = tmp_path / "tour.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    text = refusal(SettingsError, read_tour, path)
    assert text.startswith(f"{path}: ")
    assert said in text


def test_places_that_cannot_be(tmp_path):
    with pytest.raises(SettingsError, match=r"none.json: No such file"):
        read_tour(tmp_path / "none.json")
    with pytest.raises(OutputError, match="No such file or directory; free some space"):
        write_tour(tmp_path / "none" / "tour.json", TOUR)
    with pytest.raises(SettingsError, match="keyframe 2: seconds 0: take more than 0"):
        Tour((keyframe(0), keyframe(1, 0.0)))


def test_the_list_of_keys_has_every_key_and_the_mouse(show):
    _, viewer = show(1, lanes=2, paused=True)
    commands = viewer.server.gui._command_handle_from_uuid.values()
    listed = {key for keys, _ in KEYS for key in keys.lower().split()}
    used = {str(one.hotkey).lower() for one in commands if one.hotkey}
    assert len(used) > 15
    assert {"esc" if one == "escape" else one for one in used} <= listed
    assert {"drag", "touch", "click", "shift"} <= listed
