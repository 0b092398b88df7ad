"""What a rule may see of a step: readings of the cross-attention, and of the image stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ttt3r_viewer.model.layers import CrossKeys, merge_heads
from ttt3r_viewer.state import Evidence, EvidenceKind

if TYPE_CHECKING:
    from jaxtyping import Float

Watch = Callable[[CrossKeys, CrossKeys], None]
"""Takes one layer's cross-attention: the state stream's to the image, the image's to the state."""
ENTROPY_FLOOR = 1e-12
"""No share of a softmax is taken smaller, so that its logarithm is finite."""
RESIDUAL_FLOOR = 1e-6
"""Keeps the residual of an all-zero image finite (ReCal3R's own constant)."""


def query_logit_mean(keys: CrossKeys) -> Float[Tensor, "batch query"]:
    """Pre-softmax logits q.k / sqrt(head_dim), averaged over keys and heads, in float32.

    Because the mean over keys of q.k is q.mean(k), no logit is ever built.
    """
    mean_key = keys.k.float().mean(dim=2)
    return torch.einsum("bhqd,bhd->bq", keys.q.float(), mean_key) * (keys.scale / keys.q.shape[1])


def key_logit_mean(keys: CrossKeys) -> Float[Tensor, "batch key"]:
    """The same logits averaged over queries and heads."""
    return query_logit_mean(CrossKeys(keys.k, keys.q))


def pair_logit_mean(keys: CrossKeys) -> Float[Tensor, "batch query key"]:
    """The same logits averaged over heads alone.

    The sum over heads and channels is one: a single matrix product, no map per head.
    """
    q, k = merge_heads(keys.q.float()), merge_heads(keys.k.float())
    return q @ k.mT * (keys.scale / keys.q.shape[1])


def query_entropy(keys: CrossKeys) -> Float[Tensor, "batch query"]:
    """Mean over heads of the entropy of each query's softmax over the keys but the first, divided
    by its largest possible value; float32 in [0, 1].

    The first key is the pose token, which ReCal3R (arXiv 2607.05356) leaves out.
    """
    q, k = keys.q.float() * keys.scale, keys.k[:, :, 1:].float()
    heads, patches = k.shape[1:3]
    total = q.new_zeros(q.shape[0], q.shape[2])  # one head's map is held at a time
    for head in range(heads):
        share = (q[:, head] @ k[:, head].mT).softmax(dim=-1).clamp_min(ENTROPY_FLOOR)
        total += (-(share * share.log()).sum(dim=-1) / math.log(max(patches, 2))).clamp(0, 1)
    return total / heads


LAYER_READERS: dict[EvidenceKind, Callable[[CrossKeys], Tensor]] = {
    "state_logits": query_logit_mean,
    "image_logits": key_logit_mean,
    "pair_logits": pair_logit_mean,
    "state_entropy": query_entropy,
}
"""Evidence that is a mean over layers of something read off the state stream's cross-attention."""


class EvidenceCollector:
    """Reduces each layer of the state stream's cross-attention to the evidence asked for."""

    def __init__(self, wanted: Set[EvidenceKind]) -> None:
        self.wanted = wanted
        self.layers = 0
        self.sums: dict[EvidenceKind, Tensor] = {}
        """Over the layers so far."""

    def add(self, keys: CrossKeys) -> None:
        """Look at one layer."""
        self.layers += 1
        for kind, read in LAYER_READERS.items():
            if kind in self.wanted:
                value = read(keys)
                self.sums[kind] = self.sums[kind] + value if kind in self.sums else value

    def evidence(
        self,
        state: Float[Tensor, "batch state width"],
        candidate: Float[Tensor, "batch state width"],
        features: Float[Tensor, "batch patch features"],
        projected: Float[Tensor, "batch patch width"],
        patches: Float[Tensor, "batch patch width"],
    ) -> Evidence:
        """What has been seen over all layers: the state stream before and after them; the encoder's
        features, as projected before the layers, and as the image stream has them after.
        """
        means = {kind: total / self.layers for kind, total in self.sums.items()}
        residual_wanted = "image_residual" in self.wanted
        return Evidence(
            state=state.float(),
            candidate=candidate.float(),
            state_logit_mean=means.get("state_logits"),
            image_logit_mean=means.get("image_logits"),
            pair_logit_mean=means.get("pair_logits"),
            state_entropy=means.get("state_entropy"),
            image_features=features.float() if "image_features" in self.wanted else None,
            image_mean=projected.float().mean(dim=1) if "image_mean" in self.wanted else None,
            image_residual=image_residual(projected, patches) if residual_wanted else None,
        )


def image_residual(
    projected: Float[Tensor, "batch patch width"], patches: Float[Tensor, "batch patch width"]
) -> Float[Tensor, " batch"]:
    """mean |projected - patches| / mean |projected| over patches.

    ReCal3R (arXiv 2607.05356) takes from it how reliable a frame is.
    """
    projected, patches = projected.float(), patches.float()
    moved = (projected - patches).norm(dim=-1).mean(dim=-1)
    return moved / (projected.norm(dim=-1).mean(dim=-1) + RESIDUAL_FLOOR)
