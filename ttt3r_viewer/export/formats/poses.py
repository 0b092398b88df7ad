"""Cameras as text: TUM and KITTI trajectories, and intrinsics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np

from ttt3r_viewer.export.conventions import (
    kitti_pose,
    original_pinhole,
    prepared_pinhole,
    tum_pose,
)
from ttt3r_viewer.system.files import write_output
from ttt3r_viewer.types import Camera, Crop

KITTI_FILES = ("poses.txt", "times.txt")
"""What a KITTI folder holds: a line per frame each."""


class FrameWithCamera(Protocol):
    """What is written of a frame; each as `FrameResult` has it."""

    @property
    def index(self) -> int: ...

    @property
    def time_sec(self) -> float: ...

    @property
    def name(self) -> str: ...

    @property
    def crop(self) -> Crop: ...

    @property
    def camera(self) -> Camera: ...


def tum_text(frames: Iterable[FrameWithCamera]) -> bytes:
    """One line per frame: `time tx ty tz qx qy qz qw`, camera to world, OpenCV axes, seconds."""
    lines = ["# time_sec tx ty tz qx qy qz qw: camera to world, x right, y down, z forward"]
    for frame in frames:
        numbers = " ".join(f"{number:.9g}" for number in tum_pose(frame.camera.T_world_camera))
        lines.append(f"{frame.time_sec:.6f} {numbers}")
    return _text(lines)


def kitti_poses_text(frames: Iterable[FrameWithCamera]) -> bytes:
    """One line per frame: the upper three rows of T_world_camera, row by row, OpenCV axes."""
    poses = (kitti_pose(frame.camera.T_world_camera) for frame in frames)
    return _text([" ".join(f"{number:.9g}" for number in pose) for pose in poses])


def kitti_times_text(frames: Iterable[FrameWithCamera]) -> bytes:
    """One line per frame: its time in seconds."""
    return _text([f"{frame.time_sec:.6f}" for frame in frames])


def intrinsics_json(frames: Sequence[FrameWithCamera]) -> bytes:
    """Every frame's pinhole camera as JSON, in pixels of the prepared and of the original picture.

    Pixel coordinates have the centre of the first pixel at (0, 0); each frame's focal length is
    estimated on its own from its points. `prepared` is the picture that the network saw.
    """
    entries = [
        {
            "index": frame.index,
            "name": frame.name,
            "time_sec": frame.time_sec,
            "prepared": asdict(prepared_pinhole(frame.camera)),
            "original": asdict(original_pinhole(frame.camera, frame.crop)),
        }
        for frame in frames
    ]
    focal_px = [frame.camera.focal_px for frame in frames]
    document = {
        "model": "pinhole",
        "median_focal_px": float(np.median(focal_px)) if focal_px else None,
        "frames": entries,
    }
    return json.dumps(document, indent=1).encode("ascii")


def write_tum(path: Path, frames: Sequence[FrameWithCamera]) -> None:
    """Write the file of `tum_text`, whole. Raises `OutputError`."""
    write_output(path, tum_text(frames))


def write_intrinsics(path: Path, frames: Sequence[FrameWithCamera]) -> None:
    """Write the file of `intrinsics_json`, whole. Raises `OutputError`."""
    write_output(path, intrinsics_json(frames))


def _text(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("ascii")
