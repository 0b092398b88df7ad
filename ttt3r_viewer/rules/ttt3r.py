"""TTT3R's closed-form rate: how confidently a state token aligns with the new frame (arXiv
2509.26645).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ttt3r_viewer.state import Evidence, EvidenceKind


@dataclass(frozen=True)
class TTT3R:
    """gain_i = sigmoid(mean over layers, heads and image tokens of the logits q_i k_j /
    sqrt(head_dim)).

    On the first frame, and the first after a reset, the gain is 1.
    """

    @property
    def needs(self) -> frozenset[EvidenceKind]:
        """The mean logit of each state token."""
        return frozenset(("state_logits",))

    def initial(self) -> bool:
        """Whether the next frame is the first."""
        return True

    def reset(self, rule_state: bool) -> bool:  # noqa: ARG002 - the protocol hands it back
        """After a reset the next frame is a first one again."""
        return True

    def update(self, evidence: Evidence, rule_state: bool) -> tuple[Tensor, bool]:
        """The gain (batch, state), and that the next frame is not the first."""
        assert evidence.state_logit_mean is not None
        gain = evidence.state_logit_mean.sigmoid()
        return (torch.ones_like(gain) if rule_state else gain), False

    def __str__(self) -> str:
        return "TTT3R"
