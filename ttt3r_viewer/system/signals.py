"""Ctrl-C and SIGTERM: both end the program with its outputs whole."""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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


def sigterm_is_ctrl_c() -> AbstractContextManager[None]:
    """Let SIGTERM end the program as Ctrl-C does: with its outputs whole."""
    return handled_by(signal.default_int_handler, signal.SIGTERM)


def no_interruption() -> AbstractContextManager[None]:
    """Ignore further signals while the outputs are completed."""
    return handled_by(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM)


@contextmanager
def handled_by(
    handler: Callable[[int, FrameType | None], object] | signal.Handlers, *kinds: signal.Signals
) -> Iterator[None]:
    """Give signals to another handler for a while; outside the main thread, where that is not
    possible, they stay as they are.
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
