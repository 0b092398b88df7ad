"""The small renderer against plain loops, and the ways that a film's camera goes."""

import math

import numpy as np
import pytest

from tests.made_up_run import look_at, pose_at
from ttt3r_viewer.export.film import camera_path
from ttt3r_viewer.export.film.render import NEAR, Lines, Points, Renderer
from ttt3r_viewer.geometry import invert_pose, transform_points
from ttt3r_viewer.recording.tour import Keyframe, Tour, View
from ttt3r_viewer.types import Camera

BLACK = (0, 0, 0)
RED = np.array([[255, 0, 0]], np.uint8)
NO_POINTS = Points(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
SIZE = Renderer(40, 30, point_px=1, background=BLACK)


def front() -> View:
    return View(np.eye(4), math.pi / 2)


def plain(view: View, points: Points, side: int, width: int, height: int) -> np.ndarray:
    """Draw point after point, the farthest first."""
    image = np.zeros((height, width, 3), np.uint8)
    camera = transform_points(invert_pose(view.T_world_camera), points.positions_world)
    focal_px = height / 2 / math.tan(view.fov_y_rad / 2)
    for k in np.argsort(-camera[:, 2], kind="stable"):
        x, y, z = camera[k]
        if z <= NEAR:
            continue
        reach = (side - 1) / 2
        left = math.floor(x / z * focal_px + width / 2 - reach)
        upper = math.floor(y / z * focal_px + height / 2 - reach)
        rows, columns = (slice(max(a, 0), max(a + side, 0)) for a in (upper, left))
        image[rows, columns] = points.colors[k]
    return image


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_it_is_what_a_plain_loop_draws(side):
    random = np.random.default_rng(side)
    positions = random.uniform([-3, -3, -1], [3, 3, 4], (400, 3)).astype(np.float32)
    points = Points(positions, random.integers(1, 256, (400, 3), dtype=np.uint8))
    view = View(look_at([0.2, -0.1, -1.5], [0.1, 0.3, 2.0]), 1.1)
    drawn = Renderer(64, 48, point_px=side, background=BLACK).draw(view, points)
    expected = plain(view, points, side, 64, 48)
    # A point on the edge of a pixel may fall to either side of it.
    assert (drawn != expected).any(-1).mean() < 0.01
    assert expected.any()


def test_the_nearer_point_hides_the_farther_whatever_their_order():
    pair = np.array([[0, 0, 2], [0, 0, 1]], np.float32)
    colors = np.array([[0, 0, 255], [255, 0, 0]], np.uint8)
    for order in ([0, 1], [1, 0]):
        drawn = SIZE.draw(front(), Points(pair[order], colors[order]))
        assert drawn[15, 20].tolist() == [255, 0, 0]
        assert drawn.any(-1).sum() == 1


def test_a_line_runs_without_a_gap_and_is_cut_where_it_comes_from_behind():
    ends = np.array([[[-0.5, 0, 1], [0.5, 0, 3]]], np.float32)
    drawn = SIZE.draw(front(), NO_POINTS, Lines(ends, RED)).any(-1)
    columns = np.flatnonzero(drawn.any(0))
    assert np.array_equal(columns, np.arange(columns[0], columns[-1] + 1))
    assert columns[0] <= 20 - 7
    assert columns[-1] >= 20 + 2
    behind = np.array([[[0, 0, -1], [0.5, 0, 1]], [[1, 0, -1], [0, 0, -2]]], np.float32)
    drawn = SIZE.draw(front(), NO_POINTS, Lines(behind, RED.repeat(2, 0)))
    assert drawn[:, 20:].any()
    assert not drawn[:, :19].any()


def test_a_near_point_stands_before_a_line_and_behind_one():
    line = Lines(np.array([[[-1, 0, 2], [1, 0, 2]]], np.float32), RED)
    for z, wanted in ((1.0, [0, 255, 0]), (3.0, [255, 0, 0])):
        green = Points(np.array([[0, 0, z]], np.float32), np.array([[0, 255, 0]], np.uint8))
        assert SIZE.draw(front(), green, line)[15, 20].tolist() == wanted


def test_a_scene_that_is_not_in_sight_is_the_background():
    points = Points(
        np.array([[0, 0, -1], [np.nan, 0, 1], [1e9, 0, 1]], np.float32), RED.repeat(3, 0)
    )
    drawn = Renderer(20, 10, background=(1, 2, 3)).draw(front(), points)
    assert drawn.shape == (10, 20, 3)
    assert (drawn == (1, 2, 3)).all()


def cameras(count: int = 30) -> list[Camera]:
    return [Camera(pose_at(k), 50.0, 64, 48) for k in range(count)]


def orbit(points_world: np.ndarray, around: list[Camera]) -> camera_path.Orbit:
    return camera_path.Orbit.around(
        points_world, camera_path.mean_forward(around), camera_path.mean_up(around)
    )


def test_an_orbit_keeps_the_scene_in_the_middle_and_comes_round():
    points = np.random.default_rng(0).normal((1, 0, 3), 1.0, (500, 3))
    views = orbit(points, cameras()).views(8, 16 / 9)
    centre = np.median(points, axis=0)
    for view in views:
        assert np.allclose(view.T_world_camera[:3, :3] @ view.T_world_camera[:3, :3].T, np.eye(3))
        seen = transform_points(invert_pose(view.T_world_camera), centre)
        assert np.allclose(seen[:2], 0, atol=1e-9)
        assert seen[2] > 1
        # Nearly -y is up, as the cameras had it, and the orbit is above.
        assert view.T_world_camera[1, 1] > 0.5
        assert view.T_world_camera[1, 3] < centre[1]
    opposite = (views[0].T_world_camera[:3, 3] + views[4].T_world_camera[:3, 3]) / 2
    assert np.linalg.norm((opposite - centre)[[0, 2]]) < 0.1


def test_the_follower_sees_the_camera_ahead():
    views = camera_path.follow(cameras(), 2.0, 30)
    for view, camera in zip(views, cameras(), strict=True):
        seen = transform_points(invert_pose(view.T_world_camera), camera.T_world_camera[:3, 3])
        assert seen[2] > 0.5
        assert np.abs(seen[:2] / seen[2]).max() < math.tan(view.fov_y_rad / 2)
    steps = np.diff([view.T_world_camera[:3, 3] for view in views], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 0.5


def test_one_camera_is_enough():
    assert len(camera_path.follow(cameras(1), 1.0, 5)) == 5
    assert len(orbit(np.zeros((1, 3)), cameras(1)).views(3, 1.0)) == 3


def test_a_tour_is_taken_from_its_beginning_to_its_end():
    ends = (look_at([0, 0, 0], [0, 0, 1]), look_at([1, 0, 0], [0, 0, 1]))
    tour = Tour(tuple(Keyframe(pose, 1.0, 3.0) for pose in ends))
    views = camera_path.along(tour, 5)
    assert np.allclose(views[0].T_world_camera, ends[0])
    assert np.allclose(views[-1].T_world_camera, ends[1])


def test_upright_agrees_with_the_test_camera():
    assert np.allclose(
        camera_path.upright([1, 2, 3], [0, 0, 9], [0, -1, 0]), look_at([1, 2, 3], [0, 0, 9])
    )
