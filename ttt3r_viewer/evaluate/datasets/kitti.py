"""KITTI: the depth selection for validation, and odometry.

Depth: `image/DRIVE_image_0000000005_image_02.png` beside
`groundtruth_depth/DRIVE_groundtruth_depth_0000000005_image_02.png`, 16-bit, 256 to the metre, 0
where unknown. A sequence is one drive and camera; the published protocol's copy, with a folder per
drive in `image_gathered` and `groundtruth_depth_gathered`, is read too.

Odometry: `sequences/00/image_2`, `sequences/00/times.txt`, and `poses/00.txt` with 3 x 4 matrices,
camera to world, of the left grey camera; the left colour camera stands some 6 cm beside it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ttt3r_viewer.errors import EvaluationError, in_a_line
from ttt3r_viewer.evaluate.datasets.base import (
    Dataset,
    DatasetInfo,
    TrueFrame,
    chosen,
    depth_reader,
    image_frame,
    picked,
    read_lines,
    subfolders,
)
from ttt3r_viewer.frames.folder import list_folder, natural_key
from ttt3r_viewer.metrics.ground_truth import CountedPoses, read_ground_truth

DEPTH_INFO = DatasetInfo(
    "KITTI depth",
    "val_selection_cropped with image/ and groundtruth_depth/, or odometry with sequences/ and "
    "poses/",
    ("depth",),
    "all",
)
ODOMETRY_INFO = DatasetInfo("KITTI odometry", DEPTH_INFO.layout, ("poses",), "50:1000:50")
_IMAGE = re.compile(r"(?P<drive>.+_sync)_image_(?P<number>\d+)_(?P<camera>image_0\d)\.png")
_FPS = 10.0


def kitti(root: Path) -> Dataset:
    """Odometry where the root has `sequences/`, else the depth selection."""
    if (root / "sequences").is_dir():
        return KittiOdometry(root)
    inner = [root, root / "val_selection_cropped", root / "depth_selection/val_selection_cropped"]
    there = (place for place in inner if any((place / one).is_dir() for one in _DEPTH_OF))
    return KittiDepth(next(there, root))


_DEPTH_OF = {"image": "groundtruth_depth", "image_gathered": "groundtruth_depth_gathered"}
"""Folders of images, each with that of its depth."""


@dataclass(frozen=True)
class KittiDepth:
    """The validation selection of depth prediction."""

    root: Path
    info: DatasetInfo = DEPTH_INFO

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """One per drive and camera."""
        known = dict.fromkeys(name for name, _, _ in self._images())
        return chosen(sorted(known), wanted, self.info)

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """The images of a drive in order of their numbers, with depth where it is known."""
        own = [(number, path) for name, number, path in self._images() if name == sequence]
        return [
            image_frame(path, number / _FPS, read_depth=depth_reader(_depth_of(path), 256.0))
            for number, path in sorted(own)[::stride][:most]
        ]

    def _images(self) -> Iterator[tuple[str, int, Path]]:
        """Sequence, number and file of every image."""
        images = self.root / "image"
        gathered = self.root / "image_gathered"
        drives = subfolders(gathered) if gathered.is_dir() else []
        for folder in [images] if images.is_dir() else drives:
            for name in list_folder(folder):
                if match := _IMAGE.fullmatch(name):
                    sequence = f"{match['drive']}_{match['camera']}"
                    yield sequence, int(match["number"]), folder / name


def _depth_of(image: Path) -> Path:
    """The depth that belongs to an image; in gathered copies it may have the image's name."""
    official = image.name.replace("_sync_image_", "_sync_groundtruth_depth_")
    if image.parent.name == "image":
        return image.parents[1] / _DEPTH_OF["image"] / official
    folder = image.parents[2] / _DEPTH_OF["image_gathered"] / image.parent.name
    same = folder / image.name
    return same if same.exists() else folder / official


@dataclass(frozen=True)
class KittiOdometry:
    """The odometry sequences that have poses."""

    root: Path
    info: DatasetInfo = ODOMETRY_INFO

    def sequences(self, wanted: Sequence[str] | None) -> list[str]:
        """Numbers of the sequences that have poses."""
        known = [
            folder.name
            for folder in subfolders(self.root / "sequences")
            if self._poses(folder.name).exists()
        ]
        return chosen(sorted(known, key=natural_key), wanted, self.info)

    def open(self, sequence: str, stride: int, most: int | None) -> Sequence[TrueFrame]:
        """Images of the left colour camera, or of the left grey one where that is all."""
        folder = self.root / "sequences" / sequence
        colour = folder / "image_2"
        images = colour if colour.is_dir() else folder / "image_0"
        poses = read_ground_truth(self._poses(sequence))
        if not isinstance(poses, CountedPoses):
            raise EvaluationError(f"{poses.path}: wanted 12 numbers per line, a 3 x 4 matrix")
        names = list_folder(images)
        times_file = folder / "times.txt"
        times = [number / _FPS for number in range(len(names))]
        if times_file.exists():
            try:
                times = [float(one[0]) for one in read_lines(times_file)]
            except ValueError as error:
                why = f"{in_a_line(error, 100)}; wanted seconds by lines"
                raise EvaluationError(f"{times_file}: {why}") from error
            if not np.isfinite(times).all():
                raise EvaluationError(f"{times_file}: a time that is not finite; fetch it again")
        if len(times) != len(names):
            raise EvaluationError(f"{times_file}: {len(times)} times for {len(names)} images")
        return [
            image_frame(images / name, times[index], poses.pose_of(index, times[index], name))
            for index, name in picked(names, stride, most)
        ]

    def _poses(self, sequence: str) -> Path:
        return self.root / "poses" / f"{sequence}.txt"
