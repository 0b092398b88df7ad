"""Where results go: folders that are never emptied, and files that are whole or not there.

The one place in the package that gives a file its final name: what is being written is called
`.NAME.part` beside it.
"""

import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from itertools import count
from pathlib import Path
from typing import IO, Any

from ttt3r_viewer.errors import OutputError, system_words

ELSEWHERE = "name another folder"
MORE_SPACE = f"free some space or {ELSEWHERE}"


def part_of(path: Path) -> Path:
    """The name of a file or folder while it is being written."""
    return path.with_name(f".{path.name}.part")


def put_in_place(part: Path, path: Path) -> None:
    """Give a complete file its final name, once it is on the disk. Raises `OSError`."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)


@contextmanager
def atomic_path(path: Path, *, exclusive: bool = False) -> Iterator[Path]:
    """Give the name of an empty file to write; it replaces `path` when all went well.

    Raises `OSError`, after which the file of before, if any, is kept and nothing else is left;
    `FileExistsError` where another writer has an `exclusive` part.
    """
    part = part_of(path)
    part.open("xb" if exclusive else "wb").close()
    try:
        yield part
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write, with the promise and the errors of `atomic_path`."""
    with atomic_path(path) as part, part.open("wb") as file:
        yield file


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole, or leave the one of before. Raises `OSError`."""
    with atomic_write(path) as file:
        file.write(data)


def move_to(part: Path, path: Path) -> None:
    """Give a complete file or folder its final name, which is free. Raises `OSError`."""
    part.rename(path)


def move_aside(folder: Path) -> Path:
    """Give a folder the first free number behind its name, in one step; where it is then.

    Raises `OSError`, after which it is as it was.
    """
    aside = numbered_name(folder, 1)
    folder.rename(aside)
    return aside


def move_folder(folder: Path, path: Path) -> None:
    """Move a folder, also to another disk. Raises `OSError`, after which it is as it was."""
    try:
        shutil.move(folder, path)
    except OSError:
        shutil.rmtree(path, ignore_errors=True)
        raise


def take_name(folder: Path, path: Path) -> None:
    """Rename a folder where it is there and the name is free. Raises `OutputError`."""
    if folder.is_dir() and not os.path.lexists(path):
        with output_errors(folder):
            folder.rename(path)


def numbered_name(path: Path, first: int) -> Path:
    """Return the first free one of the names with a number after them, counted from `first`."""
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(first))
    return next(name for name in names if not os.path.lexists(name))


@contextmanager
def output_errors(place: object, advice: str = MORE_SPACE) -> Iterator[None]:
    """Raise an `OSError` as an `OutputError`: the place, the system's words, and advice."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{place}: {system_words(error)}; {advice}") from error


def write_output(path: Path, data: bytes, advice: str = MORE_SPACE) -> None:
    """As `write_atomically`, but raises `OutputError`."""
    with output_errors(path, advice):
        write_atomically(path, data)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole, in ASCII. Raises `OutputError`."""
    write_output(path, (json.dumps(value, indent=1) + "\n").encode("ascii"))


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
    with output_errors(f"--output {path}", ELSEWHERE):
        path.mkdir(parents=True, exist_ok=True)
        there = sorted({entry.name for entry in os.scandir(path)} - set(logs))
        writable = os.access(path, os.W_OK)
    if not writable:
        raise OutputError(f"--output {path}: nothing may be written there; {ELSEWHERE}")
    own_files = (*own_files, *logs)
    in_the_way = [name for name in own_files if (path / name).is_dir()]
    if in_the_way:
        raise OutputError(
            f"--output {path}: it holds a folder named {in_the_way[0]}, where a file is to be "
            f"written; {ELSEWHERE}"
        )
    if there and not overwrite:
        more = " and more" if len(there) > 3 else ""
        raise OutputError(
            f"--output {path}: not empty (it holds {', '.join(there[:3])}{more}); {ELSEWHERE}, "
            f"or give --overwrite, which replaces only {', '.join(own_files)}{hint}"
        )


class FolderLock:
    """Keeps a second run from writing into a folder; the system lifts it when the process ends.

    It is a lock of the folder itself (flock), so that no file is left. Where there is none, on
    Windows and on some network drives, two runs are not kept apart.
    """

    def __init__(self, path: Path) -> None:
        """Take it. Raises `OutputError` where another run has it."""
        self.close: Callable[[], object] = lambda: None
        """Gives it back; may be called twice."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        with output_errors(f"--output {path}", ELSEWHERE):
            handle = os.open(path, os.O_RDONLY)
        self.close = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise OutputError(
                f"--output {path}: another run is writing there now; wait for its end, or "
                f"{ELSEWHERE}"
            ) from error
        except OSError:
            self.close()  # a drive without locks


# Exports: a file or folder that someone named, which another export must not write meanwhile.


@contextmanager
def new_output(path: Path, own: Sequence[str], *, overwrite: bool, size: int) -> Iterator[Path]:
    """Give the name of an empty file to write, or of an empty folder to fill where there are `own`,
    patterns of paths inside; about `size` bytes, renamed when all went well.

    With `overwrite` what was there is replaced, a folder only if all in it is our own. Raises
    `OutputError`; what was there is then kept.
    """
    if path.is_symlink() or path.name in ("", ".."):
        path = path.resolve()  # a part must stand beside the place itself
    _check_free(path, own, overwrite=overwrite)
    empty = _empty_folder(path) if own else atomic_path(path, exclusive=True)
    with _target(path, size), empty as part:
        yield part
        _check_free(path, own, overwrite=overwrite)


@contextmanager
def _empty_folder(path: Path) -> Iterator[Path]:
    part = part_of(path)
    part.mkdir()
    try:
        yield part
        _replace_folder(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace_folder(part: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)  # a program that was killed may have left it
    if path.exists():
        path.rename(old)
    try:
        part.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _target(path: Path, size: int) -> Iterator[None]:
    """See that `size` bytes fit beside `path`, and raise what the system says as `OutputError`."""
    with output_errors(path, "free some space, or name another place with --output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise OutputError(
                f"{path}: up to {size / 1e9:.2g} GB are needed and {free / 1e9:.2g} GB are free "
                "there; free some space, name another place with --output, or take less (--stride)"
            )
        try:
            yield
        except FileExistsError as error:
            raise OutputError(
                f"{part_of(path)} exists, so another export is writing there: wait for it, or "
                "remove that if none is"
            ) from error


def _check_free(path: Path, own: Sequence[str], *, overwrite: bool) -> None:
    folder = path.is_dir()
    if folder and not own:
        raise OutputError(f"{path} is a folder, and this format is a file: name a file in it")
    if own and path.exists() and not folder:
        raise OutputError(f"{path} is a file, and this format is a folder: give another name")
    taken = any(path.iterdir()) if folder else path.exists()
    if taken and not overwrite:
        raise OutputError(f"{path} exists: give another name with --output, or --overwrite")
    for one in path.rglob("*") if folder else ():
        name = one.relative_to(path).as_posix()
        if not one.is_dir() and not any(fnmatch(name, pattern) for pattern in own):
            raise OutputError(
                f"{path} holds {name}, which no export wrote, and --overwrite would take it away: "
                "move it, or give another name with --output"
            )
