"""FILT3R (arXiv 2603.18493): a Kalman filter per token, noisier where proposals move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt3r_viewer.rules.rule import UpdateRule, first_frame, parameter
from ttt3r_viewer.state import Evidence, Update

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

EPS = 1e-6
"""The published code's own."""


@dataclass(frozen=True, eq=False)
class Filter:
    """The running value; None stands for the time before the first frame."""

    candidate: Float[Tensor, "batch state width"]
    """The proposal before."""
    variance: Float[Tensor, "batch state"]
    """p: how unsure each token is of itself."""
    usual_change: Float[Tensor, "batch 1"] | None = None
    """e: running mean of the proposals' movement; None until there were two."""


@dataclass(frozen=True)
class FILT3R(UpdateRule):
    """gain = p- / (p- + r), the Kalman gain of a random walk with unit observation noise.

    On the first frame, and the first after a reset, the gain is 1 and the filter starts again.
    Parameters are named as in the published code.
    """

    title = "FILT3R"
    paper = "arXiv 2603.18493"
    formula = (
        "z = |C - C before| / running mean, "
        "q = q_min + (q_max - q_min) sigmoid(alpha_q (z - tau_q)), "
        "p- = gamma_p p + q: gain = clip(p- / (p- + fixed_r), k_min, k_max), "
        "p = (1 - gain)^2 p- + gain^2 fixed_r"
    )
    cost = "no attention is looked at; keeps a proposal and one number per token"

    p_init: float = parameter(1.5, 0.01, 10.0, "variance after the first frame")
    gamma_p: float = parameter(1.0, 0.5, 2.0, "times the variance from frame to frame")
    q_min: float = parameter(0.02, 0.0, 1.0, "process noise of a token at rest")
    q_max: float = parameter(0.5, 0.0, 5.0, "process noise of a token that moves")
    alpha_q: float = parameter(20.0, 0.0, 100.0, "how sharply rest and movement are told apart")
    tau_q: float = parameter(3.0, 0.0, 10.0, "movement, in units of the usual, that is half-way")
    ema_beta_delta: float = parameter(0.05, 0.0, 1.0, "how fast the usual movement is learnt")
    ema_delta_floor: float = parameter(0.01, 0.0, 1.0, "smallest usual movement")
    fixed_r: float = parameter(1.0, 0.01, 10.0, "noise of a proposal")
    k_min: float = parameter(0.01, 0.0, 0.5, "smallest gain")
    k_max: float = parameter(0.99, 0.5, 1.0, "largest gain")

    def update(self, evidence: Evidence, rule_state: Filter | None) -> tuple[Update, Filter]:
        """The Kalman gain, and the filter after its update."""
        gain = first_frame(evidence)
        if rule_state is None:
            return Update(gain), Filter(evidence.candidate, gain * self.p_init)
        moved = (evidence.candidate - rule_state.candidate).norm(dim=-1)
        # The running mean has this frame in it, because the gain uses it at once.
        usual, before = moved.mean(dim=-1, keepdim=True), rule_state.usual_change
        if before is not None:
            usual = (1 - self.ema_beta_delta) * before + self.ema_beta_delta * usual
        usual = usual.clamp_min(self.ema_delta_floor)
        contrast = self.alpha_q * (moved / (usual + EPS) - self.tau_q)
        noise = self.q_min + (self.q_max - self.q_min) * contrast.sigmoid()
        predicted = self.gamma_p * rule_state.variance + noise
        gain = (predicted / (predicted + self.fixed_r + EPS)).clamp(self.k_min, self.k_max)
        variance = (1 - gain) ** 2 * predicted + gain**2 * self.fixed_r
        after = Filter(evidence.candidate, variance.clamp_min(EPS), usual)
        return Update(gain), after
