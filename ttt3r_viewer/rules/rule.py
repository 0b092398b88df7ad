"""What every update rule is: S_t = S_{t-1} + gain (candidate - S_{t-1}), and the rule gives the
gain.

A rule is a frozen dataclass of its hyper-parameters. What it must remember between frames is a
value that it makes and is handed back, so that several runs may share one rule.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Protocol

from torch import Tensor

from ttt3r_viewer.state import Evidence, EvidenceKind

RuleState = Any
"""A rule's own running value; only the rule that made it looks inside."""


class UpdateRule(Protocol):
    """How much of a proposed state each token accepts."""

    @property
    def needs(self) -> Set[EvidenceKind]:
        """The kinds of evidence that `update` reads; the network computes no other."""
        ...

    def initial(self) -> RuleState:
        """The running value before the first frame."""
        ...

    def reset(self, rule_state: RuleState) -> RuleState:
        """The running value after the session has put the state back to its start."""
        ...

    def update(self, evidence: Evidence, rule_state: RuleState) -> tuple[Tensor, RuleState]:
        """The gain (batch, state) in [0, 1], and the next running value.

        Called for every proposal, also for one that a reset then discards.
        """
        ...
