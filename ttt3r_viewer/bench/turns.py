"""The variants side by side: each in its own process, one of them at work at a time."""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self, TypeVar

from ttt3r_viewer.bench.variant import (
    Failed,
    Finish,
    Finished,
    Measured,
    Started,
    TakeTurn,
    Turn,
    Variant,
)
from ttt3r_viewer.errors import ReconstructionError

Echo = Callable[[str], None]
"""Takes a line for the user."""
Answer = TypeVar("Answer")
END_SEC = 5.0
"""A process that is ended gets so long to go."""


def measure(
    variants: Sequence[Variant], rounds: int, *, profile: bool, echo: Echo
) -> tuple[Measured, ...]:
    """Start every variant, let them take turns A B A B ..., and gather the results.

    The processes live side by side, so that slow changes of the machine (heat, other work) meet
    all alike; only one has work at any time. Raises `ReconstructionError` where one cannot go on.
    """
    with ExitStack() as alive:
        processes: list[VariantProcess] = []
        for variant in variants:
            echo(f"starting {described(variant)}")
            process = alive.enter_context(VariantProcess(variant))
            processes.append(process)
        turns: list[list[Turn]] = [[] for _ in processes]
        for number in range(rounds):
            for process, own in zip(processes, turns, strict=True):
                own.append(process.ask(TakeTurn(), Turn))
            echo(f"round {number + 1} of {rounds}")
        ends = [process.ask(Finish(profile), Finished) for process in processes]
    names = named([(process.variant, process.started) for process in processes])
    return tuple(
        Measured(name, process.variant, process.started, tuple(own), end)
        for name, process, own, end in zip(names, processes, turns, ends, strict=True)
    )


def described(variant: Variant) -> str:
    """A variant in words."""
    lanes = f"{variant.lanes} x " if variant.lanes > 1 else ""
    way = {"fast": "", "compiled": "compiled, ", "plain": "the plain way, "}[variant.way]
    return f"{way}{lanes}{variant.rule}, {variant.dtype}"


def named(runs: Sequence[tuple[Variant, Started]]) -> list[str]:
    """A short name for each, numbered where two would be the same."""
    names = []
    for variant, started in runs:
        lanes = f"{variant.lanes} x " if variant.lanes > 1 else ""
        way = "" if variant.way == "fast" else f"{variant.way} "
        names.append(f"{way}{lanes}{variant.rule} {started.dtype}")
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)
    ]


class VariantProcess:
    """A variant's process, ready for its turns once it is entered."""

    started: Started

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        # A fresh interpreter: a fork would carry this one's memory, and threads of torch with it.
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, variant), daemon=True)
        self._process.start()
        there.close()  # the other end lives in the process alone: if that dies, reading ends here

    def __enter__(self) -> Self:
        try:
            self.started = self._answer(Started)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def ask(self, question: TakeTurn | Finish, kind: type[Answer]) -> Answer:
        """Let it work, and wait for its answer."""
        return self._answer(kind, question)

    def _answer(self, kind: type[Answer], question: TakeTurn | Finish | None = None) -> Answer:
        try:
            if question is not None:
                self._pipe.send(question)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(END_SEC)
            raise ReconstructionError(
                f"the process of {described(self.variant)} ended with {self._process.exitcode}: "
                "-9 is mostly too little memory, take fewer lanes or a smaller --preset"
            ) from None
        if isinstance(answer, Failed):
            raise ReconstructionError(f"{described(self.variant)}: {answer.reason}")
        assert isinstance(answer, kind)
        return answer

    def _end(self) -> None:
        self._process.terminate()
        self._process.join(END_SEC)
        self._pipe.close()


def _serve(pipe: Connection, variant: Variant) -> None:
    """In the new process: torch is imported here."""
    from ttt3r_viewer.bench.child import serve

    serve(pipe, variant)
