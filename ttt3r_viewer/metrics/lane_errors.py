"""How wrong each lane is beside the others, in a few words and as the length of a bar."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ttt3r_viewer.metrics.text_tables import MISSING

LEAST_RATED_M = 1e-4
"""A smaller error of the first lane is rounding, to which there is no ratio."""


@dataclass(frozen=True)
class LaneError:
    """A lane's ATE so far, beside those of the others."""

    ate_m: float | None
    """In the true poses' unit; None where it is unknown."""
    share: float
    """Of the largest one of all lanes, 0 to 1; 0 where it is unknown."""
    ratio: float | None
    """To that of the first lane; None for the first one itself, and where one is unknown."""

    @property
    def text(self) -> str:
        """The number with its unit, and the ratio where there is one."""
        ate = f"ATE {MISSING}" if self.ate_m is None else f"ATE {self.ate_m:.3f} m"
        return ate if self.ratio is None else f"{ate}, {self.ratio:.2f} x lane 1"


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
