"""Where the program's log goes: a file of bounded size in a run's folder, else the terminal.

The commands print what a user needs to know, in one line; this is for diagnosis afterwards.
"""

import contextlib
import logging
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from ttt3r_viewer.system.files import ELSEWHERE, output_errors
from ttt3r_viewer.system.text import hide_passwords, printable
from ttt3r_viewer.system.version import __version__

PACKAGE = "ttt3r_viewer"
FILE_BYTES = 2 * 2**20
OLDER_FILES = 2
LOG_FILES = ("log.txt", *(f"log.txt.{number + 1}" for number in range(OLDER_FILES)))
"""The newest first; each but the first is as long as `FILE_BYTES`."""

log = logging.getLogger(__name__)


@contextmanager
def logging_to_terminal() -> Iterator[None]:
    """Show warnings, and tracebacks of our own mistakes, on stderr; `log_into` changes that until
    the end.
    """
    root = logging.getLogger()
    level = logging.getLogger(PACKAGE).level
    root.addHandler(_Terminal(logging.WARNING))
    try:
        yield
    finally:
        _remove(root, _Terminal, _LogFile)
        logging.getLogger(PACKAGE).setLevel(level)


def log_into(folder: Path | None, level: str, *, fresh: bool) -> None:
    """Log what is of `level` or worse into log.txt of a folder that has been claimed, after what
    stands there or, if `fresh`, in its place; other packages' warnings too.

    The terminal keeps the warnings, without tracebacks. Without a folder it has all. Raises
    `OutputError` where the file cannot be written.
    """
    root, number = logging.getLogger(), logging.getLevelNamesMapping()[level.upper()]
    _remove(root, _LogFile)  # that of an earlier run in the same process
    logging.getLogger(PACKAGE).setLevel(number)
    if folder is None:
        # A run's own messages would hide the address of the page: they are shown on request.
        number = number if level == "debug" else max(number, logging.WARNING)
        _remove(root, _Terminal)
        root.addHandler(_Terminal(number))
        return
    with output_errors(folder / LOG_FILES[0], ELSEWHERE):
        if fresh:
            for name in LOG_FILES:
                (folder / name).unlink(missing_ok=True)
        handler = _LogFile(folder / LOG_FILES[0])
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"))
    root.addHandler(handler)
    _remove(root, _Terminal)
    terminal = _Terminal(max(number, logging.WARNING))
    # The commands, or the page, show in one line what a traceback is about.
    terminal.addFilter(lambda record: not record.exc_info)
    root.addHandler(terminal)
    log.info("ttt3r-viewer %s, Python %s", __version__, platform.python_version())


def log_file() -> Path | None:
    """The file that is logged into, if any."""
    handlers = logging.getLogger().handlers
    files = (Path(one.baseFilename) for one in handlers if isinstance(one, _LogFile))
    return next(files, None)


class _Plain(logging.Formatter):
    """Without passwords, and without bytes that are no text."""

    def format(self, record: logging.LogRecord) -> str:
        return hide_passwords(printable(super().format(record)))


class _Terminal(logging.StreamHandler):
    """Writes to stderr as it is when the record comes, below any progress bar."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.setLevel(level)
        self.setFormatter(_Plain("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _LogFile(RotatingFileHandler):
    """A log that cannot be written, as on a full disk, is no reason to disturb anyone."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what the disk did not take is tried once more here
            super().close()


def _remove(root: logging.Logger, *kinds: type[logging.Handler]) -> None:
    for one in root.handlers[:]:
        if isinstance(one, kinds):
            root.removeHandler(one)
            one.close()
