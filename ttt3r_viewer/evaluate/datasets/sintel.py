"""MPI Sintel: `training/final/SEQ/frame_0001.png`, `training/camdata_left/SEQ/frame_0001.cam` and
`training/depth/SEQ/frame_0001.dpt`.

Both kinds of binary file are little-endian and begin with the float32 202021.25. A `.cam` then has
the intrinsics (3 x 3) and the extrinsics (3 x 4, world to camera) as float64; a `.dpt` has width
and height as int32 and then the depth by rows as float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError, FrameError
from ttt3r_viewer.evaluate.datasets.base import (
    DatasetInfo,
    TrueFrame,
    chosen,
    image_frame,
    picked,
    subfolders,
)
from ttt3r_viewer.frames.folder import list_folder
from ttt3r_viewer.geometry import invert_pose

TAG = np.float32(202021.25)
INFO = DatasetInfo(
    "MPI Sintel",
    "training/final, training/camdata_left and training/depth, or a folder with these three",
    ("poses", "depth"),
    "all",
    farthest_m=70.0,
)
_FPS = 24.0


@dataclass(frozen=True)
class Sintel:
    """The training part, final pass."""

    root: Path
    info: DatasetInfo = INFO

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """Folders of `final` that have cameras."""
        final = self._part / "final"
        known = [
            folder.name
            for folder in (subfolders(final) if final.is_dir() else [])
            if (self._part / "camdata_left" / folder.name).is_dir()
        ]
        return chosen(known, wanted, self.info)

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """Images by number, all with pose, depth and intrinsics."""
        folder = self._part / "final" / sequence
        frames = []
        for index, name in picked(list_folder(folder), stride, most):
            stem = Path(name).stem
            intrinsics, pose = read_cam(self._part / "camdata_left" / sequence / f"{stem}.cam")
            depth = self._part / "depth" / sequence / f"{stem}.dpt"
            read_depth = partial(read_dpt, depth) if depth.exists() else None
            frames.append(image_frame(folder / name, index / _FPS, pose, read_depth, intrinsics))
        return frames

    @property
    def _part(self) -> Path:
        inside = self.root / "training"
        return inside if inside.is_dir() else self.root


def read_cam(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read intrinsics (3, 3) and `T_world_camera` (4, 4). Raises `EvaluationError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}; fetch the data set's cameras") from error
    if len(data) != 4 + 8 * 21 or np.frombuffer(data, "<f4", 1)[0] != TAG:
        raise EvaluationError(f"{path}: not a .cam file of Sintel; fetch it again")
    numbers = np.frombuffer(data, "<f8", 21, offset=4)
    T_camera_world = np.vstack([numbers[9:].reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
    return numbers[:9].reshape(3, 3).copy(), invert_pose(T_camera_world)


def read_dpt(path: Path) -> NDArray[np.float32]:
    """Read depth (rows, columns) in metres. Raises `FrameError` that names the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FrameError(f"{path}: {error.strerror}; fetch the data set's depth") from error
    tagged = len(data) >= 12 and np.frombuffer(data, "<f4", 1)[0] == TAG
    width, height = np.frombuffer(data, "<i4", 2, offset=4).tolist() if tagged else (0, 0)
    if width < 1 or height < 1 or len(data) != 12 + 4 * width * height:
        raise FrameError(f"{path}: not a .dpt file of Sintel; fetch it again")
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width).astype(np.float32)
