"""Values out of JSON, each checked to be of the kind that is wanted. All raise `TypeError`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

MISTAKES = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""What wrong values lead to."""
MOST_FRAMES = 1 << 40
"""Far above any run; numbers of frames below are kept exactly by everything that counts them."""
T = TypeVar("T")


def number(value: Any) -> float:
    """A number, which need not be finite. Raises `OverflowError` beyond all floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{_shown(value)} is no number")
    return float(value)


def whole(value: Any) -> int:
    """A whole number that could count frames or pixels."""
    if type(value) is not int or abs(value) >= MOST_FRAMES:
        raise TypeError(f"{_shown(value)} is no whole number in reach")
    return value


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise TypeError(f"{_shown(value)} is no text")
    return value


def pair(value: Any, make: Callable[[Any], T]) -> tuple[T, T]:
    """Two values, each made by `make`. Raises `ValueError` where they are not two."""
    first, second = value
    return make(first), make(second)


def _shown(value: Any) -> str:
    return repr(value)[:40]
