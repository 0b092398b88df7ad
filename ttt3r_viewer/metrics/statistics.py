"""Summaries of a few numbers, such as one measure over the sequences of a data set."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median of numbers, and the ends of its 95 % interval.

    The ends are the 2.5 and 97.5 percentiles of the medians of seeded resamples (bootstrap).
    """
    numbers = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(0, len(numbers), (RESAMPLES, len(numbers)))
    medians = np.median(numbers[drawn], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(numbers)), float(low), float(high)
