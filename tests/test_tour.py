"""Tours: what is written reads back, the way is smooth and passes the keyframes, error texts."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.made_up_run import look_at
from tests.refusals import refusal
from ttt3r_viewer.errors import OutputError, SettingsError
from ttt3r_viewer.recording.tour import Keyframe, Tour, read_tour, write_tour


def keyframe(x: float, seconds: float = 2.0, fov: float = 1.0) -> Keyframe:
    return Keyframe(look_at([x, -1.0, 0.3 * x * x], [0.0, 0.2, 5.0]), fov, seconds)


TOUR = Tour((keyframe(-2, 0), keyframe(0, 1.5, 0.7), keyframe(1, 4.0), keyframe(3, 0.5)))


def test_a_tour_reads_back(tmp_path):
    write_tour(tmp_path / "tour.json", TOUR)
    again = read_tour(tmp_path / "tour.json")
    assert [one.name for one in tmp_path.iterdir()] == ["tour.json"]
    for before, after in zip(TOUR.keyframes, again.keyframes, strict=True):
        assert np.array_equal(before.T_world_camera, after.T_world_camera)
        assert (before.fov_y_rad, before.seconds) == (after.fov_y_rad, after.seconds)
    assert again.duration_sec == 6.0


def test_it_passes_every_keyframe():
    for time_sec, one in zip([0, 1.5, 5.5, 6.0], TOUR.keyframes, strict=True):
        view = TOUR.at(time_sec)
        assert np.allclose(view.T_world_camera, one.T_world_camera, atol=1e-9)
        assert view.fov_y_rad == pytest.approx(one.fov_y_rad)
    for outside, inside in ((-1.0, 0.0), (7.0, 6.0)):
        expected = TOUR.at(inside).T_world_camera
        assert np.array_equal(TOUR.at(outside).T_world_camera, expected)


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


def test_it_rests_between_two_that_are_the_same():
    still = keyframe(0, 2.0)
    tour = Tour((keyframe(-2, 0), still, still, keyframe(3, 1.0)))
    for time_sec in np.linspace(2, 4, 9):
        assert np.allclose(tour.at(time_sec).T_world_camera, still.T_world_camera, atol=1e-9)


def test_one_keyframe_is_a_view():
    tour = Tour((keyframe(1),))
    assert tour.duration_sec == 0
    assert np.allclose(tour.at(3.0).T_world_camera, keyframe(1).T_world_camera)


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
