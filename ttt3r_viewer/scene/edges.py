"""Depth edges: pixels whose points hang in the air between a near and a far surface."""

import numpy as np
from numpy.typing import NDArray

EDGE_STEP = 0.01
"""Of the strength of an edge: the natural logarithm of a ratio of depths, one hundredth."""
BORDER_PX = 2
"""Pixels along the image's border, whose neighbours on one side are unknown."""
STRONGEST = 255
"""Strength of the border, and of pixels beside a depth that is not a number."""
DEFAULT_EDGE_FILTER = 0.12
"""Points at a stronger edge are left out: within three pixels the depth changes by 13 %."""


def edge_strength(
    depth: NDArray[np.float32], pixels: NDArray[np.intp] | None = None
) -> NDArray[np.uint8]:
    """Return how much the depth (height, width) changes around each pixel, in `EDGE_STEP`s.

    That is the logarithm of the largest depth over the least one among a pixel and its eight
    neighbours. `pixels`, counted row by row, are those wanted: all of them by default. Gives
    (n,) values for (n,) pixels, else (height, width).
    """
    height, width = depth.shape
    rows, columns = np.divmod(np.arange(depth.size) if pixels is None else pixels, width)
    around = np.arange(-1, 2)[:, None]
    near_rows = np.clip(rows + around, 0, height - 1)[:, None]
    near_columns = np.clip(columns + around, 0, width - 1)[None]
    # A depth of 0 or below has no logarithm: what it touches is as strong as can be.
    with np.errstate(divide="ignore", invalid="ignore"):
        around_each = _rounded(depth[near_rows, near_columns]).reshape(9, -1)
        log_depth = np.log(around_each)
        steps = (log_depth.max(axis=0) - log_depth.min(axis=0)) / EDGE_STEP
    steps = np.nan_to_num(steps, nan=STRONGEST, posinf=STRONGEST)
    inside = (rows >= BORDER_PX) & (rows < height - BORDER_PX)
    inside &= (columns >= BORDER_PX) & (columns < width - BORDER_PX)
    strength = np.where(inside, np.clip(steps.round(), 0, STRONGEST), STRONGEST).astype(np.uint8)
    return strength.reshape(depth.shape) if pixels is None else strength


def _rounded(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the eleven bits of a float16, as recordings do, so that a recorded frame has the
    same edges as the frame itself.
    """
    mantissa, exponent = np.frexp(depth)
    return np.ldexp(np.round(mantissa * 2.0**11), exponent - 11)


def strongest_kept(edge_filter: float) -> int:
    """Return the strongest edge whose points stay; `edge_filter` 0 leaves nothing out."""
    return STRONGEST if edge_filter <= 0 else round(edge_filter / EDGE_STEP)
