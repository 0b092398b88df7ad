"""Files as several data sets have them: 16-bit depth, matrices in text, folders of sequences."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError, FrameError, InputError, in_a_line
from ttt3r_viewer.frames.folder import read_image, read_numbers


def read_named_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image to (height, width, 3) RGB. Raises `FrameError` that names it."""
    try:
        return read_image(path)
    except FrameError as error:
        raise FrameError(f"{path}: {error}") from error


def read_depth_png(
    path: Path, per_metre: float, unknown: tuple[int, ...] = (0,)
) -> NDArray[np.float32]:
    """Read (rows, columns) metres from a 16-bit grey PNG; NaN for the `unknown` values.

    Raises `FrameError` that names the file.
    """
    try:
        mode, values = read_numbers(path)
    except FrameError as error:
        raise FrameError(
            f"{path}: the depth cannot be read ({error}); fetch the file again"
        ) from error
    if mode not in ("I", "I;16", "I;16B") or values.ndim != 2:
        raise FrameError(f"{path}: an image of mode {mode}; wanted depth as 16-bit grey PNG")
    depth = values.astype(np.float32) / np.float32(per_metre)
    depth[np.isin(values, unknown)] = np.nan
    return depth


def depth_reader(
    path: Path, per_metre: float, unknown: tuple[int, ...] = (0,)
) -> Callable[[], NDArray[np.float32]]:
    """A function that reads that depth when it is called."""
    return partial(read_depth_png, path, per_metre, unknown)


def read_matrix(path: Path, rows: int, columns: int) -> NDArray[np.float64]:
    """Read a matrix of numbers from a text file. Raises `EvaluationError` that names it."""
    try:
        numbers = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64)
        return numbers.reshape(rows, columns)
    except (OSError, ValueError) as error:
        reason = in_a_line(error, 200)
        raise EvaluationError(f"{path}: {reason}; wanted {rows} x {columns} numbers") from error


def read_lines(path: Path) -> list[list[str]]:
    """The fields of every line that is neither empty nor a comment. Raises `EvaluationError`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path}: {error}; fetch the file again") from error
    return [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def folders_with(root: Path, *needed: str, deep: int = 2) -> list[str]:
    """Folders at most `deep` levels below the root that hold all of the `needed` names, sorted.

    Names are relative to the root, with `/`. Raises `InputError` where the root cannot be read; a
    folder below that may not be looked into, such as `lost+found`, holds nothing.
    """
    found: list[str] = []
    below = subfolders(root)
    for level in range(deep):
        having = [entry for entry in below if all(holds(entry, name) for name in needed)]
        found += [entry.relative_to(root).as_posix() for entry in having]
        if level + 1 < deep:
            others = [entry for entry in below if entry not in having]
            below = [entry for other in others for entry in subfolders(other, needed=False)]
    return sorted(found)


def holds(folder: Path, name: str) -> bool:
    """Whether a folder holds that name; one that may not be looked into holds nothing."""
    try:
        return (folder / name).exists()
    except OSError:
        return False


def subfolders(folder: Path, *, needed: bool = True) -> list[Path]:
    """The folders in a folder, sorted. Raises `InputError` where it is `needed` and cannot be read;
    gives none where it is not.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError as error:
        if not needed:
            return []
        raise InputError(f"--root: {folder}: {error.strerror}; name the data set's folder") from (
            error
        )
