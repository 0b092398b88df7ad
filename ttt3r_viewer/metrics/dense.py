"""How near depth and points are to the truth, over the same sampled pixels for every rule."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import transform_points, umeyama
from ttt3r_viewer.types import Crop

if TYPE_CHECKING:
    from scipy.spatial import KDTree

PIXELS_PER_FRAME = 4096
"""At most so many pixels of a frame are measured, so that 1000 frames need 100 MB per rule."""
DELTA = 1.25
_LEAST_M = 1e-5
"""A depth that is not in front of the camera counts as this, which no measure forgives."""
MOST_POINTS = 200_000
"""Beyond this a cloud is thinned evenly, on both sides alike."""
MOST_ASKED = 10_000
"""So many points of a cloud at most ask for their nearest in the other one."""
ICP_POINTS = 5_000
NORMAL_NEIGHBOURS = 30
ICP_ROUNDS = 20
ICP_REACH_M = 0.1
"""Pairs further apart than this do not pull."""
_STILL_M = 1e-6


@dataclass(frozen=True, eq=False)
class TrueSample:
    """Some pixels of one frame with their true depth."""

    rows: NDArray[np.intp]
    """(n,) of the image that the network saw."""
    columns: NDArray[np.intp]
    depth_m: NDArray[np.float32]
    """(n,) along the camera's z axis."""
    points_world: NDArray[np.float32] | None
    """(n, 3) in the data set's world; None where pose or intrinsics are not known."""


def sample_truth(
    depth: NDArray[np.float32],
    crop: Crop,
    shape: tuple[int, int],
    number: int,
    *,
    farthest_m: float = float("inf"),
    intrinsics: NDArray[np.float64] | None = None,
    T_world_camera: NDArray[np.float64] | None = None,
    most: int = PIXELS_PER_FRAME,
) -> TrueSample:
    """Draw pixels from a true depth map (rows, columns), and find each in the prepared image.

    The map covers the original image, at any resolution; each of its pixels goes to the nearest
    one of the prepared image of `shape` (height, width), those outside the crop are left out.
    `number` seeds the draw, so that all rules and all lengths of a run measure the same pixels.
    """
    with np.errstate(invalid="ignore"):
        known = np.isfinite(depth) & (depth > 0) & (depth <= farthest_m)
    true_rows, true_columns = np.nonzero(known)
    rows = _prepared(true_rows, depth.shape[0], crop.original_height, crop, 1)
    columns = _prepared(true_columns, depth.shape[1], crop.original_width, crop, 0)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    there = np.flatnonzero(inside)
    if len(there) > most:
        drawn = np.random.default_rng(number).choice(len(there), most, replace=False)
        there = there[np.sort(drawn)]
    true_rows, true_columns = true_rows[there], true_columns[there]
    values = depth[true_rows, true_columns]
    points_world = None
    if intrinsics is not None and T_world_camera is not None:
        pixels = np.stack([true_columns, true_rows, np.ones(len(there))])
        rays = np.linalg.solve(intrinsics, pixels).T
        points_world = transform_points(T_world_camera, rays * values[:, None]).astype(np.float32)
    return TrueSample(rows[there], columns[there], values, points_world)


def _prepared(
    places: NDArray[np.intp], true_size: int, original_size: int, crop: Crop, axis: int
) -> NDArray[np.intp]:
    """Rows (axis 1) or columns (axis 0) of the prepared image, perhaps outside of it."""
    # Resizes keep the outer edges in place, and those lie half a pixel before the centres.
    resized = (places + 0.5) * (original_size / true_size) * crop.scale_xy[axis]
    return np.floor(resized - crop.offset_xy[axis]).astype(np.intp)


def world_point_error(
    true: NDArray[np.floating], predicted: NDArray[np.floating], true_center: NDArray[np.floating]
) -> float:
    """Median over points (n, 3) of the distance to their true places, as a share of the true
    distance from their camera at `true_center` (3,); nothing is aligned. NaN where none is known.
    """
    apart = np.linalg.norm(predicted - true, axis=1) / np.linalg.norm(true - true_center, axis=1)
    known = apart[np.isfinite(apart)]
    return float(np.median(known)) if len(known) else math.nan


def depth_measures(
    true_m: NDArray[np.float32], predicted_m: NDArray[np.float32]
) -> dict[str, float]:
    """AbsRel and the share with max(p/t, t/p) < 1.25 over all pixels (n,) of a sequence.

    `metric` takes the metres at their word; `aligned` multiplies all depths of the sequence by the
    median of true / predicted first. Raises `EvaluationError` where there is no pixel.
    """
    if not len(true_m):
        raise EvaluationError("no pixel has a true depth: look at the data set's depth files")
    true = np.asarray(true_m, dtype=np.float64)
    predicted = np.maximum(np.nan_to_num(predicted_m.astype(np.float64), posinf=0.0), _LEAST_M)
    aligned = predicted * np.median(true / predicted)
    measures = {}
    for name, depth in (("aligned", aligned), ("metric", predicted)):
        measures[f"abs_rel_{name}"] = float(np.mean(np.abs(depth - true) / true))
        measures[f"delta_{name}"] = float(np.mean(np.maximum(depth / true, true / depth) < DELTA))
    return measures


def point_measures(true: NDArray[np.floating], predicted: NDArray[np.floating]) -> dict[str, float]:
    """Mean and median measures between two clouds (n, 3) whose rows belong together.

    The prediction is brought to the truth by the similarity that fits the rows best (Umeyama), then
    by rigid ICP. Accuracy is the distance from each predicted point to the nearest true one,
    completeness the reverse, in metres; normal consistency is the mean of |n . m| of the normals of
    such nearest pairs in both directions, normals being those of the plane through a point's 30
    nearest. Raises `EvaluationError` for fewer points than that, or predictions in one place.
    """
    fit = np.isfinite(predicted).all(axis=1) & np.isfinite(true).all(axis=1)
    rows = np.flatnonzero(fit)
    if len(rows) <= NORMAL_NEIGHBOURS:
        raise EvaluationError(
            f"{len(rows)} points have a true place; wanted more than {NORMAL_NEIGHBOURS}: the data "
            "set must bring depth, poses and intrinsics"
        )
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_POINTS)).astype(np.intp)]
    target, source = true[rows].astype(np.float64), predicted[rows].astype(np.float64)
    from scipy.spatial import KDTree  # half a second, and only points need it

    true_tree = KDTree(target)
    aligned = _icp(umeyama(source, target, with_scale=True).apply(source), target, true_tree)
    own_tree = KDTree(aligned)
    to_true_m, forth = _nearest(own_tree, true_tree)
    to_own_m, back = _nearest(true_tree, own_tree)
    return {
        "accuracy_mean_m": float(np.mean(to_true_m)),
        "accuracy_median_m": float(np.median(to_true_m)),
        "completeness_mean_m": float(np.mean(to_own_m)),
        "completeness_median_m": float(np.median(to_own_m)),
        "normal_consistency_mean": float(np.mean(forth) + np.mean(back)) / 2,
        "normal_consistency_median": float(np.median(forth) + np.median(back)) / 2,
    }


def _nearest(asking: "KDTree", among: "KDTree") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance (n,) from some points of a cloud to the nearest of another, and |n . m| of those."""
    points = np.asarray(asking.data)[:: -(-asking.n // MOST_ASKED)]
    apart_m, row = among.query(points)
    normals = _normals(points, asking)
    return apart_m, np.abs(np.sum(normals * _normals(np.asarray(among.data)[row], among), axis=1))


def _icp(
    source: NDArray[np.float64], target: NDArray[np.float64], tree: "KDTree"
) -> NDArray[np.float64]:
    """The source after rigid point-to-point ICP on some of its points."""
    some = slice(None, None, -(-len(source) // ICP_POINTS))
    for _ in range(ICP_ROUNDS):
        apart_m, row = tree.query(source[some], distance_upper_bound=ICP_REACH_M)
        near = np.isfinite(apart_m)
        if near.sum() <= NORMAL_NEIGHBOURS:
            break
        move = umeyama(source[some][near], target[np.asarray(row)[near]], with_scale=False)
        moved = move.apply(source)
        step_m = float(np.abs(moved - source).max())
        source = moved
        if step_m < _STILL_M:
            break
    return source


def _normals(points: NDArray[np.float64], cloud: "KDTree") -> NDArray[np.float64]:
    """Unit normals (n, 3) of the planes through each point's nearest of a cloud; signs are open."""
    _, rows = cloud.query(points, k=NORMAL_NEIGHBOURS)
    near = np.asarray(cloud.data)[rows]
    spread = near - near.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", spread, spread))
    return vectors[:, :, 0]
