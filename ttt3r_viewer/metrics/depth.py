"""Errors of depth along a video, aligned by one scale per sequence and not aligned."""

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError

DELTA = 1.25
_LEAST_M = 1e-5
"""A depth that is not in front of the camera counts as this, which no measure forgives."""


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
    return {
        "abs_rel_aligned": _abs_rel(true, aligned),
        "delta_aligned": _delta(true, aligned),
        "abs_rel_metric": _abs_rel(true, predicted),
        "delta_metric": _delta(true, predicted),
    }


def _abs_rel(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return float(np.mean(np.abs(predicted - true) / true))


def _delta(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return float(np.mean(np.maximum(predicted / true, true / predicted) < DELTA))
