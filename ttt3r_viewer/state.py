"""Torch nouns that pass between network, rule and session.

Axis names: `batch`, `state` (state tokens), `slot` (memory), `patch`, `image` (image-stream tokens:
the pose token, then the patches), `width` (decoder width). Torch itself is not imported here, so
that a rule can be named and checked before torch is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
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
    """All that a rule may look at. The optional fields are None unless their kind was asked for."""

    state: Tensor
    """(batch, state, width) float32: the state before this frame."""
    candidate: Tensor
    """(batch, state, width) float32: what the network would like it to become."""
    state_logit_mean: Tensor | None = None
    """(batch, state) float32, kind `state_logits`: the state stream's pre-softmax cross-attention
    logits, averaged over layers, heads and all image tokens, the pose token among them."""
    image_logit_mean: Tensor | None = None
    """(batch, image) float32, kind `image_logits`: the same logits averaged over state tokens
    instead; the pose token is entry 0."""
    pair_logit_mean: Tensor | None = None
    """(batch, state, image) float32, kind `pair_logits`: the same logits averaged over layers and
    heads alone."""
    state_entropy: Tensor | None = None
    """(batch, state) float32 in [0, 1], kind `state_entropy`: the entropy of each state token's
    softmax over the patches (not the pose token) divided by log(patches), averaged over layers and
    heads."""
    image_features: Tensor | None = None
    """(batch, patch, encoder width) float32, kind `image_features`: what the encoder made of the
    frame."""
    image_mean: Tensor | None = None
    """(batch, width) float32, kind `image_mean`: the mean over patches of the encoder's features as
    projected into the decoder."""
    image_residual: Tensor | None = None
    """(batch,) float32, kind `image_residual`: how far the decoder moved the patches, the mean of
    |projected features - decoder's result| over patches, divided by that of |projected features|.
    """


@dataclass(frozen=True, eq=False)
class Update:
    """What a rule decides about one proposal."""

    gain: Tensor
    """(batch, state) in [0, 1]: the share of the proposed change that each token accepts. It is
    what people are shown, also where `tokens` says more than a scalar can."""
    tokens: Tensor | None = None
    """(batch, state, width) float32, the next state itself, from a rule that does not blend by one
    scalar per token; None where the gain says it all."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the heads say about one frame; a map that was not asked for is None."""

    pose: Tensor
    """(batch, 7) camera to world: translation, then quaternion w x y z with w >= 0."""
    points_self: Tensor | None = None
    """(batch, height, width, 3) points in the camera's own frame."""
    confidence_self: Tensor | None = None
    """(batch, height, width), above 1."""
    points_world: Tensor | None = None
    """(batch, height, width, 3) points in the first camera's frame."""
    confidence_world: Tensor | None = None
    """(batch, height, width), above 1."""
    rgb: Tensor | None = None
    """(batch, height, width, 3) in [-1, 1]."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the network would like the state to become, what it predicts, and what it saw on the
    way.
    """

    evidence: Evidence
    """Holds the candidate state."""
    memory: Tensor
    """(batch, slot, 2 width) the local memory after its write."""
    prediction: Prediction


@dataclass(frozen=True, eq=False)
class TokenState:
    """Everything that the network remembers between frames."""

    tokens: Tensor
    """(batch, state, width) float32."""
    memory: Tensor
    """(batch, slot, 2 width)."""
    fresh: bool = True
    """No frame has been accepted since the start or the last reset."""

    def accept(self, proposal: Proposal, update: Update) -> TokenState:
        """S + gain (candidate - S), or the rule's own tokens; the memory always takes its write."""
        tokens = update.tokens
        if tokens is None:
            change = proposal.evidence.candidate - self.tokens
            tokens = self.tokens + update.gain[..., None] * change
        return TokenState(tokens, proposal.memory, fresh=False)
