"""TTSA3R (arXiv 2601.22615): tokens learn where proposals move and the image changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt3r_viewer.rules.rule import UpdateRule, first_frame, parameter
from ttt3r_viewer.state import Evidence, Update

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SMALLEST_CHANGE = 1e-12
"""Where nothing changes at all, as with a paused camera, 0 / 0 would end the run."""


@dataclass(frozen=True, eq=False)
class FrameBefore:
    """What is compared with the next frame."""

    candidate: Float[Tensor, "batch state width"]
    """The proposal, whatever was accepted of it."""
    features: Float[Tensor, "batch patch features"]


@dataclass(frozen=True)
class TTSA3R(UpdateRule):
    """gain = T P, where T is large for tokens whose proposals differ more than others' from those
    of the frame before, and P for tokens that look at patches which have changed.

    The equations are evaluated as in the published code. On the first frame, and the first
    after a reset, the gain is 1.
    """

    title = "TTSA3R"
    paper = "arXiv 2601.22615"
    formula = (
        "u = |C - C before|, D = 1 - cos(f, f before): "
        "gain = sigmoid(u / mean u - threshold) sigmoid(max over patches of |mean logit| D)"
    )
    cost = "one state x image matrix product per layer; keeps a proposal and a frame's features"
    needs = frozenset(("pair_logits", "image_features"))

    threshold: float = parameter(
        1.5, 0.0, 5.0, "change, in units of the mean, at which T is one half"
    )

    def update(
        self, evidence: Evidence, rule_state: FrameBefore | None
    ) -> tuple[Update, FrameBefore]:
        """The gain, and this frame to compare the next with."""
        assert evidence.image_features is not None
        now = FrameBefore(evidence.candidate, evidence.image_features)
        if rule_state is None:
            return Update(first_frame(evidence)), now
        assert evidence.pair_logit_mean is not None
        moved = (now.candidate - rule_state.candidate).norm(dim=-1)
        typical = moved.mean(dim=-1, keepdim=True).clamp_min(SMALLEST_CHANGE)
        in_time = (moved / typical - self.threshold).sigmoid()
        attention = evidence.pair_logit_mean[..., 1:].abs()  # without the pose token
        seen = attention * _change(now.features, rule_state.features)[:, None]
        return Update(in_time * seen.amax(dim=-1).sigmoid()), now


def _change(
    now: Float[Tensor, "batch patch features"], then: Float[Tensor, "_ _ features"]
) -> Float[Tensor, "batch patch"]:
    """1 - cos between a patch's features and those of the same patch before.

    An image of another size has no same patches: there all have changed, and it is 1.
    """
    if now.shape != then.shape:
        return now.new_ones(now.shape[:2])
    lengths = now.norm(dim=-1) * then.norm(dim=-1)
    return 1 - (now * then).sum(dim=-1) / lengths.clamp_min(SMALLEST_CHANGE)
