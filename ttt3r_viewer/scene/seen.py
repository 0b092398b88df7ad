"""What is kept of one frame in memory, and how it is chosen from the frame's full result."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.scene.budget import pixel_order, shrink_image
from ttt3r_viewer.scene.edges import DEFAULT_EDGE_FILTER, edge_strength, strongest_kept
from ttt3r_viewer.types import Camera, FrameFacts, FrameResult

FIRST_IMAGE_WIDTH = 128
"""Small images begin at most so wide."""


@dataclass(frozen=True, eq=False, slots=True)
class FramePoints:
    """Points of one frame in scattered order, so that every prefix is a fair thinning."""

    points_world: NDArray[np.float32]
    """(count, 3) finite points in the first camera's frame."""
    colors: NDArray[np.uint8]
    """(count, 3) RGB of the image."""
    confidence: NDArray[np.float32]
    """(count,)."""
    edge: NDArray[np.uint8]
    """(count,) how strong an edge of the depth each lies at; see `edges.py`."""
    depth: NDArray[np.float32]
    """(count,) how far in front of the camera that saw it each lies."""
    changes: int = 0
    """How many of them have been replaced by better points of the same places since."""

    def __len__(self) -> int:
        return len(self.confidence)

    @property
    def sureness(self) -> NDArray[np.float32]:
        """How sure each is for its distance, (count,): what its confidence exceeds the least one,
        1, by, times its depth.

        Confidence answers the error in the scene's unit, which grows with the distance: by it
        alone, the far half of a room would be the least sure.
        """
        return (self.confidence - 1) * self.depth

    def first(self, count: int) -> FramePoints:
        """Keep the first `count` points, copied, so that the memory of the others is freed."""
        if len(self) <= count:
            return self
        if count == 0:
            return self._none()
        return self._map(lambda values: values[:count].copy())

    def where(self, kept: NDArray[np.bool_]) -> FramePoints:
        """Keep the points that `kept` (count,) says, copied, in their order."""
        if kept.all():
            return self
        if not kept.any():
            return self._none()
        return self._map(lambda values: values[kept])

    def off_edges(self, edge_filter: float = DEFAULT_EDGE_FILTER) -> FramePoints:
        """Keep the points around which the depth changes by no larger share; 0 keeps all."""
        return self.where(self.edge <= strongest_kept(edge_filter))

    def shown(self, least: float, edge_filter: float = DEFAULT_EDGE_FILTER) -> FramePoints:
        """Keep what a page shows by itself: points at least so sure, and not at edges."""
        points = self.off_edges(edge_filter)
        return points.where(points.sureness >= least)

    def at(self, places: NDArray[np.intp]) -> FramePoints:
        """Return the points at these places (n,), in their order."""
        return self._map(lambda values: values[places])

    def replaced(self, places: NDArray[np.intp], better: FramePoints) -> FramePoints:
        """Put better points (n,) in the `places` (n,) of this frame's own; of equal places the last
        one counts.
        """
        changed = self._map(np.ndarray.copy)
        changed.points_world[places] = better.points_world
        changed.colors[places] = better.colors
        changed.confidence[places] = better.confidence
        changed.edge[places] = better.edge
        changed.depth[places] = better.depth
        return replace(changed, changes=self.changes + len(places))

    def _none(self) -> FramePoints:
        """Return no points, with as many changes as there were."""
        return replace(NO_POINTS, changes=self.changes) if self.changes else NO_POINTS

    def _map(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> FramePoints:
        return replace(
            self,
            points_world=change(self.points_world),
            colors=change(self.colors),
            confidence=change(self.confidence),
            edge=change(self.edge),
            depth=change(self.depth),
        )


NO_POINTS = FramePoints(
    np.zeros((0, 3), np.float32),
    np.zeros((0, 3), np.uint8),
    np.zeros(0, np.float32),
    np.zeros(0, np.uint8),
    np.zeros(0, np.float32),
)
"""Shared by all frames that have none, which most of a long run are."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class FrameSummary(FrameFacts):
    """What is kept of one frame: little, because every frame of the run stays."""

    points: FramePoints
    image: NDArray[np.uint8]
    """(height, width, 3) the small image that the camera shows."""
    median_depth: float
    """Median z of the points in the camera's frame; 0 where there are none."""
    confidence_mean: float
    gain: NDArray[np.float16]
    """(state,) the gain of each token."""
    gain_mean: float
    gain_range: tuple[float, float]
    """Percentiles 10 and 90 of the gain over the state tokens."""
    point_error: float = math.nan
    """How far the points of the whole frame lie from their true places, a share of their distance;
    NaN where the truth is not known."""


def thin_points(result: FrameResult, max_points: int) -> FramePoints:
    """Choose a share of a frame's finite points, evenly scattered over its image and at other
    pixels in each frame, and map them to the world.
    """
    # A sum is finite only where all of its terms are, and much faster than `all` of a short axis.
    sums = result.points_camera.reshape(-1, 3) @ np.ones(3, np.float32)
    usable = np.isfinite(sums + result.confidence.reshape(-1))
    pixels = pixel_order(result.confidence.shape, result.sequence)
    return _points_at(result, pixels[usable[pixels]][:max_points])


def sample_points(result: FrameResult, count: int) -> FramePoints:
    """Take the first pixels of a frame's order, and keep those with finite points off the edges.

    Much faster than `thin_points`, because no other pixel is looked at; gives fewer than `count`
    where some are left out.
    """
    chosen = pixel_order(result.confidence.shape, result.sequence, count)
    sums = result.points_camera.reshape(-1, 3)[chosen] @ np.ones(3, np.float32)
    usable = np.isfinite(sums + result.confidence.reshape(-1)[chosen])
    return _points_at(result, chosen[usable]).off_edges()


def _points_at(result: FrameResult, pixels: NDArray[np.intp]) -> FramePoints:
    points_camera = result.points_camera.reshape(-1, 3)[pixels]
    points_world = transform_points(result.camera.T_world_camera, points_camera)
    return FramePoints(
        points_world.astype(np.float32),
        result.image.reshape(-1, 3)[pixels],
        result.confidence.reshape(-1)[pixels],
        edge_strength(result.points_camera[..., 2], pixels),
        points_camera[:, 2].astype(np.float32),
    )


def depth_of(points_world: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """Return how far in front of a camera points (n, 3) lie, (n,)."""
    forward, position = camera.T_world_camera[:3, 2:].T.astype(np.float32)
    return (points_world - position) @ forward


def joined(parts: Sequence[FramePoints]) -> FramePoints:
    """Return the points of all parts, in their order."""
    if not parts:
        return NO_POINTS
    return FramePoints(
        np.concatenate([part.points_world for part in parts]),
        np.concatenate([part.colors for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.edge for part in parts]),
        np.concatenate([part.depth for part in parts]),
    )


def summarize_frame(result: FrameResult, max_points: int, image_width: int) -> FrameSummary:
    """Reduce a frame's result to what is kept of it."""
    image = shrink_image(result.image, image_width)
    return kept_with(result, thin_points(result, max_points), image)


def kept_with(result: FrameResult, points: FramePoints, image: NDArray[np.uint8]) -> FrameSummary:
    """Reduce a frame's result to these points and this image, and the numbers that are kept."""
    low, high = np.percentile(result.gain, [10.0, 90.0])
    facts = {one.name: getattr(result, one.name) for one in fields(FrameFacts)}
    facts["rule"] = sys.intern(result.rule)  # one text for all frames of a run
    return FrameSummary(
        points=points,
        image=image,
        median_depth=float(np.median(points.depth)) if len(points) else 0.0,
        confidence_mean=float(np.mean(result.confidence)),
        gain=result.gain.astype(np.float16),
        gain_mean=float(np.mean(result.gain)),
        gain_range=(float(low), float(high)),
        **facts,
    )
