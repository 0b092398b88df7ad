"""ScanNet as its own reader exports it: `color/N.jpg`, `depth/N.png`, `pose/N.txt`, `intrinsic/`.

Poses are camera to world; where tracking was lost they hold infinities, and count as unknown.
Depth is 16-bit, 1000 to the metre, 0 where unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttt3r_viewer.evaluate.datasets.base import (
    DatasetInfo,
    TrueFrame,
    chosen,
    depth_reader,
    folders_with,
    image_frame,
    read_matrix,
    read_pose,
)
from ttt3r_viewer.frames.folder import list_folder

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
        file = folder / "intrinsic" / "intrinsic_depth.txt"
        intrinsics = read_matrix(file, 4, 4)[:3, :3] if file.exists() else None
        frames: list[TrueFrame] = []
        for name in list_folder(folder / "color")[::stride][:most]:
            stem = Path(name).stem
            number = int(stem) if stem.isdecimal() else len(frames) * stride
            frames.append(
                image_frame(
                    folder / "color" / name,
                    number / _FPS,
                    T_world_camera=read_pose(folder / "pose" / f"{stem}.txt"),
                    read_depth=depth_reader(folder / "depth" / f"{stem}.png", 1000.0),
                    intrinsics=intrinsics,
                )
            )
        return frames
