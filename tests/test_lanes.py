"""Several rules on one stream: each lane gives what it would give alone, through resets too."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.golden_cases import GoldenCase, relative_error
from ttt3r_viewer.errors import ReconstructionError, RuleError
from ttt3r_viewer.reconstruct.messages import SetParameter, SetResetEvery, SetRules
from ttt3r_viewer.reconstruct.session import Lanes, Session
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.types import FrameResult, Status

CASE = "linear-small"
ALL = "ttt3r,constant:0.3,ttsa3r,ddd3r-ortho"


@pytest.fixture(scope="module")
def images(case: GoldenCase) -> np.ndarray:
    return case.arrays["frames"]


def agree(lane: FrameResult, alone: FrameResult, tolerance: float = 1e-4) -> bool:
    pairs = (
        (lane.camera.T_world_camera, alone.camera.T_world_camera),
        (lane.points_camera, alone.points_camera),
        (lane.confidence, alone.confidence),
        (lane.gain, alone.gain),
    )
    same = (lane.sequence, lane.segment, lane.rule) == (alone.sequence, alone.segment, alone.rule)
    change = abs(lane.state_change - alone.state_change) < tolerance
    return same and change and all(relative_error(a, b) < tolerance for a, b in pairs)


def run(lanes: Lanes, images: Sequence[np.ndarray]) -> list[tuple[FrameResult, ...]]:
    return [lanes.process(image) for image in images]


@pytest.mark.parametrize("reset_every", [0, 2])
@pytest.mark.parametrize("text", [ALL, "filt3r,memix-ttt,ddd3r-brake,memix-ttsa", "recal3r,ttt3r"])
def test_every_lane_gives_what_it_would_give_alone(network, images, text, reset_every):
    rules = rules_from_text(text)
    lanes = Lanes(network, rules, reset_every=reset_every)
    alone = [Session(network, rule, reset_every=reset_every) for rule in rules]
    for image in images:
        together = lanes.process(image)
        for result, session in zip(together, alone, strict=True):
            assert agree(result, session.process(image))


def test_lanes_share_the_image_and_differ_where_their_rules_do(network, images):
    lanes = Lanes(network, rules_from_text("constant:1,constant:0.1"))
    one, two = run(lanes, images[:3])[-1]
    assert one.image is two.image
    assert relative_error(one.camera.T_world_camera, two.camera.T_world_camera) > 1e-3
    assert two.state_change < one.state_change


def test_a_parameter_acts_from_the_next_frame_on_and_stays_through_a_restart(network, images):
    lanes = Lanes(network, rules_from_text("constant:1,constant:1"))
    run(lanes, images[:2])
    lanes.adjust(SetParameter(1, "rate", 0.25))
    one, two = lanes.process(images[2])
    assert (one.gain == 1).all()
    assert (two.gain == 0.25).all()
    assert (one.rule, two.rule) == ("CUT3R (rate 1)", "constant 0.25")
    lanes.restart()
    again = run(lanes, images[:3])
    expected = run(Lanes(network, rules_from_text("constant:1,constant:0.25")), images[:3])
    for results, wanted in zip(again, expected, strict=True):
        assert all(map(agree, results, wanted))


def test_a_reset_interval_set_later_counts_from_the_last_reset(network, images):
    lanes = Lanes(network, rules_from_text("ttt3r"))
    run(lanes, images[:2])
    lanes.adjust(SetResetEvery(3))
    assert [one.segment for (one,) in run(lanes, images[2:6])] == [0, 1, 1, 1]
    assert lanes.describe(Status()).reset_every == 3
    with pytest.raises(ReconstructionError, match="a reset every -1 frames"):
        lanes.adjust(SetResetEvery(-1))


def test_other_rules_begin_with_a_restart(network, images):
    lanes = Lanes(network, rules_from_text("ttt3r"))
    lanes.process(images[0])
    lanes.adjust(SetRules(("constant:0.5", "ttt3r:multiplier=0.5")))
    results = run(lanes, images[:3])[-1]
    expected = run(Lanes(network, rules_from_text("constant:0.5,ttt3r:0.5")), images[:3])[-1]
    assert all(map(agree, results, expected))


def test_what_cannot_be_adjusted_is_refused_and_changes_nothing(network):
    lanes = Lanes(network, rules_from_text("ttt3r,constant:0.5"))
    before: tuple[UpdateRule, ...] = lanes.rules
    for command, words in (
        (SetParameter(2, "rate", 0.5), "lane 3: there are 2"),
        (SetParameter(1, "speed", 0.5), "no 'speed'; it has rate"),
        (SetParameter(1, "rate", 1.5), "1.5"),
        (SetRules(()), "0 lanes: take 1 to 4"),
        (SetRules(("ttt3r",) * 5), "5 lanes: take 1 to 4"),
        (SetRules(("tttr3",)), "ttt3r"),
    ):
        with pytest.raises(RuleError, match=words):
            lanes.adjust(command)
    assert lanes.rules == before


def test_the_status_names_every_lane_and_what_it_could_be(network):
    status = Lanes(network, rules_from_text("ttt3r,constant:0.3")).describe(Status())
    assert status.rule == "TTT3R, constant 0.3"
    assert [lane.name for lane in status.lanes] == ["ttt3r", "constant"]
    (rate,) = status.lanes[1].parameters
    assert (rate.name, rate.value, rate.low, rate.high) == ("rate", 0.3, 0, 1)
    assert {"ttt3r", "constant", "filt3r"} <= {rule.name for rule in status.known_rules}
