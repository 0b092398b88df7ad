"""How wrong each lane is beside the others, in a few words and as the length of a bar."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ttt3r_viewer.metrics.text_tables import MISSING

LEAST_RATED_M = 1e-4
"""A smaller error of the first lane is rounding, to which there is no ratio."""
LEVEL = 0.98
"""Ratios from here to 1 are no lead."""


@dataclass(frozen=True)
class LaneError:
    """A lane's ATE so far, beside those of the others."""

    ate_m: float | None
    """In the true poses' unit, which is metres whatever the weights' is; None where unknown."""
    share: float
    """Of the largest one of all lanes, 0 to 1; 0 where it is unknown."""
    ratio: float | None
    """To that of the first lane; None for the first one itself, and where one is unknown."""

    @property
    def ate_text(self) -> str:
        """The number with its unit."""
        return f"ATE {MISSING}" if self.ate_m is None else f"ATE {self.ate_m:.3f} m"

    @property
    def text(self) -> str:
        """The number with its unit, and the ratio where there is one."""
        beside = "" if self.ratio is None else f", {self.ratio:.2f} times the first lane's"
        return self.ate_text + beside


def lane_errors(ate_m: Sequence[float]) -> tuple[LaneError, ...]:
    """Set every lane's ATE beside the others; NaN where it is unknown."""
    largest = max(filter(math.isfinite, ate_m), default=0.0)
    first = ate_m[0] if ate_m else math.nan
    errors = []
    for lane, ate in enumerate(ate_m):
        if math.isfinite(ate):
            ratio = ate / first if lane and first >= LEAST_RATED_M else None
            errors.append(LaneError(ate, ate / largest if largest > 0 else 0.0, ratio))
        else:
            errors.append(LaneError(None, 0.0, None))
    return tuple(errors)


def ahead_text(names: Sequence[str], errors: Sequence[LaneError]) -> str:
    """Say which lane has the least error, and what share of the others' that is; empty where fewer
    than two are known.
    """
    known = [
        (one.ate_m, name)
        for name, one in zip(names, errors, strict=True)
        if one.ate_m is not None and one.ate_m >= LEAST_RATED_M
    ]
    if len(known) < 2:
        return ""
    (least, first), *others = sorted(known)
    if least > LEVEL * others[0][0]:
        return f"{first} and {others[0][1]} level"
    return f"{first} ahead: " + ", ".join(f"{least / ate:.2f} of {name}" for ate, name in others)
