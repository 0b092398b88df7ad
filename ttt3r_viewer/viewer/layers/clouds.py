"""What the nodes of points show: batches of frames, coloured, cut and packed; pure functions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.metrics.palette import LANE_COLORS, RGB
from ttt3r_viewer.scene.budget import (
    SURE_BINS,
    Layout,
    bins_between,
    sample_spacing,
    spaced_point_size,
)
from ttt3r_viewer.scene.seen import FrameSummary, joined
from ttt3r_viewer.viewer.layers.colors import COLOR_MODES, PointBatch

if TYPE_CHECKING:
    from ttt3r_viewer.metrics.true_surface import SurfaceDistance


class Cloud(NamedTuple):
    """What one node shows.

    A node with its own origin would let float16 reach farther, but a browser draws it at the
    world's origin for a moment whenever it is sent.
    """

    points: NDArray[np.float16] | NDArray[np.float32]
    """(N, 3) in the world's frame."""
    colors: NDArray[np.uint8]
    """(N, 3)."""
    point_size: float
    """Automatic side of a point in the scene's unit."""


def batch_of(
    frames: Sequence[FrameSummary],
    first: int,
    layout: Layout,
    color_by: str = "image",
    edge_filter: float = 0.0,
    lane_color: RGB = LANE_COLORS[0],
    distance: "SurfaceDistance | None" = None,
    samples: int = 0,
) -> PointBatch:
    """Join the points of consecutive frames, without those at edges, and colour them.

    `first` is the position of the first frame; `distance` measures points against the truth.
    `samples` pixels of each frame were taken; 0: as many as of all.
    """
    parts = [frame.points.off_edges(edge_filter) for frame in frames]
    points, samples = joined(parts), samples or layout.points_per_frame
    spacing = [
        sample_spacing(part.depth, frame.camera, samples)
        for part, frame in zip(parts, frames, strict=True)
    ]
    batch = PointBatch(
        points_world=points.points_world,
        colors=points.colors,
        confidence=points.confidence,
        sureness=points.sureness,
        spacing=np.concatenate(spacing),
        frames=np.repeat(
            np.arange(first, first + len(parts), dtype=np.float32), [len(part) for part in parts]
        ),
        layout=layout,
        lane_color=lane_color,
        distance=distance,
    )
    return replace(batch, colors=COLOR_MODES[color_by].colors(batch))


def without_ceiling(batch: PointBatch) -> PointBatch:
    """Return the points of a batch that are not above the height of the ceiling cut."""
    return batch.where(batch.layout.below_cut(batch.points_world))


def chunk_clouds(batch: PointBatch) -> list[Cloud]:
    """Return one cloud per tenth of all points by how sure they are, the least sure first."""
    bins = bins_between(batch.sureness, batch.layout.sure_edges)
    return [_cloud(batch, bins == b) for b in range(SURE_BINS)]


def sure_cloud(batch: PointBatch, hidden_bins: int) -> Cloud:
    """Return one cloud of all points but the `hidden_bins` least sure tenths."""
    return _cloud(batch, batch.sureness >= batch.layout.least_shown(hidden_bins))


def _cloud(batch: PointBatch, members: NDArray[np.bool_]) -> Cloud:
    """Pack the members (N,) of a batch, as float16 where its steps are no larger than a point."""
    points, colors = batch.points_world[members], batch.colors[members]
    size = spaced_point_size(batch.spacing[members], batch.layout)
    if not len(points):
        return Cloud(points, colors, size)
    reach = np.abs(points).max(axis=1)
    most = np.finfo(np.float16).max
    if np.spacing(np.float16(min(np.percentile(reach, 99), most))) > size:
        return Cloud(points, colors, size)
    # A stray point beyond float16 would become infinite and spoil the whole node's bounds.
    near = reach < most
    return Cloud(points[near].astype(np.float16), colors[near], size)
