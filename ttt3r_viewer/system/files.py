"""Where results go: a folder that is never emptied, and files that are whole or not there."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ttt3r_viewer.errors import OutputError


def claim_folder(
    path: Path,
    own_files: tuple[str, ...],
    *,
    overwrite: bool,
    hint: str = "",
    logs: tuple[str, ...] = (),
) -> None:
    """Make `path`, or take it as it is, before anything is computed.

    A folder that is not empty is refused, unless `overwrite`: then the files named in `own_files`
    are replaced when their time comes, and everything else is left alone. A folder that holds
    nothing but `logs`, as a run leaves it that failed at once, counts as empty. Raises
    `OutputError`, which ends with `hint` where the folder is not empty.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        there = sorted({entry.name for entry in os.scandir(path)} - set(logs))
        writable = os.access(path, os.W_OK)
    except OSError as error:
        raise OutputError(f"--output {path}: {error.strerror}; name another folder") from error
    if not writable:
        raise OutputError(f"--output {path}: nothing may be written there; name another folder")
    own_files = (*own_files, *logs)
    in_the_way = [name for name in own_files if (path / name).is_dir()]
    if in_the_way:
        raise OutputError(
            f"--output {path}: it holds a folder named {in_the_way[0]}, where a file is to be "
            "written; name another folder"
        )
    if there and not overwrite:
        more = " and more" if len(there) > 3 else ""
        raise OutputError(
            f"--output {path}: not empty (it holds {', '.join(there[:3])}{more}); name another "
            f"folder, or give --overwrite, which replaces only {', '.join(own_files)}{hint}"
        )


def is_folder(path: Path) -> bool:
    """Whether a folder is there; what may not even be asked about is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


class FolderLock:
    """Keeps a second run from writing into a folder; the system lifts it when the process ends.

    It is a lock of the folder itself (flock), so that no file is left behind. Where there is none,
    on Windows and on some network drives, two runs are not kept apart.
    """

    def __init__(self, path: Path) -> None:
        """Take it. Raises `OutputError` where another run has it."""
        self.close: Callable[[], object] = lambda: None
        """Gives it back; may be called twice."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise OutputError(f"--output {path}: {error.strerror}; name another folder") from error
        self.close = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise OutputError(
                f"--output {path}: another run is writing there now; wait for its end, or name "
                "another folder"
            ) from error
        except OSError:
            self.close()  # a drive without locks


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside its final name, and put it there when it is complete.

    Raises `OutputError` where the disk does not take it; the file of before, if any, is then kept.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror}; free some space or name another folder"
        ) from error
    finally:
        part.unlink(missing_ok=True)
