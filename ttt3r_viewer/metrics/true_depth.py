"""True depth of frames: maps that lie beside the images, each read when it is needed."""

import glob
import json
import logging
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError, FrameError, in_a_line
from ttt3r_viewer.frames.folder import read_numbers
from ttt3r_viewer.system.text import last_part

DepthReader = Callable[[], NDArray[np.float32]]

FOLDER, CAMERA_FILE = "depth", "camera.json"
"""What lies beside the images: a PNG in millimetres for each, and their one pinhole."""
_PER_METRE = 1000.0
_WARNED: weakref.WeakSet[object] = weakref.WeakSet()
"""Truths of which a map could not be read."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrueDepth:
    """The true depth of one frame."""

    read: DepthReader
    """Gives (rows, columns) along the camera's z axis in metres, NaN where it is not known; it
    covers what the image covers, at any resolution. Raises `FrameError`.
    """
    intrinsics: NDArray[np.float64] | None = None
    """(3, 3), in pixels of the depth map; the centre of its first pixel is (0, 0)."""


@dataclass(frozen=True, eq=False)
class DepthFolder:
    """Depth of images by their names."""

    path: Path
    intrinsics: NDArray[np.float64]
    """(3, 3) of every map."""

    def __call__(self, name: str) -> TrueDepth | None:
        """The depth of the image with this name; None where there is none."""
        path = self.path / f"{Path(last_part(name)).stem}.png"
        reader = depth_reader(path, _PER_METRE)
        return None if reader is None else TrueDepth(reader, self.intrinsics)


def find_depth(input_path: Path) -> DepthFolder | None:
    """The depth in a folder of images, or in that of a glob pattern; None where there is none.

    Raises `EvaluationError` for a pinhole that cannot be used.
    """
    images = input_path.parent if glob.has_magic(str(input_path)) else input_path
    file = images / FOLDER / CAMERA_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None  # images have no depth beside them, as nearly all
    try:
        camera = json.loads(text)
        focal_px = float(camera["focal_px"])
        x, y = map(float, camera["center_px"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = in_a_line(error, 200)
        raise EvaluationError(
            f'{file}: {reason}; wanted {{"focal_px": number, "center_px": [x, y]}}'
        ) from error
    if not (math.isfinite(focal_px + x + y) and focal_px > 0):
        raise EvaluationError(f"{file}: wanted finite numbers, and a focal length above 0")
    intrinsics = np.array([[focal_px, 0.0, x], [0.0, focal_px, y], [0.0, 0.0, 1.0]])
    return DepthFolder(file.parent, intrinsics)


def warn_once(truth: object, error: FrameError) -> None:
    """Log that depth cannot be read, for each truth once: it may be true of every frame."""
    if truth not in _WARNED:
        _WARNED.add(truth)
        logger.warning("%s (said once; frames without depth have no errors)", error)


def read_depth_png(
    path: Path, per_metre: float, unknown: tuple[int, ...] = (0,)
) -> NDArray[np.float32]:
    """Read (rows, columns) metres from a 16-bit grey PNG; NaN for the `unknown` values.

    Raises `FrameError` that names the file.
    """
    try:
        mode, values = read_numbers(path)
    except FrameError as error:
        why = f"the depth cannot be read ({error}); fetch the file again"
        raise FrameError(f"{path}: {why}") from error
    if mode not in ("I", "I;16", "I;16B") or values.ndim != 2:
        raise FrameError(f"{path}: an image of mode {mode}; wanted depth as 16-bit grey PNG")
    depth = values.astype(np.float32) / np.float32(per_metre)
    depth[np.isin(values, unknown)] = np.nan
    return depth


def depth_reader(
    path: Path, per_metre: float, unknown: tuple[int, ...] = (0,)
) -> DepthReader | None:
    """A function that reads that depth when it is called; None where there is no such file."""
    return partial(read_depth_png, path, per_metre, unknown) if path.exists() else None
