"""What a data set is to the evaluation: named sequences of images with what is true of them.

Below: files as several data sets have them, matrices in text, folders of sequences.
"""

import difflib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError, FrameError, InputError, SettingsError, in_a_line
from ttt3r_viewer.frames.folder import read_image
from ttt3r_viewer.geometry import faulty_poses
from ttt3r_viewer.metrics.true_depth import DepthReader, TrueDepth
from ttt3r_viewer.system.text import number_in, numbered_fields, some_of

Measure = Literal["poses", "depth", "points"]
MEASURES: tuple[Measure, ...] = ("poses", "depth", "points")


@dataclass(frozen=True, eq=False)
class TrueFrame:
    """One image of a sequence and what the data set says about it; None where it says nothing."""

    name: str
    time_sec: float
    read_image: Callable[[], NDArray[np.uint8]]
    """Gives (height, width, 3) RGB. Raises `FrameError`."""
    T_world_camera: NDArray[np.float64] | None = None
    """(4, 4) OpenCV axes; the world and its unit are the data set's."""
    depth: TrueDepth | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What is fixed for a data set."""

    title: str
    layout: str
    """What must lie where, in one line for error texts."""
    measures: tuple[Measure, ...]
    """What the papers measure on it, and `eval` by default."""
    lengths: str
    """Numbers of frames, as `--frames` takes them."""
    stride: int = 1
    farthest_m: float = float("inf")
    """True depth beyond this is left out."""
    endless: bool = False
    """Whether its sequences have no end, so that they cannot be taken in full."""


class Dataset(Protocol):
    """An opened data set."""

    @property
    def info(self) -> DatasetInfo:
        """What is fixed for it."""
        ...

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """Names of all sequences, or those that are wanted.

        Raises `InputError` where the root does not hold the data set, and `SettingsError` for one
        that is not there.
        """
        ...

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """Every `stride`-th frame of a sequence, at most `most`; no image is read yet.

        Raises `InputError` or `EvaluationError` where its files do not fit.
        """
        ...


@dataclass(frozen=True)
class DatasetEntry:
    """How a data set is opened."""

    make: Callable[..., Dataset]
    """Takes its folder or, if it is generated, the height and width in pixels of the images."""
    generated: bool = False


def chosen(known: Sequence[str], wanted: Sequence[str] | None, info: DatasetInfo) -> list[str]:
    """The wanted ones of the known sequences, in the order asked for. Raises as `sequences` does.

    A name's last part is enough where just one sequence ends in it.
    """
    if not known:
        raise InputError(f"--root holds no sequence of {info.title}; wanted {info.layout}")
    if wanted is None:
        return list(known)
    found = []
    for name in wanted:
        ends = [one for one in known if one == name or one.endswith(f"/{name}")]
        if len(ends) != 1:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {some_of(known, 4)}"
            what = "is not there" if not ends else f"could be {some_of(ends, 4)}"
            raise SettingsError(f"--sequences: {name} {what}; {hint}")
        found += ends
    return list(dict.fromkeys(found))


Images = tuple[Sequence[Any], Callable[[int, Any], TrueFrame]]
"""What is known of every image of a sequence, and what makes a frame of its number and that."""


@dataclass(frozen=True)
class FolderDataset:
    """A data set below a root, by what finds its sequences and what finds the images of one."""

    info: DatasetInfo
    find: Callable[[Path], Sequence[str]]
    """Gives the names of all sequences below a root."""
    images: Callable[[Path, str], Images]
    """Takes the root and a sequence."""
    root: Path

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """The wanted ones of those that are found."""
        return chosen(self.find(self.root), wanted, self.info)

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """Frames of the chosen images alone."""
        images, frame_of = self.images(self.root, sequence)
        return [frame_of(*one) for one in list(enumerate(images))[::stride][:most]]


def image_frame(
    path: Path,
    time_sec: float,
    T_world_camera: NDArray[np.float64] | None = None,
    read_depth: DepthReader | None = None,
    intrinsics: NDArray[np.float64] | None = None,
) -> TrueFrame:
    """A frame whose image is a file, read when it is needed; `intrinsics` are the depth's."""
    read = partial(_read_named_image, path)
    depth = None if read_depth is None else TrueDepth(read_depth, intrinsics)
    return TrueFrame(path.name, time_sec, read, T_world_camera, depth)


def _read_named_image(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except FrameError as error:
        raise FrameError(f"{path}: {error}") from error


def read_matrix(path: Path, rows: int, columns: int) -> NDArray[np.float64]:
    """Read a matrix of numbers from a text file. Raises `EvaluationError` that names it."""
    try:
        numbers = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64)
        return numbers.reshape(rows, columns)
    except (OSError, ValueError) as error:
        reason = in_a_line(error, 200)
        raise EvaluationError(f"{path}: {reason}; wanted {rows} x {columns} numbers") from error


def read_pose(path: Path) -> NDArray[np.float64] | None:
    """Read a pose (4, 4); None where it is not rigid, as where tracking was lost."""
    pose = read_matrix(path, 4, 4)
    return None if faulty_poses(pose[np.newaxis])[0] else pose


def read_lines(path: Path, most_splits: int = -1) -> list[tuple[int, list[str]]]:
    """Numbers and fields of the lines, as `numbered_fields`. Raises `EvaluationError`."""
    try:
        return numbered_fields(path.read_text(encoding="utf-8"), most_splits)
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path}: {error}; fetch the file again") from error


def read_times(path: Path, wanted: str) -> list[tuple[float, str]]:
    """The seconds that begin each line, and its last field. `wanted` names the fields of a line.

    Raises `EvaluationError` for a line that lacks one, or whose time is not finite.
    """
    times = []
    for number, fields in read_lines(path, most_splits=1):
        time_sec = number_in(fields[0])
        if not math.isfinite(time_sec) or len(fields) < len(wanted.split()):
            raise EvaluationError(f"{path} line {number}: wanted `{wanted}`; fetch the file again")
        times.append((time_sec, fields[-1]))
    return times


def folders_with(root: Path, *needed: str) -> list[str]:
    """Folders one or two levels below the root that hold all of the `needed` names, sorted.

    Names are relative to the root, with `/`. Raises `InputError` where the root cannot be read; a
    folder below that may not be looked into, such as `lost+found`, holds nothing.
    """
    found: list[Path] = []
    for entry in subfolders(root):
        found += (entry, *subfolders(entry, needed=False))
    fit = (one for one in found if all(holds(one, name) for name in needed))
    return sorted(one.relative_to(root).as_posix() for one in fit)


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
        why = f"{error.strerror}; name the data set's folder"
        raise InputError(f"--root: {folder}: {why}") from error
