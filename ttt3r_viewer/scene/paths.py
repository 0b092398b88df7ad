"""Camera paths as they are drawn: a camera that stays in one place leaves no knot of lines."""

import numpy as np
from numpy.typing import NDArray

FRUSTA_APART = 0.3
"""Past cameras stand at least this share of the scene's median depth apart (about 1 m in a room),
or they hide each other and what they look at."""
PATH_APART = 0.04
"""Of the points of a path, likewise: about 12 cm in a room."""
LONGEST_GAP = 2.5
"""Kept points are joined up to this multiple of `apart`, over what was left out between them."""


def spaced(points: NDArray[np.floating], apart: float) -> NDArray[np.intp]:
    """Choose the first of some points (n, 3), and each that is at least `apart` from all chosen
    before it; gives their places, in order.

    More points at the end change nothing of what is chosen before them.
    """
    open_ = np.ones(len(points), np.bool_)
    chosen = []
    while open_.any():
        one = int(open_.argmax())
        chosen.append(one)
        open_[one:] &= np.linalg.norm(points[one:] - points[one], axis=1) >= apart
        open_[one] = False
    return np.array(chosen, np.intp)


def path_pairs(points: NDArray[np.floating], apart: float) -> NDArray[np.intp]:
    """Choose which points of a path (n, 3) are joined, so that it is drawn once where it goes over
    the same place again: pairs (lines, 2) of places, in order of the second.
    """
    kept = spaced(points, apart)
    pairs = np.stack((kept[:-1], kept[1:]), axis=1)
    lengths = np.linalg.norm(np.diff(points[kept], axis=0), axis=1)
    return pairs[(np.diff(kept) == 1) | (lengths <= LONGEST_GAP * apart)]
