"""Asking the states: the published numbers, in the right frame, and nothing goes on by it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.golden_cases import TOLERANCE, GoldenCase, relative_error
from tests.test_lanes import run
from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.geometry import ray_map
from ttt3r_viewer.reconstruct.messages import SetResetEvery
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.system.assets import asset_path
from ttt3r_viewer.types import Camera, Expectation, Status
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
    assert "never trained" in load_network(tmp_path / "cannot").cannot_query


def test_the_miniature_says_so():
    shipped = read_weights(asset_path("miniature.safetensors"))
    assert shipped.metadata[QUERIES_KEY] == NOT_TRAINED
    assert "never trained" in load_network("miniature").cannot_query


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
