"""What is true of frames: camera poses from the files that data sets bring, and depth beside them.

The forms are in docs/evaluation.md.
All give `T_world_camera` with OpenCV's camera axes (x right, y down, z forward); the world and its
unit stay as they are in the file. A file that does not fit its form is an error, never passed over.
"""

import contextlib
import glob
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError, system_words
from ttt3r_viewer.geometry import FARTHEST_M, T_OPENCV_OPENGL, pose_from_vector, sound_parts
from ttt3r_viewer.metrics.true_depth import TrueDepth
from ttt3r_viewer.system.text import last_part, number_in, numbered_fields

FILE_NAMES = ("groundtruth.txt", "poses_tum.txt", "poses.txt", "transforms.json")
"""What `find_ground_truth` looks for in a folder, in this order."""
TOLERANCE_SEC = 0.01
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")
_ROUNDED = 1e-2
"""Rotations this near to proper ones are taken for ones that were written with few digits."""


@dataclass(frozen=True, eq=False)
class _TrueFrames:
    """What all of them have."""

    path: Path
    """Of the poses, or of the images where a data set has them."""
    depth_of: Callable[[str], TrueDepth | None] | None = field(default=None, kw_only=True)
    """Gives the depth of the image with a name; None where no frame's is known."""


@dataclass(frozen=True, eq=False)
class TimedPoses(_TrueFrames):
    """Poses at times, from a TUM file."""

    times_sec: NDArray[np.float64]
    """(n,) increasing."""
    T_world_camera: NDArray[np.float64]
    """(n, 4, 4)."""
    key: ClassVar[str] = f"time, within {TOLERANCE_SEC:g} s"
    """What a frame's pose is looked up by, in words."""

    def pose_of(self, index: int, time_sec: float, name: str) -> NDArray[np.float64] | None:  # noqa: ARG002
        """The (4, 4) pose nearest to `time_sec`, or None where it is further than the tolerance."""
        apart_sec = np.abs(self.times_sec - time_sec)
        row = apart_sec.argmin()
        return self.T_world_camera[row] if apart_sec[row] <= TOLERANCE_SEC else None


@dataclass(frozen=True, eq=False)
class CountedPoses(_TrueFrames):
    """One pose for each frame of the whole input, from a KITTI file."""

    T_world_camera: NDArray[np.float64]
    """(n, 4, 4)."""
    key: ClassVar[str] = "the frame's number in the whole input"

    def pose_of(self, index: int, time_sec: float, name: str) -> NDArray[np.float64] | None:  # noqa: ARG002
        """The (4, 4) pose in line `index`, counted from 0, or None where the file ends before."""
        return self.T_world_camera[index] if 0 <= index < len(self.T_world_camera) else None


@dataclass(frozen=True, eq=False)
class NamedPoses(_TrueFrames):
    """Poses of named images, from a transforms.json or a data set."""

    row_of: Mapping[str, int]
    """By the last part of an image's path, and without its suffix where no other image has that."""
    T_world_camera: NDArray[np.float64]
    """(n, 4, 4)."""
    key: ClassVar[str] = "file name, with or without its suffix"

    def pose_of(self, index: int, time_sec: float, name: str) -> NDArray[np.float64] | None:  # noqa: ARG002
        """The (4, 4) pose of the image with this file name, else with this name but for the
        suffix, or None where there is none or several images would do.
        """
        last = last_part(name)
        row = self.row_of.get(last, self.row_of.get(_SUFFIX.sub("", last)))
        return None if row is None else self.T_world_camera[row]


GroundTruth = TimedPoses | CountedPoses | NamedPoses


def find_ground_truth(input_path: Path) -> Path | None:
    """The file of true poses beside or inside an input, or None.

    Looks for `FILE_NAMES` in a folder of images (of a glob pattern, the one it lies in) and in
    the folder above it; for one file, a video or an image, in the file's folder alone.
    """
    # The absolute path has a folder above it where the given one, such as ".", shows none.
    path = input_path.absolute()
    try:
        if path.is_dir():
            places = [path, path.parent]
        elif path.is_file():
            places = [path.parent]
        elif glob.has_magic(str(input_path)) and path.parent.is_dir():
            places = [path.parent, path.parent.parent]
        else:
            places = []  # a camera, an address, or what is no longer there
        candidates = [place / name for place in places for name in FILE_NAMES]
        return next((file for file in candidates if file.is_file()), None)
    except OSError:
        # A place that may not be looked into holds no poses that could be read.
        return None


def read_ground_truth(path: Path) -> GroundTruth:
    """Read true poses: `.json` as nerf and instant-ngp write it, other files by their first line.

    That has 8 numbers in a TUM file and 12 in a KITTI file; `#` begins a comment line. Raises
    `EvaluationError` that names the file, the line and what was wanted there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"{path} cannot be read ({system_words(error)}); wanted a file of true poses"
        ) from error
    try:
        return _transforms(path, text) if path.suffix.lower() == ".json" else _lines(path, text)
    except EvaluationError as error:
        raise EvaluationError(f"{path} {error}: correct the file, or name another one") from error


def _lines(path: Path, text: str) -> TimedPoses | CountedPoses:
    """Poses of a TUM or a KITTI file; its errors begin with the line."""
    lines = [(f"line {number}", fields) for number, fields in numbered_fields(text)]
    width = len(lines[0][1]) if lines else 0
    if width not in (8, 12):
        raise EvaluationError(
            f"{lines[0][0] if lines else 'line 1'} holds {width} fields; wanted 8 (TUM: time tx ty"
            " tz qx qy qz qw) or 12 (KITTI: a 3 x 4 matrix by rows)"
        )
    rows = []
    for place, fields in lines:
        # Whether they are finite is judged with the poses.
        rows.append([number_in(one) for one in fields])
        if len(fields) != width or np.isnan(rows[-1]).any():
            shown = _short(" ".join(fields))
            raise EvaluationError(f"{place} is '{shown}'; wanted {width} finite numbers")
    numbers = np.array(rows)
    places = [place for place, _ in lines]
    if width == 8:
        return _timed(path, numbers, places)
    T_world_camera = np.broadcast_to(np.eye(4), (len(numbers), 4, 4)).copy()
    T_world_camera[:, :3] = numbers.reshape(-1, 3, 4)
    return CountedPoses(path, _rigid(places, T_world_camera))


def _timed(path: Path, numbers: NDArray[np.float64], places: Sequence[str]) -> TimedPoses:
    """Poses of the eight columns of a TUM file, put in order of time."""
    times_sec, vectors = numbers[:, 0], numbers[:, [1, 2, 3, 7, 4, 5, 6]]
    for place, time_sec, vector in zip(places, times_sec, vectors, strict=True):
        if not np.isfinite(time_sec):
            raise EvaluationError(f"{place}: wanted a finite time")
        if not abs(np.linalg.norm(vector[3:].clip(-2, 2)) - 1) <= _ROUNDED:
            raise EvaluationError(f"{place}: wanted a quaternion qx qy qz qw of length 1")
    order = np.argsort(times_sec, kind="stable")
    twice = np.flatnonzero(np.diff(times_sec[order]) == 0)
    if twice.size:
        first, second = order[twice[0] : twice[0] + 2].tolist()
        raise EvaluationError(
            f"{places[second]} has the time of {places[first]}; wanted one pose for each time"
        )
    T_world_camera = _rigid(places, np.array([pose_from_vector(vector) for vector in vectors]))
    return TimedPoses(path, times_sec[order], T_world_camera[order])


def _transforms(path: Path, text: str) -> NamedPoses:
    """Poses of the `frames` of a transforms.json, turned from OpenGL's camera axes to OpenCV's."""
    try:
        document: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise EvaluationError(f"line {error.lineno} is no JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise EvaluationError("is no JSON that can be read") from error
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not frames:
        raise EvaluationError('has no list "frames" with an image in it')
    row_of: dict[str, int] = {}
    matrices = []
    for number, frame in enumerate(frames):
        file_path = frame.get("file_path") if isinstance(frame, dict) else None
        if not isinstance(file_path, str) or not (name := last_part(file_path)):
            raise EvaluationError(f'frame {number} has no "file_path"')
        matrices.append(_matrix(number, frame.get("transform_matrix")))
        if row_of.setdefault(name, number) != number:
            raise EvaluationError(
                f"frame {number} is named {_short(name)} like frame {row_of[name]}; wanted"
                " different file names"
            )
    places = [f"frame {number}" for number in range(len(frames))]
    T_world_camera = _rigid(places, np.array(matrices)) @ T_OPENCV_OPENGL
    stems = [_SUFFIX.sub("", name) for name in row_of]
    counts = Counter(stems)
    row_of_stem = {stem: row for row, stem in enumerate(stems) if counts[stem] == 1}
    # A whole name goes before another image's stem.
    return NamedPoses(path, row_of_stem | row_of, T_world_camera)


def _matrix(number: int, value: Any) -> NDArray[np.float64]:
    """The 4 x 4 matrix that the JSON value is, or a 3 x 4 one with the last row added."""
    last_row = [0, 0, 0, 1]
    rows = value if isinstance(value, list) else []
    rows = [*rows, last_row] if len(rows) == 3 else rows
    if (
        len(rows) == 4
        and all(isinstance(row, list) and len(row) == 4 for row in rows)
        and all(type(one) in (int, float) for row in rows for one in row)
        and rows[3] == last_row
    ):
        # An integer may lie beyond all floats; the message below is the right one then too.
        with contextlib.suppress(OverflowError):
            return np.array(rows, dtype=np.float64)
    raise EvaluationError(
        f'frame {number}: wanted a "transform_matrix" of 4 x 4 numbers with the last row 0 0 0 1'
    )


def _rigid(places: Sequence[str], T_world_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (n, 4, 4) poses with their rotations made exact; `places` are where each one stands.

    Raises `EvaluationError` where a number is not finite, a position is out of range, or a rotation
    is none to the digits that such files have.
    """
    near, rotation = sound_parts(T_world_camera, _ROUNDED)
    for fits, wanted in (
        (near, f"a finite position within {FARTHEST_M:g} of the origin"),
        (rotation, "a rotation matrix, without scale or mirroring"),
    ):
        if not fits.all():
            raise EvaluationError(f"{places[int(fits.argmin())]}: wanted {wanted}")
    left, _, right = np.linalg.svd(T_world_camera[:, :3, :3])
    exact = T_world_camera.copy()
    exact[:, :3, :3] = left @ right
    return exact


def _short(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text[:60])
