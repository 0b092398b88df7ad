"""What has been seen so far: thinned points, cameras and small pictures, within a fixed budget."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.scene.budget import (
    FIRST_FRAMES_PER_CHUNK,
    MAX_CHUNKS,
    SCALE_SAMPLES,
    Layout,
    confidence_edges,
    frames_per_chunk_for,
    points_per_frame_within,
    random_subset,
    robust_range,
    shrink_picture,
)
from ttt3r_viewer.types import Camera, Crop, FrameResult, Status

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


@dataclass(frozen=True, eq=False)
class SceneSnapshot:
    """Everything the page needs to draw, as plain values that nobody changes any more."""

    epoch: int
    """Counts how often the scene was emptied."""
    frames: tuple[SeenFrame, ...]
    layout: Layout
    latest: FrameResult | None
    """The newest result in full; None before the first frame."""
    status: Status

    @property
    def point_count(self) -> int:
        """Number of points kept over all frames."""
        return sum(len(frame.points) for frame in self.frames)


class SceneStore:
    """The scene that one thread fills and any thread reads.

    `add`, `set_status` and `clear` belong to one thread, the worker's; `snapshot` to everybody.
    However long the run, at most `max_points` points (19 bytes each, with colour and confidence)
    and `max_picture_bytes` of small pictures are kept; only poses and names grow with each frame.
    """

    _lock: threading.Lock
    """Guards `_snapshot`, the one value that is replaced; held for assignments only."""

    def __init__(
        self,
        max_points: int = 2_500_000,
        points_per_frame: int = 20_000,
        max_picture_bytes: int = 32 * 2**20,
    ) -> None:
        self._max_points = max_points
        self._first_points_per_frame = points_per_frame
        self._max_picture_bytes = max_picture_bytes
        self._picture_width = FIRST_PICTURE_WIDTH
        self._lock = threading.Lock()
        self._snapshot = SceneSnapshot(0, (), self._empty_layout(0), None, Status())

    def add(self, result: FrameResult) -> None:
        """Keep a fair share of the frame's points; thin and regroup all frames where it is time."""
        before = self.snapshot()
        layout = before.layout
        frame = keep_frame(result, layout.points_per_frame, self._picture_width)
        frames = self._with_smaller_pictures((*before.frames, frame))
        points_per_frame = points_per_frame_within(
            [len(f.points) for f in frames], layout.points_per_frame, self._max_points
        )
        if points_per_frame < layout.points_per_frame:
            frames = tuple(replace(f, points=f.points.first(points_per_frame)) for f in frames)
        count = len(frames)
        frames_per_chunk = frames_per_chunk_for(count, layout.frames_per_chunk, MAX_CHUNKS)
        regroup = (points_per_frame, frames_per_chunk) != (
            layout.points_per_frame,
            layout.frames_per_chunk,
        )
        # Percentiles move ever more slowly as frames are added, so each doubling is often enough.
        if regroup or count & (count - 1) == 0:
            sizes = replace(
                layout, points_per_frame=points_per_frame, frames_per_chunk=frames_per_chunk
            )
            doubling = 1 << (count - 1).bit_length()
            layout = next_layout(sizes, frames, frames_scale=doubling)
        with self._lock:
            self._snapshot = replace(self._snapshot, frames=frames, layout=layout, latest=result)

    def set_status(self, status: Status) -> None:
        """Replace what the run says about itself; a finished run fits its scales to all frames."""
        frames, layout = self._snapshot.frames, self._snapshot.layout
        if status.phase == "finished" and frames and layout.frames_scale != len(frames):
            layout = next_layout(layout, frames, frames_scale=len(frames))
        with self._lock:
            self._snapshot = replace(self._snapshot, layout=layout, status=status)

    def clear(self) -> None:
        """Forget every frame, as a restart does."""
        self._picture_width = FIRST_PICTURE_WIDTH
        with self._lock:
            before = self._snapshot
            layout = self._empty_layout(before.layout.generation + 1)
            self._snapshot = SceneSnapshot(before.epoch + 1, (), layout, None, before.status)

    def snapshot(self) -> SceneSnapshot:
        """Give the scene as it is now; costs nothing, because nothing in it is ever changed."""
        with self._lock:
            return self._snapshot

    def _empty_layout(self, generation: int) -> Layout:
        return Layout(
            generation=generation,
            frames_per_chunk=FIRST_FRAMES_PER_CHUNK,
            points_per_frame=self._first_points_per_frame,
        )

    def _with_smaller_pictures(self, frames: tuple[SeenFrame, ...]) -> tuple[SeenFrame, ...]:
        while (
            sum(frame.picture.nbytes for frame in frames) > self._max_picture_bytes
            and self._picture_width > SMALLEST_PICTURE_WIDTH
        ):
            self._picture_width //= 2
            frames = tuple(
                replace(frame, picture=shrink_picture(frame.picture, self._picture_width))
                for frame in frames
            )
        return frames


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
    )


def next_layout(sizes: Layout, frames: Sequence[SeenFrame], *, frames_scale: int) -> Layout:
    """Make the next generation with the sizes given and every scale found anew from the frames."""
    share = -(-SCALE_SAMPLES // len(frames))
    confidence = np.concatenate([frame.points.confidence[:share] for frame in frames])
    height = -np.concatenate([frame.points.points_world[:share, 1] for frame in frames])
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
