"""Arrays of the page's point clouds, made from kept frames; numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.metrics.palette import LANE_COLORS, RGB
from ttt3r_viewer.scene.budget import (
    CONFIDENCE_BINS,
    Layout,
    automatic_point_size,
    confidence_bin,
)
from ttt3r_viewer.scene.seen import FramePoints
from ttt3r_viewer.viewer.layers.colors import COLOR_MODES, PointBatch

FLOAT16_STEP = 2.0**-10
"""Largest rounding step of a float16, as a share of its value."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Content of one point cloud node.

    Points are in the world's frame. A node with its own origin would let float16 reach farther, but
    a browser draws it at the world's origin for a moment whenever it is sent.
    """

    points: NDArray[np.float16] | NDArray[np.float32]
    """(N, 3)."""
    colors: NDArray[np.uint8]
    precision: Literal["float16", "float32"]


def make_cloud(
    points_world: NDArray[np.float32], colors: NDArray[np.uint8], layout: Layout
) -> Cloud:
    """Pack points (N, 3), N > 0, as float16 where its steps are at most half of a point's side."""
    size = np.abs(points_world).max(axis=1)
    if np.percentile(size, 99) * FLOAT16_STEP > automatic_point_size(layout) / 2:
        return Cloud(points_world, colors, "float32")
    # A stray point beyond float16 would become infinite and spoil the whole node's bounds.
    near = size < np.finfo(np.float16).max
    return Cloud(points_world[near].astype(np.float16), colors[near], "float16")


def batch_of(
    parts: Sequence[FramePoints], first: int, layout: Layout, lane_color: RGB = LANE_COLORS[0]
) -> PointBatch:
    """Join the points of consecutive frames; `first` is the position of the first of them."""
    positions = np.arange(first, first + len(parts), dtype=np.float32)
    return PointBatch(
        points_world=np.concatenate([part.points_world for part in parts]),
        colors=np.concatenate([part.colors for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        frames=np.repeat(positions, [len(part) for part in parts]),
        layout=layout,
        lane_color=lane_color,
    )


def chunk_clouds(batch: PointBatch, color_by: str) -> list[Cloud | None]:
    """Return one cloud per decile of confidence, the lowest first; None where one is empty."""
    colors = COLOR_MODES[color_by].colors(batch)
    bins = confidence_bin(batch.confidence, batch.layout.confidence_edges)
    order = np.argsort(bins, kind="stable")
    ends = np.searchsorted(bins[order], np.arange(CONFIDENCE_BINS + 1))
    members = [order[ends[b] : ends[b + 1]] for b in range(CONFIDENCE_BINS)]
    return [_chosen_cloud(batch, colors, chosen) for chosen in members]


def confident_cloud(batch: PointBatch, color_by: str, hidden_bins: int) -> Cloud | None:
    """Return one cloud of all points but the `hidden_bins` lowest deciles of confidence."""
    shown = confidence_bin(batch.confidence, batch.layout.confidence_edges) >= hidden_bins
    return _chosen_cloud(batch, COLOR_MODES[color_by].colors(batch), np.flatnonzero(shown))


def _chosen_cloud(
    batch: PointBatch, colors: NDArray[np.uint8], chosen: NDArray[np.intp]
) -> Cloud | None:
    if not len(chosen):
        return None
    return make_cloud(batch.points_world[chosen], colors[chosen], batch.layout)
