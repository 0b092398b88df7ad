"""Ours against the numbers of the published network."""

import numpy as np
import pytest
import torch

from tests.golden_cases import (
    GOLDEN,
    TOLERANCE,
    GoldenCase,
    golden_case,
    made_up_tensor,
    relative_error,
)
from ttt3r_viewer.geometry import focal_from_points, pose_from_vector, ray_map
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.rules.constant import Constant
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.rules.ttt3r import TTT3R
from ttt3r_viewer.state import Prediction
from ttt3r_viewer.types import Camera

CASES = ("dpt-small", "linear-small", "dpt-odd")
ALL_MAPS = frozenset(("self", "world", "rgb"))
ALL_EVIDENCE = frozenset(("state_logits", "image_logits"))


@pytest.fixture(scope="module", params=CASES)
def case(request) -> GoldenCase:
    return golden_case(request.param)


def predicted_arrays(prediction: Prediction) -> dict[str, torch.Tensor]:
    named = {
        "camera_pose": prediction.pose,
        "pts3d_in_self_view": prediction.points_self,
        "conf_self": prediction.confidence_self,
        "pts3d_in_other_view": prediction.points_world,
        "conf": prediction.confidence_world,
        "rgb": prediction.rgb,
    }
    return {name: value[0] for name, value in named.items() if value is not None}


def recorded_run(
    network: ReconstructionNetwork, images: torch.Tensor, rule: UpdateRule, reset_after: int | None
) -> list[dict[str, torch.Tensor]]:
    """The recurrent run written out: one dict of arrays per step, a reset frame appearing twice."""
    state, rule_state = network.initial_state(), rule.initial()
    steps = []
    order = list(range(len(images)))
    if reset_after is not None:
        order.insert(reset_after + 1, reset_after)
    for step, frame in enumerate(order):
        if reset_after is not None and step == reset_after + 1:
            state, rule_state = network.initial_state(), rule.reset(rule_state)
        image = network.encode(images[frame : frame + 1])
        proposal = network.propose(state, image, outputs=ALL_MAPS, evidence=ALL_EVIDENCE)
        gain, rule_state = rule.update(proposal.evidence, rule_state)
        evidence = proposal.evidence
        assert evidence.state_logit_mean is not None
        assert evidence.image_logit_mean is not None
        steps.append(
            {
                "state_before": evidence.state[0],
                "state_candidate": evidence.candidate[0],
                "logit_mean_per_state_token": evidence.state_logit_mean[0],
                "logit_mean_per_image_token": evidence.image_logit_mean[0],
                **predicted_arrays(proposal.prediction),
            }
        )
        state = state.accept(proposal, gain)
        steps[-1]["state_after_last"] = state.tokens[0]
    return steps


def golden_error(case: GoldenCase, name: str, ours: np.ndarray, golden: np.ndarray) -> float:
    """The relative error of an array of that name."""
    if name == "pts3d_in_self_view" and case.config.head == "linear":
        # Within 1e-3 of the image plane rounding may mirror a point: compare up to sign there.
        near = np.abs(golden[..., 2:]) < 1e-3
        ours, golden = (np.where(near, np.abs(one), one) for one in (ours, golden))
    return relative_error(ours, golden)


@pytest.mark.parametrize(
    ("prefix", "rule", "reset_after"),
    [("cut3r", Constant(1.0), None), ("ttt3r", TTT3R(), None), ("ttt3r_reset3", TTT3R(), 2)],
)
@torch.no_grad()
def test_recurrent_run_gives_the_published_numbers(case, network, prefix, rule, reset_after):
    steps = recorded_run(network, case.images, rule, reset_after)
    checked = set()
    for key, golden in case.arrays.items():
        run, _, name = key.partition("/")
        if run != prefix or name in ("focal_weiszfeld", "camera_to_world"):
            continue
        if name == "state_after_last":
            assert relative_error(steps[-1][name], golden) < TOLERANCE, name
            checked.add(name)
            continue
        assert len(golden) == len(steps)
        for step, (ours, theirs) in enumerate(zip(steps, golden, strict=True)):
            assert golden_error(case, name, ours[name].numpy(), theirs) < TOLERANCE, (name, step)
        checked.add(name)
    assert {"camera_pose", "pts3d_in_self_view", "conf_self", "state_candidate"} <= checked


@torch.no_grad()
def test_query_of_an_unseen_view(case, network):
    state, rule = network.initial_state(), Constant(1.0)
    for image in case.images:
        proposal = network.propose(state, network.encode(image[None]))
        state = state.accept(proposal, rule.update(proposal.evidence, None)[0])
    rays = torch.from_numpy(case.arrays["query_ray_map"]).permute(2, 0, 1)[None]
    ours = predicted_arrays(network.query(state, rays, outputs=ALL_MAPS))
    for name, value in ours.items():
        golden = case.arrays[f"query_{name}"][0]
        assert golden_error(case, name, value.numpy(), golden) < TOLERANCE, name


def test_state_dict_has_the_published_names_and_shapes(case, network):
    ours = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert ours == case.keys


def test_made_up_weights_give_aliases_the_same_values():
    direct = made_up_tensor("downstream_head.dpt_self.scratch.layer_rn.1.weight", (4, 3, 3, 3))
    alias = made_up_tensor("downstream_head.dpt_self.scratch.layer2_rn.weight", (4, 3, 3, 3))
    assert torch.equal(direct, alias)


def test_camera_matrix_and_focal_length(case):
    for prefix in ("cut3r", "ttt3r", "ttt3r_reset3"):
        for pose, golden in zip(
            case.arrays[f"{prefix}/camera_pose"],
            case.arrays[f"{prefix}/camera_to_world"],
            strict=True,
        ):
            assert relative_error(pose_from_vector(pose), golden) < 1e-5


def test_focal_length_from_stored_points(case):
    for points, golden in zip(
        case.arrays["cut3r/pts3d_in_self_view"], case.arrays["cut3r/focal_weiszfeld"], strict=True
    ):
        assert focal_from_points(points) == pytest.approx(float(golden), rel=1e-3, abs=1e-2)


def test_points_beside_the_camera_say_nothing_of_its_focal_length():
    y, x = np.indices((12, 16), dtype=np.float32)
    points = np.stack(((x - 8) / 20, (y - 6) / 20, np.ones_like(x)), axis=-1).astype(np.float32)
    assert focal_from_points(points) == pytest.approx(20)
    points[0, :4, 2] = 0, 1e-30, -1e-12, np.nan
    assert focal_from_points(points) == pytest.approx(20)


def test_focal_length_of_real_cameras():
    with np.load(GOLDEN / "focal.npz") as arrays:
        for points, golden in zip(arrays["points_self"], arrays["focal_weiszfeld"], strict=True):
            assert focal_from_points(points) == pytest.approx(float(golden), rel=1e-4)


def test_ray_map_of_the_queried_camera(case):
    fx, fy, cx, cy = case.arrays["query_intrinsics"][[0, 1, 0, 1], [0, 1, 2, 2]]
    height, width = case.arrays["query_ray_map"].shape[:2]
    assert (cx, cy, fx) == (width // 2, height // 2, fy)
    camera = Camera(
        case.arrays["query_camera_to_world"].astype(np.float64), float(fx), width, height
    )
    assert relative_error(ray_map(camera), case.arrays["query_ray_map"]) < 1e-5
