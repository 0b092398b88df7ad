"""What has been seen so far: thinned points, cameras and small images, within a fixed budget."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.scene.budget import (
    FIRST_FRAMES_PER_CHUNK,
    MAX_CHUNKS,
    SCALE_SAMPLES,
    Layout,
    frames_per_chunk_for,
    robust_range,
    shrink_image,
    tenths,
)
from ttt3r_viewer.scene.edges import DEFAULT_EDGE_FILTER
from ttt3r_viewer.scene.gravity import Up, UpEstimator
from ttt3r_viewer.scene.seen import (
    FIRST_IMAGE_WIDTH,
    FrameSummary,
    summarize_frame,
)
from ttt3r_viewer.scene.thinning import BestOfVoxels, FairShares, PointThinning
from ttt3r_viewer.types import Answer, FrameResult, Inspection, SkippedFrame, Status, lane_labels

SMALLEST_IMAGE_WIDTH = 16
FIRST_IMAGE_PX = 640
"""The image that is shown before the first points is at most so wide."""


Measure = Callable[[Sequence[FrameResult]], Sequence[float]]
"""Returns a number of what every lane made of a frame; called once for each frame, in order."""


class FullFrames(Protocol):
    """Results in full, by the number of their frame: a recording, which this room does not know."""

    earlier: str
    """Where the recording is kept that a restart replaced by this one; empty where none is."""

    def __contains__(self, sequence: int) -> bool: ...

    def lane(self, sequence: int, lane: int) -> FrameResult:
        """What one lane made of a frame. Raises `RecordingError` where it cannot be read."""
        ...


@dataclass(frozen=True, eq=False)
class LaneScene:
    """What one rule made of the frames, as plain values that nobody changes any more."""

    epoch: int
    """Counts how often the scene was emptied."""
    frames: tuple[FrameSummary, ...]
    layout: Layout
    latest: FrameResult | None
    """The newest result in full; None before the first frame."""
    point_count: int = 0
    """Number of points kept over all frames."""


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
    answer: Answer | None = None
    """What came of the latest question to the states; None before the first of this run."""
    recording: FullFrames | None = None
    """Where the frames are in full, for those that it has; None where none is recorded."""
    max_points: int = 0
    """How many points may be kept over all lanes."""
    first_image: NDArray[np.uint8] | None = None
    """(height, width, 3) RGB: what comes first, before anything of it is known; None: not known."""

    @property
    def frames(self) -> tuple[FrameSummary, ...]:
        """The frames of the first lane; names, times and images are those of every lane."""
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
    def lane_labels(self) -> tuple[str, ...]:
        """What every lane is called; its number before the run says its rule."""
        labels = lane_labels(self.status.lanes[: len(self.lanes)])
        return (*labels, *(f"lane {k + 1}" for k in range(len(labels), len(self.lanes))))

    @property
    def point_count(self) -> int:
        """Number of points kept over all frames and lanes."""
        return sum(lane.point_count for lane in self.lanes)


class SceneStore:
    """The scene that one thread fills and any thread reads.

    `add`, `clear` and the `set_` methods belong to one thread, the worker's; `snapshot` to all.
    However long the run, at most `max_points` points (20 bytes each, with colour and confidence;
    shared by the lanes) and `max_image_bytes` of small images are kept; only poses, names and
    a few numbers grow with each frame. Where the points are too many every frame's share is halved.

    With `one_per_voxel` only the best point in each voxel of a lane is kept, so that they become no
    more while the same surface is seen again; where they are too many the voxels become coarser.
    """

    trouble = ""
    """A scene takes every frame; see `add`."""
    _lock: threading.Lock
    """Guards `_snapshot`, the one value that is replaced; held for assignments only."""

    def __init__(
        self,
        max_points: int = 2_500_000,
        points_per_frame: int = 20_000,
        max_image_bytes: int = 6 * 2**20,
        one_per_voxel: bool = False,
        measure: Measure | None = None,
        edge_filter: float = DEFAULT_EDGE_FILTER,
    ) -> None:
        """`measure` finds every frame's `point_error`, where it comes in full. Where voxels are too
        many, points that `edge_filter` hides go first.
        """
        self._measure = measure
        self._max_points = max_points
        self._one_per_voxel, self._edge_filter = one_per_voxel, edge_filter
        self._thinnings = self._new_thinnings(1)
        self._ups = [UpEstimator()]
        self._first_points_per_frame = points_per_frame
        self._max_image_bytes = max_image_bytes
        self._image_width = FIRST_IMAGE_WIDTH
        self._image_bytes = 0
        """Of all frames' images, which the lanes share."""
        self._lock = threading.Lock()
        empty = (self._empty_lane(0, 0),)
        self._snapshot = SceneSnapshot(0, empty, Status(), max_points=max_points)

    def add(self, *results: FrameResult) -> None:
        """Keep what every lane made of a frame, one result per lane in their order.

        Each keeps a fair share of the frame's points; all frames are thinned and regrouped where it
        is time.
        """
        lanes = self._snapshot.lanes
        assert len(results) == len(lanes), "one result per lane"
        frames = (
            summarize_frame(result, lane.layout.points_per_frame, self._image_width)
            for lane, result in zip(lanes, results, strict=True)
        )
        self._add(tuple(frames), results)

    def skip(self, frame: SkippedFrame) -> None:
        """Do nothing: a scene has no frames that could not be used."""

    def add_summary(
        self, frames: Sequence[FrameSummary], latest: Sequence[FrameResult] = ()
    ) -> None:
        """Keep what was kept of a frame before, one per lane; `latest` is the same in full, if
        it is at hand.
        """
        lanes = self._snapshot.lanes
        assert len(frames) == len(lanes), "one frame per lane"
        fitting = (
            replace(
                frame,
                points=frame.points.first(lane.layout.points_per_frame),
                image=shrink_image(frame.image, self._image_width),
            )
            for lane, frame in zip(lanes, frames, strict=True)
        )
        self._add(tuple(fitting), latest)

    def _add(self, frames: Sequence[FrameSummary], latest: Sequence[FrameResult]) -> None:
        if self._measure is not None and latest:
            errors = self._measure(latest)
            frames = [
                replace(one, point_error=error) for one, error in zip(frames, errors, strict=True)
            ]
        lanes = tuple(
            self._with(number, *each)
            for number, each in enumerate(
                zip(self._snapshot.lanes, frames, latest or [None] * len(frames), strict=True)
            )
        )
        lanes = self._with_shared_images(lanes)
        with self._lock:
            self._snapshot = replace(self._snapshot, lanes=lanes)

    def begin(self, status: Status, recording: FullFrames | None = None) -> None:
        """Make the scene ready for a run with the lanes that its status names; an empty one keeps
        its epoch.
        """
        lanes = len(status.lanes) or 1
        if self._snapshot.frames or len(self._snapshot.lanes) != lanes:
            self.clear(lanes, status)
        else:
            self.set_status(status)
        self.set_recording(recording)

    def finish(self, status: Status) -> None:
        """Show the end of a run."""
        self.set_status(status)

    def set_status(self, status: Status) -> None:
        """Replace what the run says about itself; a finished run fits its scales to all frames."""
        lanes = self._snapshot.lanes
        if status.phase == "finished":
            lanes = tuple(
                _scaled_to_all(lane, thinning.finish(lane.frames), up)
                for lane, thinning, up in zip(lanes, self._thinnings, self._ups, strict=True)
            )
        with self._lock:
            self._snapshot = replace(self._snapshot, lanes=lanes, status=status)

    def set_inspection(self, inspection: Inspection | None, note: str) -> None:
        """Replace what was found inside a step, or say how far or why not."""
        with self._lock:
            self._snapshot = replace(self._snapshot, inspection=inspection, inspection_note=note)

    def set_answer(self, answer: Answer) -> None:
        """Replace what came of a question to the states."""
        with self._lock:
            self._snapshot = replace(self._snapshot, answer=answer)

    def set_first_image(self, image: NDArray[np.uint8]) -> None:
        """Show an image (height, width, 3) RGB, the input's first, until the first points."""
        small = shrink_image(image, FIRST_IMAGE_PX)
        with self._lock:
            self._snapshot = replace(self._snapshot, first_image=small)

    def set_recording(self, recording: FullFrames | None) -> None:
        """Say where the frames can be read in full; a restart forgets it."""
        with self._lock:
            self._snapshot = replace(self._snapshot, recording=recording)

    def set_budget(self, max_points: int) -> None:
        """Keep more points from now on. What was thinned or merged before stays so, until the scene
        is cleared.
        """
        self._max_points = max_points
        for thinning in self._thinnings:
            thinning.max_points = max_points // len(self._thinnings)
        with self._lock:
            self._snapshot = replace(self._snapshot, max_points=max_points)

    @property
    def thinned(self) -> bool:
        """Whether points were left out because they were too many; for the thread that fills it."""
        return any(one.thinned for one in self._thinnings)

    def clear(self, lanes: int = 1, status: Status | None = None) -> None:
        """Forget every frame, as a restart does, and be ready for so many lanes; what the run says
        about itself stays, or is replaced at the same moment.
        """
        self._image_width, self._image_bytes = FIRST_IMAGE_WIDTH, 0
        self._thinnings = self._new_thinnings(lanes)
        self._ups = [UpEstimator() for _ in range(lanes)]
        with self._lock:
            before = self._snapshot
            epoch = before.epoch + 1
            generation = 1 + max(lane.layout.generation for lane in before.lanes)
            empty = self._empty_lane(epoch, generation)
            self._snapshot = SceneSnapshot(
                epoch,
                (empty,) * lanes,
                status or before.status,
                max_points=self._max_points,
                first_image=before.first_image,
            )

    def snapshot(self) -> SceneSnapshot:
        """Give the scene as it is now; costs nothing, because nothing in it is ever changed."""
        with self._lock:
            return self._snapshot

    def _new_thinnings(self, lanes: int) -> list[PointThinning]:
        share = self._max_points // lanes
        if self._one_per_voxel:
            return [BestOfVoxels(share, self._edge_filter) for _ in range(lanes)]
        return [FairShares(share) for _ in range(lanes)]

    def _empty_lane(self, epoch: int, generation: int) -> LaneScene:
        layout = Layout(
            generation=generation,
            frames_per_chunk=FIRST_FRAMES_PER_CHUNK,
            points_per_frame=self._first_points_per_frame,
        )
        return LaneScene(epoch, (), layout, None)

    def _with(
        self, number: int, lane: LaneScene, frame: FrameSummary, latest: FrameResult | None
    ) -> LaneScene:
        up = self._ups[number]
        up.add(frame)
        frames, sizes = self._thinnings[number].add(lane.frames, frame, lane.layout)
        count = len(frames)
        frames_per_chunk = frames_per_chunk_for(count, sizes.frames_per_chunk, MAX_CHUNKS)
        sizes = replace(sizes, frames_per_chunk=frames_per_chunk)
        layout = replace(lane.layout, voxel_side=sizes.voxel_side)
        # Percentiles move ever more slowly as frames are added, so each doubling is often enough;
        # later ones fall together with those of the chunks, because each sends every point again.
        few = count <= FIRST_FRAMES_PER_CHUNK * MAX_CHUNKS
        if sizes.sizes != layout.sizes or (few and count & (count - 1) == 0):
            room = frames_per_chunk * MAX_CHUNKS
            scale = 1 << (count - 1).bit_length() if few else room
            layout = next_layout(
                sizes, frames, up.estimate([one.camera for one in frames]), frames_scale=scale
            )
        point_count = sum(len(frame.points) for frame in frames)  # earlier ones may have fewer
        return LaneScene(lane.epoch, frames, layout, latest, point_count)

    def _with_shared_images(self, lanes: tuple[LaneScene, ...]) -> tuple[LaneScene, ...]:
        """Let the lanes share their images, made smaller where all together are too large."""
        first = lanes[0].frames
        shrunk = False
        self._image_bytes += first[-1].image.nbytes
        while (
            self._image_bytes > self._max_image_bytes and self._image_width > SMALLEST_IMAGE_WIDTH
        ):
            shrunk = True
            self._image_width //= 2
            first = tuple(
                replace(frame, image=shrink_image(frame.image, self._image_width))
                for frame in first
            )
            self._image_bytes = sum(frame.image.nbytes for frame in first)
        if not shrunk and len(lanes) == 1:
            return lanes
        start = 0 if shrunk else len(first) - 1
        shared = [replace(lanes[0], frames=first)]
        for lane in lanes[1:]:
            newer = (
                replace(frame, image=source.image)
                for frame, source in zip(lane.frames[start:], first[start:], strict=True)
            )
            shared.append(replace(lane, frames=(*lane.frames[:start], *newer)))
        return tuple(shared)


def _scaled_to_all(lane: LaneScene, frames: tuple[FrameSummary, ...], up: UpEstimator) -> LaneScene:
    """Fit the scales to all `frames`, which are the lane's, brought up to date."""
    layout = lane.layout
    if frames and layout.frames_scale != len(frames):
        layout = next_layout(
            layout, frames, up.estimate([one.camera for one in frames]), frames_scale=len(frames)
        )
    same = frames is lane.frames and layout is lane.layout
    return lane if same else replace(lane, frames=frames, layout=layout)


def next_layout(
    sizes: Layout, frames: Sequence[FrameSummary], up: Up, *, frames_scale: int
) -> Layout:
    """Make the next generation with the sizes given and every scale fitted to the frames."""
    stride = -(-sum(len(frame.points) for frame in frames) // SCALE_SAMPLES)
    shares = [-(-len(frame.points) // max(stride, 1)) for frame in frames]
    parts = [frame.points.first(share) for frame, share in zip(frames, shares, strict=True)]
    confidence = np.concatenate([part.confidence for part in parts])
    sureness = np.concatenate([part.sureness for part in parts])
    points_world = np.concatenate([part.points_world for part in parts])
    depths = [frame.median_depth for frame in frames if frame.median_depth > 0]
    layout = replace(
        sizes,
        generation=sizes.generation + 1,
        frames_scale=frames_scale,
        up=up[0],
        up_is_seen=up[1],
    )
    if len(confidence):
        layout = replace(
            layout,
            confidence_edges=tenths(confidence),
            sure_edges=tenths(sureness),
            height_range=robust_range(points_world @ up[0]),
            across=robust_range(points_world[:, 0]),
        )
    if depths:
        layout = replace(layout, median_depth=float(np.median(depths)))
    return layout
