"""What the states expect, in the page: its points, its camera, its words; without a browser."""

import math
from dataclasses import replace

import numpy as np
import viser

from tests.made_up_run import MadeUpRun, pose_at, room_result
from tests.ticks import tick_of
from ttt3r_viewer.geometry import pose_from_vector, quaternion_wxyz_from_matrix
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Answer, Camera, Expectation, Status
from ttt3r_viewer.viewer.layers.ask_layer import AskLayer, expected_points, lane_camera, tinted
from ttt3r_viewer.viewer.layers.lane_layer import LaneLayer
from ttt3r_viewer.viewer.panels.ask import expected_image, note_text, why_not
from ttt3r_viewer.viewer.view_settings import AskSettings

POINTS = 16 * 12


def expectation(lane: int = 0, camera: Camera | None = None) -> Expectation:
    """What a perfect memory of the made-up room would expect."""
    camera = camera or Camera(pose_at(7), 12.0, 16, 12)
    room = room_result(4, 16, 12, camera=camera)
    return Expectation(lane, 4, camera, room.image, room.points_camera, room.confidence)


def nodes(server: viser.ViserServer) -> set[str]:
    return {name for name in server.scene._handle_from_node_name if "expected_" in name}


def test_every_lane_has_its_points_and_camera_until_they_are_taken_away(server):
    store = SceneStore(max_points=100_000, points_per_frame=100)
    MadeUpRun(store, lanes=2, total=None, paused=True).add_frame()
    LaneLayer(server).update(tick_of(store))
    layer = AskLayer(server)
    layer.begin((0, 2))
    lanes = [expectation(0), expectation(1)]
    for percent, left in ((0, POINTS), (25, POINTS * 3 // 4)):
        layer.show(lanes, AskSettings(hidden_percent=percent), point_size=0.01, median_depth=2.0)
        assert layer.points_shown == (left, left)
    assert nodes(server) == {
        f"/lanes/{k}/expected_{what}" for k in (0, 1) for what in ("points", "camera")
    }
    frustum = server.scene._handle_from_node_name["/lanes/1/expected_camera"]
    assert np.allclose(frustum.position, pose_at(7)[:3, 3])
    gone = replace(lanes[0], points_camera=np.full((12, 16, 3), np.nan, np.float32))
    layer.show([gone, lanes[1]], AskSettings(), point_size=0.01, median_depth=2.0)
    assert layer.points_shown == (0, POINTS)
    assert "/lanes/0/expected_points" not in nodes(server)
    layer.clear()
    assert nodes(server) == set()
    assert layer.points_shown == ()


def test_points_stand_in_the_world_and_the_least_sure_go_first():
    found = expectation()
    points_world, pixels = expected_points(found, 50, 10_000)
    assert len(points_world) == POINTS // 2
    assert found.confidence.reshape(-1)[pixels].min() >= np.median(found.confidence) - 1e-6
    low, high = np.array([-2.0, -1.6, -1.5]), np.array([2.0, 1.0, 4.0])
    assert ((points_world > low - 1e-3) & (points_world < high + 1e-3)).all()
    on_wall = np.minimum(np.abs(points_world - low), np.abs(points_world - high))
    assert on_wall.min(axis=1).max() < 1e-3
    assert len(expected_points(found, 0, 50)[0]) == 50


def test_tint_goes_from_the_image_to_one_colour():
    colors = np.array([[200, 30, 30], [255, 255, 255]], np.uint8)
    assert (tinted(colors, (10, 200, 10), 0.0) == colors).all()
    full = tinted(colors, (10, 200, 10), 1.0)
    assert (full[1] == (10, 200, 10)).all()
    assert full[0, 1] > full[0, 0]


def test_a_browser_beside_the_lanes_asks_in_the_world_of_the_one_it_looks_at():
    T_page_camera = pose_at(9)
    wxyz = quaternion_wxyz_from_matrix(T_page_camera[:3, :3])
    lanes = ((0.0, 0.5), (10.0, 0.5), (20.0, 0.5))
    for offset in (0.0, 10.0, 20.0):
        place = T_page_camera[:3, 3] + [offset, 0, 0]
        look_at = place + T_page_camera[:3, 2]
        pose = lane_camera(place, wxyz, look_at, lanes)
        assert np.allclose(pose_from_vector(pose), T_page_camera)
    # Where there is nothing to look at, the page's world is the lanes'.
    assert lane_camera((3, 2, 1), (1, 0, 0, 0), (0, 0, 0), ()) == (3, 2, 1, 1, 0, 0, 0)


def test_words_for_what_is_shown_what_waits_and_what_cannot_be():
    def says(answer: Answer | None = None, cannot: str = "", **other: object) -> str:
        given = {"waits": False, "limited_from": None, **other}
        return note_text(answer, cannot, **given)  # pyright: ignore[reportArgumentType]

    answer = Answer(1, (expectation(),))
    assert "not an observation" in says()
    assert says(cannot="for a reason") == "Greyed out: for a reason."
    assert says(waits=True).startswith("Asked")
    assert says(Answer(1, note="out of memory")) == "No answer: out of memory."
    fov_deg = math.degrees(expectation().camera.fov_y_rad)
    text = says(answer)
    assert "not an observation" in text
    assert f"after frame 5; vertical field of view {fov_deg:.0f}°." in text
    assert "limited from 120° to what networks know, 20° to 100°" in says(
        answer, limited_from=120.0
    )


def test_nothing_can_be_asked_before_the_network_and_a_frame_are_there():
    store = SceneStore()
    assert why_not(tick_of(store)) == "the network is not loaded yet"
    store.set_status(Status(cannot_ask=""))
    assert why_not(tick_of(store)) == "no frame was taken yet"
    store.add(room_result(0))
    assert why_not(tick_of(store)) == ""


def test_image_and_confidence_stand_side_by_side():
    found = expectation()
    image = expected_image(found)
    assert image.shape[1] == 300
    assert (image[5, 5] != image[5, 295]).any()


def test_an_answer_belongs_to_its_run():
    store = SceneStore()
    store.set_answer(Answer(1, (expectation(),)))
    assert store.snapshot().answer is not None
    store.clear()
    assert store.snapshot().answer is None
