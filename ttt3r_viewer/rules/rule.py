"""What every update rule is: it says how much of a proposed state is accepted.

A rule is a frozen dataclass of its hyper-parameters. What it must remember between frames is a
value that it makes and is handed back, so that several runs may share one rule. Torch is not
imported here: a rule works through the methods of the tensors that it is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import Field, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from ttt3r_viewer.errors import RuleError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ttt3r_viewer.state import Evidence, EvidenceKind, Update

RuleState = Any
"""A rule's own running value; only the rule that made it looks inside."""


def parameter(default: float, low: float, high: float, help: str, *, remark: str = "") -> Any:
    """A dataclass field for a hyper-parameter, which must lie in [low, high].

    help says in a few words what it does; remark follows the range, in the help and in the error.
    A default that is an int makes a parameter of whole numbers.
    """
    assert low <= default <= high, f"{default} outside [{low}, {high}]"
    metadata = {
        "low": low,
        "high": high,
        "help": f"{help}, {remark}" if remark else help,
        "remark": remark,
        "whole": isinstance(default, int),
    }
    return field(default=default, metadata=metadata)


class UpdateRule(ABC):
    """How much of a proposal to accept. Subclasses are frozen dataclasses of `parameter` fields."""

    title: ClassVar[str]
    """What people call it."""
    paper: ClassVar[str]
    """Where it was published."""
    formula: ClassVar[str]
    """The gain in one line of plain text."""
    cost: ClassVar[str]
    """What it asks of the machine beyond the network's own step, and what it keeps."""
    needs: ClassVar[frozenset[EvidenceKind]] = frozenset()
    """The kinds of evidence that `update` reads; the network computes no other."""

    def __post_init__(self) -> None:
        for one in parameters_of(type(self)):
            _check(self.title, one, getattr(self, one.name))

    def initial(self) -> RuleState:
        """The running value before the first frame."""
        return None

    def reset(self, rule_state: RuleState) -> RuleState:  # noqa: ARG002 - some rules keep a part
        """The running value after the session has put the state back to its start."""
        return self.initial()

    @abstractmethod
    def update(self, evidence: Evidence, rule_state: RuleState) -> tuple[Update, RuleState]:
        """What becomes of a proposal, and the next running value.

        Called for every proposal, also for one that a reset then discards.
        """

    def __str__(self) -> str:
        """What a lane with this rule is called everywhere: the title, and in brackets the
        parameters that differ from the default.
        """
        changed = ", ".join(
            f"{one.name.replace('_', ' ')} {getattr(self, one.name):g}"
            for one in parameters_of(type(self))
            if getattr(self, one.name) != one.default
        )
        return f"{self.title} ({changed})" if changed else self.title


def parameters_of(rule: type[UpdateRule]) -> tuple[Field[Any], ...]:
    """The hyper-parameters of a rule, in the order in which it declares them."""
    return fields(rule)  # pyright: ignore[reportArgumentType] - every subclass is a dataclass


def first_frame(evidence: Evidence) -> Float[Tensor, "batch state"]:
    """The gain 1 for every token: what most rules give a first frame."""
    candidate = evidence.candidate
    return candidate.new_ones(candidate.shape[:2])


def _check(title: str, one: Field[Any], value: object) -> None:
    said = f"a {title} {one.name} of "
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RuleError(f"{said}{value!r}: it must be a number")
    low, high, remark = (one.metadata[key] for key in ("low", "high", "remark"))
    if not low <= value <= high:
        more = f", {remark}" if remark else ""
        raise RuleError(f"{said}{value:g}: it must lie in [{low:g}, {high:g}]{more}")
    if one.metadata["whole"] and value != round(value):
        raise RuleError(f"{said}{value:g}: it must be a whole number")
