"""TUM RGB-D and, in the same layout, Bonn RGB-D Dynamic.

A sequence is a folder with `rgb.txt` and `depth.txt` (`time file` per line) and `groundtruth.txt`
(`time tx ty tz qx qy qz qw`, camera to world). Depth is 16-bit, 5000 to the metre, 0 where unknown.
"""

from __future__ import annotations

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
    folders_with,
    image_frame,
    read_depth_png,
    read_lines,
)
from ttt3r_viewer.metrics.ground_truth import TimedPoses, read_ground_truth

DEPTH_PER_METRE = 5000.0
DEPTH_TOLERANCE_SEC = 0.02
"""How far an image's depth may be from it in time, as in the data set's own `associate.py`."""
_LAYOUT = "folders with rgb.txt, depth.txt and groundtruth.txt"
TUM_INFO = DatasetInfo("TUM RGB-D", _LAYOUT, ("poses",), "50:1000:50")
BONN_INFO = DatasetInfo("Bonn RGB-D Dynamic", _LAYOUT, ("depth",), "50:500:50")


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
        for index, (time_sec, path) in enumerate(_timed_files(folder / "rgb.txt")):
            row = int(np.abs(depth_times - time_sec).argmin()) if depth else -1
            near = row >= 0 and abs(depth_times[row] - time_sec) <= DEPTH_TOLERANCE_SEC
            frames.append(
                image_frame(
                    path,
                    time_sec,
                    T_world_camera=poses.pose_of(index, time_sec, path.name),
                    read_depth=(
                        partial(read_depth_png, depth[row][1], DEPTH_PER_METRE) if near else None
                    ),
                )
            )
        return frames[::stride][:most]


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
