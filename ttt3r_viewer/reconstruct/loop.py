"""One step of the recurrent loop as a pure function: (state, image) -> the next state.

Several rules run as lanes: the batch of the state. Nothing here is changed in place, so that any
state of a run can be kept, and continued from later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ttt3r_viewer.errors import FrameError, ReconstructionError, RuleError, ViewerError
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.model.evidence import Watch
from ttt3r_viewer.model.heads import OutputKind
from ttt3r_viewer.model.layers import ImageTokens
from ttt3r_viewer.model.network import NO_EVIDENCE, SELF_VIEW, ReconstructionNetwork
from ttt3r_viewer.reconstruct.device import all_as_numpy, on_device
from ttt3r_viewer.rules.rule import RuleState, UpdateRule
from ttt3r_viewer.state import EvidenceKind, Prediction, Proposal, TokenState, Update
from ttt3r_viewer.system.machine import is_out_of_memory
from ttt3r_viewer.types import labels_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, UInt8

MOST_BAD = 3
"""So many frames in a row whose numbers are not finite put the state back to its start."""
Noun = TypeVar("Noun")
Result = TypeVar("Result")
Propose = Callable[..., Proposal]
"""`ReconstructionNetwork.propose`, or compiled code that does the same."""


@dataclass(frozen=True, eq=False)
class LoopState:
    """Everything that the loop remembers between two frames."""

    state: TokenState
    """All lanes in one batch."""
    rule_states: tuple[RuleState, ...]
    """One per lane."""
    T_world_segment: tuple[Float64[np.ndarray, "4 4"], ...]
    """Per lane where the first camera since the last reset is."""
    frames: int = 0
    """Frames seen since the run began."""
    since_reset: int = 0
    segment: int = 0
    """Resets so far."""
    T_world_latest: tuple[Float64[np.ndarray, "4 4"], ...] = ()
    """Per lane the camera of the latest frame; of none yet, `T_world_segment`."""
    bad: int = 0
    """Frames since that one whose numbers were not finite."""


class Maps(NamedTuple):
    """What users see of one frame, on the host, float32; of each lane."""

    gain: Float32[np.ndarray, "lane state"]
    state_change: Float32[np.ndarray, " lane"]
    """|after - before| / |before| of the whole state."""
    points_camera: Float32[np.ndarray, "lane height width 3"] | None = None
    confidence: Float32[np.ndarray, "lane height width"] | None = None
    """Both None where they were not asked for."""


@dataclass(frozen=True, eq=False)
class StepResult:
    """What the loop made of one frame, all lanes in one batch."""

    proposal: Proposal
    updates: tuple[Update, ...]
    """What each lane's rule decided."""
    after: TokenState
    next: LoopState
    """Where the run continues: `after`, or a reset state where a reset is due; has the cameras."""
    maps: Maps


def select_lane(noun: Noun, lane: int) -> Noun:
    """The part of a batch of lanes that belongs to one of them, as a batch of one."""

    def part(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[lane : lane + 1]
        if is_dataclass(value) and not isinstance(value, type):
            parts = {one.name: part(getattr(value, one.name)) for one in fields(value)}
            return replace(value, **parts)
        return value

    return part(noun)


def initial_state(network: ReconstructionNetwork, rules: tuple[UpdateRule, ...]) -> LoopState:
    """The state before the first frame. Raises `RuleError` where a rule fails."""
    return LoopState(
        state=network.initial_state(len(rules)),
        rule_states=_of_each(rules, 0, lambda _, rule: rule.initial()),
        T_world_segment=(np.eye(4),) * len(rules),
        T_world_latest=(np.eye(4),) * len(rules),
    )


def skip_frame(
    network: ReconstructionNetwork, rules: tuple[UpdateRule, ...], before: LoopState
) -> LoopState:
    """The state after a frame that `step` refused: the one before, for all lanes, so that they
    stay in step; after `MOST_BAD` in a row, a new start.

    Raises `ReconstructionError` where so many are all that there was: then nothing was ever good.
    """
    bad = before.bad + 1
    if bad < MOST_BAD:
        return replace(before, bad=bad)
    if not before.frames:
        raise ReconstructionError(
            f"the network gave numbers that are not finite for its first {bad} frames: "
            "try --dtype float32, or other weights"
        )
    return reset_state(network, rules, before)


def reset_state(
    network: ReconstructionNetwork, rules: tuple[UpdateRule, ...], before: LoopState
) -> LoopState:
    """Every state at its start, and a new segment that begins at the latest camera."""
    return replace(
        before,
        state=network.initial_state(len(rules)),
        rule_states=_of_each(
            rules, before.frames, lambda lane, rule: rule.reset(before.rule_states[lane])
        ),
        T_world_segment=before.T_world_latest,
        since_reset=0,
        segment=before.segment + 1,
        bad=0,
    )


def encode(
    network: ReconstructionNetwork,
    prepared: Sequence[UInt8[np.ndarray, "height width 3"]],
    tokens_of: Callable[[Tensor], ImageTokens] | None = None,
) -> list[ImageTokens]:
    """Encode prepared images of one shape at once; one batch of one each.

    `tokens_of` stands for the network's own `encode` where it is given.
    """
    images = on_device(np.stack(prepared), network.device)
    together = (tokens_of or network.encode)(images.permute(0, 3, 1, 2).float() / 127.5 - 1)
    return [replace(together, tokens=tokens) for tokens in together.tokens.split(1)]


def step(
    network: ReconstructionNetwork,
    rules: tuple[UpdateRule, ...],
    reset_every: int,
    before: LoopState,
    image: ImageTokens,
    *,
    outputs: Set[OutputKind] = SELF_VIEW,
    evidence: Set[EvidenceKind] = NO_EVIDENCE,
    watch: Watch | None = None,
    propose: Propose | None = None,
) -> StepResult:
    """Take one frame, whose tokens (a batch of one) every lane reads; every `reset_every` n > 0
    frames the state starts again.

    After a reset the same image is seen as a first one, and its camera is the new world. Dense maps
    are those of `outputs`; `evidence` is computed beside what the rules need, and `watch` is shown
    each layer's attention. `propose` stands for the network's own where it is given. The host waits
    for the device once. Raises `FrameError` where the numbers of a lane are not finite (see
    `skip_frame`), and `RuleError` where a rule fails.
    """
    propose = propose or network.propose
    proposal, updates, accepted = _propose_and_accept(
        partial(propose, outputs=outputs, watch=watch), rules, before, image, evidence
    )
    prediction, since_reset = proposal.prediction, before.since_reset + 1
    checks = _are_finite(prediction, accepted.state)
    following = replace(accepted, since_reset=since_reset, bad=0)
    if 0 < reset_every <= since_reset:
        fresh = reset_state(network, rules, following)
        first = partial(propose, outputs=frozenset())
        again, _, following = _propose_and_accept(first, rules, fresh, image)
        checks |= _are_finite(again.prediction, following.state, " after its reset")
    tokens, change = before.state.tokens.flatten(1), accepted.state.tokens.flatten(1)
    finite, poses, *maps = all_as_numpy(
        torch.stack(list(checks.values())),
        prediction.pose,
        torch.cat([update.gain for update in updates]),
        (change - tokens).norm(dim=1) / tokens.norm(dim=1),
        *(one for one in (prediction.points_self, prediction.confidence_self) if one is not None),
    )
    _refuse_what_is_not_finite(rules, dict(zip(checks, finite, strict=True)))
    T_world_camera = tuple(
        T_world_segment @ pose_from_vector(pose)
        for T_world_segment, pose in zip(before.T_world_segment, poses, strict=True)
    )
    following = replace(following, T_world_latest=T_world_camera, frames=before.frames + 1)
    if following.segment > before.segment:
        following = replace(following, T_world_segment=T_world_camera)
    return StepResult(proposal, updates, accepted.state, following, Maps(*maps))


def _propose_and_accept(
    propose: Propose,
    rules: tuple[UpdateRule, ...],
    before: LoopState,
    image: ImageTokens,
    evidence: Set[EvidenceKind] = NO_EVIDENCE,
) -> tuple[Proposal, tuple[Update, ...], LoopState]:
    """Propose, ask the rules, accept: the only place where a state is updated."""
    needs = frozenset(evidence).union(*(rule.needs for rule in rules))
    proposal = propose(before.state, image, evidence=needs)

    def accept(lane: int, rule: UpdateRule) -> tuple[Update, Tensor, RuleState]:
        own = select_lane(proposal, lane)
        state = select_lane(before.state, lane)
        update, rule_state = rule.update(own.evidence, before.rule_states[lane])
        accepted = state.accept(own, update).tokens
        shape = tuple(state.tokens.shape)
        if accepted.shape != shape or update.gain.shape != shape[:2]:
            raise ValueError(
                f"it gave a gain of {tuple(update.gain.shape)} and a state of "
                f"{tuple(accepted.shape)}, wanted {shape[:2]} and {shape}"
            )
        return update, accepted, rule_state

    updates, states, remembered = zip(*_of_each(rules, before.frames, accept), strict=True)
    after = TokenState(torch.cat(states), proposal.memory, fresh=False)
    return proposal, updates, replace(before, state=after, rule_states=remembered)


def _of_each(
    rules: tuple[UpdateRule, ...], number: int, ask: Callable[[int, UpdateRule], Result]
) -> tuple[Result, ...]:
    """What every lane's rule tells; an error names lane and frame."""
    results = []
    for lane, rule in enumerate(rules):
        try:
            results.append(ask(lane, rule))
        except ViewerError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise RuleError(
                f"the rule of lane {_label(rules, lane)} failed at frame {number} "
                f"({type(error).__name__}: {error}): choose another rule, or fix it"
            ) from error
    return tuple(results)


def _are_finite(
    prediction: Prediction, state: TokenState, when: str = ""
) -> dict[str, Bool[Tensor, " lane"]]:
    """Whether each lane's camera and state are finite, and any of its points is; by name."""
    finite = {
        f"camera{when}": _all_finite(prediction.pose),
        f"state{when}": _all_finite(state.tokens) & _all_finite(state.memory),
    }
    if prediction.points_self is not None:
        # A point far away may well be infinite; a map of nothing else is none.
        finite["points"] = prediction.points_self.isfinite().flatten(1).any(dim=1)
    return finite


def _refuse_what_is_not_finite(
    rules: tuple[UpdateRule, ...], finite: Mapping[str, Float32[np.ndarray, " lane"]]
) -> None:
    """Raise `FrameError` where a lane fails one of the checks."""
    for what, lanes in finite.items():
        if not lanes.all():
            lane = int(lanes.argmin())
            of = f"lane {_label(rules, lane)}" if len(rules) > 1 else "this frame"
            raise FrameError(f"the {what} of {of} came out infinite or not a number")


def _label(rules: tuple[UpdateRule, ...], lane: int) -> str:
    return labels_of([str(rule) for rule in rules])[lane]


def _all_finite(lanes: Float[Tensor, "lane ..."]) -> Bool[Tensor, " lane"]:
    return lanes.isfinite().flatten(1).all(dim=1)
