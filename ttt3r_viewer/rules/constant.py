"""A constant rate for every token and frame; rate 1 is CUT3R (arXiv 2501.12387)."""

from dataclasses import dataclass

from ttt3r_viewer.rules.rule import UpdateRule, first_frame, parameter
from ttt3r_viewer.state import Evidence, Update


@dataclass(frozen=True)
class Constant(UpdateRule):
    """gain = rate, on the first frame too."""

    title = "constant"
    paper = "arXiv 2501.12387 (CUT3R, rate 1)"
    formula = "gain = rate"
    cost = "none; keeps nothing"

    rate: float = parameter(
        1.0, 0.0, 1.0, "share of every proposal that is accepted", remark="where 1 is CUT3R"
    )
    """1 overwrites the whole state with every frame, 0 keeps the start state for ever."""

    def update(self, evidence: Evidence, rule_state: None) -> tuple[Update, None]:
        """The rate, for every token."""
        return Update(first_frame(evidence) * self.rate), rule_state

    def __str__(self) -> str:
        return "CUT3R (rate 1)" if self.rate == 1 else f"constant {self.rate:g}"
