"""Rigid transforms and rotations in numpy; `T_a_b` maps points in frame b to frame a."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.types import Camera


def transform_points(T_a_b: ArrayLike, points_b: ArrayLike) -> NDArray[np.float64]:
    """Map points of frame b to frame a.

    `T_a_b` is (4, 4); `points_b` is (..., 3) in the unit of the transform; gives (..., 3) float64.
    """
    transform = np.asarray(T_a_b, dtype=np.float64)
    points = np.asarray(points_b, dtype=np.float64)
    assert transform.shape == (4, 4), transform.shape
    assert points.shape[-1] == 3, points.shape
    return points @ transform[:3, :3].T + transform[:3, 3]


def invert_pose(T_a_b: ArrayLike) -> NDArray[np.float64]:
    """Give `T_b_a` (4, 4) of a rigid `T_a_b` (4, 4), by the transpose of its rotation."""
    transform = np.asarray(T_a_b, dtype=np.float64)
    assert transform.shape == (4, 4), transform.shape
    inverse = np.eye(4)
    inverse[:3, :3] = transform[:3, :3].T
    inverse[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return inverse


def quaternion_wxyz_from_matrix(R_a_b: ArrayLike) -> NDArray[np.float64]:
    """Give the unit quaternion (w, x, y, z) with w >= 0 of a rotation matrix (3, 3).

    The quaternion is the eigenvector of the largest eigenvalue of Bar-Itzhack's symmetric matrix
    ("New method for extracting the quaternion from a rotation matrix", 2000): it has no branch near
    half turns, and for a matrix that is only nearly a rotation it gives the nearest one.
    """
    R = np.asarray(R_a_b, dtype=np.float64)
    assert R.shape == (3, 3), R.shape
    symmetric = np.array(
        [
            [R[0, 0] + R[1, 1] + R[2, 2], 0.0, 0.0, 0.0],
            [R[2, 1] - R[1, 2], R[0, 0] - R[1, 1] - R[2, 2], 0.0, 0.0],
            [R[0, 2] - R[2, 0], R[1, 0] + R[0, 1], R[1, 1] - R[0, 0] - R[2, 2], 0.0],
            [R[1, 0] - R[0, 1], R[2, 0] + R[0, 2], R[2, 1] + R[1, 2], R[2, 2] - R[0, 0] - R[1, 1]],
        ]
    )
    _, vectors = np.linalg.eigh(symmetric, UPLO="L")
    quaternion = vectors[:, -1]
    return -quaternion if quaternion[0] < 0 else quaternion


def pose_from_vector(pose: ArrayLike) -> NDArray[np.float64]:
    """Give `T_world_camera` (4, 4) of a translation and quaternion (7,): x y z, then w x y z."""
    vector = np.asarray(pose, dtype=np.float64)
    assert vector.shape == (7,), vector.shape
    w, x, y, z = vector[3:] / np.linalg.norm(vector[3:])
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    T_world_camera[:3, 3] = vector[:3]
    return T_world_camera


def focal_from_points(points_camera: NDArray[np.float32]) -> float:
    """Give the focal length in pixels that best explains a map of self-view points (height, width,
    3).

    Minimises the sum of |pixel - f (x/z, y/z)| with the principal point at (width // 2, height //
    2): a least-squares start, then ten re-weightings of Weiszfeld's. Ratios that are not finite
    count as 0, and a negative result as 0.
    """
    height, width = points_camera.shape[:2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = points_camera[..., :2] / points_camera[..., 2:]
    ratio_x, ratio_y = np.where(np.isfinite(ratio), ratio, 0).reshape(-1, 2).T
    pixel_y, pixel_x = np.indices((height, width), dtype=np.float32)
    pixel_x = (pixel_x - width // 2).ravel()
    pixel_y = (pixel_y - height // 2).ravel()
    along = pixel_x * ratio_x + pixel_y * ratio_y
    square = ratio_x * ratio_x + ratio_y * ratio_y
    focal_px = along.mean(dtype=np.float64) / max(square.mean(dtype=np.float64), 1e-12)
    for _ in range(10):
        residual = np.hypot(pixel_x - focal_px * ratio_x, pixel_y - focal_px * ratio_y)
        weight = 1 / np.maximum(residual, 1e-8)
        focal_px = float(np.vdot(weight, along)) / max(float(np.vdot(weight, square)), 1e-12)
    return max(focal_px, 0.0)


def ray_map(camera: Camera) -> NDArray[np.float32]:
    """Give the (height, width, 6) rays of a camera, as the network's queries take them.

    Per pixel: the camera's centre in the world, then the world position of the point at depth 1 on
    the pixel's ray, divided by its norm. It is the position, not the direction: so the network was
    trained (CUT3R, arXiv 2501.12387). Pixel coordinates are integers.
    """
    y, x = np.indices((camera.height, camera.width), dtype=np.float64)
    at_depth_one = np.stack(
        (
            (x - camera.width // 2) / camera.focal_px,
            (y - camera.height // 2) / camera.focal_px,
            np.ones_like(x),
        ),
        axis=-1,
    )
    positions = transform_points(camera.T_world_camera, at_depth_one)
    positions /= np.linalg.norm(positions, axis=-1, keepdims=True)
    centre = np.broadcast_to(camera.T_world_camera[:3, 3], positions.shape)
    return np.concatenate((centre, positions), axis=-1).astype(np.float32)
