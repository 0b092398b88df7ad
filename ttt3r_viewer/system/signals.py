"""Ctrl-C and SIGTERM: both end the program with its outputs whole."""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def hear_every_ctrl_c() -> None:
    """Send Ctrl-C again where Python has swallowed it: in a finaliser, or in a callback that its
    imports run, no exception goes anywhere.
    """
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # From another thread, a little later: at once it would fall into this function.
            _thread.start_new_thread(send_again, ())
        else:
            before(unraisable)

    def send_again() -> None:
        time.sleep(0.05)
        _thread.interrupt_main()

    sys.unraisablehook = hook


@contextmanager
def sigterm_is_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does: with its outputs whole."""
    with _handled_by(signal.default_int_handler, signal.SIGTERM):
        yield


@contextmanager
def no_interruption() -> Iterator[None]:
    """Ignore further signals for the moment that the outputs need."""
    with _handled_by(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
        yield


@contextmanager
def asked_to_end(on_progress: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Take the first Ctrl-C and every SIGTERM for a wish, so that work can stop where it is whole;
    a second Ctrl-C raises `KeyboardInterrupt`.

    What is yielded says whether one has come; `tell` is called, in the signal's handler, at each.
    """
    # No Event: one signal's handler may run within another's, and Event locks.
    asked: list[int] = []

    def hear(kind: int, _: FrameType | None) -> None:
        asked.append(kind)
        if kind == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        on_progress()

    with _handled_by(hear, signal.SIGINT, signal.SIGTERM):
        yield lambda: bool(asked)


@contextmanager
def ctrl_c_kept_back() -> Iterator[None]:
    """Let Ctrl-C wait for a while; programs that are started meanwhile never hear it, which at a
    terminal comes to every process.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _handled_by(
    handler: Callable[[int, FrameType | None], object] | signal.Handlers, *kinds: signal.Signals
) -> Iterator[None]:
    """Give signals to another handler for a while; outside the main thread, where that cannot be,
    they stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(kind, handler) for kind in kinds]
    try:
        yield
    finally:
        for kind, earlier in zip(kinds, before, strict=True):
            signal.signal(kind, earlier)
