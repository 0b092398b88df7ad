"""Poses, intrinsics, axes and images of every format that we write, in one place.

Ours: `T_world_camera`, OpenCV camera axes (x right, y down, z forward), the world being the first
camera's frame with the same axes; pixel coordinates (x, y) with the centre of the first pixel at
(0, 0). Lengths are metres for metric weights, and are never scaled here.

| format | pose | axes of the camera | centre of the first pixel |
| --- | --- | --- | --- |
| TUM, KITTI, npz | camera to world | ours | (0, 0) |
| COLMAP | world to camera | ours | (0.5, 0.5) |
| NeRF (instant-ngp) | camera to world | OpenGL: x right, y up, z backward | (0.5, 0.5) |
| glTF | camera to world | OpenGL, and so the world: its y is up | - |
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ttt3r_viewer.geometry import (
    T_OPENCV_OPENGL,
    invert_pose,
    quaternion_wxyz_from_matrix,
    transform_points,
)
from ttt3r_viewer.types import Camera, Crop

FRUSTUM_SHARE = 0.08
"""Depth of the frusta as a share of the scene's median depth."""
T_GLTF_WORLD = T_OPENCV_OPENGL
"""What turns our world, whose y is down, to glTF's, whose y is up."""
CORNER_PX = 0.5
"""Where a format counts from the image's corner, the first pixel's centre is so far from it."""
LONGEST_MM = 65535
"""The greatest depth that 16 bits of millimetres hold."""


@dataclass(frozen=True)
class Pinhole:
    """Intrinsics of an undistorted camera, in pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """K (3, 3), which maps points of the camera's frame to homogeneous pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    @property
    def fov_x_rad(self) -> float:
        """Horizontal field of view as NeRF programs have it: as if the centre were the middle."""
        return 2 * math.atan2(self.width / 2, self.fx)

    @property
    def fov_y_rad(self) -> float:
        """Vertical field of view, likewise."""
        return 2 * math.atan2(self.height / 2, self.fy)

    def from_corner(self) -> Self:
        """The same camera where pixels are counted from the image's corner."""
        return replace(self, cx=self.cx + CORNER_PX, cy=self.cy + CORNER_PX)

    def project(self, points_camera: ArrayLike) -> NDArray[np.float64]:
        """Give the pixels (..., 2) of points (..., 3) in front of the camera."""
        points = np.asarray(points_camera, dtype=np.float64)
        return points[..., :2] / points[..., 2:] * (self.fx, self.fy) + (self.cx, self.cy)


def prepared_pinhole(camera: Camera) -> Pinhole:
    """Intrinsics of the prepared image, which the maps share."""
    return Pinhole(
        width=camera.width,
        height=camera.height,
        fx=camera.focal_px,
        fy=camera.focal_px,
        cx=camera.width // 2,
        cy=camera.height // 2,
    )


def original_pinhole(camera: Camera, crop: Crop) -> Pinhole:
    """Intrinsics of the image as it came, before it was resized and cropped."""
    centre = np.array([[camera.width // 2, camera.height // 2]], dtype=np.float64)
    cx, cy = crop.to_original(centre)[0]
    scale_x, scale_y = crop.scale_xy
    return Pinhole(
        width=crop.original_width,
        height=crop.original_height,
        fx=camera.focal_px / scale_x,
        fy=camera.focal_px / scale_y,
        cx=float(cx),
        cy=float(cy),
    )


def opengl_pose(T_world_camera: ArrayLike) -> NDArray[np.float64]:
    """Give the pose (4, 4), camera to world, of the same camera with OpenGL axes.

    It is its own inverse: OpenGL axes given, OpenCV's come back.
    """
    return np.asarray(T_world_camera, np.float64) @ T_OPENCV_OPENGL


def colmap_pose(T_world_camera: ArrayLike) -> NDArray[np.float64]:
    """Give COLMAP's `qw qx qy qz tx ty tz` (7,): the rotation and translation of T_camera_world."""
    T_camera_world = invert_pose(T_world_camera)
    quaternion = quaternion_wxyz_from_matrix(T_camera_world[:3, :3])
    return np.concatenate((quaternion, T_camera_world[:3, 3]))


def tum_pose(T_world_camera: ArrayLike) -> NDArray[np.float64]:
    """Give TUM's `tx ty tz qx qy qz qw` (7,)."""
    transform = np.asarray(T_world_camera, np.float64)
    w, x, y, z = quaternion_wxyz_from_matrix(transform[:3, :3])
    return np.array([*transform[:3, 3], x, y, z, w])


def kitti_pose(T_world_camera: ArrayLike) -> NDArray[np.float64]:
    """Give KITTI's twelve numbers: the upper three rows of the pose, row by row."""
    return np.asarray(T_world_camera, np.float64)[:3].reshape(12)


def depth_mm(depth: ArrayLike) -> NDArray[np.uint16]:
    """Round a depth in metres to millimetres; 0 where there is none, or more than 65.535 m."""
    depth = np.asarray(depth, np.float64)
    with np.errstate(invalid="ignore"):
        millimetres = np.rint(depth * 1000)
        known = np.isfinite(millimetres) & (millimetres > 0) & (millimetres <= LONGEST_MM)
    return np.where(known, millimetres, 0).astype(np.uint16)


def linear_from_srgb(colors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give linear light in [0, 1] of sRGB bytes (IEC 61966-2-1), as glTF has vertex colours."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)[colors]


def image_name(sequence: int) -> str:
    """How every export names a frame's image: by its number in the recording."""
    return f"{sequence:06d}.png"


def write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write RGB bytes (height, width, 3), or one channel of 16 bits (height, width)."""
    # Level 1 takes a third of the usual time and about a tenth more room.
    Image.fromarray(pixels).save(path, format="PNG", compress_level=1)


def pyramid_segments(camera: Camera, depth: float) -> NDArray[np.float64]:
    """Give the four rays and four image edges of a camera, (8, 2, 3) in the world."""
    y = math.tan(camera.fov_y_rad / 2)
    x = y * camera.aspect
    corners = np.array([[-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]]) * depth
    rays = np.stack([np.zeros_like(corners), corners], axis=1)
    edges = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
    return transform_points(camera.T_world_camera, np.concatenate([rays, edges]))


def frustum_lines(cameras: Iterable[Camera], depth: float) -> NDArray[np.float32]:
    """Give `pyramid_segments` of all cameras that have a focal length, (lines, 2, 3)."""
    lines = [pyramid_segments(one, depth) for one in cameras if one.focal_px > 0]
    return np.concatenate([np.zeros((0, 2, 3)), *lines]).astype(np.float32)
