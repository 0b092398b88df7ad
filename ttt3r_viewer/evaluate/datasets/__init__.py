"""Data sets where they lie, as published, by the name that `--dataset` takes.

A new data set is one file here, which satisfies `base.Dataset`, and one line in `DATASETS`, to
which other packages may add theirs.
"""

from ttt3r_viewer.evaluate.datasets.base import DatasetEntry
from ttt3r_viewer.evaluate.datasets.indoor import ScanNet, SevenScenes, TumFolders, bonn
from ttt3r_viewer.evaluate.datasets.kitti import kitti
from ttt3r_viewer.evaluate.datasets.sintel import Sintel
from ttt3r_viewer.evaluate.datasets.synthetic import SyntheticRooms

DATASETS: dict[str, DatasetEntry] = {
    "tum": DatasetEntry(TumFolders),
    "scannet": DatasetEntry(ScanNet),
    "sintel": DatasetEntry(Sintel),
    "kitti": DatasetEntry(kitti),
    "bonn": DatasetEntry(bonn),
    "7scenes": DatasetEntry(SevenScenes),
    "synthetic": DatasetEntry(SyntheticRooms, generated=True),
}
