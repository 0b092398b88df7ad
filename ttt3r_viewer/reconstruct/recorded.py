"""What a recorded session tells of how its frames were taken, so that they can be taken again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple, Protocol

from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.rules.registry import rule_from_text
from ttt3r_viewer.rules.rule import UpdateRule


class StepSettings(NamedTuple):
    """How a frame was taken."""

    rules: tuple[UpdateRule, ...]
    """Those that were in force."""
    reset_every: int
    segment: int
    """Resets before it."""


class RecordedFrames(Protocol):
    """What is needed of an `Recording`."""

    @property
    def sequences(self) -> tuple[int, ...]:
        """The numbers of the frames that are there, rising."""
        ...

    def facts(self, sequence: int) -> Mapping[str, Any]:
        """Give a frame's plain values. Raises `RecordingError`."""
        ...


def recorded_rules(frames: RecordedFrames, sequences: Iterable[int]) -> dict[int, StepSettings]:
    """How each frame was taken.

    Raises `RecordingError` where a record cannot be read, `RuleError` where a rule is not to be had
    here, and `ReconstructionError` where a record does not say its rule exactly.
    """
    make = cache(rule_from_text)
    found = {}
    for sequence in sequences:
        lanes = frames.facts(sequence)["lanes"]
        texts = [lane.get("rule_text", "") for lane in lanes]
        if not all(texts):
            raise ReconstructionError(
                f"frame {sequence} cannot be taken again: its record does not say the exact "
                f"parameters of its rule ({lanes[0]['rule']}); run the input again"
            )
        rules = tuple(map(make, texts))
        found[sequence] = StepSettings(rules, lanes[0]["reset_every"], lanes[0]["segment"])
    return found
