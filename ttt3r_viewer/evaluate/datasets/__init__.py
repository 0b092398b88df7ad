"""Data sets where they lie, as published; one file each behind `base.Dataset`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ttt3r_viewer.evaluate.datasets.base import Dataset
from ttt3r_viewer.evaluate.datasets.kitti import kitti
from ttt3r_viewer.evaluate.datasets.scannet import ScanNet
from ttt3r_viewer.evaluate.datasets.seven_scenes import SevenScenes
from ttt3r_viewer.evaluate.datasets.sintel import Sintel
from ttt3r_viewer.evaluate.datasets.tum import BONN_FACTS, TumFolders


def bonn(root: Path) -> Dataset:
    """Bonn RGB-D Dynamic, which has TUM's layout."""
    return TumFolders(root, BONN_FACTS)


DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "tum": TumFolders,
    "scannet": ScanNet,
    "sintel": Sintel,
    "kitti": kitti,
    "bonn": bonn,
    "7scenes": SevenScenes,
}
"""By the name that `--dataset` takes."""
