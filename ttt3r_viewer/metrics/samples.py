"""Which pixels of a frame are measured: the same for every rule, drawn from those with a truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.types import Crop

PIXELS_PER_FRAME = 4096
"""At most so many pixels of a frame are measured, so that 1000 frames need 100 MB per rule."""


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
