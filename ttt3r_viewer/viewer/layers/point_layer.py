"""Point clouds of a lane: a node for each chunk of frames and tenth of all points, by sureness.

Node names are stable, so that nodes are replaced and never multiplied. Below the lane's root,
`sector_L/chunk_F_S_B` is tenth B of S frames from F on, whose cameras looked into the sector L;
`sector_L/live` is the one frame that is drawn densely, `sector_L/partial` the part of a chunk up to
the timeline's position.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import viser

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.scene.budget import (
    MAX_CHUNKS,
    SURE_BINS,
    frames_per_chunk_for,
)
from ttt3r_viewer.scene.seen import FramePoints, FrameSummary, thin_points
from ttt3r_viewer.scene.store import FullFrames, LaneScene
from ttt3r_viewer.viewer.layers.clouds import (
    Cloud,
    batch_of,
    chunk_clouds,
    sure_cloud,
    without_ceiling,
)
from ttt3r_viewer.viewer.layers.colors import COLOR_MODES, PointBatch
from ttt3r_viewer.viewer.layers.looks import NO_SECTOR, SECTORS, sector_of
from ttt3r_viewer.viewer.layers.nodes import LIVE_POINTS, Nodes, add_points
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ViewSettings
from ttt3r_viewer.viewer.widgets import Page, assign_changed

if TYPE_CHECKING:
    from ttt3r_viewer.metrics.true_surface import SurfaceDistance
    from ttt3r_viewer.viewer.panels.chart_series import ChartSeries

logger = logging.getLogger(__name__)

MAX_NODES = 240
"""Limit of nodes of all lanes; more slow a page down."""
OTHER_NODES = 28
"""Nodes of a lane that are not chunks: its root, 9 sectors, a single cloud, 5 of cameras, 4 of the
truth, 3 of its label, and 5 of what is inspected and asked."""

POINTS_PER_TICK = 300_000
"""More would delay the widgets noticeably, because they share the connection."""

OPEN_CHUNK_SEC = 0.5
"""Shortest time between two versions of the chunk that still grows."""
OPEN_CHUNK_RATE = 8_000
"""Limit of its points a second, in all lanes together."""

PASSING_POINTS = 4_000
"""The limit `LIVE_POINTS` while frames come and go."""
LIVE_SEC = 0.5
"""Shortest time between two newest frames, and the age at which one is drawn densely."""

STALE_SHARE = 0.35
"""Share of a chunk's points that have gone or changed, at which it is sent again while frames come:
it shows a little more than is kept, and a chunk is not sent with every frame."""


class _Node(NamedTuple):
    """A point cloud in the page."""

    handle: viser.PointCloudHandle
    point_size: float
    """Automatic side of its points."""


@dataclass
class _Chunk:
    """What the page has of one chunk."""

    key: tuple[object, ...]
    """What it depends on beside its frames."""
    first: int
    stop: int
    """Its frames are first to stop - 1."""
    sent_at_sec: float
    kept: int
    """How many points its frames had."""
    changes: int
    """How often one of them had been replaced."""
    nodes: dict[int, _Node] = field(default_factory=dict)
    """By tenth of all points; those without points of the chunk have none."""

    def stale_share(self, frames: Sequence[FrameSummary]) -> float:
        """Return which share of its points has gone or changed since it was sent."""
        gone = self.kept - sum(len(frame.points) for frame in frames)
        changed = sum(frame.points.changes for frame in frames) - self.changes
        return (gone + changed) / max(self.kept, 1)


class PointLayer(Part):
    """Keeps one lane's point clouds in the page equal to the scene; called by the publisher only.

    It is made for one epoch of the scene, and gone when the lane's root is removed.
    """

    def __init__(
        self,
        page: Page,
        root: str,
        lane: int,
        lane_count: int,
        series: "ChartSeries | None" = None,
    ) -> None:
        """`root` is the prefix of all node names, `series` measures points against the truth."""
        self._page = page
        self._lane = lane
        self._name = root
        self._lane_count = lane_count
        self._series = series
        self._distance: SurfaceDistance | None = None
        """What measures the points while they are coloured by their error."""
        self._running = False
        """More frames come."""
        self._newest = (-1, 0.0)
        """Position of the newest frame, and when it came."""
        self._live_sent_sec = -LIVE_SEC
        for sector in (*range(SECTORS), NO_SECTOR):
            page.scene.add_frame(f"{root}/sector_{sector}", show_axes=False)
        self._chunks: dict[tuple[int, int], _Chunk] = {}
        """By first frame and full number of frames, as in their names."""
        self._single = Nodes()
        self._sizes: dict[str, float] = {}
        """Automatic side of the points of single clouds, by name."""
        self._chosen_size: float | None = None
        """Side of all points; None where each node has its own."""
        self.sizes_shown: list[tuple[float, int]] = []
        """Automatic side of the points of each cloud that the page draws while the lane is visible,
        and their number."""

    @property
    def points_shown(self) -> int:
        """Number of points that the page draws while the lane is visible."""
        return sum(count for _, count in self.sizes_shown)

    def update(self, tick: Tick) -> None:
        """Send what changed, within this tick's share, and show what the settings choose.

        One older frame alone is drawn densely from the recording, where that has it.
        """
        lane, layout = tick.snapshot.lanes[self._lane], tick.snapshot.lanes[self._lane].layout
        self._running = tick.snapshot.status.phase == "running"
        self._chosen_size = tick.settings.point_size
        self._distance = None
        if self._series is not None and COLOR_MODES[tick.drawn.color_by].needs_depth:
            self._distance = self._series.distance(tick.now_sec, growing=self._running)
        most = chunks_per_lane(self._lane_count)
        size = frames_per_chunk_for(len(lane.frames), layout.frames_per_chunk, most)
        self._send_chunks(lane, size, tick)
        self._send_live(lane, tick)
        self._send_partial(lane, size, tick)
        self._show(tick.drawn, tick.position)

    def _send_chunks(self, lane: LaneScene, size: int, tick: Tick) -> None:
        """Send changed chunks in their order, each in place of the smaller ones that it covers."""
        frames, now_sec, drawn = lane.frames, tick.now_sec, tick.drawn
        stale = STALE_SHARE if self._running else 0.0
        sent = 0
        for first in range(0, len(frames), size):
            if sent >= POINTS_PER_TICK // self._lane_count:
                return
            stop = min(first + size, len(frames))
            members, known = frames[first:stop], self._chunks.get((first, size))
            key = self._look(lane, drawn, stop)
            if known and (known.key, known.stop) == (key, stop):
                if known.stale_share(members) <= stale:
                    continue
            elif known and known.key == key and stop - first < size:
                rest_sec = known.kept * self._lane_count / OPEN_CHUNK_RATE
                if now_sec - known.sent_at_sec < max(OPEN_CHUNK_SEC, rest_sec):
                    continue
            chunk = _Chunk(
                key,
                first,
                stop,
                now_sec,
                kept=sum(len(frame.points) for frame in members),
                changes=sum(frame.points.changes for frame in members),
            )
            clouds = chunk_clouds(self._batch(members, first, lane, drawn))
            self._send_chunk(clouds, chunk, size, sector_of(members, lane.layout.up))
            sent += chunk.kept

    def _send_chunk(self, clouds: list[Cloud], chunk: _Chunk, size: int, sector: str) -> None:
        before = self._chunks.pop((chunk.first, size), None)
        stale = before.nodes if before else {}
        covered = [k for k, c in self._chunks.items() if chunk.first <= c.first < chunk.stop]
        with self._page.atomic():
            for b, cloud in enumerate(clouds):
                handle = self._add(f"sector_{sector}/chunk_{chunk.first}_{size}_{b}", cloud)
                if handle is not None:
                    chunk.nodes[b] = _Node(handle, cloud.point_size)
                if b in stale and (handle is None or stale[b].handle.name != handle.name):
                    stale[b].handle.remove()
            for smaller in covered:
                for node in self._chunks.pop(smaller).nodes.values():
                    node.handle.remove()
        self._chunks[chunk.first, size] = chunk

    def _send_live(self, lane: LaneScene, tick: Tick) -> None:
        """Show the newest frame, densely once it stays, or the one frame that was chosen."""
        settings, position, now_sec = tick.drawn, tick.position, tick.now_sec
        recording, newest = tick.snapshot.recording, len(lane.frames) - 1
        if self._newest[0] != newest:
            self._newest = (newest, now_sec)
        if position < 0 or not (settings.extent == "one" or (settings.live and position == newest)):
            self._single.remove("live")
            return
        sequence, most = lane.frames[position].sequence, 0
        most_recorded = LIVE_POINTS // self._lane_count
        if position == newest and lane.latest is not None:
            stays = now_sec - self._newest[1] >= LIVE_SEC
            if not stays and now_sec - self._live_sent_sec < LIVE_SEC:
                return
            most = (LIVE_POINTS if stays else PASSING_POINTS) // self._lane_count
        recorded = not most and recording is not None and sequence in recording
        look = self._look(lane, settings, position + 1)
        key = (position, look, settings.hidden_bins, most, recorded)
        if self._single.outdated("live", key):
            self._live_sent_sec = now_sec
            points = lane.frames[position].points
            samples = most or (most_recorded if recorded else 0)
            if most and lane.latest is not None:
                points = thin_points(lane.latest, most)
            elif recorded and recording is not None:
                points = self._recorded_points(recording, sequence, points, most_recorded)
            frame = replace(lane.frames[position], points=points)
            self._send_single("live", key, [frame], position, lane, settings, samples)

    def _recorded_points(
        self, recording: FullFrames, sequence: int, kept: FramePoints, most: int
    ) -> FramePoints:
        """Read a frame's points from its full result; the kept ones where that cannot be read."""
        try:
            return thin_points(recording.lane(sequence, self._lane), most)
        except RecordingError as error:
            logger.warning("%s", error)
            return kept

    def _send_partial(self, lane: LaneScene, size: int, tick: Tick) -> None:
        """Show the frames up to the shown one of the chunk that it lies in."""
        settings, position = tick.drawn, tick.position
        first = position - position % size
        ends_here = any(
            chunk.first <= first and chunk.stop == position + 1 for chunk in self._chunks.values()
        )
        look = self._look(lane, settings, position + 1)
        key = (first, position, look, settings.hidden_bins)
        if settings.live or settings.extent == "one" or position < 0 or ends_here:
            self._single.remove("partial")
        elif self._single.outdated("partial", key):
            members = lane.frames[first : position + 1]
            self._send_single("partial", key, members, first, lane, settings)

    def _look(self, lane: LaneScene, settings: ViewSettings, stop: int) -> tuple[object, ...]:
        """Return what the colours and the choice of points of frames up to `stop` depend on.

        While the scene grows, what later frames saw of the true surface changes too little.
        """
        measured = None if self._distance is None else self._distance.frames
        if measured is not None and self._running:
            measured = min(measured, stop)
        chosen = (settings.color_by, settings.edge_filter, settings.cuts_ceiling, settings.crop)
        return (lane.layout.generation, measured, *chosen)

    def _send_single(
        self,
        name: str,
        key: object,
        frames: Sequence[FrameSummary],
        first: int,
        lane: LaneScene,
        settings: ViewSettings,
        samples: int = 0,
    ) -> None:
        batch = self._batch(frames, first, lane, settings, samples)
        cloud = sure_cloud(batch, settings.hidden_bins)
        self._sizes[name] = cloud.point_size
        with self._page.atomic():
            sector = sector_of(frames, lane.layout.up)
            self._single.put(name, self._add(f"sector_{sector}/{name}", cloud), key)

    def _batch(
        self,
        frames: Sequence[FrameSummary],
        first: int,
        lane: LaneScene,
        settings: ViewSettings,
        samples: int = 0,
    ) -> PointBatch:
        color = LANE_COLORS[self._lane]
        look = (settings.color_by, settings.edge_filter, color, self._distance, samples)
        batch = batch_of(frames, first, lane.layout, *look)
        if settings.crop is not None:
            batch = batch.where(settings.crop.holds(batch.points_world))
        return without_ceiling(batch) if settings.cuts_ceiling else batch

    def _add(self, name: str, cloud: Cloud) -> viser.PointCloudHandle | None:
        size = self._chosen_size or cloud.point_size
        scene, name = self._page.scene, f"{self._name}/{name}"
        return add_points(scene, name, cloud.points, cloud.colors, size, "circle")

    def _show(self, settings: ViewSettings, position: int) -> None:
        """Show and hide what is in the page already, without sending points again."""
        shown: list[tuple[float, int]] = []
        for chunk in self._chunks.values():
            reached = settings.live or chunk.stop <= position + 1
            for b, node in chunk.nodes.items():
                visible = settings.extent == "all" and reached and b >= settings.hidden_bins
                size = self._chosen_size or node.point_size
                assign_changed(node.handle, visible=visible, point_size=size)
                if visible:
                    shown.append((node.point_size, len(node.handle.points)))
        for name, handle in self._single.handles.items():
            assign_changed(handle, point_size=self._chosen_size or self._sizes[name])
            shown.append((self._sizes[name], len(handle.points)))
        self.sizes_shown = shown


def chunks_per_lane(lane_count: int) -> int:
    """Return the number of chunks that keeps the nodes of all lanes together within the limit."""
    left = MAX_NODES - lane_count * OTHER_NODES
    return min(MAX_CHUNKS, left // (lane_count * SURE_BINS))
