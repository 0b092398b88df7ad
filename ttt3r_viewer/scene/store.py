"""What has been seen so far: thinned points, cameras and small pictures, within a fixed budget."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.scene.archive import Archive
from ttt3r_viewer.scene.budget import (
    FIRST_FRAMES_PER_CHUNK,
    MAX_CHUNKS,
    SCALE_SAMPLES,
    Layout,
    confidence_edges,
    first_voxel_side,
    frames_per_chunk_for,
    points_per_frame_within,
    random_subset,
    robust_range,
    shrink_picture,
)
from ttt3r_viewer.scene.voxels import VoxelGrid
from ttt3r_viewer.types import Camera, Crop, FrameResult, Inspection, Status

FIRST_PICTURE_WIDTH = 128
SMALLEST_PICTURE_WIDTH = 16


@dataclass(frozen=True, eq=False)
class FramePoints:
    """Points of one frame in random order, so that every prefix is a fair thinning."""

    points_world: NDArray[np.float32]
    """(count, 3) finite points in the first camera's frame."""
    colors: NDArray[np.uint8]
    """(count, 3) RGB of the picture."""
    confidence: NDArray[np.float32]
    """(count,)."""

    def __len__(self) -> int:
        return len(self.confidence)

    def first(self, count: int) -> FramePoints:
        """Keep the first `count` points, copied, so that the memory of the others is freed."""
        if len(self) <= count:
            return self
        return FramePoints(
            self.points_world[:count].copy(),
            self.colors[:count].copy(),
            self.confidence[:count].copy(),
        )

    def where(self, kept: NDArray[np.bool_]) -> FramePoints:
        """Keep the points that `kept` (count,) says, copied, in their order."""
        if kept.all():
            return self
        return FramePoints(self.points_world[kept], self.colors[kept], self.confidence[kept])


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """What is kept of one frame."""

    sequence: int
    index: int
    time_sec: float
    name: str
    points: FramePoints
    camera: Camera
    crop: Crop
    """How the picture that the camera belongs to lies in its original."""
    picture: NDArray[np.uint8]
    """(height, width, 3) the small picture that the camera shows."""
    median_depth: float
    """Median z of the points in the camera's frame; 0 where there are none."""
    segment: int
    compute_sec: float
    confidence_mean: float
    gain: NDArray[np.float16]
    """(state,) the gain of each token."""
    gain_mean: float
    gain_range: tuple[float, float]
    """Percentiles 10 and 90 of the gain over the state tokens."""
    state_change: float
    rule: str
    """The rule that was in force, with its parameters."""
    reset_every: int


@dataclass(frozen=True, eq=False)
class LaneScene:
    """What one rule made of the frames, as plain values that nobody changes any more."""

    epoch: int
    """Counts how often the scene was emptied."""
    frames: tuple[SeenFrame, ...]
    layout: Layout
    latest: FrameResult | None
    """The newest result in full; None before the first frame."""

    @property
    def point_count(self) -> int:
        """Number of points kept over all frames."""
        return sum(len(frame.points) for frame in self.frames)


@dataclass(frozen=True, eq=False)
class SceneSnapshot:
    """Everything the page needs to draw: one scene per lane, and what the run says of itself."""

    epoch: int
    """Counts how often the scene was emptied."""
    lanes: tuple[LaneScene, ...]
    """At least one; all have seen the same frames."""
    status: Status
    inspection: Inspection | None = None
    """The latest look into a step; None before the first, and while one is being found."""
    inspection_note: str = ""
    """Why there is none: how far its search is, or why it cannot be."""
    archive: Archive | None = None
    """Where the frames are in full, for those that it has; None where none is archived."""

    @property
    def frames(self) -> tuple[SeenFrame, ...]:
        """The frames of the first lane; names, times and pictures are those of every lane."""
        return self.lanes[0].frames

    @property
    def layout(self) -> Layout:
        """The layout of the first lane."""
        return self.lanes[0].layout

    @property
    def latest(self) -> FrameResult | None:
        """The newest result of the first lane."""
        return self.lanes[0].latest

    @property
    def point_count(self) -> int:
        """Number of points kept over all frames and lanes."""
        return sum(lane.point_count for lane in self.lanes)


class SceneStore:
    """The scene that one thread fills and any thread reads.

    `add`, `clear` and the `set_` methods belong to one thread, the worker's; `snapshot` to all.
    However long the run, at most `max_points` points (19 bytes each, with colour and confidence;
    shared by the lanes) and `max_picture_bytes` of small pictures are kept; only poses, names and
    a few numbers grow with each frame. Where the points are too many every frame's share is halved.

    With `one_per_voxel` only the first point in each voxel of a lane is kept, so that they become
    no more while the same surface is seen again; where they are too many the voxels' side doubles.
    """

    _lock: threading.Lock
    """Guards `_snapshot`, the one value that is replaced; held for assignments only."""

    def __init__(
        self,
        max_points: int = 2_500_000,
        points_per_frame: int = 20_000,
        max_picture_bytes: int = 32 * 2**20,
        one_per_voxel: bool = False,
    ) -> None:
        self._max_points = max_points
        self._one_per_voxel = one_per_voxel
        self._grids: list[VoxelGrid | None] = [None]
        """Of each lane; None before its first point."""
        self._first_points_per_frame = points_per_frame
        self._max_picture_bytes = max_picture_bytes
        self._picture_width = FIRST_PICTURE_WIDTH
        self._lock = threading.Lock()
        self._snapshot = SceneSnapshot(0, (self._empty_lane(0, 0),), Status())

    def add(self, *results: FrameResult) -> None:
        """Keep what every lane made of a frame, one result per lane in their order.

        Each keeps a fair share of the frame's points; all frames are thinned and regrouped where it
        is time.
        """
        before = self.snapshot()
        assert len(results) == len(before.lanes), "one result per lane"
        lanes = tuple(
            self._with(number, lane, result)
            for number, (lane, result) in enumerate(zip(before.lanes, results, strict=True))
        )
        lanes = self._with_shared_pictures(lanes)
        with self._lock:
            self._snapshot = replace(self._snapshot, lanes=lanes)

    def set_status(self, status: Status) -> None:
        """Replace what the run says about itself; a finished run fits its scales to all frames."""
        lanes = self._snapshot.lanes
        if status.phase == "finished":
            lanes = tuple(_scaled_to_all(lane) for lane in lanes)
        with self._lock:
            self._snapshot = replace(self._snapshot, lanes=lanes, status=status)

    def set_inspection(self, inspection: Inspection | None, note: str) -> None:
        """Replace what was found inside a step, or say how far or why not."""
        with self._lock:
            self._snapshot = replace(self._snapshot, inspection=inspection, inspection_note=note)

    def set_archive(self, archive: Archive | None) -> None:
        """Say where the frames can be read in full; a restart forgets it."""
        with self._lock:
            self._snapshot = replace(self._snapshot, archive=archive)

    def clear(self, lanes: int = 1) -> None:
        """Forget every frame, as a restart does, and be ready for so many lanes."""
        self._picture_width = FIRST_PICTURE_WIDTH
        self._grids = [None] * lanes
        with self._lock:
            before = self._snapshot
            epoch = before.epoch + 1
            generation = 1 + max(lane.layout.generation for lane in before.lanes)
            empty = self._empty_lane(epoch, generation)
            self._snapshot = SceneSnapshot(epoch, (empty,) * lanes, before.status)

    def snapshot(self) -> SceneSnapshot:
        """Give the scene as it is now; costs nothing, because nothing in it is ever changed."""
        with self._lock:
            return self._snapshot

    def _empty_lane(self, epoch: int, generation: int) -> LaneScene:
        layout = Layout(
            generation=generation,
            frames_per_chunk=FIRST_FRAMES_PER_CHUNK,
            points_per_frame=self._first_points_per_frame,
        )
        return LaneScene(epoch, (), layout, None)

    def _with(self, number: int, lane: LaneScene, result: FrameResult) -> LaneScene:
        frame = keep_frame(result, lane.layout.points_per_frame, self._picture_width)
        max_points = self._max_points // len(self._snapshot.lanes)
        if self._one_per_voxel:
            frames, sizes = self._one_in_each_voxel(number, lane, frame, max_points)
        else:
            frames, sizes = _halved_within(lane, frame, max_points)
        count = len(frames)
        frames_per_chunk = frames_per_chunk_for(count, sizes.frames_per_chunk, MAX_CHUNKS)
        sizes = replace(sizes, frames_per_chunk=frames_per_chunk)
        layout = lane.layout
        # Percentiles move ever more slowly as frames are added, so each doubling is often enough.
        if sizes.sizes != layout.sizes or count & (count - 1) == 0:
            doubling = 1 << (count - 1).bit_length()
            layout = next_layout(sizes, frames, frames_scale=doubling)
        return LaneScene(lane.epoch, frames, layout, result)

    def _one_in_each_voxel(
        self, number: int, lane: LaneScene, frame: SeenFrame, max_points: int
    ) -> tuple[tuple[SeenFrame, ...], Layout]:
        """Add the frame's points whose voxels are free, and make the voxels fit the budget."""
        frames, layout, grid = lane.frames, lane.layout, self._grids[number]
        if grid is None:
            if not len(frame.points):
                return (*frames, frame), layout
            grid = VoxelGrid(first_voxel_side(frame.median_depth))
        elif grid.level == 0:
            finer = first_voxel_side(layout.median_depth, no_coarser_than=grid.side)
            if finer < grid.side:
                grid = VoxelGrid(finer)
                frames = _where(frames, grid.admit(_points_world(frames)))
        self._grids[number] = grid
        first = grid.admit(frame.points.points_world)
        frames = (*frames, replace(frame, points=frame.points.where(first)))
        while len(grid) > max(max_points, 1):
            frames = _where(frames, grid.coarsen(_points_world(frames)))
        return frames, replace(layout, voxel_side=grid.side)

    def _with_shared_pictures(self, lanes: tuple[LaneScene, ...]) -> tuple[LaneScene, ...]:
        """Let the lanes share their pictures, made smaller where all together are too large."""
        first = lanes[0].frames
        shrunk = False
        while (
            sum(frame.picture.nbytes for frame in first) > self._max_picture_bytes
            and self._picture_width > SMALLEST_PICTURE_WIDTH
        ):
            shrunk = True
            self._picture_width //= 2
            first = tuple(
                replace(frame, picture=shrink_picture(frame.picture, self._picture_width))
                for frame in first
            )
        if not shrunk and len(lanes) == 1:
            return lanes
        start = 0 if shrunk else len(first) - 1
        shared = [replace(lanes[0], frames=first)]
        for lane in lanes[1:]:
            newer = (
                replace(frame, picture=source.picture)
                for frame, source in zip(lane.frames[start:], first[start:], strict=True)
            )
            shared.append(replace(lane, frames=(*lane.frames[:start], *newer)))
        return tuple(shared)


def _halved_within(
    lane: LaneScene, frame: SeenFrame, max_points: int
) -> tuple[tuple[SeenFrame, ...], Layout]:
    """Add the frame, and halve every frame's share until all fit the budget."""
    frames, before = (*lane.frames, frame), lane.layout.points_per_frame
    share = points_per_frame_within([len(f.points) for f in frames], before, max_points)
    if share < before:
        frames = tuple(replace(f, points=f.points.first(share)) for f in frames)
    return frames, replace(lane.layout, points_per_frame=share)


def _points_world(frames: Sequence[SeenFrame]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((0, 3), np.float32), *(f.points.points_world for f in frames)])


def _where(frames: Sequence[SeenFrame], kept: NDArray[np.bool_]) -> tuple[SeenFrame, ...]:
    """Keep the points that `kept` says of all frames' points, one after another."""
    ends = np.cumsum([len(frame.points) for frame in frames])
    shares = np.split(kept, ends[:-1])
    return tuple(
        replace(frame, points=frame.points.where(share))
        for frame, share in zip(frames, shares, strict=True)
    )


def _scaled_to_all(lane: LaneScene) -> LaneScene:
    frames, layout = lane.frames, lane.layout
    if not frames or layout.frames_scale == len(frames):
        return lane
    return replace(lane, layout=next_layout(layout, frames, frames_scale=len(frames)))


def thin_points(result: FrameResult, max_points: int) -> FramePoints:
    """Choose a seeded random share of a frame's finite points and map them to the world."""
    confidence = result.confidence.reshape(-1)
    points_camera = result.points_camera.reshape(-1, 3)
    # A sum is finite only where all of its terms are, and much faster than `all` of a short axis.
    usable = np.flatnonzero(np.isfinite(points_camera @ np.ones(3, np.float32) + confidence))
    chosen = random_subset(usable, max_points, np.random.default_rng(result.sequence))
    points_world = transform_points(result.camera.T_world_camera, points_camera[chosen])
    return FramePoints(
        points_world.astype(np.float32), result.image.reshape(-1, 3)[chosen], confidence[chosen]
    )


def keep_frame(result: FrameResult, max_points: int, picture_width: int) -> SeenFrame:
    """Reduce a frame's result to what is kept of it."""
    points = thin_points(result, max_points)
    low, high = np.percentile(result.gain, [10.0, 90.0])
    forward, position = result.camera.T_world_camera[:3, 2:].T
    depth = (points.points_world - position) @ forward
    return SeenFrame(
        sequence=result.sequence,
        index=result.index,
        time_sec=result.time_sec,
        name=result.name,
        points=points,
        camera=result.camera,
        crop=result.crop,
        picture=shrink_picture(result.image, picture_width),
        median_depth=float(np.median(depth)) if len(points) else 0.0,
        segment=result.segment,
        compute_sec=result.compute_sec,
        confidence_mean=float(np.mean(result.confidence)),
        gain=result.gain.astype(np.float16),
        gain_mean=float(np.mean(result.gain)),
        gain_range=(float(low), float(high)),
        state_change=result.state_change,
        rule=result.rule,
        reset_every=result.reset_every,
    )


def next_layout(sizes: Layout, frames: Sequence[SeenFrame], *, frames_scale: int) -> Layout:
    """Make the next generation with the sizes given and every scale found anew from the frames."""
    stride = -(-sum(len(frame.points) for frame in frames) // SCALE_SAMPLES)
    shares = [-(-len(frame.points) // max(stride, 1)) for frame in frames]
    parts = [frame.points.first(share) for frame, share in zip(frames, shares, strict=True)]
    confidence = np.concatenate([part.confidence for part in parts])
    height = -np.concatenate([part.points_world[:, 1] for part in parts])
    depths = [frame.median_depth for frame in frames if frame.median_depth > 0]
    layout = replace(sizes, generation=sizes.generation + 1, frames_scale=frames_scale)
    if len(confidence):
        layout = replace(
            layout,
            confidence_edges=confidence_edges(confidence),
            height_range=robust_range(height),
        )
    if depths:
        layout = replace(layout, median_depth=float(np.median(depths)))
    return layout
