"""Cameras as text: a TUM trajectory, and intrinsics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ttt3r_viewer.export.folder import whole_file
from ttt3r_viewer.geometry import quaternion_wxyz_from_matrix
from ttt3r_viewer.scene.store import SeenFrame


def write_tum(path: Path, frames: Sequence[SeenFrame]) -> None:
    """One line per frame: `time tx ty tz qx qy qz qw`, camera to world, OpenCV axes, seconds."""
    lines = ["# time_sec tx ty tz qx qy qz qw: camera to world, x right, y down, z forward"]
    for frame in frames:
        T_world_camera = frame.camera.T_world_camera
        w, x, y, z = quaternion_wxyz_from_matrix(T_world_camera[:3, :3])
        numbers = (*T_world_camera[:3, 3], x, y, z, w)
        lines.append(f"{frame.time_sec:.6f} " + " ".join(f"{number:.9g}" for number in numbers))
    with whole_file(path) as file:
        file.write(("\n".join(lines) + "\n").encode("ascii"))


def write_intrinsics(path: Path, frames: Sequence[SeenFrame]) -> None:
    """Every frame's pinhole camera as JSON, in pixels of the prepared and of the original picture.

    Pixel coordinates have the centre of the first pixel at (0, 0); each frame's focal length is
    estimated on its own from its points. `prepared` is the picture that the network saw.
    """
    entries = []
    for frame in frames:
        camera, crop = frame.camera, frame.crop
        centre = np.array([[camera.width // 2, camera.height // 2]], dtype=np.float64)
        cx, cy = crop.to_original(centre)[0]
        entries.append(
            {
                "index": frame.index,
                "name": frame.name,
                "time_sec": frame.time_sec,
                "prepared": {
                    "width": camera.width,
                    "height": camera.height,
                    "fx": camera.focal_px,
                    "fy": camera.focal_px,
                    "cx": camera.width // 2,
                    "cy": camera.height // 2,
                },
                "original": {
                    "width": crop.original_width,
                    "height": crop.original_height,
                    "fx": camera.focal_px / crop.scale_xy[0],
                    "fy": camera.focal_px / crop.scale_xy[1],
                    "cx": cx,
                    "cy": cy,
                },
            }
        )
    focal_px = [frame.camera.focal_px for frame in frames]
    document = {
        "model": "pinhole",
        "median_focal_px": float(np.median(focal_px)) if focal_px else None,
        "frames": entries,
    }
    with whole_file(path) as file:
        file.write(json.dumps(document, indent=1).encode("ascii"))
