"""Where a frame's time goes, found by wrapping the calls that begin and end a stage."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ttt3r_viewer.bench.variant import StageSeconds

Place = tuple[Any, str, str]
"""(owner, name of its function, stage): calls of `owner.name` are that stage."""


class StageClock:
    """Adds up seconds by stage; an inner stage's time is not the outer one's.

    `wait` returns when the device has done all that it was asked for, so that work which was only
    begun in a stage is counted there.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait
        self._open: list[str] = []
        self._since = 0.0
        self.seconds: StageSeconds = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What happens until the end is the stage `name`, but for the stages inside it."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    @contextmanager
    def watching(self, places: Sequence[Place]) -> Iterator[None]:
        """Count each call of these functions as a stage; they are put back at the end."""
        with ExitStack() as wrapped:
            for owner, name, stage in places:
                wrapped.enter_context(self._wrapped(owner, name, stage))
            yield

    def take(self) -> StageSeconds:
        """What was counted since it was last taken."""
        taken, self.seconds = self.seconds, {}
        return taken

    def _charge(self) -> None:
        """Give the time since the last change to the stage that was open."""
        self._wait()
        now = time.perf_counter()
        if self._open:
            stage = self._open[-1]
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def _wrapped(self, owner: Any, name: str, stage: str) -> Iterator[None]:
        call = getattr(owner, name)
        own = name in vars(owner)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.stage(stage):
                return call(*arguments, **named)

        setattr(owner, name, timed)
        try:
            yield
        finally:
            # A method was the class's, which shows again when the instance has none.
            setattr(owner, name, call) if own else delattr(owner, name)
