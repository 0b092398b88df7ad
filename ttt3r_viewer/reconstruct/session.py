"""Network + rule + state: pictures in, numpy out. No threads; view, run, tests and scripts share
it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.frames.preprocess import prepare_image
from ttt3r_viewer.geometry import focal_from_points, pose_from_vector
from ttt3r_viewer.model.encoder import ImageTokens
from ttt3r_viewer.model.load import is_out_of_memory
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.rules.rule import RuleState, UpdateRule
from ttt3r_viewer.state import Proposal, TokenState
from ttt3r_viewer.types import Camera, Frame, FrameResult, Status


def _numpy(batch: Tensor | None) -> NDArray[np.float32]:
    """The only entry of a batch, as float32 on the host."""
    assert batch is not None
    return batch[0].float().cpu().numpy()


@dataclass(eq=False)
class _Lane:
    """What changes from frame to frame."""

    state: TokenState
    rule_state: RuleState
    T_world_segment: NDArray[np.float64]
    """(4, 4) where the first camera since the last reset is."""
    segment: int = 0
    frames: int = 0


class Session:
    """One reconstruction under one rule.

    `size` is the long side in pixels that pictures are prepared to (default: the network's own).
    `reset_every` n > 0 puts the state back to its start after every n-th frame, and chains the
    poses.
    """

    def __init__(
        self,
        network: ReconstructionNetwork,
        rule: UpdateRule,
        *,
        size: int | None = None,
        reset_every: int = 0,
    ) -> None:
        if reset_every < 0:
            raise ReconstructionError(
                f"a reset every {reset_every} frames: take 0 for never, or more"
            )
        self.network = network
        self.rule = rule
        self.size = size or network.config.long_side
        self.reset_every = reset_every
        self.restart()

    @torch.inference_mode()
    def restart(self) -> None:
        """Forget everything that was seen."""
        self._lane = _Lane(self.network.initial_state(), self.rule.initial(), np.eye(4))

    def describe(self, status: Status) -> Status:
        """The same status with this session's rule and device."""
        dtype = str(self.network.dtype).removeprefix("torch.")
        return replace(status, rule=str(self.rule), device=f"{self.network.device} {dtype}")

    def process(self, image: NDArray[np.uint8] | Frame) -> FrameResult:
        """Take the next picture, (height, width, 3) uint8 RGB of any size, or a `Frame`.

        Raises `FrameError` where the picture cannot be prepared (the state is as before), and
        `ReconstructionError` where memory runs out or the network's camera is not finite.
        """
        frame = image if isinstance(image, Frame) else self._unnamed(image)
        started = time.perf_counter()
        picture = prepare_image(frame.image, self.size, self.network.config.patch_size)
        lane = self._lane
        with torch.inference_mode(), self._telling_of_memory(picture.image):
            proposal, gain, T_world_camera = self._step(picture.image)
            points_camera = _numpy(proposal.prediction.points_self)
            confidence = _numpy(proposal.prediction.confidence_self)
            sequence, segment = lane.frames, lane.segment
            lane.frames += 1
            if self.reset_every and lane.frames % self.reset_every == 0:
                self._reset(picture.image, T_world_camera)
        height, width = picture.image.shape[:2]
        return FrameResult(
            sequence=sequence,
            index=frame.index,
            time_sec=frame.time_sec,
            name=frame.name,
            image=picture.image,
            crop=picture.crop,
            points_camera=points_camera,
            confidence=confidence,
            camera=Camera(T_world_camera, focal_from_points(points_camera), width, height),
            gain=_numpy(gain),
            segment=segment,
            compute_sec=time.perf_counter() - started,
        )

    @contextmanager
    def _telling_of_memory(self, prepared: NDArray[np.uint8]) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ReconstructionError(
                f"out of memory on {self.network.device} at "
                f"{prepared.shape[1]}x{prepared.shape[0]} pixels: lower --size "
                f"(now {self.size}), or take --device cpu"
            ) from error

    def _unnamed(self, image: NDArray[np.uint8]) -> Frame:
        number = self._lane.frames
        return Frame(index=number, time_sec=float(number), name=f"frame {number}", image=image)

    def _encode(self, prepared: NDArray[np.uint8]) -> ImageTokens:
        picture = torch.from_numpy(prepared).to(self.network.device)
        return self.network.encode(picture.permute(2, 0, 1)[None].float() / 127.5 - 1)

    def _step(self, prepared: NDArray[np.uint8]) -> tuple[Proposal, Tensor, NDArray[np.float64]]:
        """Propose, ask the rule, accept: the only place where the state goes on."""
        lane = self._lane
        proposal = self.network.propose(
            lane.state, self._encode(prepared), evidence=self.rule.needs
        )
        pose = proposal.prediction.pose[0].cpu().numpy()
        if not np.isfinite(pose).all():
            raise ReconstructionError(
                f"the network gave a camera that is not finite at frame {lane.frames}: "
                "try --dtype float32, or other weights"
            )
        gain, lane.rule_state = self.rule.update(proposal.evidence, lane.rule_state)
        lane.state = lane.state.accept(proposal, gain)
        return proposal, gain, lane.T_world_segment @ pose_from_vector(pose)

    def _reset(self, prepared: NDArray[np.uint8], T_world_camera: NDArray[np.float64]) -> None:
        """Start anew and see the same picture as a first one: its camera is the new world."""
        lane = self._lane
        lane.state = self.network.initial_state()
        lane.rule_state = self.rule.reset(lane.rule_state)
        lane.T_world_segment = T_world_camera
        lane.segment += 1
        self._step(prepared)
