"""TTT3R (arXiv 2509.26645): how confidently a state token aligns with the new frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt3r_viewer.rules.rule import UpdateRule, first_frame, parameter
from ttt3r_viewer.state import Evidence, Update

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class TTT3R(UpdateRule):
    """gain_i = sigmoid(mean of q_i k_j / sqrt(head_dim) over layers, heads and image tokens j).

    On the first frame, and the first after a reset, the gain is 1. The paper has no multiplier and
    no temperature: both are 1 there.
    """

    title = "TTT3R"
    paper = "arXiv 2509.26645"
    formula = "gain = clip(multiplier sigmoid(mean logit / temperature), 0, 1)"
    cost = "one mean key per head and layer; keeps nothing"
    needs = frozenset(("state_logits",))

    multiplier: float = parameter(1.0, 0.0, 2.0, "times the published gain, then clipped to [0, 1]")
    temperature: float = parameter(
        1.0, 0.1, 10.0, "above 1 all tokens learn more alike, below 1 they differ more"
    )

    def initial(self) -> bool:
        """Whether the next frame is the first."""
        return True

    def update(self, evidence: Evidence, rule_state: bool) -> tuple[Update, bool]:
        """The gain, and that the next frame is not the first."""
        if rule_state:
            return Update(first_frame(evidence)), False
        gate = alignment(evidence, self.temperature)
        return Update((self.multiplier * gate).clamp(0, 1)), False


def alignment(evidence: Evidence, temperature: float = 1.0) -> Float[Tensor, "batch state"]:
    """TTT3R's gate b: the sigmoid of each state token's mean logit."""
    assert evidence.state_logit_mean is not None
    return (evidence.state_logit_mean / temperature).sigmoid()
