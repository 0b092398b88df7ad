"""A constant rate for every token and frame; rate 1 is CUT3R (arXiv 2501.12387)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ttt3r_viewer.errors import RuleError
from ttt3r_viewer.state import Evidence, EvidenceKind


@dataclass(frozen=True)
class Constant:
    """gain = rate."""

    rate: float = 1.0
    """In [0, 1]; 1 overwrites the whole state with every frame, 0 keeps the start state for ever.
    """

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise RuleError(
                f"a constant rate of {self.rate:g}: it must lie in [0, 1], where 1 is CUT3R"
            )

    @property
    def needs(self) -> frozenset[EvidenceKind]:
        """Nothing."""
        return frozenset()

    def initial(self) -> None:
        """There is nothing to remember."""

    def reset(self, rule_state: None) -> None:
        """There is nothing to remember."""

    def update(self, evidence: Evidence, rule_state: None) -> tuple[Tensor, None]:
        """The rate, for every token."""
        return torch.full_like(evidence.candidate[..., 0], self.rate), rule_state

    def __str__(self) -> str:
        return f"constant {self.rate:g}" + (" (CUT3R)" if self.rate == 1 else "")
