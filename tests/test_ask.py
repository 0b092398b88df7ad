"""Asking what a view would show that no frame had: what the model answers, and the page's layer."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import viser

from tests.golden_cases import TOLERANCE, GoldenCase, relative_error
from tests.made_up_run import MadeUpRun, pose_at, room_result
from tests.test_lanes import run
from tests.ticks import tick_of
from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.geometry import pose_from_vector, quaternion_wxyz_from_matrix, ray_map
from ttt3r_viewer.reconstruct.messages import SetResetEvery
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.scene.budget import Layout
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.system.assets import asset_path
from ttt3r_viewer.types import Answer, Camera, Expectation, Status
from ttt3r_viewer.viewer.layers.ask_layer import AskLayer, expected_points, lane_camera, tinted
from ttt3r_viewer.viewer.layers.lane_layer import LaneLayer
from ttt3r_viewer.viewer.panels.ask import expected_image, note_text, places_of_lanes, why_not
from ttt3r_viewer.viewer.server.clients import Client
from ttt3r_viewer.viewer.view_settings import AskSettings, ViewSettings
from ttt3r_viewer.weights.load import load_network
from ttt3r_viewer.weights.weights_file import NOT_TRAINED, QUERIES_KEY, read_weights, save_weights

CASE = "dpt-small"  # whose images come through the preparation as they are
FOV_Y_RAD = math.radians(60)
AT_START = np.eye(4)


@pytest.fixture
def asked_rays(network, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every ray map (lane, 6, height, width) that the network is asked with."""
    seen: list[np.ndarray] = []
    query = network.query

    def watched(state, rays, **options):
        seen.append(rays.numpy().copy())
        return query(state, rays, **options)

    monkeypatch.setattr(network, "query", watched)
    return seen


def golden_camera(case: GoldenCase) -> tuple[np.ndarray, float]:
    """The camera that the published network was asked about: pose, and field of view in radians."""
    height = case.arrays["query_ray_map"].shape[0]
    focal_px = float(case.arrays["query_intrinsics"][1, 1])
    pose = case.arrays["query_camera_to_world"].astype(np.float64)
    return pose, 2 * math.atan(height / 2 / focal_px)


def assert_golden(found: Expectation, case: GoldenCase) -> None:
    points = case.arrays["query_pts3d_in_self_view"][0]
    assert relative_error(found.points_camera, points) < TOLERANCE
    assert relative_error(found.confidence, case.arrays["query_conf_self"][0]) < TOLERANCE
    image = 127.5 * (case.arrays["query_rgb"][0] + 1)
    assert np.abs(found.image - image).max() < 0.51


def test_lanes_give_the_published_numbers(case, network):
    lanes = Lanes(network, rules_from_text("constant:0.3,constant:1.0"))
    run(lanes, case.arrays["frames"])
    other, found = lanes.ask(*golden_camera(case))
    assert_golden(found, case)
    assert (found.lane, found.sequence) == (1, len(case.arrays["frames"]) - 1)
    # What another rule has kept is something else.
    assert relative_error(other.points_camera, found.points_camera) > 1e-3


def test_a_reset_moves_the_world_that_the_state_is_asked_in(case, network):
    frames = case.arrays["frames"]
    lanes = Lanes(network, rules_from_text("constant:1.0,constant:0.3"), reset_every=2)
    # The second frame is the first of the state that begins with it.
    _, before = run(lanes, [frames[3], frames[0]])
    lanes.adjust(SetResetEvery(0))
    run(lanes, frames[1:])
    start = before[0].camera.T_world_camera
    assert relative_error(start, np.eye(4)) > 1e-3
    pose, fov_y_rad = golden_camera(case)
    found, _ = lanes.ask(start @ pose, fov_y_rad)
    assert_golden(found, case)
    assert np.allclose(found.camera.T_world_camera, start @ pose)


def test_asked_from_the_start_of_a_segment_the_rays_are_those_of_the_first_camera(
    case, network, asked_rays
):
    lanes = Lanes(network, rules_from_text("constant:1.0,constant:0.3"), reset_every=2)
    first, reset = run(lanes, case.arrays["frames"][:2])
    height, width = first[0].image.shape[:2]
    plain = Camera(AT_START, height / 2 / math.tan(FOV_Y_RAD / 2), width, height)
    for lane, result in enumerate(reset):
        lanes.ask(result.camera.T_world_camera, FOV_Y_RAD)
        own, other = asked_rays[-1][lane], asked_rays[-1][1 - lane]
        assert np.abs(own.transpose(1, 2, 0) - ray_map(plain)).max() < 1e-6
        # The other lane began somewhere else, and so sees this camera elsewhere.
        assert np.abs(other - own).max() > 1e-4
    fresh = Lanes(network, rules_from_text("constant:1.0"))
    run(fresh, case.arrays["frames"][:1])
    fresh.ask(AT_START, FOV_Y_RAD)
    assert np.abs(asked_rays[-1][0].transpose(1, 2, 0) - ray_map(plain)).max() < 1e-6


def test_asking_changes_nothing(case, network):
    rules, frames = rules_from_text("ttt3r,recal3r,filt3r"), case.arrays["frames"][:4]
    alone, asked = (Lanes(network, rules, reset_every=3) for _ in range(2))
    for frame in frames:
        plain, other = alone.process(frame), asked.process(frame)
        for a, b in zip(plain, other, strict=True):
            assert np.array_equal(a.points_camera, b.points_camera)
            assert np.array_equal(a.camera.T_world_camera, b.camera.T_world_camera)
            assert np.array_equal(a.gain, b.gain)
        one, two = (asked.ask(*golden_camera(case)) for _ in range(2))
        assert all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))
        for kept, moved in zip(alone.saved()[0].items(), asked.saved()[0].items(), strict=True):
            assert kept[0] == moved[0]
            assert torch.equal(kept[1], moved[1])


def test_what_cannot_be_asked_says_why(case, network, monkeypatch):
    lanes = Lanes(network, rules_from_text("ttt3r"))
    with pytest.raises(ReconstructionError, match="no frame was taken yet"):
        lanes.ask(AT_START, FOV_Y_RAD)
    run(lanes, case.arrays["frames"][:2])

    def exhausted(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(network, "query", exhausted)
        with pytest.raises(ReconstructionError, match=r"out of memory on cpu at .* lower --size"):
            lanes.ask(AT_START, FOV_Y_RAD)
    assert len(lanes.ask(AT_START, FOV_Y_RAD)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(network, "cannot_query", "for a reason")
        assert lanes.describe(Status()).cannot_ask == "for a reason"
        with pytest.raises(ReconstructionError, match="for a reason"):
            lanes.ask(AT_START, FOV_Y_RAD)
    assert lanes.describe(Status()).cannot_ask == ""


def test_weights_say_that_their_ray_maps_were_never_trained(case, network, tmp_path):
    for name, metadata in (("can", {}), ("cannot", {QUERIES_KEY: NOT_TRAINED})):
        save_weights(tmp_path / name, network.state_dict(), case.config, metadata)
    assert load_network(tmp_path / "can").cannot_query == ""
    assert read_weights(asset_path("miniature.safetensors")).metadata[QUERIES_KEY] == NOT_TRAINED
    for cannot in (tmp_path / "cannot", "miniature"):
        assert "never trained" in load_network(cannot).cannot_query


def test_numbers_that_are_not_finite_become_no_image_of_noise(case, network, monkeypatch):
    lanes = Lanes(network, rules_from_text("ttt3r"))
    run(lanes, case.arrays["frames"][:1])
    query = network.query

    def broken(*given, **options):
        seen = query(*given, **options)
        return replace(seen, rgb=torch.full_like(seen.rgb, torch.nan))

    monkeypatch.setattr(network, "query", broken)
    (found,) = lanes.ask(AT_START, FOV_Y_RAD)
    assert (found.image == 128).all()


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
        layer.show(lanes, AskSettings(hidden_percent=percent), point_size=0.01, layout=Layout())
        assert layer.points_shown == (left, left)
    assert nodes(server) == {
        f"/lanes/{k}/expected_{what}" for k in (0, 1) for what in ("points", "camera")
    }
    frustum = server.scene._handle_from_node_name["/lanes/1/expected_camera"]
    assert np.allclose(frustum.position, pose_at(7)[:3, 3])
    gone = replace(lanes[0], points_camera=np.full((12, 16, 3), np.nan, np.float32))
    layer.show([gone, lanes[1]], AskSettings(), point_size=0.01, layout=Layout())
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
    assert "not an observation" in note_text(None, "")
    assert note_text(None, "for a reason") == "Greyed out: for a reason."
    assert note_text(None, "", waits=True).startswith("Asked")
    assert note_text(Answer(1, note="out of memory"), "") == "No answer: out of memory."
    answer = Answer(1, (expectation(),))
    fov_deg = math.degrees(expectation().camera.fov_y_rad)
    text = note_text(answer, "")
    assert "not an observation" in text
    assert f"after frame 5; vertical field of view {fov_deg:.0f}°." in text
    limited = note_text(answer, "", limited_from=120.0)
    assert "limited from 120° to what networks know, 20° to 100°" in limited


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


def test_a_pane_of_the_twin_view_asks_in_the_world_of_its_lane_which_stands_in_its_middle():
    store = SceneStore(max_points=1000, points_per_frame=10)
    MadeUpRun(store, lanes=2, total=None).gone(3)
    tick = tick_of(store, replace(ViewSettings(), arrangement="side by side"))
    (_, left), (offset, right) = places_of_lanes(tick, Client())
    assert offset == tick.offsets[1] > 0
    assert places_of_lanes(tick, Client(lane=1)) == [(0.0, right)]
    assert places_of_lanes(tick, Client(lane=0)) == [(0.0, left)]
