"""The update rules by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from ttt3r_viewer.errors import RuleError
from ttt3r_viewer.rules.constant import Constant
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.rules.ttt3r import TTT3R

RULES: dict[str, Callable[..., UpdateRule]] = {"ttt3r": TTT3R, "constant": Constant}


def make_rule(name: str, **parameters: float) -> UpdateRule:
    """The rule of that name; an unknown name or parameter is an error that lists the known ones."""
    if name not in RULES:
        raise RuleError(f"unknown rule {name!r}: take one of {', '.join(RULES)}")
    maker = RULES[name]
    known = [field.name for field in fields(maker)]  # pyright: ignore[reportArgumentType]
    if unknown := sorted(set(parameters) - set(known)):
        takes = ", ".join(known) or "no parameters"
        raise RuleError(f"rule {name} does not take {', '.join(unknown)}; it takes {takes}")
    return maker(**parameters)
