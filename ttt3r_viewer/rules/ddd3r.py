"""DDD3R: TTT3R's gate, held back where the state would drift. Published as code alone
(github.com/szy233/TTT3R); there is no paper to cite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt3r_viewer.rules.rule import UpdateRule, first_frame, parameter
from ttt3r_viewer.rules.ttt3r import TTT3R, alignment
from ttt3r_viewer.state import Evidence, Update

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

PAPER = "none; code at github.com/szy233/TTT3R"
SHORTEST = 1e-8
"""Lengths are not taken smaller where something is divided by them (the published code's own)."""


@dataclass(frozen=True, eq=False)
class Direction:
    """The running value after a first frame; None stands for the time before it."""

    vector: Float[Tensor, "batch state width"] | None = None
    """What the next change is compared with; None until there was one."""


@dataclass(frozen=True)
class DDD3RConst(UpdateRule):
    """gain = share b with TTT3R's gate b; 1 on the first frame, and the first after a reset."""

    title = "DDD3R constant"
    paper = PAPER
    formula = "gain = share sigmoid(mean logit)"
    cost = "TTT3R's; keeps nothing"
    needs = frozenset(("state_logits",))

    share: float = parameter(0.5, 0.0, 1.0, "share of TTT3R's gain")

    def initial(self) -> bool:
        """Whether the next frame is the first."""
        return True

    def update(self, evidence: Evidence, rule_state: bool) -> tuple[Update, bool]:
        """The gain, and that the next frame is not the first."""
        return TTT3R(multiplier=self.share).update(evidence, rule_state)


@dataclass(frozen=True)
class DDD3RBrake(UpdateRule):
    """gain = b sigmoid(-tau cos(d, d before)), d = C - S: a token pushed the same way twice brakes.

    On the first frame, and the first after a reset, the gain is 1, and d is not remembered: the
    frame after it is neutral, b / 2. The published runs use a tau of 1, the published code 2.
    """

    title = "DDD3R brake"
    paper = PAPER
    formula = "d = C - S: gain = sigmoid(mean logit) sigmoid(-tau cos(d, d before))"
    cost = "TTT3R's and one dot product per token; keeps a change of state"
    needs = frozenset(("state_logits",))

    tau: float = parameter(2.0, 0.0, 10.0, "how hard a repeated direction brakes")

    def update(self, evidence: Evidence, rule_state: Direction | None) -> tuple[Update, Direction]:
        """The gain, and this frame's change to compare the next with."""
        if rule_state is None:
            return Update(first_frame(evidence)), Direction()
        change = evidence.candidate - evidence.state
        if rule_state.vector is None:
            return Update(alignment(evidence) / 2), Direction(change)
        alike = (unit(change) * unit(rule_state.vector)).sum(dim=-1)
        return Update(alignment(evidence) * (-self.tau * alike).sigmoid()), Direction(change)


@dataclass(frozen=True)
class DDD3ROrtho(UpdateRule):
    """S + b (novel d_perp + drift d_par), d = C - S split along a running direction v of change.

    No scalar per token gives that, so the rule gives the tokens themselves; the gain shown is the
    scalar that comes nearest by least squares. The direction takes the current change in before it
    splits. On the first frame, and the first after a reset, the gain is 1, and on the one after it
    there is no direction yet: its gain is novel b.
    """

    title = "DDD3R orthogonal"
    paper = PAPER
    formula = (
        "d = C - S, v = unit(beta v + (1 - beta) unit(d)), d_par = <d, v> v: "
        "S + sigmoid(mean logit) (novel (d - d_par) + drift d_par)"
    )
    cost = "TTT3R's and two dot products per token; keeps a direction per token"
    needs = frozenset(("state_logits",))

    novel: float = parameter(0.5, 0.0, 1.0, "share of the change across the usual direction")
    drift: float = parameter(0.05, 0.0, 1.0, "share of the change along the usual direction")
    beta: float = parameter(0.95, 0.0, 1.0, "memory of the usual direction from frame to frame")

    def update(self, evidence: Evidence, rule_state: Direction | None) -> tuple[Update, Direction]:
        """The next tokens, the gain nearest to them, and the running direction."""
        if rule_state is None:
            return Update(first_frame(evidence)), Direction()
        change = evidence.candidate - evidence.state
        along, before = unit(change), rule_state.vector
        step = self.novel * change
        if before is not None:
            along = unit(self.beta * before + (1 - self.beta) * along)
            parallel = (change * along).sum(dim=-1, keepdim=True) * along
            step = self.novel * (change - parallel) + self.drift * parallel
        step = alignment(evidence)[..., None] * step
        gain = (step * change).sum(dim=-1) / change.square().sum(dim=-1).clamp_min(SHORTEST**2)
        return Update(gain.clamp(0, 1), evidence.state + step), Direction(along)


def unit(x: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens width"]:
    """x divided by its length; zeros stay zeros."""
    return x / x.norm(dim=-1, keepdim=True).clamp_min(SHORTEST)
