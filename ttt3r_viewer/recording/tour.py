"""A tour: views that a camera flies through, kept as `tour.json` beside a recording."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.geometry import faulty_poses, pose_from_vector, quaternion_wxyz_from_matrix
from ttt3r_viewer.system.files import write_output

TOUR_FILE = "tour.json"
"""Its name in an output folder."""
FORMAT = "ttt3r-viewer tour"
VERSION = 1
NARROWEST = 1e-6
SHORTEST_SEC, LONGEST_SEC = 1e-6, 1e6
"""What a tour's numbers may be, so that those between them are numbers too."""
STILL = 1e-9
"""Keyframes that differ by less are the same view."""


@dataclass(frozen=True, eq=False)
class View:
    """A viewpoint: square pixels, the principal point in the middle."""

    T_world_camera: NDArray[np.float64]
    """(4, 4) rigid transform; OpenCV axes."""
    fov_y_rad: float
    """Vertical field of view."""


@dataclass(frozen=True, eq=False)
class Keyframe(View):
    """A view of a tour, checked. Raises `SettingsError` where it is none."""

    seconds: float
    """Time from the keyframe before to this one; the first one's is not used."""

    def __post_init__(self) -> None:
        pose = np.asarray(self.T_world_camera, np.float64)
        sound = pose.shape == (4, 4) and np.isfinite(pose).all()
        if not sound or faulty_poses(pose[None])[0]:
            raise SettingsError("T_world_camera is not a rigid transform of 4 x 4 numbers")
        if not NARROWEST <= self.fov_y_rad <= math.pi - NARROWEST:
            raise SettingsError(f"fov_y_rad {self.fov_y_rad:g}: take more than 0 and less than pi")
        if not 0 <= self.seconds <= LONGEST_SEC:
            raise SettingsError(
                f"seconds {self.seconds:g}: take 0 or more, at most {LONGEST_SEC:g}"
            )


class Tour:
    """Keyframes with a smooth way between them. Raises `SettingsError` where there is no way.

    Position, rotation and field of view follow one cubic Hermite curve through all keyframes, with
    the tangents of Catmull and Rom ("A class of local interpolating splines", 1974) for uneven
    times; quaternions are interpolated number by number and made unit again. Where two keyframes
    are the same view the camera rests between them.
    """

    def __init__(self, keyframes: tuple[Keyframe, ...]) -> None:
        if not keyframes:
            raise SettingsError("a tour without a keyframe: take one or more")
        for number, one in enumerate(keyframes[1:], start=2):
            if one.seconds < SHORTEST_SEC:
                raise SettingsError(f"keyframe {number}: seconds 0: take more than 0")
        self.keyframes = keyframes
        times = np.cumsum([0.0, *(one.seconds for one in keyframes[1:])])
        numbers = _numbers(keyframes)
        self.duration_sec = float(times[-1])
        """From the first keyframe to the last."""
        self._curve = lambda _: numbers[0]
        if len(keyframes) > 1:
            from scipy.interpolate import CubicHermiteSpline  # slow to load, for tours alone

            self._curve = CubicHermiteSpline(times, numbers, _tangents(times, numbers))

    def at(self, time_sec: float) -> View:
        """Where the camera is then; before the first keyframe and after the last it rests."""
        numbers = self._curve(min(max(time_sec, 0.0), self.duration_sec))
        return View(pose_from_vector(numbers[:7]), 2 * math.atan(math.exp(numbers[7])))


def read_tour(path: Path) -> Tour:
    """Read a tour. Raises `SettingsError` that says what is wrong with the file."""
    try:
        return _tour(json.loads(path.read_bytes()))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; name a tour that the page saved") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: it is not JSON ({error}); save the tour again") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def write_tour(path: Path, tour: Tour) -> None:
    """Put a tour there whole, or leave the one of before. Raises `OutputError`."""
    keyframes = [
        {
            "T_world_camera": np.asarray(one.T_world_camera, np.float64).tolist(),
            "fov_y_rad": float(one.fov_y_rad),
            "seconds": float(one.seconds),
        }
        for one in tour.keyframes
    ]
    document = {"format": FORMAT, "version": VERSION, "keyframes": keyframes}
    advice = "free some space, or make the folder writable"
    write_output(path, json.dumps(document, indent=1).encode("ascii"), advice)


def _tour(values: Any) -> Tour:
    if not isinstance(values, Mapping) or values.get("format") != FORMAT:
        raise SettingsError(f'no tour: wanted an object with "format": "{FORMAT}"')
    if values.get("version") != VERSION:
        raise SettingsError(
            f"a tour of version {repr(values.get('version'))[:40]}, and this program reads "
            f"{VERSION}: save the tour again, or take a newer ttt3r-viewer"
        )
    keyframes: list[Keyframe] = []
    entries = values.get("keyframes")
    for number, one in enumerate(entries if isinstance(entries, list) else ()):
        try:
            pose = np.array(one["T_world_camera"], np.float64)
            keyframes.append(Keyframe(pose, float(one["fov_y_rad"]), float(one["seconds"])))
        except (SettingsError, KeyError, TypeError, ValueError, OverflowError) as error:
            why = str(error) if isinstance(error, SettingsError) else repr(error)[:200]
            raise SettingsError(f"keyframe {number + 1}: {why}") from error
    return Tour(tuple(keyframes))


def _numbers(keyframes: tuple[Keyframe, ...]) -> NDArray[np.float64]:
    """Give position, quaternion and logarithm of tan(fov / 2) of every keyframe (k, 8)."""
    rows = np.empty((len(keyframes), 8))
    for row, one in zip(rows, keyframes, strict=True):
        pose = np.asarray(one.T_world_camera, np.float64)
        row[:3], row[3:7] = pose[:3, 3], quaternion_wxyz_from_matrix(pose[:3, :3])
        row[7] = math.log(math.tan(one.fov_y_rad / 2))
    # Of q and -q, which are one rotation, the nearer to the one before is the shorter way.
    for before, after in pairwise(rows):
        if before[3:7] @ after[3:7] < 0:
            after[3:7] *= -1
    return rows


def _tangents(times: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the change per second at every keyframe: that of the parabola through its neighbours."""
    tangents = np.gradient(numbers, times, axis=0)
    rests = np.flatnonzero(np.linalg.norm(np.diff(numbers, axis=0), axis=1) < STILL)
    tangents[rests] = tangents[rests + 1] = 0
    return tangents
