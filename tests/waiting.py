"""Wait for what another thread or process does."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.recording.reader import Recording

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None], what: str | Callable[[], str], timeout_sec: float = 60.0
) -> T:
    """Poll until the condition gives something true, and give that.

    `what` is waited for; where it is a function it is asked at the end, and can tell what is there.
    """
    end = time.monotonic() + timeout_sec
    while not (value := condition()):
        if time.monotonic() > end:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {timeout_sec} s for {said}")
        time.sleep(0.01)
    return value


def has_frames(session: Path) -> bool:
    """Whether a run that another process does has recorded a frame in this folder."""
    try:
        return len(Recording.open(session)) > 0
    except RecordingError:
        return False
