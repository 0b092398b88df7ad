"""The two decoder streams, state and image, that read each other layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ttt3r_viewer.model.layers import (
    CrossKeys,
    key_logit_mean,
    pair_logit_mean,
    query_entropy,
    query_logit_mean,
)
from ttt3r_viewer.model.rope import Rotation
from ttt3r_viewer.state import Evidence, EvidenceKind

if TYPE_CHECKING:
    from jaxtyping import Float

Watch = Callable[[CrossKeys, CrossKeys], None]
"""Takes one layer's cross-attention: of the state stream to the image, and of the image to the
state."""


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


LAYER_READERS: dict[EvidenceKind, Callable[[CrossKeys], Tensor]] = {
    "state_logits": query_logit_mean,
    "image_logits": key_logit_mean,
    "pair_logits": pair_logit_mean,
    "state_entropy": query_entropy,
}
"""Evidence that is a mean over layers of something read off the state stream's cross-attention."""
RESIDUAL_FLOOR = 1e-6
"""Keeps the residual of an all-zero image finite (ReCal3R's own constant)."""


class EvidenceCollector:
    """Reduces each layer of the state stream's cross-attention to the evidence asked for."""

    def __init__(self, wanted: Set[EvidenceKind]) -> None:
        self.wanted = wanted
        self.means = {
            kind: LayerMean(read) for kind, read in LAYER_READERS.items() if kind in wanted
        }

    def add(self, keys: CrossKeys) -> None:
        """Look at one layer."""
        for mean in self.means.values():
            mean.add(keys)

    def evidence(
        self,
        state: Float[Tensor, "batch state width"],
        candidate: Float[Tensor, "batch state width"],
        projected: Float[Tensor, "batch patch width"],
        patches: Float[Tensor, "batch patch width"],
    ) -> Evidence:
        """What has been seen over all layers, except for the encoder's features.

        The state stream before and after them, and the same of the image stream without its pose
        token.
        """
        means = {kind: mean.mean() for kind, mean in self.means.items()}
        wanted = self.wanted
        return Evidence(
            state=state.float(),
            candidate=candidate.float(),
            state_logit_mean=means.get("state_logits"),
            image_logit_mean=means.get("image_logits"),
            pair_logit_mean=means.get("pair_logits"),
            state_entropy=means.get("state_entropy"),
            image_mean=projected.float().mean(dim=1) if "image_mean" in wanted else None,
            image_residual=(
                image_residual(projected.float(), patches.float())
                if "image_residual" in wanted
                else None
            ),
        )


def image_residual(
    projected: Float[Tensor, "batch patch width"], patches: Float[Tensor, "batch patch width"]
) -> Float[Tensor, " batch"]:
    """mean |projected - patches| / mean |projected| over patches.

    ReCal3R (arXiv 2607.05356) takes from it how reliable a frame is.
    """
    moved = (projected - patches).norm(dim=-1).mean(dim=-1)
    return moved / (projected.norm(dim=-1).mean(dim=-1) + RESIDUAL_FLOOR)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the two streams give."""

    pose_token: Float[Tensor, "batch 1 width"]
    """The normed pose token."""
    maps: list[Float[Tensor, "batch patch width"]]
    """Image tokens after depth/2 and 3/4 depth layers, and the normed last."""
    evidence: Evidence
    """Its candidate is the normed state after the last layer."""


def decode(
    state: Float[Tensor, "batch state width"],
    image: Float[Tensor, "batch image width"],
    *,
    state_blocks: nn.ModuleList,
    image_blocks: nn.ModuleList,
    state_norm: nn.Module,
    image_norm: nn.Module,
    state_rotation: tuple[Rotation, Rotation],
    image_rotation: tuple[Rotation, Rotation],
    wanted: Set[EvidenceKind],
    watch: Watch | None = None,
) -> Decoded:
    """Run both streams; layer i of each reads the same pair, and both results replace it together.

    The state is float32; of the image tokens the pose token comes first. The streams may differ in
    head count, so a rotation comes for each: (of the state tokens, of the image tokens). `watch` is
    shown each layer's cross-attention of both streams.
    """
    depth = len(image_blocks)
    collector, before, projected = EvidenceCollector(wanted), state, image[:, 1:]
    state = state.to(image.dtype)
    maps: list[Tensor] = []
    tapped = (depth * 2 // 4, depth * 3 // 4)
    for finished, (state_block, image_block) in enumerate(
        zip(state_blocks, image_blocks, strict=True), start=1
    ):
        new_state, keys = state_block(state, image, *state_rotation)
        new_image, image_keys = image_block(image, state, image_rotation[1], image_rotation[0])
        state, image = new_state, new_image
        collector.add(keys)
        if watch is not None:
            watch(keys, image_keys)
        maps += [image[:, 1:] for wanted in tapped if wanted == finished]
    image = image_norm(image)
    return Decoded(
        pose_token=image[:, :1],
        maps=[*maps, image[:, 1:]],
        evidence=collector.evidence(before, state_norm(state), projected, image[:, 1:]),
    )


def with_pose_token(
    pose_token: Float[Tensor, "batch 1 width"], tokens: Float[Tensor, "batch patch width"]
) -> Float[Tensor, "batch 1+patch width"]:
    """The pose token before the patches."""
    return torch.cat((pose_token.to(tokens.dtype), tokens), dim=1)
