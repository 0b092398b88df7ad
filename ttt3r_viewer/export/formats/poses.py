"""Cameras as text: TUM and KITTI trajectories, and intrinsics."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ttt3r_viewer.export.conventions import (
    kitti_pose,
    original_pinhole,
    prepared_pinhole,
    tum_pose,
)
from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.lane_source import Source, StepCount
from ttt3r_viewer.scene.seen import FrameSummary

FRAME_LINE_BYTES = 1024
"""More than any text format takes for a frame."""


def tum_text(frames: Sequence[FrameSummary]) -> bytes:
    """One line per frame: `time tx ty tz qx qy qz qw`, camera to world, OpenCV axes, seconds."""
    lines = ["# time_sec tx ty tz qx qy qz qw: camera to world, x right, y down, z forward"]
    for frame in frames:
        numbers = " ".join(f"{number:.9g}" for number in tum_pose(frame.camera.T_world_camera))
        lines.append(f"{frame.time_sec:.6f} {numbers}")
    return _text(lines)


def kitti_poses_text(frames: Sequence[FrameSummary]) -> bytes:
    """One line per frame: the upper three rows of T_world_camera, row by row, OpenCV axes."""
    poses = (kitti_pose(frame.camera.T_world_camera) for frame in frames)
    return _text([" ".join(f"{number:.9g}" for number in pose) for pose in poses])


def kitti_times_text(frames: Sequence[FrameSummary]) -> bytes:
    """One line per frame: its time in seconds."""
    return _text([f"{frame.time_sec:.6f}" for frame in frames])


def intrinsics_json(frames: Sequence[FrameSummary]) -> bytes:
    """Every frame's pinhole camera as JSON, in pixels of the prepared and of the original image.

    Pixel coordinates have the centre of the first pixel at (0, 0); each frame's focal length is
    estimated on its own from its points. `prepared` is the image that the network saw.
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


def _text(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("ascii")


def _format(
    words: str,
    summary: str,
    target: str,
    files: dict[str, Callable[[Sequence[FrameSummary]], bytes]],
) -> Format:
    """A format that needs cameras alone: a folder of these files, or one file, named ""."""

    def write(path: Path, source: Source, _: Choices, progress: StepCount) -> int:
        progress.expect(len(source))
        cameras = list(source.cameras(progress.step))
        for name, content in files.items():
            (path / name).write_bytes(content(cameras))
        return len(cameras)

    def size(source: Source, _: Choices) -> int:
        return FRAME_LINE_BYTES * (len(source) + 1)

    return Format(words, summary, target, write, size, own=tuple(filter(None, files)))


TUM = _format(
    "Camera path, TUM", "trajectory: time, position, quaternion", "poses_tum.txt", {"": tum_text}
)
KITTI = _format(
    "Camera path, KITTI",
    "trajectory: poses.txt (3x4 matrices) and times.txt",
    "kitti",
    {"poses.txt": kitti_poses_text, "times.txt": kitti_times_text},
)
INTRINSICS = _format(
    "Camera intrinsics",
    "every frame's focal length and centre, for the prepared and the original image",
    "intrinsics.json",
    {"": intrinsics_json},
)
