"""The loop for several rules at once: one network, one stream of pictures, a state for each rule.

Network + rules + states: pictures in, numpy out. No threads; view, run, tests and scripts share it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt3r_viewer.errors import ReconstructionError, RuleError
from ttt3r_viewer.frames.preprocess import prepare_image
from ttt3r_viewer.geometry import focal_from_points, pose_from_vector
from ttt3r_viewer.model.encoder import ImageTokens
from ttt3r_viewer.model.load import is_out_of_memory
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.commands import Adjustment, SetParameter, SetResetEvery, SetRules
from ttt3r_viewer.rules.registry import catalogue, describe, rule_from_text
from ttt3r_viewer.rules.rule import RuleState, UpdateRule
from ttt3r_viewer.state import EvidenceKind, Proposal, TokenState
from ttt3r_viewer.types import Camera, Frame, FrameResult, Status

MOST_LANES = 4
Noun = TypeVar("Noun")


def _numpy(values: Tensor | None) -> NDArray[np.float32]:
    """As float32 on the host."""
    assert values is not None
    return values.float().cpu().numpy()


def _of_lane(noun: Noun, lane: int) -> Noun:
    """The part of a batch of lanes that belongs to one of them, as a batch of one."""

    def part(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[lane : lane + 1]
        if is_dataclass(value) and not isinstance(value, type):
            parts = {one.name: part(getattr(value, one.name)) for one in fields(value)}
            return replace(value, **parts)
        return value

    return part(noun)


@dataclass(eq=False)
class _Lane:
    """What one rule remembers from frame to frame, beside its row of the batched state."""

    rule: UpdateRule
    rule_state: RuleState
    T_world_segment: NDArray[np.float64]
    """(4, 4) where the first camera since the last reset is."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a step gave, all lanes in one batch."""

    proposal: Proposal
    gain: Tensor
    """(lane, state)"""
    state_change: NDArray[np.float32]
    """(lane,)"""
    T_world_camera: list[NDArray[np.float64]]


class Lanes:
    """One to four reconstructions of the same pictures, each under a rule of its own.

    The encoder runs once for all, the decoder once with the lanes as its batch; what a lane gives
    is what it would give alone, to rounding. `size` is the long side in pixels that pictures are
    prepared to (default: the network's own). `reset_every` n > 0 puts every state back to its start
    after n frames, and chains the poses.
    """

    def __init__(
        self,
        network: ReconstructionNetwork,
        rules: Sequence[UpdateRule],
        *,
        size: int | None = None,
        reset_every: int = 0,
    ) -> None:
        self.network = network
        self.size = size or network.config.long_side
        self.reset_every = _checked_interval(reset_every)
        self.rules = _checked_count(tuple(rules))
        self.restart()

    @torch.inference_mode()
    def restart(self) -> None:
        """Forget everything that was seen; rules and parameters stay as they are now."""
        self._lanes = [_Lane(rule, rule.initial(), np.eye(4)) for rule in self.rules]
        self._state = self.network.initial_state(len(self._lanes))
        self._frames = 0
        self._since_reset = 0
        self._segment = 0

    def describe(self, status: Status) -> Status:
        """The same status with these rules, what they could be, and the device."""
        dtype = str(self.network.dtype).removeprefix("torch.")
        return replace(
            status,
            rule=", ".join(map(str, self.rules)),
            lanes=tuple(map(describe, self.rules)),
            known_rules=catalogue(),
            reset_every=self.reset_every,
            device=f"{self.network.device} {dtype}",
        )

    def adjust(self, command: Adjustment) -> None:
        """Change a parameter or the reset interval from the next frame on, or the lanes themselves.

        Other lanes want a `restart`. Raises `RuleError` or `ReconstructionError`; everything is
        then as before.
        """
        match command:
            case SetParameter(lane, name, value):
                self._set_parameter(lane, name, value)
            case SetResetEvery(frames):
                self.reset_every = _checked_interval(frames)
            case SetRules(texts):
                self.rules = _checked_count(tuple(map(rule_from_text, texts)))
            case _:
                assert_never(command)

    def process(self, image: NDArray[np.uint8] | Frame) -> tuple[FrameResult, ...]:
        """Take the next picture, (height, width, 3) uint8 RGB of any size, or a `Frame`; one result
        per lane.

        Raises `FrameError` where the picture cannot be prepared (the states are as before), and
        `ReconstructionError` where memory runs out or a camera of the network's is not finite.
        """
        frame = image if isinstance(image, Frame) else self._unnamed(image)
        started = time.perf_counter()
        picture = prepare_image(frame.image, self.size, self.network.config.patch_size)
        segment, sequence = self._segment, self._frames
        with torch.inference_mode(), self._telling_of_memory(picture.image):
            tokens = self._encode(picture.image)
            seen = self._step(tokens)
            points_camera = _numpy(seen.proposal.prediction.points_self)
            confidence = _numpy(seen.proposal.prediction.confidence_self)
            gain = _numpy(seen.gain)
            self._frames += 1
            self._since_reset += 1
            if 0 < self.reset_every <= self._since_reset:
                self._reset(tokens, seen.T_world_camera)
        height, width = picture.image.shape[:2]
        cameras = [
            Camera(T_world_camera, focal_from_points(points), width, height)
            for T_world_camera, points in zip(seen.T_world_camera, points_camera, strict=True)
        ]
        compute_sec = time.perf_counter() - started
        return tuple(
            FrameResult(
                sequence=sequence,
                index=frame.index,
                time_sec=frame.time_sec,
                name=frame.name,
                image=picture.image,
                crop=picture.crop,
                points_camera=points_camera[number],
                confidence=confidence[number],
                camera=cameras[number],
                gain=gain[number],
                segment=segment,
                compute_sec=compute_sec,
                state_change=float(seen.state_change[number]),
                rule=str(lane.rule),
                reset_every=self.reset_every,
            )
            for number, lane in enumerate(self._lanes)
        )

    def _set_parameter(self, lane: int, name: str, value: float) -> None:
        if not 0 <= lane < len(self.rules):
            raise RuleError(f"lane {lane + 1}: there are {len(self.rules)}")
        info = describe(self.rules[lane])
        known = {one.name: one for one in info.parameters}
        if name not in known:
            raise RuleError(
                f"rule {info.name} has no {name!r}; it has {', '.join(known) or 'no parameters'}"
            )
        wanted = round(value) if known[name].whole else value
        rule = replace(self.rules[lane], **{name: wanted})  # pyright: ignore[reportArgumentType]
        self.rules = (*self.rules[:lane], rule, *self.rules[lane + 1 :])
        if lane < len(self._lanes):
            self._lanes[lane].rule = rule

    @contextmanager
    def _telling_of_memory(self, prepared: NDArray[np.uint8]) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            fewer = "take fewer lanes, " if len(self._lanes) > 1 else ""
            raise ReconstructionError(
                f"out of memory on {self.network.device} at "
                f"{prepared.shape[1]}x{prepared.shape[0]} pixels: lower --size "
                f"(now {self.size}), {fewer}or take --device cpu"
            ) from error

    def _unnamed(self, image: NDArray[np.uint8]) -> Frame:
        number = self._frames
        return Frame(index=number, time_sec=float(number), name=f"frame {number}", image=image)

    def _encode(self, prepared: NDArray[np.uint8]) -> ImageTokens:
        """Encode once, and let every lane read the same tokens."""
        picture = torch.from_numpy(prepared).to(self.network.device)
        one = self.network.encode(picture.permute(2, 0, 1)[None].float() / 127.5 - 1)
        return replace(one, tokens=one.tokens.expand(len(self._lanes), -1, -1))

    def _step(self, tokens: ImageTokens) -> _Seen:
        """Propose, ask the rules, accept: the only place where the states go on."""
        needs = frozenset[EvidenceKind]().union(*(lane.rule.needs for lane in self._lanes))
        proposal = self.network.propose(self._state, tokens, evidence=needs)
        poses = _numpy(proposal.prediction.pose)
        if not np.isfinite(poses).all():
            raise ReconstructionError(
                f"the network gave a camera that is not finite at frame {self._frames}: "
                "try --dtype float32, or other weights"
            )
        gains, states = [], []
        for number, lane in enumerate(self._lanes):
            own = _of_lane(proposal, number)
            update, lane.rule_state = lane.rule.update(own.evidence, lane.rule_state)
            gains.append(update.gain)
            states.append(_of_lane(self._state, number).accept(own, update).tokens)
        before = self._state.tokens
        self._state = TokenState(torch.cat(states), proposal.memory, fresh=False)
        change = (self._state.tokens - before).flatten(1).norm(dim=1) / before.flatten(1).norm(
            dim=1
        )
        cameras = [
            lane.T_world_segment @ pose_from_vector(pose)
            for lane, pose in zip(self._lanes, poses, strict=True)
        ]
        return _Seen(proposal, torch.cat(gains), _numpy(change), cameras)

    def _reset(self, tokens: ImageTokens, T_world_camera: list[NDArray[np.float64]]) -> None:
        """Start anew and see the same picture as a first one: its camera is the new world."""
        self._state = self.network.initial_state(len(self._lanes))
        for lane, T_world_segment in zip(self._lanes, T_world_camera, strict=True):
            lane.rule_state = lane.rule.reset(lane.rule_state)
            lane.T_world_segment = T_world_segment
        self._segment += 1
        self._since_reset = 0
        self._step(tokens)


def _checked_interval(reset_every: int) -> int:
    if reset_every < 0:
        raise ReconstructionError(f"a reset every {reset_every} frames: take 0 for never, or more")
    return reset_every


def _checked_count(rules: tuple[UpdateRule, ...]) -> tuple[UpdateRule, ...]:
    if not 1 <= len(rules) <= MOST_LANES:
        raise RuleError(f"{len(rules)} lanes: take 1 to {MOST_LANES}")
    return rules
