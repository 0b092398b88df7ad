"""Data sets where they lie, as published, by the name that `--dataset` takes.

A new data set is one file here, which satisfies `base.Dataset`, and one line in `DATASETS`, to
which other packages may add theirs.
"""

import glob
from pathlib import Path

import numpy as np

from ttt3r_viewer.evaluate.datasets.base import DatasetEntry, FolderDataset, holds
from ttt3r_viewer.evaluate.datasets.indoor import bonn, scannet, seven_scenes, tum
from ttt3r_viewer.evaluate.datasets.kitti import kitti
from ttt3r_viewer.evaluate.datasets.sintel import sintel
from ttt3r_viewer.evaluate.datasets.synthetic import SyntheticRooms
from ttt3r_viewer.metrics.ground_truth import NamedPoses
from ttt3r_viewer.system.text import last_part

DATASETS: dict[str, DatasetEntry] = {
    "tum": DatasetEntry(tum),
    "scannet": DatasetEntry(scannet),
    "sintel": DatasetEntry(sintel),
    "kitti": DatasetEntry(kitti),
    "bonn": DatasetEntry(bonn),
    "7scenes": DatasetEntry(seven_scenes),
    "synthetic": DatasetEntry(SyntheticRooms, generated=True),
}


def find_sequence(images: Path) -> NamedPoses | None:
    """Poses and depth of a sequence's images, by their names; None where `images`, a folder or a
    glob pattern in one, is not where a data set has them whose depth comes with a calibration.

    Raises `InputError` or `EvaluationError` where its files do not fit.
    """
    folder = (images.parent if glob.has_magic(str(images)) else images).absolute()
    found = _sequence_at(folder)
    if found is None:
        return None
    dataset, sequence = found
    frames = [one for one in dataset.open(sequence, 1, None) if one.T_world_camera is not None]
    if not frames:
        return None
    rows = {one.name: row for row, one in enumerate(frames)}
    poses = np.array([one.T_world_camera for one in frames])
    depth = {one.name: one.depth for one in frames}
    return NamedPoses(folder, rows, poses, depth_of=lambda name: depth.get(last_part(name)))


def _sequence_at(folder: Path) -> tuple[FolderDataset, str] | None:
    """The data set that has a sequence's images in this folder, and the sequence's name."""
    above = folder.parent
    if folder.name == "color" and holds(above, "pose"):
        return scannet(above.parent), above.name
    if above.name == "final" and holds(above.parent, "camdata_left"):
        return sintel(above.parent), folder.name
    if holds(above, "TestSplit.txt") and folder.name.startswith("seq-"):
        return seven_scenes(above.parent), f"{above.name}/{folder.name}"
    return None
