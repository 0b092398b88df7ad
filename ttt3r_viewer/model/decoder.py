"""The two decoder streams, state and image, that read each other layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ttt3r_viewer.model.layers import CrossKeys, key_logit_mean, query_logit_mean
from ttt3r_viewer.model.rope import Rotation
from ttt3r_viewer.state import Evidence, EvidenceKind


class LayerMean:
    """Running mean over layers of something read off each cross-attention."""

    def __init__(self, read: Callable[[CrossKeys], Tensor]) -> None:
        self.read = read
        self.total: Tensor | None = None
        self.layers = 0

    def add(self, keys: CrossKeys) -> None:
        """Take one more layer into the mean."""
        value = self.read(keys)
        self.total = value if self.total is None else self.total + value
        self.layers += 1

    def mean(self) -> Tensor | None:
        """None before the first layer."""
        return None if self.total is None else self.total / self.layers


class EvidenceCollector:
    """Reduces each layer of the state stream's cross-attention to the evidence asked for."""

    def __init__(self, wanted: Set[EvidenceKind]) -> None:
        self.state_logits = LayerMean(query_logit_mean) if "state_logits" in wanted else None
        self.image_logits = LayerMean(key_logit_mean) if "image_logits" in wanted else None

    def add(self, keys: CrossKeys) -> None:
        """Look at one layer."""
        for reader in (self.state_logits, self.image_logits):
            if reader is not None:
                reader.add(keys)

    def evidence(self, state: Tensor, candidate: Tensor) -> Evidence:
        """What has been seen over all layers, beside the states (batch, state, width) before and
        after them.
        """
        return Evidence(
            state=state.float(),
            candidate=candidate.float(),
            state_logit_mean=self.state_logits.mean() if self.state_logits else None,
            image_logit_mean=self.image_logits.mean() if self.image_logits else None,
        )


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the two streams leave behind."""

    pose_token: Tensor
    """(batch, 1, width) the normed pose token."""
    maps: list[Tensor]
    """Image tokens (batch, rows * columns, width) after depth/2 and 3/4 depth layers, and the
    normed last.
    """
    evidence: Evidence
    """Its candidate is the normed state after the last layer."""


def decode(
    state: Tensor,
    image: Tensor,
    *,
    state_blocks: nn.ModuleList,
    image_blocks: nn.ModuleList,
    state_norm: nn.Module,
    image_norm: nn.Module,
    state_rotation: tuple[Rotation, Rotation],
    image_rotation: tuple[Rotation, Rotation],
    wanted: Set[EvidenceKind],
) -> Decoded:
    """Run both streams; layer i of each reads the same pair, and both results replace it together.

    state (batch, state, width) float32; image (batch, 1 + patches, width), the pose token first.
    The streams may differ in head count, so a rotation comes for each: (of the state tokens, of
    the image tokens).
    """
    depth = len(image_blocks)
    collector, before = EvidenceCollector(wanted), state
    state = state.to(image.dtype)
    maps: list[Tensor] = []
    for finished, (state_block, image_block) in enumerate(
        zip(state_blocks, image_blocks, strict=True), start=1
    ):
        new_state, keys = state_block(state, image, *state_rotation)
        new_image, _ = image_block(image, state, image_rotation[1], image_rotation[0])
        state, image = new_state, new_image
        collector.add(keys)
        maps += [image[:, 1:]] * (depth * 2 // 4, depth * 3 // 4).count(finished)
    image = image_norm(image)
    return Decoded(
        pose_token=image[:, :1],
        maps=[*maps, image[:, 1:]],
        evidence=collector.evidence(before, state_norm(state)),
    )


def with_pose_token(pose_token: Tensor, tokens: Tensor) -> Tensor:
    """(batch, 1, width) before (batch, patches, width)."""
    return torch.cat((pose_token.to(tokens.dtype), tokens), dim=1)
