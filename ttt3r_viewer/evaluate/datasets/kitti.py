"""KITTI: the depth selection for validation, and odometry.

Depth: `image/DRIVE_image_0000000005_image_02.png` beside
`groundtruth_depth/DRIVE_groundtruth_depth_0000000005_image_02.png`, 16-bit, 256 to the metre, 0
where unknown. A sequence is one drive and camera; the published protocol's copy, with a folder per
drive in `image_gathered` and `groundtruth_depth_gathered`, is read too.

Odometry: `sequences/00/image_2`, `sequences/00/times.txt`, and `poses/00.txt` with 3 x 4 matrices,
camera to world, of the left grey camera; the left colour camera stands some 6 cm beside it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.evaluate.datasets.base import (
    DatasetInfo,
    FolderDataset,
    Images,
    TrueFrame,
    image_frame,
    read_times,
    subfolders,
)
from ttt3r_viewer.frames.folder import list_folder, natural_key
from ttt3r_viewer.metrics.ground_truth import CountedPoses, read_ground_truth
from ttt3r_viewer.metrics.true_depth import depth_reader

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


_DEPTH_OF = {"image": "groundtruth_depth", "image_gathered": "groundtruth_depth_gathered"}
"""Folders of images, each with that of its depth."""


def kitti(root: Path) -> FolderDataset:
    """Odometry where the root has `sequences/`, else the depth selection."""
    if (root / "sequences").is_dir():
        return FolderDataset(ODOMETRY_INFO, _odometry_sequences, _odometry_images, root)
    inner = [root, root / "val_selection_cropped", root / "depth_selection/val_selection_cropped"]
    there = (place for place in inner if any((place / one).is_dir() for one in _DEPTH_OF))
    return FolderDataset(DEPTH_INFO, _depth_sequences, _depth_images, next(there, root))


def _depth_sequences(root: Path) -> list[str]:
    """One per drive and camera."""
    return sorted({name for name, _, _ in _selection(root)})


def _depth_images(root: Path, sequence: str) -> Images:
    """The images of a drive in order of their numbers, with depth where it is known."""

    def frame(_: int, numbered: tuple[int, Path]) -> TrueFrame:
        number, path = numbered
        return image_frame(path, number / _FPS, read_depth=depth_reader(_depth_of(path), 256.0))

    return sorted(
        (number, path) for name, number, path in _selection(root) if name == sequence
    ), frame


def _selection(root: Path) -> Iterator[tuple[str, int, Path]]:
    """Sequence, number and file of every image."""
    images, gathered = root / "image", root / "image_gathered"
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


def _odometry_sequences(root: Path) -> list[str]:
    """Numbers of the sequences that have poses."""
    names = (folder.name for folder in subfolders(root / "sequences"))
    return sorted((one for one in names if _poses_of(root, one).exists()), key=natural_key)


def _odometry_images(root: Path, sequence: str) -> Images:
    """Images of the left colour camera, or of the left grey one where that is all."""
    folder = root / "sequences" / sequence
    colour = folder / "image_2"
    images = colour if colour.is_dir() else folder / "image_0"
    poses = read_ground_truth(_poses_of(root, sequence))
    if not isinstance(poses, CountedPoses):
        raise EvaluationError(f"{poses.path}: wanted 12 numbers per line, a 3 x 4 matrix")
    names = list_folder(images)
    times_file = folder / "times.txt"
    times = [number / _FPS for number in range(len(names))]
    if times_file.exists():
        times = [time_sec for time_sec, _ in read_times(times_file, "seconds")]
    if len(times) != len(names):
        raise EvaluationError(f"{times_file}: {len(times)} times for {len(names)} images")

    def frame(index: int, name: str) -> TrueFrame:
        pose = poses.pose_of(index, times[index], name)
        return image_frame(images / name, times[index], pose)

    return names, frame


def _poses_of(root: Path, sequence: str) -> Path:
    return root / "poses" / f"{sequence}.txt"
