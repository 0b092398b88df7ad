"""Rooms filmed by hand with a depth camera; depth is 16-bit, poses are camera to world.

TUM RGB-D and, in the same layout, Bonn RGB-D Dynamic: a sequence is a folder with `rgb.txt` and
`depth.txt` (`time file` per line) and `groundtruth.txt` (`time tx ty tz qx qy qz qw`). Depth is
5000 to the metre, 0 where unknown.

ScanNet as its own reader exports it: `color/N.jpg`, `depth/N.png`, `pose/N.txt`, `intrinsic/`.
Where tracking was lost, poses hold infinities, and count as unknown. Depth is 1000 to the metre, 0
where unknown.

7-Scenes: `chess/seq-03/frame-000000.color.png`, `.depth.png` and `.pose.txt`, and
`chess/TestSplit.txt` with lines such as `sequence3`. Depth is in millimetres, 65535 where unknown.
The data set gives one calibration, for depth: focal length 585, principal point (320, 240). Depth
is not registered to colour there; it is taken as if it were, which costs some pixels near edges.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.evaluate.datasets.base import (
    DatasetInfo,
    FolderDataset,
    Images,
    TrueFrame,
    folders_with,
    holds,
    image_frame,
    read_lines,
    read_matrix,
    read_pose,
    read_times,
    subfolders,
)
from ttt3r_viewer.frames.folder import list_folder
from ttt3r_viewer.metrics.ground_truth import TimedPoses, read_ground_truth
from ttt3r_viewer.metrics.true_depth import depth_reader, read_depth_png

DEPTH_TOLERANCE_SEC = 0.02
"""How far an image's depth may be from it in time, as in the data set's own `associate.py`."""
_LAYOUT = "folders with rgb.txt, depth.txt and groundtruth.txt"
TUM_INFO = DatasetInfo("TUM RGB-D", _LAYOUT, ("poses",), "50:1000:50")
BONN_INFO = DatasetInfo("Bonn RGB-D Dynamic", _LAYOUT, ("depth",), "50:500:50")
SCANNET_INFO = DatasetInfo(
    "ScanNet",
    "folders with color/, depth/, pose/ and intrinsic/, as its SensReader exports them",
    ("poses",),
    "50:1000:50",
)
SEVEN_SCENES_INFO = DatasetInfo(
    "7-Scenes",
    "scene folders with TestSplit.txt and seq-NN/frame-NNNNNN.color.png, .depth.png, .pose.txt",
    ("poses", "points"),
    "50:500:50",
)
_SEVEN_SCENES_INTRINSICS = np.array([[585.0, 0.0, 320.0], [0.0, 585.0, 240.0], [0.0, 0.0, 1.0]])
_COLOR = ".color.png"
_FPS = 30.0
"""Of ScanNet and 7-Scenes."""


def _tum_sequences(root: Path) -> list[str]:
    return folders_with(root, "rgb.txt", "groundtruth.txt")


def _tum_images(root: Path, sequence: str) -> Images:
    """Images in order of time, each with the depth and the pose nearest to it in time."""
    folder = root / sequence
    poses = read_ground_truth(folder / "groundtruth.txt")
    if not isinstance(poses, TimedPoses):
        raise EvaluationError(f"{poses.path}: no times; wanted lines `time tx ty tz qx qy qz qw`")
    depth_file = folder / "depth.txt"
    depth = sorted(read_times(depth_file, "seconds file")) if depth_file.exists() else []
    depth_times = np.array([time_sec for time_sec, _ in depth])

    def frame(index: int, timed: tuple[float, str]) -> TrueFrame:
        time_sec, name = timed
        apart_sec = np.abs(depth_times - time_sec)
        read_depth = None
        if depth and apart_sec.min() <= DEPTH_TOLERANCE_SEC:
            read_depth = partial(read_depth_png, folder / depth[apart_sec.argmin()][1], 5000.0)
        path = folder / name
        pose = poses.pose_of(index, time_sec, path.name)
        return image_frame(path, time_sec, pose, read_depth)

    return sorted(read_times(folder / "rgb.txt", "seconds file")), frame


def _scannet_sequences(root: Path) -> list[str]:
    return folders_with(root, "color", "pose")


def _scannet_images(root: Path, sequence: str) -> Images:
    """Images by number; one whose pose was lost has none."""
    folder = root / sequence
    file = folder / "intrinsic" / "intrinsic_depth.txt"
    intrinsics = read_matrix(file, 4, 4)[:3, :3] if file.exists() else None

    def frame(index: int, name: str) -> TrueFrame:
        stem = Path(name).stem
        time_sec = (int(stem) if stem.isdecimal() else index) / _FPS
        pose = read_pose(folder / "pose" / f"{stem}.txt")
        depth = depth_reader(folder / "depth" / f"{stem}.png", 1000.0)
        return image_frame(folder / "color" / name, time_sec, pose, depth, intrinsics)

    return list_folder(folder / "color"), frame


def _seven_scenes_sequences(root: Path) -> list[str]:
    """`scene/seq-NN` for each line of the scenes' TestSplit.txt."""
    known = []
    for scene in subfolders(root):
        if holds(scene, "TestSplit.txt"):
            lines = read_lines(scene / "TestSplit.txt")
            numbers = (re.search(r"[0-9]{1,9}", fields[0]) for _, fields in lines)
            names = [f"seq-{int(number[0]):02d}" for number in numbers if number]
            known += [f"{scene.name}/{name}" for name in names if (scene / name).is_dir()]
    return sorted(known)


def _seven_scenes_images(root: Path, sequence: str) -> Images:
    folder = root / sequence

    def frame(index: int, name: str) -> TrueFrame:
        stem = name.removesuffix(_COLOR)
        pose = read_pose(folder / f"{stem}.pose.txt")
        depth = depth_reader(folder / f"{stem}.depth.png", 1000.0, (0, 65535))
        return image_frame(folder / name, index / _FPS, pose, depth, _SEVEN_SCENES_INTRINSICS)

    return [name for name in list_folder(folder) if name.endswith(_COLOR)], frame


tum = partial(FolderDataset, TUM_INFO, _tum_sequences, _tum_images)
bonn = partial(FolderDataset, BONN_INFO, _tum_sequences, _tum_images)
scannet = partial(FolderDataset, SCANNET_INFO, _scannet_sequences, _scannet_images)
seven_scenes = partial(
    FolderDataset, SEVEN_SCENES_INFO, _seven_scenes_sequences, _seven_scenes_images
)
