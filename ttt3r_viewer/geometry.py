"""Rigid transforms and rotations in numpy; `T_a_b` maps points in frame b to frame a."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.types import Camera

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64


def transform_points(T_a_b: ArrayLike, points_b: ArrayLike) -> Float64[np.ndarray, "*points 3"]:
    """Map points (..., 3) of frame b to frame a by `T_a_b` (4, 4), in the unit of the transform."""
    transform = np.asarray(T_a_b, dtype=np.float64)
    points = np.asarray(points_b, dtype=np.float64)
    assert transform.shape == (4, 4), transform.shape
    assert points.shape[-1] == 3, points.shape
    return points @ transform[:3, :3].T + transform[:3, 3]


def invert_pose(T_a_b: ArrayLike) -> Float64[np.ndarray, "4 4"]:
    """Give `T_b_a` of a rigid `T_a_b` (4, 4), by the transpose of its rotation."""
    transform = np.asarray(T_a_b, dtype=np.float64)
    assert transform.shape == (4, 4), transform.shape
    inverse = np.eye(4)
    inverse[:3, :3] = transform[:3, :3].T
    inverse[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return inverse


def quaternion_wxyz_from_matrix(R_a_b: ArrayLike) -> Float64[np.ndarray, 4]:
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


def pose_from_vector(pose: ArrayLike) -> Float64[np.ndarray, "4 4"]:
    """Give `T_world_camera` of a translation and quaternion (7,): x y z, then w x y z."""
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


T_OPENCV_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Between OpenCV's and OpenGL's axes: half a turn about x, which is its own inverse."""
FARTHEST_M = 1e12
"""Coordinates beyond this are no camera positions, and their squares would overflow in time."""
ROTATION_TOLERANCE = 1e-3


def faulty_poses(T_world_camera: Float64[np.ndarray, "n 4 4"]) -> Bool[np.ndarray, " n"]:
    """Tell of (n, 4, 4) matrices which are not rigid: (n,), true where a number is not finite, a
    position lies beyond `FARTHEST_M`, or the rotation is none within `ROTATION_TOLERANCE`.
    """
    near, rotation = sound_parts(T_world_camera, ROTATION_TOLERANCE)
    return ~(near & rotation)


def sound_parts(
    T_world_camera: Float64[np.ndarray, "n 4 4"], tolerance: float
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Tell of (n, 4, 4) matrices which positions lie within `FARTHEST_M`, and which rotations are
    ones within `tolerance` in every number of R.T @ R: (n,) each.
    """
    R = T_world_camera[:, :3, :3]
    # The determinant divides by pivots, which may be next to nothing.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        off = np.abs(R.transpose(0, 2, 1) @ R - np.eye(3)).max(axis=(1, 2), initial=0.0)
        near = (np.abs(T_world_camera[:, :3, 3]) <= FARTHEST_M).all(axis=1)
        proper = np.linalg.det(R) > 0
    # Written so that NaN, for which no comparison holds, is not sound.
    return np.asarray(near), (off <= tolerance) & proper


FARTHEST_RATIO = 1e9
"""A point that lies so many times farther to the side than ahead says nothing of a camera."""


def focal_from_points(points_camera: Float32[np.ndarray, "height width 3"]) -> float:
    """Give the focal length in pixels that best explains a map of self-view points.

    Minimises the sum of |pixel - f (x/z, y/z)| with the principal point at (width // 2, height //
    2): a least-squares start, then ten re-weightings of Weiszfeld's. Ratios that are not finite, or
    beyond `FARTHEST_RATIO`, count as 0, and a negative result as 0.
    """
    height, width = points_camera.shape[:2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (points_camera[..., :2] / points_camera[..., 2:]).reshape(-1, 2).T
    # x and y as rows that lie together, (2, pixels): five times as fast as columns.
    ratio = np.ascontiguousarray(np.where(np.abs(ratio) < FARTHEST_RATIO, ratio, 0))
    row, column = np.indices((height, width), dtype=np.float32).reshape(2, -1)
    pixel = np.stack((column - width // 2, row - height // 2))
    along = (pixel * ratio).sum(axis=0)
    square = (ratio * ratio).sum(axis=0)
    focal_px = along.mean(dtype=np.float64) / max(square.mean(dtype=np.float64), 1e-12)
    residual, weight = np.empty_like(ratio), np.empty_like(along)
    for _ in range(10):
        np.multiply(ratio, np.float32(focal_px), out=residual)
        np.subtract(pixel, residual, out=residual)
        np.multiply(residual, residual, out=residual)
        np.sqrt(np.add(*residual, out=weight), out=weight)
        np.divide(1, np.maximum(weight, 1e-8, out=weight), out=weight)
        focal_px = float(np.vdot(weight, along)) / max(float(np.vdot(weight, square)), 1e-12)
    return max(focal_px, 0.0)


def ray_map(camera: Camera) -> Float32[np.ndarray, "height width 6"]:
    """Give the rays of a camera, as the network's queries take them.

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


@dataclass(frozen=True, eq=False)
class Similarity:
    """The map `x_target = scale R_target_source x_source + t_target_source`."""

    scale: float
    R_target_source: Float64[np.ndarray, "3 3"]
    """Proper rotation."""
    t_target_source: Float64[np.ndarray, 3]
    rms: float
    """Root mean square distance of the mapped source points from their targets."""

    def apply(self, points_source: ArrayLike) -> Float64[np.ndarray, "*points 3"]:
        """Map (..., 3) points of the source's frame to the target's."""
        points = np.asarray(points_source, dtype=np.float64)
        return self.scale * points @ self.R_target_source.T + self.t_target_source

    @property
    def inverse(self) -> Similarity:
        """The map back from the target's frame to the source's; the scale must not be 0."""
        scale, R_source_target = 1 / self.scale, self.R_target_source.T
        t_source_target = -scale * R_source_target @ self.t_target_source
        return Similarity(scale, R_source_target, t_source_target, rms=scale * self.rms)


@dataclass(frozen=True, eq=False)
class PairMoments:
    """Count, means and summed products of pairs of points: all that an alignment needs of them."""

    count: int = 0
    mean_source: Float64[np.ndarray, 3] = field(default_factory=lambda: np.zeros(3))
    mean_target: Float64[np.ndarray, 3] = field(default_factory=lambda: np.zeros(3))
    square_source: float = 0.0
    """Sum of the squared distances from the mean."""
    square_target: float = 0.0
    cross: Float64[np.ndarray, "3 3"] = field(default_factory=lambda: np.zeros((3, 3)))
    """Sum of (target - its mean) (source - its mean)^T."""

    def with_pair(self, source: ArrayLike, target: ArrayLike) -> PairMoments:
        """The moments with one more pair of points (3,), without loss where they lie far out.

        Welford, "Note on a method for calculating corrected sums of squares and products", 1962.
        """
        count = self.count + 1
        from_source = np.asarray(source, dtype=np.float64) - self.mean_source
        from_target = np.asarray(target, dtype=np.float64) - self.mean_target
        share = self.count / count
        return PairMoments(
            count,
            self.mean_source + from_source / count,
            self.mean_target + from_target / count,
            self.square_source + share * float(from_source @ from_source),
            self.square_target + share * float(from_target @ from_target),
            self.cross + share * np.outer(from_target, from_source),
        )

    @property
    def still_side(self) -> str:
        """The side, source or target, whose points differ by rounding alone; empty for neither."""
        sides = (self.square_source, self.mean_source), (self.square_target, self.mean_target)
        for side, (square, mean) in zip(("source", "target"), sides, strict=True):
            if math.sqrt(square / max(self.count, 1)) <= 1e-12 * float(np.linalg.norm(mean)):
                return side
        return ""

    def similarity(self, with_scale: bool) -> Similarity:
        """The map from source to target with the least sum of squared distances.

        Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
        1991. The rotation is proper also for points in a plane or on a line. Raises
        `EvaluationError` where a scale is wanted and one of the sides stands still.
        """
        assert self.count > 0
        still = self.still_side
        if with_scale and still:
            which = "to be aligned" if still == "source" else "to align with"
            raise EvaluationError(
                f"the positions {which} are all the same, so no scale can be found; wanted a camera"
                " that moves: measure more frames"
            )
        left, strength, right = np.linalg.svd(self.cross)
        # Where a mirror image would fit best, the weakest axis is turned to make it a rotation.
        sign = np.array([1.0, 1.0, np.linalg.det(left) * np.linalg.det(right)]).round()
        R_target_source = (left * sign) @ right
        agreement = float(strength @ sign)
        scale = agreement / self.square_source if with_scale else 1.0
        square = self.square_target + scale * (scale * self.square_source - 2 * agreement)
        return Similarity(
            scale,
            R_target_source,
            self.mean_target - scale * R_target_source @ self.mean_source,
            rms=math.sqrt(max(square, 0.0) / self.count),
        )


def umeyama(source: ArrayLike, target: ArrayLike, with_scale: bool) -> Similarity:
    """Give the similarity, or rigid map, that brings `source` (n, 3) closest to `target` (n, 3).

    Row i of the one belongs to row i of the other; finite, n > 0. See `PairMoments.similarity` for
    the method and the errors.
    """
    points_source = np.asarray(source, dtype=np.float64)
    points_target = np.asarray(target, dtype=np.float64)
    assert points_source.shape == points_target.shape, (points_source.shape, points_target.shape)
    mean_source, mean_target = points_source.mean(axis=0), points_target.mean(axis=0)
    from_source, from_target = points_source - mean_source, points_target - mean_target
    moments = PairMoments(
        len(points_source),
        mean_source,
        mean_target,
        float(np.sum(from_source**2)),
        float(np.sum(from_target**2)),
        from_target.T @ from_source,
    )
    return moments.similarity(with_scale)


def upright_axes(
    up: Float64[np.ndarray, 3], forward: Float64[np.ndarray, 3]
) -> Float64[np.ndarray, "3 3"]:
    """Return right, up, and the level part of `forward`, as rows (3, 3) of unit vectors."""
    up = up / np.linalg.norm(up)
    level = forward - (forward @ up) * up
    if np.linalg.norm(level) <= 1e-6:
        level = np.cross(up, [0.6, 0.48, 0.64])
    level = level / np.linalg.norm(level)
    return np.stack((np.cross(level, up), up, level))
