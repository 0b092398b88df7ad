"""Training in several processes, each of which learns from its share of every batch.

On a CPU two processes of one thread learn faster than one of two: most of a step is small
operations, which threads cannot share.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch
from torch import Tensor
from torch.multiprocessing.spawn import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    spawn,
)

from ttt3r_viewer.errors import ViewerError
from ttt3r_viewer.system.signals import handled_by


@dataclass(frozen=True)
class Workers:
    """One process's place among those that learn together."""

    rank: int = 0
    size: int = 1
    parent: int | None = None
    """Process that waits for the workers and passes signals on; None where there is no other."""
    asked: Callable[[], bool] = lambda: False
    """Whether this process was asked to end: by SIGTERM, or by Ctrl-C where it is alone."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def average(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their means over all processes."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        means = (flat / self.size).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    @property
    def should_end(self) -> bool:
        """Whether this process was asked to end, or the one that waited for it has gone."""
        orphaned = self.parent is not None and os.getppid() != self.parent
        return orphaned or self.asked()

    def any(self, mine: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return mine
        votes = torch.tensor(int(mine))
        torch.distributed.all_reduce(votes)
        return bool(votes)


ALONE = Workers()


class Learn(Protocol):
    """What workers do together."""

    def __call__(self, *, workers: Workers) -> None:
        """Do it, as one of the workers."""
        ...


def run_workers(size: int, learn: Learn) -> None:
    """Run `learn` in `size` processes at once; in this one where that is one.

    What `learn` holds must be picklable. An error in any process ends all of them; a ViewerError
    of theirs is raised here. Ctrl-C and SIGTERM ask all of them to end (`Workers.should_end`), and
    `KeyboardInterrupt` is raised when they have; a second Ctrl-C ends them at once.
    """
    if size == 1:
        with asked_to_end() as asked:
            learn(workers=Workers(asked=asked))
        was_asked = asked()
    else:
        was_asked = _in_processes(size, learn)
    if was_asked:
        raise KeyboardInterrupt


def _in_processes(size: int, learn: Learn) -> bool:
    """Whether they were asked to end."""
    context: ProcessContext | None = None

    def signal_all() -> None:
        for process in context.pids() if context else ():
            # A worker that has just ended receives nothing.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    with tempfile.TemporaryDirectory() as folder, asked_to_end(signal_all) as asked:
        refused = Path(folder) / "refused"
        together = (size, os.getpid(), Path(folder) / "rendezvous", refused, learn)
        resource_tracker.ensure_running()  # begun by the first of them, it would let Ctrl-C through
        with ctrl_c_kept_back():
            context = spawn(_join, args=together, nprocs=size, join=False)
        assert context is not None
        if asked():  # before there was a context
            signal_all()
        try:
            while not context.join():
                pass
        except (ProcessExitedException, ProcessRaisedException) as error:
            # The others fail too, because one has gone; which is noticed first is chance.
            if refused.exists():
                raise ViewerError(refused.read_text(encoding="utf-8")) from None
            # SIGTERM ends a process that does not learn yet, or no more, as it ends any other.
            ended = isinstance(error, ProcessExitedException) and error.signal_name == "SIGTERM"
            if not (ended and asked()):
                raise
        finally:
            for process in context.processes:
                process.kill()
                process.join()
        return asked()


def _join(
    rank: int,
    size: int,
    parent: int,
    rendezvous: Path,
    refused: Path,
    learn: Callable[..., None],
) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size
    )
    try:
        with asked_to_end() as asked:
            learn(workers=Workers(rank, size, parent, asked))
    except ViewerError as error:
        refused.write_text(str(error), encoding="utf-8")
        sys.exit(2)
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def asked_to_end(on_signal: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C and every SIGTERM into a flag, so that the current step can finish; a
    second Ctrl-C raises `KeyboardInterrupt`.

    Yields whether one has come; `on_signal` is called at each, in the signal's handler.
    """
    # No Event: one signal's handler may run within another's, and Event locks.
    asked: list[int] = []

    def hear(kind: int, _: FrameType | None) -> None:
        asked.append(kind)
        if kind == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        on_signal()

    with handled_by(hear, signal.SIGINT, signal.SIGTERM):
        yield lambda: bool(asked)


@contextlib.contextmanager
def ctrl_c_kept_back() -> Iterator[None]:
    """Block Ctrl-C for a while; programs started meanwhile inherit that, so that they never get
    the one that a terminal sends to every process.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
