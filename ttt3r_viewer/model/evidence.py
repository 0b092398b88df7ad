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


def query_entropy(keys: CrossKeys) -> Float[Tensor, "batch query"]:
    """Mean over heads of the entropy of each query's softmax over the keys but the first, divided
    by its largest possible value; float32 in [0, 1].

    The first key is the pose token, which ReCal3R (arXiv 2607.05356) leaves out.
    """
    q, k = keys.q.float() * keys.scale, keys.k[:, :, 1:].float()
    share = (q @ k.mT).softmax(dim=-1).clamp_min(ENTROPY_FLOOR)
    entropy = torch.special.entr(share).sum(dim=-1) / math.log(max(k.shape[2], 2))
    return entropy.clamp(0, 1).mean(dim=1)


LOGITS: frozenset[EvidenceKind] = frozenset(("state_logits", "image_logits", "pair_logits"))
"""Means of the state stream's cross-attention logits q k / sqrt(head_dim)."""


class EvidenceCollector:
    """Reduces the layers of the state stream's cross-attention to the evidence asked for.

    The mean of logits over layers and heads is one product of what all of them have side by side,
    and a mean over keys too is a product with the keys' mean: no logit of a head is ever built.
    """

    def __init__(self, wanted: Set[EvidenceKind]) -> None:
        self.wanted = wanted
        self.layers = 0
        self.scale = 0.0
        self.q: list[Tensor] = []
        """Of each layer (batch, state, width), heads side by side; none where no logits are asked
        for."""
        self.k: list[Tensor] = []
        self.entropy: Tensor | None = None
        """Sum over the layers so far."""

    def add(self, keys: CrossKeys) -> None:
        """Look at one layer."""
        self.layers += 1
        self.scale = keys.scale / keys.q.shape[1]
        if self.wanted & LOGITS:
            self.q.append(merge_heads(keys.q))
            self.k.append(merge_heads(keys.k))
        if "state_entropy" in self.wanted:
            value = query_entropy(keys)
            self.entropy = value if self.entropy is None else self.entropy + value

    def logit_means(self) -> dict[EvidenceKind, Tensor]:
        """What is asked for of the logits, averaged over layers and heads, in float32."""
        if not self.q:
            return {}
        q, k = (torch.cat(layers, dim=-1).float() for layers in (self.q, self.k))
        q = q * (self.scale / self.layers)
        means: dict[EvidenceKind, Tensor] = {}
        if "state_logits" in self.wanted:
            means["state_logits"] = (q @ k.mean(dim=1).unsqueeze(-1)).squeeze(-1)
        if "image_logits" in self.wanted:
            means["image_logits"] = (k @ q.mean(dim=1).unsqueeze(-1)).squeeze(-1)
        if "pair_logits" in self.wanted:
            means["pair_logits"] = q @ k.mT
        return means

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
        means = self.logit_means()
        residual_wanted = "image_residual" in self.wanted
        return Evidence(
            state=state.float(),
            candidate=candidate.float(),
            state_logit_mean=means.get("state_logits"),
            image_logit_mean=means.get("image_logits"),
            pair_logit_mean=means.get("pair_logits"),
            state_entropy=None if self.entropy is None else self.entropy / self.layers,
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
