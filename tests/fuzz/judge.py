"""Judges one hostile input: it must end well or in a `ViewerError` of one line, soon, within
memory, and without running, sending or writing anything.
"""

import contextlib
import resource
import signal
import sys
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.targets import Target
from ttt3r_viewer.errors import ViewerError

LIMIT_SEC = 10.0
"""Of the processor, for one input: the usual is 10 ms, whatever else the machine does."""
SHRINKING_STEPS = 400
_FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn"),
    *("os.startfile", "subprocess.Popen", "pty.spawn", "socket.connect", "socket.bind"),
    *(
        "socket.getaddrinfo",
        "socket.sendto",
        "pickle.find_class",
        "ctypes.dlopen",
        "webbrowser.open",
        "os.kill",
    ),
)
_WRITING = (
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"),
)


class _TooLongError(BaseException):
    """An input took longer than it may; no handler of `Exception` keeps it."""


class _Guard:
    """Notes what Python does beside reading: an audit hook, which stays for ever."""

    def __init__(self) -> None:
        self.place: Path | None = None
        """The only folder in which something may be written; None while nothing is judged."""
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.place is None:
            return
        if event in _FORBIDDEN:
            self.seen.append(event)
        elif event in _WRITING or (event == "open" and _writes(arguments)):
            place = arguments[0]
            if isinstance(place, (str, Path)) and not str(place).startswith(str(self.place)):
                self.seen.append(f"{event} of a file to write")


def _writes(arguments: tuple[Any, ...]) -> bool:
    mode = arguments[1]
    return isinstance(mode, str) and not set(mode).isdisjoint("wax+")


_guard: _Guard | None = None


def judge(target: Target, data: bytes, folder: Path) -> str:
    """Give input to a target: what is wrong with what came of it, or nothing.

    The text is the same for the same fault: kind of error and place in our code.
    """
    global _guard
    _guard = _guard or _Guard()
    before = _peak_bytes()
    _guard.seen.clear()
    _guard.place = folder
    signal.signal(signal.SIGPROF, _raise_too_long)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_SEC)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(data, folder)
        wrong = ""
    except ViewerError as error:
        wrong = f"{type(error).__name__} of several lines" if "\n" in str(error) else ""
    except _TooLongError as error:
        wrong = f"more than {LIMIT_SEC:g} s in {_place_of(error)}"
    except Exception as error:  # noqa: BLE001 - any other error is what is looked for
        wrong = f"{type(error).__name__} in {_place_of(error)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _guard.place = None
    if _guard.seen:
        return f"it did {_guard.seen[0]}"
    if not wrong and _peak_bytes() - before > target.most_mib << 20:
        return f"more than {target.most_mib} MiB of memory"
    return wrong


def warm_up(target: Target, folder: Path) -> None:
    """Read a valid input unwatched: what is imported or made once is no input's doing."""
    with contextlib.suppress(ViewerError):
        target.read(target.seeds()[0], folder)


def shrunk(target: Target, data: bytes, wrong: str, folder: Path) -> bytes:
    """A shorter input with the same fault, found by leaving parts out."""
    if wrong.startswith("more than"):
        return data  # each try would take as long again, and a peak is reached only once
    part, steps = max(len(data) // 2, 1), 0
    while part and steps < SHRINKING_STEPS:
        start = 0
        while start < len(data) and steps < SHRINKING_STEPS:
            shorter = data[:start] + data[start + part :]
            steps += 1
            if judge(target, shorter, folder) == wrong:
                data = shorter
            else:
                start += part
        part //= 2
    return data


def _raise_too_long(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLongError


def _place_of(error: BaseException) -> str:
    """The innermost place of ours that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = ("ttt3r_viewer", "tests/fuzz/recordings", "tests/fuzz/media")
    own = [one for one in frames if any(place in one.filename for place in ours)]
    if not own:
        return "no code of ours"
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].name})"


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
