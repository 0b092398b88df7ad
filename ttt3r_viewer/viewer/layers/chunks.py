"""From kept frames to the arrays of the page's point clouds; numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.metrics.palette import LANE_COLORS, RGB
from ttt3r_viewer.scene.budget import CONFIDENCE_BINS, Layout, confidence_bin
from ttt3r_viewer.scene.store import FramePoints
from ttt3r_viewer.viewer.layers.colors import point_colors
from ttt3r_viewer.viewer.view_settings import ColorBy

POINT_SIZE_SHARES = (0.004, 0.008)
"""Smallest and largest automatic side of a point, as shares of the scene's median depth."""
LARGEST_VOXEL_SHARE = 0.016
"""The largest where voxels hold one point each, which leave holes in a wall below their side."""

FLOAT16_STEP = 2.0**-10
"""Largest rounding step of a float16, as a share of its value."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """What one point cloud node draws.

    Points are in the world's frame. A node with an origin of its own would let float16 reach
    farther, but a browser draws it at the world's origin for a moment whenever it is sent.
    """

    points: NDArray[np.float16] | NDArray[np.float32]
    """(N, 3)."""
    colors: NDArray[np.uint8]
    precision: Literal["float16", "float32"]


def automatic_point_size(layout: Layout) -> float:
    """Give a side that nearly closes the gaps between points, in two digits.

    They are as far apart as those of one frame, or as the voxels that hold one each.
    """
    gap = 0.5 / math.sqrt(max(layout.points_per_frame, 1))
    share = min(max(gap, POINT_SIZE_SHARES[0]), POINT_SIZE_SHARES[1])
    voxel_share = min(layout.voxel_side / layout.median_depth, LARGEST_VOXEL_SHARE)
    return float(f"{max(share, voxel_share) * layout.median_depth:.2g}")


def make_cloud(
    points_world: NDArray[np.float32], colors: NDArray[np.uint8], layout: Layout
) -> Cloud:
    """Send points (N, 3), N > 0, as float16 where its steps are at most half of a point's side."""
    size = np.abs(points_world).max(axis=1)
    if np.percentile(size, 99) * FLOAT16_STEP > automatic_point_size(layout) / 2:
        return Cloud(points_world, colors, "float32")
    # A stray point beyond float16 would become infinite and spoil the whole node's bounds.
    near = size < np.finfo(np.float16).max
    return Cloud(points_world[near].astype(np.float16), colors[near], "float16")


def chunk_clouds(
    parts: Sequence[FramePoints],
    first: int,
    layout: Layout,
    color_by: ColorBy,
    lane_color: RGB = LANE_COLORS[0],
) -> list[Cloud | None]:
    """Give one cloud for each tenth of confidence, least confident first; None where one is empty.

    `parts` are of consecutive frames of the scene and `first` is the position of the first of them.
    """
    points, colors, confidence = _gather(parts, first, layout, color_by, lane_color)
    bins = confidence_bin(confidence, layout.confidence_edges)
    order = np.argsort(bins, kind="stable")
    ends = np.searchsorted(bins[order], np.arange(CONFIDENCE_BINS + 1))
    members = [order[ends[b] : ends[b + 1]] for b in range(CONFIDENCE_BINS)]
    return [make_cloud(points[m], colors[m], layout) if len(m) else None for m in members]


def confident_cloud(
    parts: Sequence[FramePoints],
    first: int,
    layout: Layout,
    color_by: ColorBy,
    hidden_bins: int,
    lane_color: RGB = LANE_COLORS[0],
) -> Cloud | None:
    """Give one cloud of all points but the `hidden_bins` least confident tenths."""
    points, colors, confidence = _gather(parts, first, layout, color_by, lane_color)
    shown = confidence_bin(confidence, layout.confidence_edges) >= hidden_bins
    return make_cloud(points[shown], colors[shown], layout) if shown.any() else None


def _gather(
    parts: Sequence[FramePoints], first: int, layout: Layout, color_by: ColorBy, lane_color: RGB
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    points = np.concatenate([part.points_world for part in parts])
    confidence = np.concatenate([part.confidence for part in parts])
    positions = np.arange(first, first + len(parts), dtype=np.float32)
    colors = point_colors(
        color_by,
        layout,
        colors=np.concatenate([part.colors for part in parts]),
        confidence=confidence,
        height=-points[:, 1],
        position=np.repeat(positions, [len(part) for part in parts]),
        lane_color=lane_color,
    )
    return points, colors, confidence
