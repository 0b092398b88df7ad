"""ScanNet as its own reader exports it: `color/N.jpg`, `depth/N.png`, `pose/N.txt`, `intrinsic/`.

Poses are camera to world; where tracking was lost they hold infinities, and count as unknown.
Depth is 16-bit, 1000 to the metre, 0 where unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ttt3r_viewer.evaluate.datasets.base import DatasetInfo, TrueFrame, chosen
from ttt3r_viewer.evaluate.datasets.reading import (
    depth_reader,
    folders_with,
    read_matrix,
    read_named_image,
)
from ttt3r_viewer.frames.folder import list_folder
from ttt3r_viewer.metrics.trajectory import faulty_poses

INFO = DatasetInfo(
    "ScanNet",
    "folders with color/, depth/, pose/ and intrinsic/, as its SensReader exports them",
    ("poses",),
    "50:1000:50",
)
_FPS = 30.0


@dataclass(frozen=True)
class ScanNet:
    """Exported scans below a root."""

    root: Path
    info: DatasetInfo = INFO

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """Folders that hold an exported scan."""
        return chosen(folders_with(self.root, "color", "pose"), wanted, self.info)

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """Images by number; one whose pose was lost has none."""
        folder = self.root / sequence
        intrinsics_file = folder / "intrinsic" / "intrinsic_depth.txt"
        intrinsics = (
            read_matrix(intrinsics_file, 4, 4)[:3, :3] if intrinsics_file.exists() else None
        )
        names = list_folder(folder / "color")[::stride][:most]
        frames = []
        for name in names:
            stem = Path(name).stem
            pose = read_matrix(folder / "pose" / f"{stem}.txt", 4, 4)
            depth = folder / "depth" / f"{stem}.png"
            number = int(stem) if stem.isdecimal() else len(frames) * stride
            frames.append(
                TrueFrame(
                    name=name,
                    time_sec=number / _FPS,
                    read_image=partial(read_named_image, folder / "color" / name),
                    T_world_camera=None if faulty_poses(pose[np.newaxis])[0] else pose,
                    read_depth=depth_reader(depth, 1000.0) if depth.exists() else None,
                    intrinsics=intrinsics,
                )
            )
        return tuple(frames)
