"""Looking into one step: the frame is taken again, and every layer's attention is written down."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ttt3r_viewer.geometry import invert_pose, ray_map
from ttt3r_viewer.model.heads import OutputKind
from ttt3r_viewer.model.layers import CrossKeys
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.device import all_as_numpy, as_numpy
from ttt3r_viewer.reconstruct.history import FrameHistory, StepSettings
from ttt3r_viewer.reconstruct.loop import LoopState, encode, reset_state, select_lane, take
from ttt3r_viewer.state import EvidenceKind
from ttt3r_viewer.types import Camera, Expectation, Inspection

LOOKED_AT: frozenset[EvidenceKind] = frozenset(("state_logits", "image_logits"))


class AttentionRecord:
    """Writes down one lane's attention, layer by layer, both ways."""

    def __init__(self, lane: int) -> None:
        self.lane = lane
        self.writes: list[NDArray[np.float16]] = []
        self.reads: list[NDArray[np.float16]] = []

    def __call__(self, state_keys: CrossKeys, image_keys: CrossKeys) -> None:
        """Take one layer."""
        self.writes.append(self._rows(state_keys))
        self.reads.append(self._rows(image_keys))

    def _rows(self, keys: CrossKeys) -> NDArray[np.float16]:
        """softmax(q k / sqrt(head_dim)), mean over heads: (query, key), one head at a time."""
        own = select_lane(keys, self.lane)
        heads = own.q.shape[1]
        total = own.q.new_zeros((own.q.shape[2], own.k.shape[2]), dtype=torch.float32)
        for head in range(heads):
            q, k = own.q[0, head].float(), own.k[0, head].float()
            total += (q @ k.mT * own.scale).softmax(dim=-1)
        return (total / heads).cpu().numpy().astype(np.float16)


@torch.inference_mode()
def inspect(
    network: ReconstructionNetwork,
    recall: FrameHistory,
    lane: int,
    number: int,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> Inspection:
    """Take frame `number` again, from the nearest kept moment, and write down one lane's insides.

    `tell` hears how many of how many frames are done. Raises `ReconstructionError` where the frame
    is no longer kept.
    """
    moment, way = recall.way_to(number)
    for done, between in enumerate(way[:-1]):
        if on_progress is not None:
            on_progress(done, len(way))
        frame = recall.frame(between)
        (tokens,) = encode(network, [frame.image])
        by, moment = frame.step_settings, _caught_up(network, frame.step_settings, moment)
        moment = take(network, by.rules, by.reset_every, moment, tokens).next
        recall.offer(moment)
    last = recall.frame(number)
    (image,) = encode(network, [last.image])
    record = AttentionRecord(lane)
    by, moment = last.step_settings, _caught_up(network, last.step_settings, moment)
    taken = take(network, by.rules, by.reset_every, moment, image, evidence=LOOKED_AT, watch=record)
    evidence = select_lane(taken.proposal.evidence, lane)
    before, after = moment.state.tokens[lane], taken.after.tokens[lane]
    start = network.initial_state().tokens[0]
    return Inspection(
        epoch=0,
        lane=lane,
        sequence=number,
        rows=image.rows,
        columns=image.columns,
        state_columns=network.config.state_columns,
        gain=as_numpy(taken.updates[lane].gain[0]),
        state_logit=as_numpy(evidence.state_logit_mean)[0],
        state_change=as_numpy((after - before).norm(dim=-1)),
        from_start=as_numpy((after - start).norm(dim=-1)),
        patch_logit=as_numpy(evidence.image_logit_mean)[0, 1:],
        writes=np.stack(record.writes),
        reads=np.stack(record.reads),
        frames_replayed=len(way) - 1,
    )


def _caught_up(
    network: ReconstructionNetwork, step_settings: StepSettings, moment: LoopState
) -> LoopState:
    """The moment that a frame was really taken from: bad frames before it, which are not kept, may
    have put the state back to its start.
    """
    while moment.segment < step_settings.segment:
        moment = reset_state(network, step_settings.rules, moment)
    return moment


EXPECTED: frozenset[OutputKind] = frozenset(("self", "rgb"))


@torch.inference_mode()
def ask(
    network: ReconstructionNetwork,
    moment: LoopState,
    T_world_camera: NDArray[np.float64],
    fov_y_rad: float,
    size: tuple[int, ...],
) -> tuple[Expectation, ...]:
    """What each lane's state expects a camera to see, in pictures of `size` (height, width).

    The camera is in the world that the lanes share, with its principal point in the middle. A state
    knows no world but the frame of the first camera since its last reset, which every lane has
    found for itself: there each is asked.
    """
    height, width = size
    camera = Camera(T_world_camera, height / 2 / math.tan(fov_y_rad / 2), width, height)
    rays = np.stack(
        [
            ray_map(
                Camera(
                    invert_pose(T_world_segment) @ T_world_camera, camera.focal_px, width, height
                )
            )
            for T_world_segment in moment.T_world_segment
        ]
    )
    lanes = torch.from_numpy(rays).to(network.device).permute(0, 3, 1, 2)
    seen = network.query(moment.state, lanes, outputs=EXPECTED)
    points_camera, confidence, rgb = all_as_numpy(seen.points_self, seen.confidence_self, seen.rgb)
    images = (127.5 * (np.nan_to_num(rgb) + 1)).round().astype(np.uint8)
    return tuple(
        Expectation(
            lane=lane,
            sequence=moment.frames - 1,
            camera=camera,
            image=images[lane],
            points_camera=points_camera[lane],
            confidence=confidence[lane],
        )
        for lane in range(len(rays))
    )
