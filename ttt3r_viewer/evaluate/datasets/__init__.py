"""Data sets where they lie, as published, by the name that `--dataset` takes.

A new data set is one file here, which satisfies `base.Dataset`, and one line in `DATASETS`, to
which other packages may add theirs.
"""

from ttt3r_viewer.evaluate.datasets.base import DatasetEntry
from ttt3r_viewer.evaluate.datasets.indoor import bonn, scannet, seven_scenes, tum
from ttt3r_viewer.evaluate.datasets.kitti import kitti
from ttt3r_viewer.evaluate.datasets.sintel import sintel
from ttt3r_viewer.evaluate.datasets.synthetic import SyntheticRooms

DATASETS: dict[str, DatasetEntry] = {
    "tum": DatasetEntry(tum),
    "scannet": DatasetEntry(scannet),
    "sintel": DatasetEntry(sintel),
    "kitti": DatasetEntry(kitti),
    "bonn": DatasetEntry(bonn),
    "7scenes": DatasetEntry(seven_scenes),
    "synthetic": DatasetEntry(SyntheticRooms, generated=True),
}
