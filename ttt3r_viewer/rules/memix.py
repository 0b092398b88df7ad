"""MeMix (arXiv 2603.15330): only the tokens that the frame says least about are written.

It comes on three backbones: CUT3R, TTT3R and TTSA3R. The published setting writes 708 of 768
tokens; here that is a share, so that it fits a state of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt3r_viewer.rules.rule import RuleState, UpdateRule, first_frame, parameter
from ttt3r_viewer.rules.ttsa3r import THRESHOLD, FrameBefore, frame_seen, spatio_temporal_gain
from ttt3r_viewer.rules.ttt3r import alignment
from ttt3r_viewer.state import Evidence, Update

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

MASK = "m = 1 for the share of tokens with the lowest <C, mean projected feature>, else 0"


@dataclass(frozen=True)
class _MeMix(UpdateRule):
    """What MeMix is on every backbone."""

    paper = "arXiv 2603.15330"

    share: float = parameter(708 / 768, 0.0, 1.0, "share of the tokens that a frame may write")

    def reset(self, rule_state: RuleState) -> RuleState:
        """Nothing changes: the frame after a reset is compared, and written, as any other."""
        return rule_state


def written(evidence: Evidence, share: float) -> Float[Tensor, "batch state"]:
    """m: 1 for the tokens whose proposal is least like the frame's mean feature."""
    assert evidence.image_mean is not None
    likeness = (evidence.candidate * evidence.image_mean[:, None]).sum(dim=-1)
    lowest = likeness.topk(round(share * likeness.shape[1]), dim=-1, largest=False).indices
    return likeness.new_zeros(likeness.shape).scatter(-1, lowest, 1.0)


@dataclass(frozen=True)
class MeMixCut(_MeMix):
    """gain = m. First frames are no exception: tokens that are not written keep the start state."""

    title = "MeMix on CUT3R"
    formula = f"{MASK}: gain = m"
    cost = "one dot product and one sort of the tokens; keeps nothing"
    needs = frozenset(("image_mean",))

    def update(self, evidence: Evidence, rule_state: None) -> tuple[Update, None]:
        """The mask, for every frame."""
        return Update(written(evidence, self.share)), rule_state


@dataclass(frozen=True)
class MeMixTTT(_MeMix):
    """gain = m b with TTT3R's gate b, which is 1 on the very first frame alone."""

    title = "MeMix on TTT3R"
    formula = f"{MASK}: gain = m sigmoid(mean logit)"
    cost = "TTT3R's, one dot product and one sort of the tokens; keeps nothing"
    needs = frozenset(("image_mean", "state_logits"))

    def initial(self) -> bool:
        """Whether the next frame is the very first."""
        return True

    def update(self, evidence: Evidence, rule_state: bool) -> tuple[Update, bool]:
        """The mask times the gate, and that the next frame is not the first."""
        gate = first_frame(evidence) if rule_state else alignment(evidence)
        return Update(written(evidence, self.share) * gate), False


@dataclass(frozen=True)
class MeMixTTSA(_MeMix):
    """gain = m T P with TTSA3R's T and P, which are 1 on the very first frame alone."""

    title = "MeMix on TTSA3R"
    formula = f"{MASK}: gain = m times TTSA3R's"
    cost = "TTSA3R's, one dot product and one sort of the tokens; keeps as TTSA3R"
    needs = frozenset(("image_mean", "pair_logits", "image_features"))

    threshold: float = parameter(
        THRESHOLD, 0.0, 5.0, "change, in units of the mean, at which T is one half"
    )

    def update(
        self, evidence: Evidence, rule_state: FrameBefore | None
    ) -> tuple[Update, FrameBefore]:
        """The mask times TTSA3R's gain, and this frame to compare the next with."""
        gain = written(evidence, self.share)
        if rule_state is not None:
            gain = gain * spatio_temporal_gain(evidence, rule_state, self.threshold)
        return Update(gain), frame_seen(evidence)
