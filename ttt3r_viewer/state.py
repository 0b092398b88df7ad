"""Torch nouns that pass between network, rule and session.

Axis names: `batch`, `state` (state tokens), `slot` (memory), `patch`, `image` (image-stream tokens:
the pose token, then the patches), `width` (the decoder's), `features` (the encoder's width). Torch
itself is not imported here, so that a rule can be named and checked before torch is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

EvidenceKind = Literal[
    "state_logits",
    "image_logits",
    "pair_logits",
    "state_entropy",
    "image_features",
    "image_mean",
    "image_residual",
]
"""What a rule can ask to see; the network computes only what was asked for."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a rule may look at, in float32; optional fields are None unless asked for."""

    state: Float[Tensor, "batch state width"]
    """The state before this frame."""
    candidate: Float[Tensor, "batch state width"]
    """The state that the network proposes."""
    state_logit_mean: Float[Tensor, "batch state"] | None = None
    """Kind `state_logits`: the state stream's pre-softmax cross-attention logits, averaged over
    layers, heads and all image tokens, the pose token among them."""
    image_logit_mean: Float[Tensor, "batch image"] | None = None
    """Kind `image_logits`: the same logits averaged over state tokens instead."""
    pair_logit_mean: Float[Tensor, "batch state image"] | None = None
    """Kind `pair_logits`: the same logits averaged over layers and heads alone."""
    state_entropy: Float[Tensor, "batch state"] | None = None
    """Kind `state_entropy`: the entropy of each state token's softmax over the patches (not the
    pose token) divided by log(patches), averaged over layers and heads; in [0, 1]."""
    image_features: Float[Tensor, "batch patch features"] | None = None
    """Kind `image_features`: what the encoder made of the frame."""
    image_mean: Float[Tensor, "batch width"] | None = None
    """Kind `image_mean`: the mean over patches of the features as projected into the decoder."""
    image_residual: Float[Tensor, " batch"] | None = None
    """Kind `image_residual`: how far the decoder moved the patches, the mean of |projected features
    - decoder's result| over patches, divided by that of |projected features|."""


@dataclass(frozen=True, eq=False)
class Update:
    """What a rule decides about one proposal."""

    gain: Float[Tensor, "batch state"]
    """The share of the proposed change that each token accepts, in [0, 1]. It is what users are
    shown, also where `tokens` says more than a scalar can."""
    tokens: Float[Tensor, "batch state width"] | None = None
    """The next state, from a rule that does not blend by scalars; None where the gain says all."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the heads say about one frame; a map that was not asked for is None."""

    pose: Float[Tensor, "batch 7"]
    """Camera to world: translation, then quaternion w x y z with w >= 0."""
    points_self: Float[Tensor, "batch height width 3"] | None = None
    """Points in the camera's own frame."""
    confidence_self: Float[Tensor, "batch height width"] | None = None
    """Above 1."""
    points_world: Float[Tensor, "batch height width 3"] | None = None
    """Points in the first camera's frame."""
    confidence_world: Float[Tensor, "batch height width"] | None = None
    """Above 1."""
    rgb: Float[Tensor, "batch height width 3"] | None = None
    """In [-1, 1]."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the network proposes as the next state, what it predicts, and what it saw on the way."""

    evidence: Evidence
    """Holds the candidate state."""
    memory: Float[Tensor, "batch slot look_and_pose"]
    """The local memory after its write; its last axis is twice the decoder's width."""
    prediction: Prediction


@dataclass(frozen=True, eq=False)
class TokenState:
    """Everything that the network remembers between frames."""

    tokens: Float[Tensor, "batch state width"]
    """In float32."""
    memory: Float[Tensor, "batch slot 2*width"]
    fresh: bool = True
    """No frame has been accepted since the start or the last reset."""

    def accept(self, proposal: Proposal, update: Update) -> TokenState:
        """S + gain (candidate - S), or the rule's own tokens; the memory always takes its write."""
        tokens = update.tokens
        if tokens is None:
            change = proposal.evidence.candidate - self.tokens
            tokens = self.tokens + update.gain[..., None] * change
        return TokenState(tokens, proposal.memory, fresh=False)
