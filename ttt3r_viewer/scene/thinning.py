"""One lane's points kept within a number: the best of each voxel, or a fair share of each frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.scene.budget import Layout, points_per_frame_within
from ttt3r_viewer.scene.edges import DEFAULT_EDGE_FILTER, strongest_kept
from ttt3r_viewer.scene.seen import NO_POINTS, FramePoints, FrameSummary, joined
from ttt3r_viewer.scene.voxels import ROOM_MADE, Offer, VoxelGrid
from ttt3r_viewer.types import Camera

FIRST_SIDE = 0.5
"""Side of the finest voxels, as a share of the distance between pixels in the median depth."""
SUREST = 2.0
"""Percentile of the first frame's errors, up to which points have the finest voxels."""
LEAST_DEPTH = 1e-30
"""What a point is worth is finite even at its camera and behind it."""
EDGE_WORTH = 0.1
"""What a point at an edge of the depth is worth, as a share of what it would be elsewhere."""
GROWTH = 0.75
"""Doublings of a voxel's side for a doubled error: fewer than 1, or far walls would have holes."""
DRIFT, DRIFT_DEPTHS = 1.5, 2.0
"""What the camera's drift adds to the error, as a share of it, after a path of so many median
depths of the first frame: later frames lie less exactly in the first camera's world."""
MOST_LEVELS = 12
"""Levels of voxels by the worth of their points."""
CHANGES_SHARE = 0.03
"""So many points, as a share of all, wait for their places, because each costs its frame a copy."""

Frames = tuple[FrameSummary, ...]


class PointThinning(Protocol):
    """How one lane's points are kept within a number."""

    max_points: int
    """How many may be kept. It may rise at any time; what was thinned before stays thinned."""
    thinned: bool
    """Points were left out because they were too many."""

    def add(self, frames: Frames, frame: FrameSummary, layout: Layout) -> tuple[Frames, Layout]:
        """Add a frame to those that were kept; give all of them with the layout's new sizes."""
        ...

    def finish(self, frames: Frames) -> Frames:
        """Bring all frames up to date after the last one."""
        ...


class FairShares:
    """A fair share of every frame: halved for all of them where they are too many."""

    def __init__(self, max_points: int) -> None:
        self.max_points = max_points
        self.thinned = False

    def add(self, frames: Frames, frame: FrameSummary, layout: Layout) -> tuple[Frames, Layout]:
        """Add a frame to those that were kept; give all of them with the layout's new sizes."""
        frames, before = (*frames, frame), layout.points_per_frame
        share = points_per_frame_within([len(f.points) for f in frames], before, self.max_points)
        if share < before:
            self.thinned = True
            frames = tuple(replace(f, points=f.points.first(share)) for f in frames)
        return frames, replace(layout, points_per_frame=share)

    def finish(self, frames: Frames) -> Frames:
        """Bring all frames up to date after the last one."""
        return frames


class BestOfVoxels:
    """The best point of each voxel, in coarser voxels where they are too many.

    A point stays with the frame in which its voxel was first seen, so that the frames up to any one
    show all that was known of the scene then; a later frame's better point takes its place.
    """

    def __init__(self, max_points: int, edge_filter: float = DEFAULT_EDGE_FILTER) -> None:
        """Points that `edge_filter` hides are worth little, and go first."""
        self.max_points = max(max_points, 1)
        self._strongest = strongest_kept(edge_filter)
        self.thinned = False
        self._grid: VoxelGrid | None = None
        self._waiting: list[tuple[NDArray[np.intp], FramePoints]] = []
        """Better points, and the numbers of those whose places they take."""
        self._waiting_count = 0
        self._best = 1.0
        """What a point of the finest voxels is worth."""
        self._path = 0.0
        """Length of the cameras' path so far."""

    def add(self, frames: Frames, frame: FrameSummary, layout: Layout) -> tuple[Frames, Layout]:
        """Add a frame to those that were kept; give all of them with the layout's new sizes."""
        self._path += path_lengths((*frames[-1:], frame))[-1]
        drift = drift_after(self._path, first_depth((*frames, frame)))
        worth = worth_of(frame, self._strongest) / drift
        if not np.isfinite(worth).any():  # it has no points, or nobody knows where they are
            return (*frames, replace(frame, points=NO_POINTS)), layout
        if self._grid is None:
            frames = self._begin(frames, frame, first_side(frame.median_depth, frame.camera))
        elif not self._grid.merged:
            side = first_side(layout.median_depth, frame.camera)
            if side < self._grid.side / 2:  # the first frames were seen too far away
                frames = self._begin(self.finish(frames), frame, side)
        grid, points = self._grid, frame.points
        assert grid is not None
        offer = grid.offer(points.points_world, levels(worth, self._best), worth)
        self._wait(offer, points)
        frames = (*frames, replace(frame, points=points.where(offer.new)))
        if len(grid) > self.max_points:
            self.thinned = True
            frames = self._within_budget(grid, self.finish(frames))
        elif self._waiting_count > CHANGES_SHARE * len(grid):
            frames = self.finish(frames)
        return frames, replace(layout, voxel_side=grid.side)

    def _begin(self, frames: Frames, frame: FrameSummary, side: float) -> Frames:
        """Begin again with voxels of this side, whose best points are as good as a frame's."""
        self._grid = VoxelGrid(side)
        self._best = float(np.nanpercentile(worth_of(frame, self._strongest), 100.0 - SUREST))
        kept = []
        for one, path in zip(frames, path_lengths(frames), strict=True):
            worth = worth_of(one, self._strongest) / drift_after(path, first_depth(frames))
            offer = self._grid.offer(one.points.points_world, levels(worth, self._best), worth)
            self._wait(offer, one.points)
            kept.append(replace(one, points=one.points.where(offer.new)))
        return tuple(kept)

    def _wait(self, offer: Offer, points: FramePoints) -> None:
        """Keep a frame's better points until they take their places."""
        if len(offer.better):
            self._waiting.append((offer.replaced, points.at(offer.better)))
            self._waiting_count += len(offer.better)

    def finish(self, frames: Frames) -> Frames:
        """Put the better points in their places."""
        if not self._waiting:
            return frames
        numbers = np.concatenate([numbers for numbers, _ in self._waiting])
        better = joined([points for _, points in self._waiting])
        self._waiting, self._waiting_count = [], 0
        ends = np.cumsum([len(frame.points) for frame in frames])
        owners = np.searchsorted(ends, numbers, side="right")
        order = np.argsort(owners, kind="stable")  # of equal numbers the last one must stay last
        touched, begins = np.unique(owners[order], return_index=True)
        changed = list(frames)
        for owner, members in zip(touched.tolist(), np.split(order, begins[1:]), strict=True):
            points = frames[owner].points
            places = numbers[members] - (ends[owner] - len(points))
            points = points.replaced(places, better.at(members))
            changed[owner] = replace(frames[owner], points=points)
        return tuple(changed)

    def _within_budget(self, grid: VoxelGrid, frames: Frames) -> Frames:
        """Let points at edges go, then merge voxels until the rest fits."""
        at_edges = np.flatnonzero(
            np.concatenate([frame.points.edge > self._strongest for frame in frames])
        )
        stay = np.ones(len(grid), np.bool_)
        stay[at_edges[: len(grid) - round((1 - ROOM_MADE) * self.max_points)]] = False
        if not stay.all():
            grid.keep(_points_world(frames), stay)
            frames = _where(frames, stay)
        if len(grid) > self.max_points:
            frames = _where(frames, grid.coarsen(_points_world(frames), self.max_points))
        return frames


def first_side(depth: float, camera: Camera) -> float:
    """Give the side of the finest voxels for a median depth, which may mean nothing."""
    spacing = depth / camera.focal_px if camera.focal_px > 0 else 0.0
    return FIRST_SIDE * (spacing if 0 < spacing < math.inf else 1.0 / camera.width)


def worth_of(frame: FrameSummary, strongest_edge: int) -> NDArray[np.float32]:
    """Return what a frame's points (n,) are worth: confidence over depth, the inverse of the error
    that is to be expected of them, and less at a stronger edge.
    """
    points = frame.points
    worth = (points.confidence / np.maximum(points.depth, LEAST_DEPTH)).astype(np.float32)
    worth[points.edge > strongest_edge] *= EDGE_WORTH
    return worth


def path_lengths(frames: Frames) -> NDArray[np.float64]:
    """Return how far the camera has moved from the first frame to each (n,), as far as is known."""
    places = np.array([one.camera.T_world_camera[:3, 3] for one in frames]).reshape(-1, 3)
    with np.errstate(invalid="ignore"):
        steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    steps[~np.isfinite(steps)] = 0.0
    return np.append(0.0, steps).cumsum()[: len(frames)]


def first_depth(frames: Frames) -> float:
    """Return the median depth of the first frame that has one; 0 where none has."""
    return next((one.median_depth for one in frames if one.median_depth > 0), 0.0)


def drift_after(path: float, first_depth: float) -> float:
    """Return the expected error after a path, as a multiple of what it would be without drift."""
    return 1 + DRIFT * min(path / max(DRIFT_DEPTHS * first_depth, LEAST_DEPTH), 1.0)


def levels(worth: NDArray[np.float32], best: float) -> NDArray[np.uint8]:
    """Return the level (n,) of points' voxels: their sides double as the expected error does."""
    worth = np.clip(np.nan_to_num(worth), best * 2.0**-MOST_LEVELS, best)
    doublings = np.log2(best / worth)
    return np.round(GROWTH * doublings).astype(np.uint8)


def _points_world(frames: Sequence[FrameSummary]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((0, 3), np.float32), *(f.points.points_world for f in frames)])


def _where(frames: Frames, kept: NDArray[np.bool_]) -> Frames:
    """Keep the points that `kept` says of all frames' points, one after another."""
    ends = np.cumsum([len(frame.points) for frame in frames])
    shares = np.split(kept, ends[:-1])
    return tuple(
        frame if share.all() else replace(frame, points=frame.points.where(share))
        for frame, share in zip(frames, shares, strict=True)
    )
