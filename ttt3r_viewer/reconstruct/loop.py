"""One step of the recurrent loop as a pure function: what was, and a picture, give what is.

Several rules run as lanes: the batch of the state. Nothing here is changed in place, so that any
moment of a run can be kept, and gone on from again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.model.decoder import Watch
from ttt3r_viewer.model.encoder import ImageTokens
from ttt3r_viewer.model.network import NO_EVIDENCE, ReconstructionNetwork
from ttt3r_viewer.reconstruct.device import as_numpy
from ttt3r_viewer.rules.rule import RuleState, UpdateRule
from ttt3r_viewer.state import EvidenceKind, Proposal, TokenState, Update

Noun = TypeVar("Noun")
Propose = Callable[..., Proposal]
"""`ReconstructionNetwork.propose`, or compiled code that does the same."""


@dataclass(frozen=True, eq=False)
class Moment:
    """Everything that the loop remembers between two frames."""

    state: TokenState
    """All lanes in one batch."""
    rule_states: tuple[RuleState, ...]
    """One per lane."""
    T_world_segment: tuple[NDArray[np.float64], ...]
    """(4, 4) per lane: where the first camera since the last reset is."""
    frames: int = 0
    """Frames seen since the run began."""
    since_reset: int = 0
    segment: int = 0
    """Resets so far."""


@dataclass(frozen=True, eq=False)
class Taken:
    """What the loop made of one frame, all lanes in one batch."""

    proposal: Proposal
    updates: tuple[Update, ...]
    """What each lane's rule decided."""
    after: TokenState
    T_world_camera: tuple[NDArray[np.float64], ...]
    """(4, 4) per lane."""
    next: Moment
    """Where the run goes on: `after`, or the start again where a reset is due."""


def of_lane(noun: Noun, lane: int) -> Noun:
    """The part of a batch of lanes that belongs to one of them, as a batch of one."""

    def part(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[lane : lane + 1]
        if is_dataclass(value) and not isinstance(value, type):
            parts = {one.name: part(getattr(value, one.name)) for one in fields(value)}
            return replace(value, **parts)
        return value

    return part(noun)


def beginning(network: ReconstructionNetwork, rules: tuple[UpdateRule, ...]) -> Moment:
    """The moment before the first frame."""
    return Moment(
        state=network.initial_state(len(rules)),
        rule_states=tuple(rule.initial() for rule in rules),
        T_world_segment=(np.eye(4),) * len(rules),
    )


def encode(
    network: ReconstructionNetwork, prepared: Sequence[NDArray[np.uint8]]
) -> list[ImageTokens]:
    """Encode prepared pictures (height, width, 3) of one shape at once; one batch of one each."""
    pictures = torch.from_numpy(np.stack(prepared)).to(network.device)
    together = network.encode(pictures.permute(0, 3, 1, 2).float() / 127.5 - 1)
    return [replace(together, tokens=tokens) for tokens in together.tokens.split(1)]


def take(
    network: ReconstructionNetwork,
    rules: tuple[UpdateRule, ...],
    reset_every: int,
    moment: Moment,
    image: ImageTokens,
    *,
    evidence: Set[EvidenceKind] = NO_EVIDENCE,
    watch: Watch | None = None,
    propose: Propose | None = None,
) -> Taken:
    """Take one frame, whose tokens (a batch of one) every lane reads; every `reset_every` n > 0
    frames the state starts anew.

    After a reset the same picture is seen as a first one, and its camera is the new world.
    `evidence` is computed beside what the rules need, and `watch` is shown each layer's attention.
    `propose` stands for the network's own where it is given. Raises `ReconstructionError` where a
    camera is not finite.
    """
    image = replace(image, tokens=image.tokens.expand(len(rules), -1, -1))
    propose = propose or network.propose
    proposal, updates, after, rule_states = _step(
        propose, rules, moment.state, moment.rule_states, image, evidence, watch
    )
    poses = as_numpy(proposal.prediction.pose)
    if not np.isfinite(poses).all():
        raise ReconstructionError(
            f"the network gave a camera that is not finite at frame {moment.frames}: "
            "try --dtype float32, or other weights"
        )
    T_world_camera = tuple(
        T_world_segment @ pose_from_vector(pose)
        for T_world_segment, pose in zip(moment.T_world_segment, poses, strict=True)
    )
    following = replace(
        moment,
        state=after,
        rule_states=rule_states,
        frames=moment.frames + 1,
        since_reset=moment.since_reset + 1,
    )
    if 0 < reset_every <= following.since_reset:
        fresh = network.initial_state(len(rules))
        cleared = tuple(
            rule.reset(rule_state) for rule, rule_state in zip(rules, rule_states, strict=True)
        )
        _, _, anchored, rule_states = _step(propose, rules, fresh, cleared, image)
        following = replace(
            following,
            state=anchored,
            rule_states=rule_states,
            T_world_segment=T_world_camera,
            since_reset=0,
            segment=moment.segment + 1,
        )
    return Taken(proposal, updates, after, T_world_camera, following)


def _step(
    propose: Propose,
    rules: tuple[UpdateRule, ...],
    state: TokenState,
    rule_states: tuple[RuleState, ...],
    image: ImageTokens,
    evidence: Set[EvidenceKind] = NO_EVIDENCE,
    watch: Watch | None = None,
) -> tuple[Proposal, tuple[Update, ...], TokenState, tuple[RuleState, ...]]:
    """Propose, ask the rules, accept: the only place where a state goes on."""
    needs = frozenset(evidence).union(*(rule.needs for rule in rules))
    proposal = propose(state, image, evidence=needs, watch=watch)
    updates, states, remembered = [], [], []
    for lane, (rule, rule_state) in enumerate(zip(rules, rule_states, strict=True)):
        own = of_lane(proposal, lane)
        update, rule_state = rule.update(own.evidence, rule_state)
        updates.append(update)
        states.append(of_lane(state, lane).accept(own, update).tokens)
        remembered.append(rule_state)
    after = TokenState(torch.cat(states), proposal.memory, fresh=False)
    return proposal, tuple(updates), after, tuple(remembered)
