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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ttt3r_viewer.errors import EvaluationError, in_a_line
from ttt3r_viewer.evaluate.datasets.base import (
    DatasetInfo,
    TrueFrame,
    chosen,
    depth_reader,
    folders_with,
    holds,
    image_frame,
    picked,
    read_depth_png,
    read_lines,
    read_matrix,
    read_pose,
    subfolders,
)
from ttt3r_viewer.frames.folder import list_folder
from ttt3r_viewer.metrics.ground_truth import TimedPoses, read_ground_truth

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


@dataclass(frozen=True)
class TumFolders:
    """Sequences of TUM's layout below a root."""

    root: Path
    info: DatasetInfo = TUM_INFO

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """Folders that hold the files."""
        return chosen(folders_with(self.root, "rgb.txt", "groundtruth.txt"), wanted, self.info)

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """Images in order of time, each with the depth and the pose nearest to it in time."""
        folder = self.root / sequence
        poses = read_ground_truth(folder / "groundtruth.txt")
        if not isinstance(poses, TimedPoses):
            raise EvaluationError(
                f"{poses.path}: no times; wanted lines `time tx ty tz qx qy qz qw`"
            )
        depth = _timed_files(folder / "depth.txt") if (folder / "depth.txt").exists() else []
        depth_times = np.array([time_sec for time_sec, _ in depth])
        frames = []
        for index, (time_sec, path) in picked(_timed_files(folder / "rgb.txt"), stride, most):
            apart_sec = np.abs(depth_times - time_sec)
            read_depth = None
            if depth and apart_sec.min() <= DEPTH_TOLERANCE_SEC:
                read_depth = partial(read_depth_png, depth[int(apart_sec.argmin())][1], 5000.0)
            pose = poses.pose_of(index, time_sec, path.name)
            frames.append(image_frame(path, time_sec, pose, read_depth))
        return frames


def bonn(root: Path) -> TumFolders:
    """Bonn RGB-D Dynamic, which has TUM's layout."""
    return TumFolders(root, BONN_INFO)


def _timed_files(path: Path) -> list[tuple[float, Path]]:
    """Times and files of an `rgb.txt` or `depth.txt`, in order of time."""
    try:
        files = [(float(time_sec), path.parent / name) for time_sec, name in read_lines(path)]
    except ValueError as error:
        reason = in_a_line(error, 100)
        raise EvaluationError(f"{path}: {reason}; wanted lines `seconds file`") from error
    if not np.isfinite([time_sec for time_sec, _ in files]).all():
        raise EvaluationError(f"{path}: a time that is not finite; wanted lines `seconds file`")
    return sorted(files)


@dataclass(frozen=True)
class ScanNet:
    """Exported scans below a root."""

    root: Path
    info: DatasetInfo = SCANNET_INFO

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """Folders that hold an exported scan."""
        return chosen(folders_with(self.root, "color", "pose"), wanted, self.info)

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """Images by number; one whose pose was lost has none."""
        folder = self.root / sequence
        file = folder / "intrinsic" / "intrinsic_depth.txt"
        intrinsics = read_matrix(file, 4, 4)[:3, :3] if file.exists() else None
        frames = []
        for index, name in picked(list_folder(folder / "color"), stride, most):
            stem = Path(name).stem
            time_sec = (int(stem) if stem.isdecimal() else index) / _FPS
            pose = read_pose(folder / "pose" / f"{stem}.txt")
            depth = depth_reader(folder / "depth" / f"{stem}.png", 1000.0)
            frames.append(image_frame(folder / "color" / name, time_sec, pose, depth, intrinsics))
        return frames


@dataclass(frozen=True)
class SevenScenes:
    """The test sequences of every scene below a root."""

    root: Path
    info: DatasetInfo = SEVEN_SCENES_INFO

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """`scene/seq-NN` for each line of the scenes' TestSplit.txt."""
        known = []
        for scene in subfolders(self.root):
            if holds(scene, "TestSplit.txt"):
                lines = read_lines(scene / "TestSplit.txt")
                numbers = (re.search(r"[0-9]{1,9}", line[0]) for line in lines)
                names = [f"seq-{int(number[0]):02d}" for number in numbers if number]
                known += [f"{scene.name}/{name}" for name in names if (scene / name).is_dir()]
        return chosen(sorted(known), wanted, self.info)

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """Frames by number."""
        folder = self.root / sequence
        images = [name for name in list_folder(folder) if name.endswith(_COLOR)]
        frames = []
        for index, name in picked(images, stride, most):
            stem = name.removesuffix(_COLOR)
            pose = read_pose(folder / f"{stem}.pose.txt")
            depth = depth_reader(folder / f"{stem}.depth.png", 1000.0, (0, 65535))
            frames.append(
                image_frame(folder / name, index / _FPS, pose, depth, _SEVEN_SCENES_INTRINSICS)
            )
        return frames
