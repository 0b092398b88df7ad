"""The plain way: what the fast one is measured beside and tested against.

One frame after the other, one rule after the other, in float32: every head, attention written out
as softmax(q k) v, and each logit of the state stream's cross-attention kept until all layers are
through. It runs the same network; what it does not share with the fast way is the loop.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ttt3r_viewer.frames.preprocess import prepare_image
from ttt3r_viewer.geometry import focal_from_points, pose_from_vector
from ttt3r_viewer.model.heads import OutputKind
from ttt3r_viewer.model.layers import CrossKeys, ImageTokens
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.device import as_numpy
from ttt3r_viewer.reconstruct.loop import encode
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.state import EvidenceKind, Proposal, TokenState
from ttt3r_viewer.types import Camera, Frame, FrameResult

ALL_MAPS: frozenset[OutputKind] = frozenset(("self", "world", "rgb"))
MAP_NAMES = ("points_self", "confidence_self", "points_world", "confidence_world", "rgb")
"""All of them are copied to the host, as by a program that keeps every map."""
FROM_LOGITS: dict[EvidenceKind, tuple[str, tuple[int, ...]]] = {
    "state_logits": ("state_logit_mean", (1, 3)),
    "image_logits": ("image_logit_mean", (1, 2)),
    "pair_logits": ("pair_logit_mean", (1,)),
}
"""Evidence that is read off the logits here rather than asked of the network: its field, and the
axes of (batch, head, state, image) over which it is a mean, beside the layers."""


class PlainLanes:
    """One run per rule, each with its own encoder pass; nothing is shared between them."""

    def __init__(self, network: ReconstructionNetwork, rules: Sequence[UpdateRule]) -> None:
        self.network = network
        self.rules = tuple(rules)
        with torch.inference_mode():
            self._remembered = [(network.initial_state(), rule.initial()) for rule in rules]
        self._frames = 0

    def process(self, frame: Frame) -> tuple[FrameResult, ...]:
        """Take the next frame; one result per rule."""
        with torch.inference_mode(), attention_written_out():
            results = tuple(self._take(frame, lane) for lane in range(len(self.rules)))
        self._frames += 1
        return results

    def _take(self, frame: Frame, lane: int) -> FrameResult:
        config, rule = self.network.config, self.rules[lane]
        before, rule_state = self._remembered[lane]
        started = time.perf_counter()
        image, crop = prepare_image(frame.image, config.long_side, config.patch_size)
        (tokens,) = encode(self.network, [image])
        proposal = propose_plainly(self.network, before, tokens, rule.needs)
        update, rule_state = rule.update(proposal.evidence, rule_state)
        after = before.accept(proposal, update)
        self._remembered[lane] = after, rule_state
        maps = {name: as_numpy(getattr(proposal.prediction, name))[0] for name in MAP_NAMES}
        points = maps["points_self"]
        height, width = image.shape[:2]
        T_world_camera = pose_from_vector(as_numpy(proposal.prediction.pose)[0])
        moved = (after.tokens - before.tokens).norm() / before.tokens.norm()
        return FrameResult(
            sequence=self._frames,
            index=frame.index,
            time_sec=frame.time_sec,
            name=frame.name,
            image=image,
            crop=crop,
            points_camera=points,
            confidence=maps["confidence_self"],
            camera=Camera(T_world_camera, focal_from_points(points), width, height),
            gain=as_numpy(update.gain)[0],
            segment=0,
            compute_sec=time.perf_counter() - started,
            state_change=float(moved),
            rule=str(rule),
        )


def propose_plainly(
    network: ReconstructionNetwork,
    state: TokenState,
    tokens: ImageTokens,
    needs: frozenset[EvidenceKind],
) -> Proposal:
    """The network's step with all maps, its mean logits taken from logits that were written out."""
    logits: list[Tensor] = []
    """(batch, head, state, image), one per layer."""

    def write_out(keys: CrossKeys, _of_image: CrossKeys) -> None:
        logits.append(keys.q @ keys.k.mT * keys.scale)

    proposal = network.propose(
        state, tokens, outputs=ALL_MAPS, evidence=needs - set(FROM_LOGITS), watch=write_out
    )
    means = {
        field: torch.stack([layer.mean(dim=dims) for layer in logits]).mean(dim=0)
        for kind, (field, dims) in FROM_LOGITS.items()
        if kind in needs
    }
    return replace(proposal, evidence=replace(proposal.evidence, **means))


def attention_written_out() -> AbstractContextManager[object]:
    """Let torch compute attention as softmax(q k) v, with the whole map in memory."""
    return sdpa_kernel(SDPBackend.MATH)
