"""7-Scenes: `chess/seq-03/frame-000000.color.png`, `.depth.png` and `.pose.txt`, and
`chess/TestSplit.txt` with lines such as `sequence3`.

Poses are camera to world. Depth is 16-bit millimetres, 65535 where unknown. The data set gives one
calibration, for depth: focal length 585, principal point (320, 240). Depth is not registered to
colour there; it is taken as if it were, which costs some pixels near edges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ttt3r_viewer.evaluate.datasets.base import DatasetInfo, TrueFrame, chosen
from ttt3r_viewer.evaluate.datasets.reading import (
    depth_reader,
    holds,
    read_lines,
    read_matrix,
    read_named_image,
    subfolders,
)
from ttt3r_viewer.frames.folder import list_folder
from ttt3r_viewer.metrics.trajectory import faulty_poses

INFO = DatasetInfo(
    "7-Scenes",
    "scene folders with TestSplit.txt and seq-NN/frame-NNNNNN.color.png, .depth.png, .pose.txt",
    ("poses", "points"),
    "50:500:50",
)
INTRINSICS = np.array([[585.0, 0.0, 320.0], [0.0, 585.0, 240.0], [0.0, 0.0, 1.0]])
_COLOR = ".color.png"
_FPS = 30.0


@dataclass(frozen=True)
class SevenScenes:
    """The test sequences of every scene below a root."""

    root: Path
    info: DatasetInfo = INFO

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
        for place, name in enumerate(images[::stride][:most]):
            stem = name.removesuffix(_COLOR)
            pose = read_matrix(folder / f"{stem}.pose.txt", 4, 4)
            depth = folder / f"{stem}.depth.png"
            frames.append(
                TrueFrame(
                    name=name,
                    time_sec=place * stride / _FPS,
                    read_image=partial(read_named_image, folder / name),
                    T_world_camera=None if faulty_poses(pose[np.newaxis])[0] else pose,
                    read_depth=(
                        depth_reader(depth, 1000.0, (0, 65535)) if depth.exists() else None
                    ),
                    intrinsics=INTRINSICS,
                )
            )
        return tuple(frames)
