"""MeMix (arXiv 2603.15330): only the tokens that the frame says least about are written.

It comes on three backbones: CUT3R, TTT3R and TTSA3R. The published setting writes 708 of 768
tokens; here that is a share, so that it fits a state of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt3r_viewer.rules.constant import Constant
from ttt3r_viewer.rules.rule import RuleState, UpdateRule, parameter
from ttt3r_viewer.rules.ttsa3r import TTSA3R, FrameBefore  # noqa: F401 - checkpoints look here
from ttt3r_viewer.rules.ttt3r import TTT3R
from ttt3r_viewer.state import Evidence, Update

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

MASK = "m = 1 for the share of tokens with the lowest <C, mean projected feature>, else 0"


@dataclass(frozen=True)
class MeMixCut(UpdateRule):
    """gain = m. First frames are no exception: tokens that are not written keep the start state."""

    title = "MeMix on CUT3R"
    paper = "arXiv 2603.15330"
    formula = f"{MASK}: gain = m"
    cost = "one dot product and one sort of the tokens; keeps nothing"
    needs = frozenset(("image_mean",))

    share: float = parameter(708 / 768, 0.0, 1.0, "share of the tokens that a frame may write")

    def backbone(self) -> UpdateRule:
        """The rule whose gain is masked."""
        return Constant()

    def initial(self) -> RuleState:
        """The backbone's."""
        return self.backbone().initial()

    def reset(self, rule_state: RuleState) -> RuleState:
        """Nothing changes: the frame after a reset is compared, and written, as any other."""
        return rule_state

    def update(self, evidence: Evidence, rule_state: RuleState) -> tuple[Update, RuleState]:
        """The mask times the backbone's gain, and the backbone's next running value."""
        update, rule_state = self.backbone().update(evidence, rule_state)
        return Update(written(evidence, self.share) * update.gain), rule_state


@dataclass(frozen=True)
class MeMixTTT(MeMixCut):
    """gain = m b with TTT3R's gate b, which is 1 on the very first frame alone."""

    title = "MeMix on TTT3R"
    formula = f"{MASK}: gain = m sigmoid(mean logit)"
    cost = "TTT3R's, one dot product and one sort of the tokens; keeps nothing"
    needs = MeMixCut.needs | TTT3R.needs

    def backbone(self) -> UpdateRule:
        """TTT3R as published."""
        return TTT3R()


@dataclass(frozen=True)
class MeMixTTSA(MeMixCut):
    """gain = m T P with TTSA3R's T and P, which are 1 on the very first frame alone."""

    title = "MeMix on TTSA3R"
    formula = f"{MASK}: gain = m times TTSA3R's"
    cost = "TTSA3R's, one dot product and one sort of the tokens; keeps as TTSA3R"
    needs = MeMixCut.needs | TTSA3R.needs

    threshold: float = parameter(
        1.5, 0.0, 5.0, "change, in units of the mean, at which T is one half"
    )

    def backbone(self) -> UpdateRule:
        """TTSA3R with this threshold."""
        return TTSA3R(self.threshold)


def written(evidence: Evidence, share: float) -> Float[Tensor, "batch state"]:
    """m: 1 for the tokens whose proposal is least like the frame's mean feature."""
    assert evidence.image_mean is not None
    likeness = (evidence.candidate * evidence.image_mean[:, None]).sum(dim=-1)
    lowest = likeness.topk(round(share * likeness.shape[1]), dim=-1, largest=False).indices
    return likeness.new_zeros(likeness.shape).scatter(-1, lowest, 1.0)
