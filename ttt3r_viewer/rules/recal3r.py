"""ReCal3R (arXiv 2607.05356): TTT3R's gate, calibrated by the frame and by the tokens' drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt3r_viewer.rules.rule import UpdateRule, first_frame, parameter
from ttt3r_viewer.rules.ttt3r import alignment
from ttt3r_viewer.state import Evidence, Update

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

EPS = 1e-8
"""The published code's own."""


@dataclass(frozen=True, eq=False)
class History:
    """The running value; None stands for the time before the first frame."""

    start: Float[Tensor, "batch state width"]
    """The state before the first frame, from which drift is measured."""
    pressure: Float[Tensor, "batch state"]
    """h: running mean of TTT3R's gate."""


@dataclass(frozen=True)
class ReCal3R(UpdateRule):
    """gain = (1 - R) b r exp(-h) + R base, half of it pulled to the mean over tokens.

    b is TTT3R's gate, h its running mean, r how much the decoder changed the image tokens; R is
    near 1 for tokens where drift and attention disagree. Drift and entropy enter by rank alone: two
    tokens that swap ranks change their gains by up to some hundredths, so results are not
    continuous in the weights. On the first frame, and the first after a reset, the gain is 1.
    """

    title = "ReCal3R"
    paper = "arXiv 2607.05356"
    formula = (
        "pi, e = ranks of drift |S - S0| and of attention entropy, "
        "y = pi (1 - e) / (pi (1 - e) + (1 - pi) e), R = 1 - y (2 y - 1)^2, "
        "x = (1 - R) b sigmoid(residual - residual_offset) exp(-h) + R base: "
        "gain = clip(x + smoothing (mean x - x), 0, 1)"
    )
    cost = (
        "one state x patch matrix product and softmax per head and layer; "
        "keeps the start state and one number per token"
    )
    needs = frozenset(("state_logits", "state_entropy", "image_residual"))

    base: float = parameter(0.1, 0.0, 1.0, "gain of tokens that are not trusted")
    decay: float = parameter(0.95, 0.0, 1.0, "memory of a token's gates from frame to frame")
    residual_offset: float = parameter(0.2, 0.0, 2.0, "residual at which a frame is half reliable")
    smoothing: float = parameter(0.5, 0.0, 1.0, "how far gains are pulled to their mean")

    def update(self, evidence: Evidence, rule_state: History | None) -> tuple[Update, History]:
        """The calibrated gain, and the history with this frame's gate in it."""
        if rule_state is None:
            ones = first_frame(evidence)
            return Update(ones), History(evidence.state, ones.new_zeros(ones.shape))
        assert evidence.image_residual is not None
        gate = alignment(evidence)
        pressure = self.decay * rule_state.pressure + (1 - self.decay) * gate
        reliable = (evidence.image_residual - self.residual_offset).sigmoid()[:, None]
        trusted = gate * reliable * (-pressure).exp()
        doubt = _doubt(evidence, rule_state.start)
        gain = (1 - doubt) * trusted + doubt * self.base
        gain = gain + self.smoothing * (gain.mean(dim=-1, keepdim=True) - gain)
        return Update(gain.clamp(0, 1)), History(rule_state.start, pressure)


def _doubt(
    evidence: Evidence, start: Float[Tensor, "batch state width"]
) -> Float[Tensor, "batch state"]:
    """R: 1 - y (2 y - 1)^2, where y joins the ranks of drift and entropy."""
    assert evidence.state_entropy is not None
    count = start.shape[1]
    stable = 1 - (_rank((evidence.state - start).norm(dim=-1)) + 1) / count
    vague = _rank(evidence.state_entropy) / max(count - 1, 1)
    agreed = stable * (1 - vague)
    y = agreed / (agreed + (1 - stable) * vague + EPS)
    return 1 - y * (2 * y - 1) ** 2


def _rank(values: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
    """The place of each value in its row, 0 for the smallest; equal ones in their order."""
    return values.argsort(dim=-1, stable=True).argsort(dim=-1).to(values.dtype)
