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
from pathlib import Path

import numpy as np

from ttt3r_viewer.evaluate.datasets.base import (
    DatasetInfo,
    TrueFrame,
    chosen,
    depth_reader,
    holds,
    image_frame,
    read_lines,
    read_pose,
    subfolders,
)
from ttt3r_viewer.frames.folder import list_folder

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
        stems = [name.removesuffix(_COLOR) for name in images[::stride][:most]]
        return [
            image_frame(
                folder / f"{stem}{_COLOR}",
                place * stride / _FPS,
                T_world_camera=read_pose(folder / f"{stem}.pose.txt"),
                read_depth=depth_reader(folder / f"{stem}.depth.png", 1000.0, (0, 65535)),
                intrinsics=INTRINSICS,
            )
            for place, stem in enumerate(stems)
        ]
