"""MPI Sintel: `training/final/SEQ/frame_0001.png`, `training/camdata_left/SEQ/frame_0001.cam` and
`training/depth/SEQ/frame_0001.dpt`.

Both kinds of binary file are little-endian and begin with the float32 202021.25. A `.cam` then has
the intrinsics (3 x 3) and the extrinsics (3 x 4, world to camera) as float64; a `.dpt` has width
and height as int32 and then the depth by rows as float32.
"""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError, FrameError, ViewerError
from ttt3r_viewer.evaluate.datasets.base import (
    DatasetInfo,
    FolderDataset,
    Images,
    TrueFrame,
    image_frame,
    subfolders,
)
from ttt3r_viewer.frames.folder import list_folder
from ttt3r_viewer.geometry import invert_pose

TAG = np.array(202021.25, "<f4")
INFO = DatasetInfo(
    "MPI Sintel",
    "training/final, training/camdata_left and training/depth, or a folder with these three",
    ("poses", "depth"),
    "all",
    farthest_m=70.0,
)
_FPS = 24.0


def sintel(root: Path) -> FolderDataset:
    """The training part, final pass."""
    inside = root / "training"
    return FolderDataset(INFO, _sequences, _images, inside if inside.is_dir() else root)


def _sequences(part: Path) -> list[str]:
    """Folders of `final` that have cameras."""
    folders = subfolders(part / "final") if (part / "final").is_dir() else []
    return [one.name for one in folders if (part / "camdata_left" / one.name).is_dir()]


def _images(part: Path, sequence: str) -> Images:
    """Images by number, all with pose and intrinsics."""
    folder = part / "final" / sequence

    def frame(index: int, name: str) -> TrueFrame:
        stem = Path(name).stem
        intrinsics, pose = read_cam(part / "camdata_left" / sequence / f"{stem}.cam")
        depth = part / "depth" / sequence / f"{stem}.dpt"
        read_depth = partial(read_dpt, depth) if depth.exists() else None
        return image_frame(folder / name, index / _FPS, pose, read_depth, intrinsics)

    return list_folder(folder), frame


def read_cam(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read intrinsics (3, 3) and `T_world_camera` (4, 4). Raises `EvaluationError`."""
    data = _tagged(path, EvaluationError)
    if len(data) != 8 * 21:
        raise EvaluationError(f"{path}: not a .cam file of Sintel; fetch it again")
    numbers = np.frombuffer(data, "<f8")
    T_camera_world = np.vstack([numbers[9:].reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
    return numbers[:9].reshape(3, 3).copy(), invert_pose(T_camera_world)


def read_dpt(path: Path) -> NDArray[np.float32]:
    """Read depth (rows, columns) in metres. Raises `FrameError` that names the file."""
    data = _tagged(path, FrameError)
    width, height = np.frombuffer(data, "<i4", 2).tolist() if len(data) >= 8 else (0, 0)
    if width < 1 or height < 1 or len(data) != 8 + 4 * width * height:
        raise FrameError(f"{path}: not a .dpt file of Sintel; fetch it again")
    return np.frombuffer(data, "<f4", offset=8).reshape(height, width).astype(np.float32)


def _tagged(path: Path, kind: type[ViewerError]) -> bytes:
    """What follows the tag in a file, nothing where there is none. Raises that kind of error."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise kind(f"{path}: {error.strerror}; fetch the data set again") from error
    return data[4:] if data.startswith(TAG.tobytes()) else b""
