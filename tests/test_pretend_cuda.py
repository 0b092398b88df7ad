"""The path of a GPU on a pretended card: the CPU's numbers, one wait a frame, no race."""

import gc

import numpy as np
import pytest
import torch

from tests.golden_cases import golden_case
from tests.pretend_cuda import PretendError, pretend_cuda, to_card
from ttt3r_viewer.reconstruct import device
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import catalogue, rules_from_text
from ttt3r_viewer.types import Frame

FOUR = "ttt3r,constant:0.3,ttsa3r,ddd3r-ortho"
RULES = [*(one.name for one in catalogue()), "ttt3r,constant:1", "filt3r,recal3r,memix-cut", FOUR]


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(device, "_streams", {})
    with pretend_cuda() as found:
        yield found
        gc.collect()
        assert found.freed_early == 0


def test_the_card_refuses_what_a_gpu_refuses(card):
    on_card = torch.ones(3, device="cuda")
    with pytest.raises(PretendError, match="in one call"):
        torch.add(on_card, torch.ones(3))
    with torch.cuda.stream(torch.cuda.Stream()):
        with pytest.raises(PretendError, match="may not have written"):
            torch.mul(on_card, 2)
        torch.cuda.current_stream().wait_stream(card.usual)
        assert card.waits == 0
        assert (on_card * 2).sum().item() == 6
    assert card.waits == 1
    pinned = torch.empty(3, pin_memory=True).copy_(on_card, non_blocking=True)
    assert np.isnan(pinned.numpy()).all()
    card.usual.synchronize()
    assert pinned.tolist() == [1, 1, 1]
    assert card.unpinned == 0
    on_card.cpu()
    assert card.unpinned == 1


def test_memory_that_another_stream_may_still_read_is_not_freed(card):
    made = torch.ones(3, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        read = made * 2
    del made
    gc.collect()
    assert card.freed_early == 1
    del read
    card.freed_early = 0


def frames_of(case) -> list[Frame]:
    return [Frame(k, float(k), str(k), one) for k, one in enumerate(case.arrays["frames"])]


def run(lanes: Lanes, frames: list[Frame]) -> list:
    return [result for item in lanes.prefetch(frames) for result in lanes.step(item)]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "rules"), [*(("linear-small", one) for one in RULES), ("dpt-small", FOUR)]
)
def test_every_rule_gives_the_cpus_numbers_and_waits_once_a_frame(name, rules, card):
    case = golden_case(name)
    frames = frames_of(case)
    plain = run(Lanes(case.network(), rules_from_text(rules), reset_every=4), frames)
    lanes = Lanes(to_card(case.network()), rules_from_text(rules), reset_every=4)
    card.waits = card.unpinned = 0
    ours = run(lanes, frames)
    # Once for each batch that is encoded, and once for each frame.
    batches = 1 + 1 + -(-(len(frames) - 3) // 4)
    assert card.waits <= len(frames) + batches
    assert card.unpinned == 0
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_array_equal(a.points_camera, b.points_camera)
        np.testing.assert_array_equal(a.camera.T_world_camera, b.camera.T_world_camera)
        np.testing.assert_array_equal(a.gain, b.gain)
        assert a.state_change == b.state_change


@pytest.mark.usefixtures("card")
def test_looking_back_asking_and_going_on_are_the_cpus():
    case = golden_case("dpt-small")
    frames, rules = frames_of(case), rules_from_text("ttt3r,constant:0.3")
    plain, ours = (
        Lanes(network, rules, reset_every=4)
        for network in (case.network(), to_card(case.network()))
    )
    run(plain, frames)
    run(ours, frames)
    expected, got = plain.inspect(1, 3), ours.inspect(1, 3)
    np.testing.assert_array_equal(got.gain, expected.gain)
    np.testing.assert_array_equal(got.writes, expected.writes)
    (there, _), (here, _) = (one.ask(np.eye(4), 1.0) for one in (plain, ours))
    np.testing.assert_array_equal(here.points_camera, there.points_camera)
    (tensors, values), (saved, _) = ours.saved(), plain.saved()
    assert all(one.device.type == "cpu" for one in tensors.values())
    assert values["moment"]["frames"] == len(frames)
    for key, one in saved.items():
        assert torch.equal(one, tensors[key])


def test_five_runs_have_one_second_stream(card):
    case = golden_case("linear-small")
    lanes = Lanes(to_card(case.network()), rules_from_text("ttt3r"))
    for _ in range(5):
        run(lanes, frames_of(case))
        lanes.restart()
    assert len(card.streams) == 2
