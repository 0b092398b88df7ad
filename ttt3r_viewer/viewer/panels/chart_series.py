"""What the charts plot: a number for every lane and frame, and the marks between frames."""

import bisect
import math
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import umeyama
from ttt3r_viewer.metrics.comparison import lane_separation
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES, RunningAlignment
from ttt3r_viewer.metrics.true_surface import SurfaceDistance, TrueSurface, why_unmeasured
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.scene.store import SceneSnapshot
from ttt3r_viewer.viewer.layers.colors import MOST_ERROR_M
from ttt3r_viewer.viewer.panels.chart_lines import Chart, Column, Line, LinePart, Mark, make_chart

_NO_CENTERS = (math.nan,) * 6
DISTANCE_SEC, DISTANCE_SHARE = 2.0, 0.05
"""What measures points is made again at most this often, and takes at most this share of time."""
SURFACE_SEC = 0.02
"""So long the depth of new frames is read in one tick of the page."""
ERROR_STEP_M = 0.02
"""Points nearer to each other than this may get one distance from the true surface."""


class LaneSeries:
    """The frames of one lane, and what is measured of each against the truth."""

    def __init__(self, ground_truth: GroundTruth | None) -> None:
        self.frames: Sequence[FrameSummary] = ()
        """As the scene last had them."""
        self.ate_m: list[float] = []
        self.rotation_deg: list[float] = []
        """Errors of all frames up to each one; NaN where they are unknown."""
        self.point_error: list[float] = []
        """Median of the point errors of all frames up to each one; NaN where none is known."""
        self._point_errors: list[float] = []
        """Those of the frames so far, sorted."""
        self._ground_truth = ground_truth
        self._running = RunningAlignment()
        self._centers = array("d")
        """Of every frame the true position and the lane's own, x, y, z each; NaN where the errors
        are unknown.
        """

    def update(self, frames: Sequence[FrameSummary]) -> None:
        """Measure the new ones of the lane's frames."""
        for frame in frames[len(self.frames) :]:
            truth, ate_m, rotation_deg = self._ground_truth, math.nan, math.nan
            centers = _NO_CENTERS
            true_pose = truth and truth.pose_of(frame.index, frame.time_sec, frame.name)
            if true_pose is not None:
                # A pose that cannot be judged leaves a gap; the table below the charts says why.
                with suppress(EvaluationError):
                    own_pose = frame.camera.T_world_camera
                    self._running.add(true_pose, own_pose)
                    centers = (*true_pose[:3, 3], *own_pose[:3, 3])
                    ate_m, rotation_deg = self._running.ate_sim3_m, self._running.rotation_error_deg
            self.ate_m.append(ate_m)
            self.rotation_deg.append(rotation_deg)
            self._centers.extend(centers)
            if math.isfinite(frame.point_error):
                bisect.insort(self._point_errors, frame.point_error)
            self.point_error.append(_median(self._point_errors))
        self.frames = frames

    def paired_centers(self, count: int) -> NDArray[np.float64] | None:
        """Return the lane's own and the true camera centres (n, 2, 3) of the first `count` frames,
        those that have a true pose, in the lane's world.

        The truth comes there by the inverse of the Sim3 alignment of these frames, with which the
        ATE so far is measured. None where there is no such alignment.
        """
        pairs = np.array(self._centers[: 6 * count]).reshape(-1, 2, 3)
        true, own = pairs[np.isfinite(pairs[:, 0, 0])].transpose(1, 0, 2)
        if len(true) < FEWEST_POSES:
            return None
        try:
            alignment = umeyama(own, true, with_scale=True)
        except EvaluationError:
            return None
        if alignment.scale <= 0:
            return None
        return np.stack([own, alignment.inverse.apply(true)], axis=1)


def _median(ordered: Sequence[float]) -> float:
    """The median of numbers in order; NaN where there is none."""
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[-middle - 1]) / 2 if ordered else math.nan


@dataclass(frozen=True)
class ChartKind:
    """One chart: what it shows, and its numbers of a lane's frames."""

    text: str
    axis: str
    """What the numbers are, beside their axis."""
    columns: tuple[Callable[[LaneSeries], Column], ...] = ()
    """Of the value, and of the lower and upper edge of its band, where there is one."""
    unit: str = ""
    """Of the numbers, with `LENGTH` for that of the lanes' own world; empty: none."""
    needs_truth: bool = False
    needs_depth: bool = False
    """Offered only where true depth is known too."""
    needs_lanes: bool = False
    """Offered only where there are several."""


LENGTH = "{length}"


def _steps(lane: LaneSeries) -> Column:
    centers = np.array([frame.camera.T_world_camera[:3, 3] for frame in lane.frames])
    centers = centers.reshape(-1, 3)
    return np.linalg.norm(np.diff(centers, axis=0, prepend=centers[:1]), axis=1)


CHARTS: dict[str, ChartKind] = {
    "ATE so far": ChartKind(
        "Root mean square position error of all frames up to here, after Sim3 alignment",
        "position error",
        (lambda lane: lane.ate_m,),
        "m",
        needs_truth=True,
    ),
    "Point error so far": ChartKind(
        "Distance of points from their true places, as a share of their distance from the camera, "
        "nothing aligned: median of a frame's points, and of all frames up to here",
        "share of the distance",
        (lambda lane: lane.point_error,),
        needs_truth=True,
        needs_depth=True,
    ),
    "Rotation error": ChartKind(
        "Mean angle to the true rotation since the first frame",
        "angle",
        (lambda lane: lane.rotation_deg,),
        "degrees",
        needs_truth=True,
    ),
    "Gain": ChartKind(
        "Mean gain of the state tokens, in a band from their 10th to their 90th percentile",
        "share accepted",
        (
            lambda lane: [frame.gain_mean for frame in lane.frames],
            lambda lane: [frame.gain_range[0] for frame in lane.frames],
            lambda lane: [frame.gain_range[1] for frame in lane.frames],
        ),
    ),
    "State change": ChartKind(
        "|S now - S before| / |S before|, over all state tokens",
        "share of the state",
        (lambda lane: [frame.state_change for frame in lane.frames],),
    ),
    "Confidence": ChartKind(
        "Mean confidence of a frame's points",
        "confidence, from 1 up",
        (lambda lane: [frame.confidence_mean for frame in lane.frames],),
    ),
    "Step length": ChartKind(
        "How far the camera moved since the frame before", "step", (_steps,), LENGTH
    ),
    "Lane separation": ChartKind(
        "Distance from the camera of the first lane, after Sim3 alignment of the paths",
        "distance",
        unit=LENGTH,
        needs_lanes=True,
    ),
}
"""By name, in the order in which they are offered: errors come first. A new chart is one entry."""


class ChartSeries:
    """Every lane's numbers, each computed once when its frame is new. One thread at a time."""

    def __init__(self, ground_truth: GroundTruth | None) -> None:
        self.ground_truth = ground_truth
        self._clear(-1, 1)

    def _clear(self, epoch: int, lanes: int) -> None:
        self._epoch = epoch
        self._metric = True
        self.lanes = [LaneSeries(self.ground_truth) for _ in range(lanes)]
        known = self.ground_truth is not None and self.has_depth
        self.surface = TrueSurface(self.ground_truth) if known and self.ground_truth else None
        """What the frames saw, as far as it was asked for; None where no depth is known."""
        self._distance: SurfaceDistance | None = None
        self._due_sec = -math.inf
        self._unmeasured: str | None = None
        """Why points have no errors, once that was looked for."""
        self.marks: list[Mark] = []

    def update(self, snapshot: SceneSnapshot) -> None:
        """Add what is new in the scene, all of it after a restart."""
        if (snapshot.epoch, len(snapshot.lanes)) != (self._epoch, len(self.lanes)):
            self._clear(snapshot.epoch, len(snapshot.lanes))
        self._metric = snapshot.status.metric
        for k in range(max(len(self.lanes[0].frames), 1), len(snapshot.frames)):
            before, now = ([lane.frames[at] for lane in snapshot.lanes] for at in (k - 1, k))
            self.marks += marks_between(before, now)
        for lane, scene in zip(self.lanes, snapshot.lanes, strict=True):
            lane.update(scene.frames)

    def read_surface(self) -> None:
        """Read the depth of new frames, for at most `SURFACE_SEC`."""
        frames, until = self.lanes[0].frames, time.perf_counter() + SURFACE_SEC
        while self.surface is not None and len(self.surface) < len(frames):
            self.surface.add(frames[len(self.surface)])
            if time.perf_counter() > until:
                return

    def distance(self, now_sec: float, *, growing: bool) -> SurfaceDistance | None:
        """Return what measures the points of all lanes; None where there is nothing yet.

        It is made of all frames, once their depth was read, and again where more came: while the
        scene is `growing` not before `DISTANCE_SEC`, nor so often that it takes much of the time.
        """
        surface, found, count = self.surface, self._distance, len(self.lanes[0].frames)
        new = found is None or found.frames != count
        due = new and (not growing or now_sec >= self._due_sec)
        if surface is not None and due and len(surface) == count:
            points, started = surface.points(count), time.perf_counter()
            if len(points):
                self._distance = SurfaceDistance(points, MOST_ERROR_M, ERROR_STEP_M, count)
                took_sec = time.perf_counter() - started
                self._due_sec = now_sec + max(DISTANCE_SEC, took_sec / DISTANCE_SHARE)
        return self._distance

    def ate_so_far(self, position: int) -> tuple[float, ...] | None:
        """Return every lane's ATE of all frames up to this one, from 0; NaN where it is unknown.

        None without true poses, and while there is no frame.
        """
        if self.ground_truth is None or not 0 <= position < len(self.lanes[0].frames):
            return None
        return tuple(lane.ate_m[position] for lane in self.lanes)

    @property
    def has_depth(self) -> bool:
        """Whether true depth is known beside true poses. What is measured against it is offered
        where the weights are metric: nothing is aligned to it.
        """
        return self.ground_truth is not None and self.ground_truth.depth_of is not None

    def offered(self) -> tuple[str, ...]:
        """Return the charts that these lanes, with or without ground truth, can have."""
        return tuple(
            name
            for name, kind in CHARTS.items()
            if (len(self.lanes) > 1 or not kind.needs_lanes)
            and (self.ground_truth is not None or not kind.needs_truth)
            and ((self.has_depth and self._metric) or not kind.needs_depth)
        )

    def chart(self, name: str) -> Chart:
        """Return a chart of every frame so far."""
        columns: dict[Line, Column] = {}
        first, *others = self.lanes
        if name == "Lane separation":
            try:
                columns[Line(0)] = np.zeros(len(first.frames))
                for k, lane in enumerate(others, start=1):
                    columns[Line(k)] = lane_separation(first.frames, lane.frames)
            except EvaluationError as error:
                return Chart(message=str(error))
        parts: tuple[LinePart, ...] = ("value", "low", "high")
        for k, lane in enumerate(self.lanes):
            for part, column_of in zip(parts, CHARTS[name].columns, strict=False):
                columns[Line(k, part)] = column_of(lane)
        chart = make_chart([frame.index + 1 for frame in first.frames], columns, self.marks)
        if chart.data or not CHARTS[name].needs_depth:
            return chart
        return replace(chart, message=self._why_unmeasured() or chart.message)

    def _why_unmeasured(self) -> str:
        """Say why no point has an error; empty before the first frame."""
        if self._unmeasured is None and self.ground_truth is not None and self.lanes[0].frames:
            self._unmeasured = why_unmeasured(self.ground_truth, self.lanes[0].frames[0])
        return self._unmeasured or ""


def marks_between(before: Sequence[FrameSummary], now: Sequence[FrameSummary]) -> list[Mark]:
    """Return the marks at the lanes' frame: what is in force since then, and a reset."""
    several, number = len(now) > 1, now[0].index + 1
    changes = [
        f"{old.rule} becomes {new.rule}" if several else new.rule
        for old, new in zip(before, now, strict=True)
        if new.rule != old.rule
    ]
    every = now[0].reset_every
    if every != before[0].reset_every:
        changes.append(f"reset every {every} frames" if every else "no more resets")
    marks = [Mark(number, "change", "; ".join(changes))] if changes else []
    if now[0].segment != before[0].segment:
        marks.append(Mark(number, "reset", ""))
    return marks
