"""Queries about the loop's state: a frame is replayed and inspected, or an unseen camera asked for.

Nothing here changes a state.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ttt3r_viewer.geometry import invert_pose, ray_map
from ttt3r_viewer.model.heads import OutputKind
from ttt3r_viewer.model.layers import CrossKeys, ImageTokens
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.device import all_as_numpy, as_numpy
from ttt3r_viewer.reconstruct.history import FrameHistory
from ttt3r_viewer.reconstruct.loop import (
    LoopState,
    StepResult,
    encode,
    reset_state,
    select_lane,
    step,
)
from ttt3r_viewer.state import EvidenceKind
from ttt3r_viewer.types import Camera, Expectation, Inspection

INSPECTED: frozenset[EvidenceKind] = frozenset(("state_logits", "image_logits"))
EXPECTED: frozenset[OutputKind] = frozenset(("self", "rgb"))


def mean_attention(keys: CrossKeys, lane: int) -> NDArray[np.float16]:
    """Return one lane's softmax(q k / sqrt(head_dim)) (query, key), mean over heads in turn."""
    own = select_lane(keys, lane)
    heads = own.q.shape[1]
    total = own.q.new_zeros((own.q.shape[2], own.k.shape[2]), dtype=torch.float32)
    for head in range(heads):
        q, k = own.q[0, head].float(), own.k[0, head].float()
        total += (q @ k.mT * own.scale).softmax(dim=-1)
    return (total / heads).cpu().numpy().astype(np.float16)


@torch.inference_mode()
def inspect(
    network: ReconstructionNetwork,
    history: FrameHistory,
    lane: int,
    number: int,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> Inspection:
    """Replay frame `number` from the nearest kept state, and record what one lane did in its step.

    `on_progress` is given how many of how many frames are done. Raises `ReconstructionError` where
    the frame is no longer kept.
    """

    def replay(
        frame: int, state: LoopState, **watching: Any
    ) -> tuple[LoopState, ImageTokens, StepResult]:
        (tokens,) = encode(network, [history.image(frame)])
        rules, reset_every, segment = history.settings[frame]
        while state.segment < segment:  # skipped frames caused resets, which no history keeps
            state = reset_state(network, rules, state)
        return (
            state,
            tokens,
            step(network, rules, reset_every, state, tokens, outputs=frozenset(), **watching),
        )

    state, path = history.path_to(number)
    for done, earlier in enumerate(path[:-1]):
        if on_progress is not None:
            on_progress(done, len(path))
        state = replay(earlier, state)[-1].next
        history.offer(state)
    writes, reads = [], []

    def watch(state_keys: CrossKeys, image_keys: CrossKeys) -> None:
        writes.append(mean_attention(state_keys, lane))
        reads.append(mean_attention(image_keys, lane))

    state, tokens, result = replay(number, state, evidence=INSPECTED, watch=watch)
    evidence = select_lane(result.proposal.evidence, lane)
    before, after = state.state.tokens[lane], result.after.tokens[lane]
    start = network.initial_state().tokens[0]
    return Inspection(
        epoch=0,
        lane=lane,
        sequence=number,
        rows=tokens.rows,
        columns=tokens.columns,
        state_columns=network.config.state_columns,
        gain=as_numpy(result.updates[lane].gain[0]),
        state_logit=as_numpy(evidence.state_logit_mean)[0],
        state_change=as_numpy((after - before).norm(dim=-1)),
        from_start=as_numpy((after - start).norm(dim=-1)),
        patch_logit=as_numpy(evidence.image_logit_mean)[0, 1:],
        writes=np.stack(writes),
        reads=np.stack(reads),
        frames_replayed=len(path) - 1,
    )


@torch.inference_mode()
def ask(
    network: ReconstructionNetwork,
    state: LoopState,
    T_world_camera: NDArray[np.float64],
    fov_y_rad: float,
    size: tuple[int, ...],
) -> tuple[Expectation, ...]:
    """Return what each lane's state expects a camera to see, in images of `size` (height, width).

    The camera is in the world that the lanes share, with its principal point in the middle. A state
    knows no world but the frame of the first camera since its last reset, which differs by lane:
    the camera is moved there.
    """
    height, width = size
    camera = Camera(T_world_camera, height / 2 / math.tan(fov_y_rad / 2), width, height)
    cameras = (
        replace(camera, T_world_camera=invert_pose(T_world_segment) @ T_world_camera)
        for T_world_segment in state.T_world_segment
    )
    rays = np.stack(list(map(ray_map, cameras)))
    lanes = torch.from_numpy(rays).to(network.device).permute(0, 3, 1, 2)
    seen = network.query(state.state, lanes, outputs=EXPECTED)
    points_camera, confidence, rgb = all_as_numpy(seen.points_self, seen.confidence_self, seen.rgb)
    images = (127.5 * (np.nan_to_num(rgb) + 1)).round().astype(np.uint8)
    return tuple(
        Expectation(
            lane=lane,
            sequence=state.frames - 1,
            camera=camera,
            image=images[lane],
            points_camera=points_camera[lane],
            confidence=confidence[lane],
        )
        for lane in range(len(rays))
    )
