"""Torch nouns that pass between network, rule and session.

Axis names: `batch`, `state` (state tokens), `slot` (memory), `image` (image-stream tokens, the pose
token first), `width` (decoder width).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

EvidenceKind = Literal["state_logits", "image_logits"]
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

    def accept(self, proposal: Proposal, gain: Tensor) -> TokenState:
        """S + gain (candidate - S), gain (batch, state); the memory is always replaced by its
        write.
        """
        change = proposal.evidence.candidate - self.tokens
        tokens = self.tokens + gain[..., None] * change
        return TokenState(tokens, proposal.memory, fresh=False)
