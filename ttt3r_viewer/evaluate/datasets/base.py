"""What a data set is to the evaluation: named sequences of images with what is true of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import InputError, SettingsError

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
    read_depth: Callable[[], NDArray[np.float32]] | None = None
    """Gives (rows, columns) along the camera's z axis in metres, NaN where it is not known; it
    covers what the image covers, at any resolution. Raises `FrameError`.
    """
    intrinsics: NDArray[np.float64] | None = None
    """(3, 3), in pixels of the depth map; the centre of its first pixel is (0, 0)."""


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
    """Called with the folder where it lies or, if it is generated, with the height and width in
    pixels that the network takes.
    """
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
            hint = f"did you mean {near[0]}?" if near else f"there is {_some(known)}"
            what = "is not there" if not ends else f"could be {_some(ends)}"
            raise SettingsError(f"--sequences: {name} {what}; {hint}")
        found += ends
    return list(dict.fromkeys(found))


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
