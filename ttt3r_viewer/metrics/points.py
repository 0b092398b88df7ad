"""How near a cloud of points is to the true one: accuracy, completeness, normal consistency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import umeyama

if TYPE_CHECKING:
    from scipy.spatial import KDTree

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


def _nearest(asking: KDTree, among: KDTree) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance (n,) from some points of a cloud to the nearest of another, and |n . m| of those."""
    points = np.asarray(asking.data)[:: -(-asking.n // MOST_ASKED)]
    apart_m, row = among.query(points)
    normals = _normals(points, asking)
    return apart_m, np.abs(np.sum(normals * _normals(np.asarray(among.data)[row], among), axis=1))


def _icp(
    source: NDArray[np.float64], target: NDArray[np.float64], tree: KDTree
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


def _normals(points: NDArray[np.float64], cloud: KDTree) -> NDArray[np.float64]:
    """Unit normals (n, 3) of the planes through each point's nearest of a cloud; signs are open."""
    _, rows = cloud.query(points, k=NORMAL_NEIGHBOURS)
    near = np.asarray(cloud.data)[rows]
    spread = near - near.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", spread, spread))
    return vectors[:, :, 0]
