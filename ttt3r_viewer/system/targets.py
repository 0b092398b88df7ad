"""Where an export goes: it has its final name only when it is whole, and nothing else is left.

A file or folder is written as `.NAME.part` beside its target and renamed at the end. The part is
made exclusively, so that two exports cannot write the same target at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from ttt3r_viewer.errors import OutputError, system_words


def plain_path(path: Path) -> Path:
    """The same place by a name beside which a part can stand: no link, nor `.` or `..`."""
    return path.resolve() if path.is_symlink() or path.name in ("", "..") else path


def part_of(path: Path) -> Path:
    """What a target is called while it is being written."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def new_file(path: Path, *, overwrite: bool, size: int) -> Iterator[Path]:
    """Give the name of an empty file to write, about `size` bytes; renamed when all went well.

    Raises `OutputError` where it cannot be written; the file of before, if any, is then kept.
    """
    path = plain_path(path)
    _check_file(path, overwrite=overwrite)
    with _part(path, size, is_folder=False) as part:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        _check_file(path, overwrite=overwrite)
        part.replace(path)


@contextmanager
def new_folder(path: Path, own: Sequence[str], *, overwrite: bool, size: int) -> Iterator[Path]:
    """Give the name of an empty folder to fill; renamed when all went well.

    With `overwrite` the folder of before is replaced, if all in it is our own: `own` are patterns
    of paths inside. Raises `OutputError`; the folder of before, if any, is then kept.
    """
    path = plain_path(path)
    _check_folder(path, own, overwrite=overwrite)
    with _part(path, size, is_folder=True) as part:
        yield part
        _check_folder(path, own, overwrite=overwrite)
        old = path.with_name(f".{path.name}.old")
        # A program that was killed may have left it.
        shutil.rmtree(old, ignore_errors=True)
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
def _part(path: Path, size: int, *, is_folder: bool) -> Iterator[Path]:
    """Make the part, and leave none of it unless it was renamed."""
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(path, size)
        _make(part, is_folder=is_folder)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield part
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if is_folder:
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _make(part: Path, *, is_folder: bool) -> None:
    try:
        if is_folder:
            part.mkdir()
        else:
            part.open("xb").close()
    except FileExistsError as error:
        raise OutputError(
            f"{part} exists, so another export is writing there: wait for it, or remove that if "
            "none is"
        ) from error


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: {system_words(error)}; free some space, or name another place with --output"
    )


def _check_room(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise OutputError(
            f"{path}: up to {size / 1e9:.2g} GB are needed and {free / 1e9:.2g} GB are free there; "
            "free some space, name another place with --output, or take less (--stride)"
        )


def _check_file(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder, and this format is a file: name a file in it")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: give another name with --output, or --overwrite")


def _check_folder(path: Path, own: Sequence[str], *, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"{path} is a file, and this format is a folder: give another name")
    if not overwrite and any(path.iterdir()):
        raise OutputError(f"{path} exists: give another name with --output, or --overwrite")
    for one in path.rglob("*"):
        name = one.relative_to(path).as_posix()
        if not one.is_dir() and not any(fnmatch(name, pattern) for pattern in own):
            raise OutputError(
                f"{path} holds {name}, which no export wrote, and --overwrite would take it away: "
                "move it, or give another name with --output"
            )
