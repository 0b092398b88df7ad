"""Folders of a file per frame: maps as the published demo names them, and images to train on.

Beside its npy files the depth is also written as 16-bit PNG in millimetres. `transforms.json` and
its images are as instant-ngp, nerfstudio and others read them.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ttt3r_viewer.export.conventions import (
    Pinhole,
    depth_mm,
    image_name,
    opengl_pose,
    prepared_pinhole,
    write_png,
)
from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.lane_source import Source, StepCount

FOLDERS = ("depth", "conf", "color", "camera")
DEPTH_OWN = ("depth/*.npy", "depth/*.png", "conf/*.npy", "color/*.png", "camera/*.npz")
NERF_OWN = ("transforms.json", "images/*.png")
AABB_SCALE = 16
"""Side of the box in which instant-ngp looks for the scene; a room and its surroundings fit."""


def export_depth(folder: Path, source: Source, _: Choices, progress: StepCount) -> int:
    """Write `depth/000000.npy` and so on, numbered as in the recording; the number of frames.

    `depth` (height, width) float32 is z in the camera's frame, as the network gave it, `conf`
    likewise, `color` the prepared image, and `camera` holds `pose` (4, 4) T_world_camera and
    `intrinsics` (3, 3) in pixels with the centre of the first at (0, 0).
    """
    for name in FOLDERS:
        (folder / name).mkdir()
    progress.expect(len(source))
    count = 0
    for result in source.frames(progress.step):
        stem, image = f"{result.sequence:06d}", image_name(result.sequence)
        depth = result.points_camera[..., 2].astype(np.float32)
        np.save(folder / "depth" / f"{stem}.npy", depth)
        write_png(folder / "depth" / image, depth_mm(depth))
        np.save(folder / "conf" / f"{stem}.npy", result.confidence.astype(np.float32))
        write_png(folder / "color" / image, result.image)
        np.savez(
            folder / "camera" / f"{stem}.npz",
            pose=result.camera.T_world_camera,
            intrinsics=prepared_pinhole(result.camera).matrix,
        )
        count += 1
    return count


def export_nerf(folder: Path, source: Source, _: Choices, progress: StepCount) -> int:
    """Write a folder to train on; the number of frames.

    The world is that of all our exports (y down). Each frame has its own intrinsics; those at the
    top, with the median focal length, are for programs that know one camera only. Frames without a
    focal length are left out.
    """
    (folder / "images").mkdir()
    frames: list[dict[str, Any]] = []
    cameras: list[Pinhole] = []
    progress.expect(len(source))
    for result in source.frames(progress.step):
        if result.camera.focal_px > 0:
            name = f"images/{image_name(result.sequence)}"
            write_png(folder / name, result.image)
            pinhole = prepared_pinhole(result.camera).from_corner()
            cameras.append(pinhole)
            frames.append(
                {
                    "file_path": name,
                    **intrinsics(pinhole),
                    "transform_matrix": opengl_pose(result.camera.T_world_camera).tolist(),
                }
            )
        else:
            source.leave_out(f"frame {result.sequence}: it has no focal length")
    if frames:
        focal_px = float(np.median([one.fx for one in cameras]))
        document = {
            **intrinsics(replace(cameras[0], fx=focal_px, fy=focal_px)),
            **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
            "aabb_scale": AABB_SCALE,
            "frames": frames,
        }
        (folder / "transforms.json").write_bytes(json.dumps(document, indent=1).encode("ascii"))
    return len(frames)


def intrinsics(pinhole: Pinhole) -> dict[str, float]:
    """Name the intrinsics as the format does; pixels are counted from the image's corner."""
    return {
        "camera_angle_x": pinhole.fov_x_rad,
        "camera_angle_y": pinhole.fov_y_rad,
        "fl_x": pinhole.fx,
        "fl_y": pinhole.fy,
        "cx": pinhole.cx,
        "cy": pinhole.cy,
        "w": pinhole.width,
        "h": pinhole.height,
    }


DEPTH = Format(
    "Depth maps",
    "maps per frame: depth (npy, 16-bit PNG in mm), conf, color, camera (npz)",
    "maps",
    export_depth,
    lambda source, _: 13 * source.pixel_count() + 4096 * 5 * len(source),
    own=DEPTH_OWN,
)
NERF = Format(
    "NeRF images and cameras",
    "transforms.json and its images: instant-ngp, nerfstudio",
    "nerf",
    export_nerf,
    lambda source, _: 3 * source.pixel_count() + 8192 * (len(source) + 1),
    own=NERF_OWN,
)
