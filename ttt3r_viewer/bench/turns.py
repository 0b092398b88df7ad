"""The variants side by side: each in its own process, one of them at work at a time."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import cache, partial
from operator import attrgetter, methodcaller
from typing import TYPE_CHECKING, Any

from ttt3r_viewer.bench.variant import Facts, Measured, Turn, Variant
from ttt3r_viewer.errors import ReconstructionError, ViewerError
from ttt3r_viewer.system.jobs import JobProcess

if TYPE_CHECKING:
    from ttt3r_viewer.bench.child import VariantRun

END_SEC = 5.0
"""A process that is ended gets so long to go."""


def measure(
    variants: Sequence[Variant], rounds: int, *, profile: bool, echo: Callable[[str], None]
) -> list[Measured]:
    """Start every variant, let them take turns A B A B ..., and gather the results.

    The processes live side by side, so that slow changes of the machine (heat, other work) meet
    all alike; only one has work at any time. Raises `ReconstructionError` where one cannot go on.
    """
    with ExitStack() as alive:
        processes: list[VariantProcess] = []
        for variant in variants:
            echo(f"starting {_described(variant)}, {variant.dtype}")
            processes.append(alive.enter_context(closing(VariantProcess(variant))))
            processes[-1].ask(attrgetter("start_sec"))  # which it knows once it is ready
        turns: list[list[Turn]] = []
        for number in range(rounds):
            turns.append([process.ask(methodcaller("turn")) for process in processes])
            echo(f"round {number + 1} of {rounds}")
        facts = [process.ask(methodcaller("finish", profile)) for process in processes]
    names = _named(variants, facts)
    return list(map(Measured, names, variants, zip(*turns, strict=True), facts))


def _described(variant: Variant) -> str:
    """A variant in a few words, but for its dtype."""
    way = "" if variant.way == "fast" else f"{variant.way} "
    lanes = f"{variant.lanes} x " if variant.lanes > 1 else ""
    return f"{way}{lanes}{variant.rule}"


def _named(variants: Sequence[Variant], facts: Sequence[Facts]) -> list[str]:
    """A short name for each, numbered where two would be the same."""
    names = [
        f"{_described(variant)} {one.dtype}" for variant, one in zip(variants, facts, strict=True)
    ]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)
    ]


class VariantProcess(JobProcess):
    """The process of a variant, in which its `VariantRun` lives."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(partial(_answer, variant))
        self._variant = variant

    def ask(self, question: "Callable[[VariantRun], Any]") -> Any:
        """What the question, which is picklable, gets of the run. Raises `ReconstructionError`."""
        what = f"{_described(self._variant)}, {self._variant.dtype}"
        try:
            self.pipe.send(question)
            answer, mistake = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(END_SEC)
            raise ReconstructionError(
                f"the process of {what} ended with {self.process.exitcode}: "
                "-9 is mostly too little memory, take fewer lanes or a smaller --preset"
            ) from None
        if isinstance(mistake, ViewerError):
            raise ReconstructionError(f"{what}: {mistake}") from mistake
        if mistake is not None:
            raise mistake
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.join(END_SEC)
        self.pipe.close()


@cache
def _run_of(variant: Variant) -> "VariantRun":
    from ttt3r_viewer.bench.child import VariantRun

    return VariantRun(variant)


def _answer(variant: Variant, question: "Callable[[VariantRun], Any]") -> Any:
    """What the process does: it asks its run, which it makes at the first question."""
    from ttt3r_viewer.system.machine import is_out_of_memory

    try:
        return question(_run_of(variant))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ReconstructionError(
            "out of memory: take fewer lanes, a smaller --preset, or --device cpu"
        ) from error
