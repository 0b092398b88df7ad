"""Every update rule against what its authors' code gave, and the laws that all rules keep.

`golden/rules-linear-small.npz` (golden/README.md says how it was made) holds, per rule, a stream of
twelve frames, and one with a reset after the fifth: its first five steps are those of the first,
`after_reset` holds the four that follow (frames 4 to 7).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden_cases import GOLDEN, relative_error
from ttt3r_viewer.model.evidence import LOGITS, EvidenceCollector, image_residual, query_entropy
from ttt3r_viewer.model.layers import CrossKeys
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.rules.filt3r import FILT3R, Filter
from ttt3r_viewer.rules.memix import MeMixCut, written
from ttt3r_viewer.rules.recal3r import ReCal3R
from ttt3r_viewer.rules.registry import RULES, make_rule
from ttt3r_viewer.rules.rule import RuleState, UpdateRule
from ttt3r_viewer.rules.ttsa3r import TTSA3R
from ttt3r_viewer.rules.ttt3r import TTT3R
from ttt3r_viewer.state import Evidence, Prediction, Proposal, TokenState, Update

CASE = "linear-small"
PLAIN = ("ttsa3r", "filt3r", "recal3r", "ddd3r-const", "ddd3r-brake", "ddd3r-ortho")
GOLDEN_RULES: dict[str, UpdateRule] = {
    **{name: make_rule(name) for name in (*PLAIN, "memix-cut", "memix-ttt", "memix-ttsa")},
    "filt3r-tau1": make_rule("filt3r", tau_q=1.0),
    "ddd3r-brake-tau1": make_rule("ddd3r-brake", tau=1.0),
}
CONTINUOUS = sorted(set(GOLDEN_RULES) - {"recal3r"})
READS_MEMORY_AFTER_RESET = {"ttsa3r", "memix-cut", "memix-ttt", "memix-ttsa"}
"""Rules whose authors' programs read the first pose after a reset from the memory's start."""
FIELDS = {
    "state": "state_before",
    "candidate": "state_candidate",
    "state_logit_mean": "logit_mean_per_state_token",
    "pair_logit_mean": "logit_mean_per_state_and_image_token",
    "image_features": "encoder_features",
    "image_mean": "image_feature_projected_mean",
    "state_entropy": "code_row_entropy",
    "image_residual": "code_relative_error",
}
"""Where the evidence was recorded, under the names of the golden files."""
RESET_STEP = 5
"""Steps before the reset, and the count of frames that they saw."""


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "rules-linear-small.npz") as arrays:
        return dict(arrays)


@pytest.fixture(params=GOLDEN_RULES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def recorded_evidence(golden: dict[str, np.ndarray], prefix: str, step: int) -> Evidence:
    """What a rule saw, as far as it was recorded; a state that it does not read is zero."""

    def read(field: str) -> Tensor | None:
        values = golden.get(prefix + FIELDS[field])
        return None if values is None else torch.as_tensor(values[step])[None]

    nothing = torch.zeros(1, golden[f"{prefix}gain"].shape[1], 64)
    state, candidate = (read(field) for field in ("state", "candidate"))
    return Evidence(
        state=nothing if state is None else state,
        candidate=nothing if candidate is None else candidate,
        **{field: read(field) for field in FIELDS if field not in ("state", "candidate")},
    )


def recorded_stream(
    golden: dict[str, np.ndarray], name: str, *, reset: bool
) -> Iterator[tuple[Evidence, np.ndarray, np.ndarray | None, bool]]:
    """Evidence, gain and, where it was recorded, state after each step, and whether a reset comes
    before it.
    """
    plain, after = f"{name}/", f"{name}/after_reset/"
    steps = [(plain, step) for step in range(RESET_STEP if reset else 12)]
    steps += [(after, step) for step in range(4 if reset else 0)]
    for number, (prefix, step) in enumerate(steps):
        states = golden.get(f"{prefix}state_after")
        yield (
            recorded_evidence(golden, prefix, step),
            golden[f"{prefix}gain"][step],
            None if states is None else states[step],
            reset and number == RESET_STEP,
        )


@pytest.mark.parametrize("reset", [False, True], ids=["plain", "reset"])
def test_gain_is_the_published_one_from_the_same_evidence(golden, name, reset):
    rule = GOLDEN_RULES[name]
    memory = rule.initial()
    for evidence, gain, after, is_reset in recorded_stream(golden, name, reset=reset):
        if is_reset:
            memory = rule.reset(memory)
        update, memory = rule.update(evidence, memory)
        assert np.abs(update.gain[0].numpy() - gain).max() < 1e-5
        assert (after is not None) == (name == "ddd3r-ortho")
        if after is not None:
            state = accepted(evidence, update)
            assert relative_error(state[0], after) < 1e-5


def accepted(evidence: Evidence, update: Update) -> Tensor:
    """The state after a step, through the one place of the blend."""
    batch, _, width = evidence.state.shape
    memory = torch.zeros(batch, 1, 2 * width)
    proposal = Proposal(evidence, memory, Prediction(torch.zeros(batch, 7)))
    return TokenState(evidence.state, memory).accept(proposal, update).tokens


def images_of(golden: dict[str, np.ndarray]) -> Tensor:
    return torch.from_numpy(golden["frames"]).permute(0, 3, 1, 2).float() / 127.5 - 1


def run(
    network: ReconstructionNetwork,
    rule: UpdateRule,
    images: Tensor,
    *,
    reset_after: int | None = None,
    fresh_after_reset: bool = True,
) -> tuple[TokenState, RuleState]:
    """The recurrent run written out; after a reset the frame is seen again."""
    state, memory = network.initial_state(), rule.initial()

    def step(image: Tensor) -> None:
        nonlocal state, memory
        proposal = network.propose(state, network.encode(image[None]), evidence=rule.needs)
        update, memory = rule.update(proposal.evidence, memory)
        state = state.accept(proposal, update)

    for number, image in enumerate(images):
        step(image)
        if number == reset_after:
            state = replace(network.initial_state(), fresh=fresh_after_reset)
            memory = rule.reset(memory)
            step(image)
    return state, memory


@pytest.mark.parametrize("name", CONTINUOUS)
@torch.inference_mode()
def test_state_after_twelve_frames_and_after_a_reset_is_the_published_one(golden, network, name):
    rule, images = GOLDEN_RULES[name], images_of(golden)
    state, _ = run(network, rule, images)
    assert relative_error(state.tokens[0], golden[f"{name}/state_after_last"]) < 5e-4
    fresh = name not in READS_MEMORY_AFTER_RESET
    state, _ = run(network, rule, images[:8], reset_after=4, fresh_after_reset=fresh)
    after = golden[f"{name}/after_reset/state_after_last"]
    assert relative_error(state.tokens[0], after) < 5e-4


@torch.inference_mode()
def test_recal3r_step_by_step(golden, network):
    """From each recorded state the network shows the recorded evidence, and the gain follows where
    no two tokens are so near to each other in rank that rounding may swap them.
    """
    rule, state = ReCal3R(), network.initial_state()
    memory, compared = rule.initial(), 0
    for step, image in enumerate(images_of(golden)):
        state = replace(state, tokens=torch.from_numpy(golden["recal3r/state_before"][step])[None])
        proposal = network.propose(state, network.encode(image[None]), evidence=rule.needs)
        update, memory = rule.update(proposal.evidence, memory)
        state = state.accept(proposal, update)
        if step == 0:
            continue
        recorded = recorded_evidence(golden, "recal3r/", step)
        for field in ("state_logit_mean", "state_entropy", "image_residual"):
            ours, theirs = (getattr(one, field) for one in (proposal.evidence, recorded))
            assert relative_error(ours, theirs.numpy()) < 1e-4, (step, field)
        pressure = golden["recal3r/code_pressure"][step]
        assert np.abs(memory.pressure[0].numpy() - pressure).max() < 1e-5
        assert recorded.state_entropy is not None
        if recorded.state_entropy.sort().values.diff().min() > 2e-5:
            assert np.abs(update.gain[0].numpy() - golden["recal3r/gain"][step]).max() < 1e-5
            compared += 1
    assert compared > 8


@torch.inference_mode()
def test_the_network_shows_what_ttsa3r_and_memix_saw(golden, network):
    wanted = frozenset(("pair_logits", "image_features", "image_mean", "state_logits"))
    images = images_of(golden)
    state, _ = run(network, make_rule("memix-ttsa"), images[:1])
    ours = network.propose(state, network.encode(images[1:2]), evidence=wanted).evidence
    theirs = recorded_evidence(golden, "memix-ttsa/", 1)
    for field in ("pair_logit_mean", "image_features", "image_mean", "candidate"):
        assert relative_error(getattr(ours, field), getattr(theirs, field).numpy()) < 1e-4, field
    assert ours.pair_logit_mean is not None
    assert ours.state_logit_mean is not None
    assert torch.allclose(ours.pair_logit_mean.mean(dim=2), ours.state_logit_mean, atol=1e-4)


@torch.inference_mode()
def test_only_the_evidence_asked_for_is_computed(network):
    image = network.encode(torch.zeros(1, 3, 64, 64))
    optional = {field for field in FIELDS if field not in ("state", "candidate")}
    optional.add("image_logit_mean")
    for rule in (TTT3R(), TTSA3R(), ReCal3R(), MeMixCut(), FILT3R()):
        proposal = network.propose(network.initial_state(), image, evidence=rule.needs)
        shown = {field for field in optional if getattr(proposal.evidence, field) is not None}
        assert len(shown) == len(rule.needs)


def test_recorded_logits_give_the_recorded_entropy(golden):
    """The published logits of one frame, as products of q with unit vectors for k."""
    logits = torch.from_numpy(golden["recal3r/logits_frame_1"])  # (layer, head, state, image)
    q = logits * logits.shape[-1] ** 0.5
    k = torch.eye(logits.shape[-1]).expand(*logits.shape[:2], -1, -1)
    entropy = query_entropy(CrossKeys(q, k)).mean(dim=0)
    assert np.abs(entropy.numpy() - golden["recal3r/code_row_entropy"][1]).max() < 1e-6
    theirs = golden["recal3r/logit_mean_per_state_token"][1]
    collector = EvidenceCollector(LOGITS)
    for layer in range(len(q)):
        collector.add(CrossKeys(q[layer : layer + 1], k[layer : layer + 1]))
    ours = collector.logit_means()["state_logits"][0]
    assert np.abs(ours.numpy() - theirs).max() < 1e-5


def test_entropy_equals_the_materialised_one():
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 7, 8), torch.randn(2, 3, 11, 8)
    logits = q @ k.mT / 8**0.5  # (batch, head, query, key)
    share = logits[..., 1:].softmax(dim=-1)
    entropy = -(share * share.log()).sum(dim=-1).mean(dim=1) / np.log(10)
    assert torch.allclose(query_entropy(CrossKeys(q, k)), entropy, atol=1e-5)


def test_entropy_runs_from_one_patch_to_all_alike():
    k = torch.eye(5)[None, None]
    all_alike = query_entropy(CrossKeys(torch.zeros(1, 1, 1, 5), k))
    one = query_entropy(CrossKeys(1000 * k[:, :, 2:3], k))
    single = query_entropy(CrossKeys(k[:, :, :1], k[:, :, :2]))  # a picture of one patch
    assert all_alike.item() == pytest.approx(1)
    assert one.item() == pytest.approx(0, abs=1e-6)
    assert single.item() == 0


def test_residual_is_relative():
    torch.manual_seed(0)
    before, after = torch.randn(2, 3, 5, 4)
    assert torch.allclose(
        image_residual(before, after), image_residual(7 * before, 7 * after), atol=1e-5
    )
    assert torch.allclose(image_residual(before, 0 * after), torch.ones(3), atol=1e-5)


def made_up_evidence(seed: int, batch: int = 3, *, state: int = 10, patch: int = 6) -> Evidence:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=draw)

    return Evidence(
        state=normal(state, 8),
        candidate=normal(state, 8),
        state_logit_mean=normal(state),
        image_logit_mean=normal(1 + patch),
        pair_logit_mean=normal(state, 1 + patch),
        state_entropy=normal(state).sigmoid(),
        image_features=normal(patch, 12),
        image_mean=normal(8),
        image_residual=normal().exp(),
    )


def entry_of(evidence: Evidence, number: int) -> Evidence:
    return Evidence(
        **{field: value[number : number + 1] for field, value in vars(evidence).items()}
    )


def updates(rule: UpdateRule, stream: Sequence[Evidence | None]) -> list[Update]:
    """What the rule says about each; None stands for a reset."""
    memory, out = rule.initial(), []
    for evidence in stream:
        if evidence is None:
            memory = rule.reset(memory)
        else:
            update, memory = rule.update(evidence, memory)
            out.append(update)
    return out


EVERY_RULE = pytest.mark.parametrize("rule", [make_rule(name) for name in RULES], ids=RULES)


@EVERY_RULE
def test_entries_of_a_batch_do_not_know_each_other(rule):
    stream = [None if seed == 4 else made_up_evidence(seed) for seed in range(8)]
    together = updates(rule, stream)
    for entry in range(3):
        alone = updates(rule, [one and entry_of(one, entry) for one in stream])
        for both, one in zip(together, alone, strict=True):
            assert torch.allclose(both.gain[entry], one.gain[0], atol=1e-6)
            assert (both.tokens is None) == (one.tokens is None)
            if both.tokens is not None and one.tokens is not None:
                assert torch.allclose(both.tokens[entry], one.tokens[0], atol=1e-5)


@EVERY_RULE
def test_gains_are_shares_and_a_standing_image_does_not_end_the_run(rule):
    still = made_up_evidence(0)
    still = replace(still, state=still.candidate)
    stream = [made_up_evidence(1), still, still, still, None, still, still]
    for update, evidence in zip(updates(rule, stream), filter(None, stream), strict=True):
        assert update.gain.shape == evidence.candidate.shape[:2]
        assert 0 <= update.gain.min() <= update.gain.max() <= 1  # False for NaN too
        assert accepted(evidence, update).isfinite().all()


@pytest.mark.parametrize("rule", [TTSA3R(), make_rule("memix-ttsa")], ids=str)
def test_an_image_of_another_size_counts_as_changed(rule):
    small, large = made_up_evidence(0), made_up_evidence(1, patch=9)
    _, after = updates(rule, [small, large])
    assert after.gain.isfinite().all()
    # Every patch at 1 - cos = 1: what a picture with all features at right angles gives.
    still = made_up_evidence(0, patch=9)
    features = torch.eye(12)[:9].expand(3, -1, -1)
    before = replace(still, candidate=small.candidate, image_features=features)
    turned = replace(large, image_features=features.roll(3, dims=-1))
    _, square = updates(rule, [before, turned])
    assert torch.allclose(after.gain, square.gain, atol=1e-6)


def test_filt3r_keeps_the_published_running_values(golden):
    rule = FILT3R(tau_q=1.0)
    memory: Filter | None = None
    for step, (evidence, *_) in enumerate(recorded_stream(golden, "filt3r-tau1", reset=False)):
        _, memory = rule.update(evidence, memory)
        if step:
            variance = golden["filt3r-tau1/code_variance_after"][step]
            assert np.abs(memory.variance[0].numpy() - variance).max() < 1e-5
            assert memory.usual_change is not None
            usual = golden["filt3r-tau1/code_delta_ema"][step]
            assert relative_error(memory.usual_change[0], usual) < 1e-5


@pytest.mark.parametrize(("state", "count"), [(24, 22), (30, 28), (768, 708), (96, 88)])
def test_memix_writes_its_share_of_any_state(state, count):
    evidence = made_up_evidence(0, state=state)
    assert written(evidence, MeMixCut().share).sum(dim=1).tolist() == [count] * 3
    assert written(evidence, 1.0).min() == 1
    assert written(evidence, 0.0).max() == 0


def test_memix_writes_the_tokens_least_like_the_image():
    evidence = made_up_evidence(0, batch=1)
    assert evidence.image_mean is not None
    alike = (evidence.candidate @ evidence.image_mean[0])[0]
    mask = written(evidence, 0.3)[0].bool()
    assert alike[mask].max() < alike[~mask].min()


def test_multiplier_and_temperature_of_ttt3r():
    evidence = replace(made_up_evidence(0), state_logit_mean=torch.tensor([[-2.0, 0.0, 2.0]]))

    def gain(rule: TTT3R) -> list[float]:
        return rule.update(evidence, False)[0].gain[0].tolist()

    plain = torch.tensor([-2.0, 0.0, 2.0]).sigmoid()
    assert gain(TTT3R()) == pytest.approx(plain.tolist())
    assert gain(TTT3R(multiplier=0.5)) == pytest.approx((plain / 2).tolist())
    assert gain(TTT3R(multiplier=2.0)) == pytest.approx([2 * plain[0].item(), 1, 1])
    warm = torch.tensor([-1.0, 0.0, 1.0]).sigmoid()
    assert gain(TTT3R(temperature=2.0)) == pytest.approx(warm.tolist())
    first = TTT3R(multiplier=0.5).update(evidence, True)[0].gain
    assert first.unique().tolist() == [1]


def test_the_orthogonal_gain_is_the_nearest_scalar():
    stream = [made_up_evidence(seed) for seed in range(3)]
    results = updates(make_rule("ddd3r-ortho"), stream)
    assert results[0].tokens is None
    for update, evidence in zip(results[1:], stream[1:], strict=True):
        assert update.tokens is not None
        step = update.tokens - evidence.state
        change, gain = evidence.candidate - evidence.state, update.gain[..., None]
        miss, *others = ((step - (gain + by) * change).norm(dim=-1) for by in (0, 1e-3, -1e-3))
        assert all((miss <= other).all() for other in others)
