"""The point clouds of a lane: a node for each tenth of confidence and chunk of frames.

Node names are stable, so that nodes are replaced and never multiplied. Below the lane's root,
`points/conf_B/chunk_F_S` is the tenth B of S frames from F on, `live` the one frame that is shown
densely, `partial` the part of a chunk that the timeline stands in.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import viser

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.metrics.palette import RGB
from ttt3r_viewer.scene.budget import CONFIDENCE_BINS, MAX_CHUNKS, Layout, frames_per_chunk_for
from ttt3r_viewer.scene.store import FramePoints, FullFrames, LaneScene, thin_points
from ttt3r_viewer.viewer.layers.chunks import Cloud, chunk_clouds, confident_cloud
from ttt3r_viewer.viewer.view_settings import ColorBy, ViewSettings
from ttt3r_viewer.viewer.widgets import Page, assign_changed

logger = logging.getLogger(__name__)

MAX_NODES = 240
"""Clouds of all lanes and what else they have: more slows a page down."""
OTHER_NODES = 18
"""Nodes of a lane that are no chunks: roots, tenths, single clouds, cameras, its label."""

POINTS_PER_TICK = 300_000
"""More would hold the widgets back noticeably, because they share the connection."""

OPEN_CHUNK_SEC = 0.5
"""The chunk that still grows is sent again at most this often."""
OPEN_CHUNK_RATE = 8_000
"""And at most so many of its points a second, in all lanes together."""

LIVE_POINTS = 40_000
"""Of the frame that is shown densely, in all lanes together."""
PASSING_POINTS = 4_000
"""The same while frames come and go."""
LIVE_SEC = 0.5
"""A newest frame is sent at most this often, and densely once it has stayed for so long."""


@dataclass
class _Chunk:
    """What the page has of one chunk."""

    key: tuple[int, ColorBy]
    first: int
    size: int
    """How many frames belong to it once it is full."""
    stop: int
    sent_at_sec: float
    handles: dict[int, viser.PointCloudHandle]
    """By tenth of confidence; tenths without points have none."""
    counts: dict[int, int]


class PointLayer:
    """Keeps one lane's point clouds in the page equal to the scene; called by the publisher only.

    It is made for one epoch of the scene, and gone when the lane's root is removed.
    """

    def __init__(self, page: Page, root: str, lane: int, lane_color: RGB, lane_count: int) -> None:
        """`root` is the node that all names begin with; the lanes share what a page can bear."""
        self._page = page
        self._lane = lane
        self._name = root
        self._lane_color = lane_color
        self._max_chunks = chunks_per_lane(lane_count)
        self._points_per_tick = POINTS_PER_TICK // lane_count
        self._live_points = LIVE_POINTS // lane_count
        self._passing_points = PASSING_POINTS // lane_count
        self._open_chunk_rate = OPEN_CHUNK_RATE / lane_count
        self._newest = (-1, 0.0)
        """Position of the newest frame, and since when it is."""
        self._live_sent_sec = -LIVE_SEC
        self._root = page.scene.add_frame(f"{root}/points", show_axes=False)
        self._bins = [
            page.scene.add_frame(f"{root}/points/conf_{b}", show_axes=False)
            for b in range(CONFIDENCE_BINS)
        ]
        self._chunks: dict[tuple[int, int], _Chunk] = {}
        """By first frame and size, which are what their names say."""
        self._single: dict[str, tuple[object, viser.PointCloudHandle | None]] = {}
        self._point_size = 0.01
        self.points_shown = 0
        """How many points the page draws while the lane is visible."""

    @property
    def node_count(self) -> int:
        """Number of nodes of this layer in the page."""
        clouds = sum(len(chunk.handles) for chunk in self._chunks.values())
        single = sum(handle is not None for _, handle in self._single.values())
        return 1 + len(self._bins) + clouds + single

    def update(
        self,
        lane: LaneScene,
        settings: ViewSettings,
        position: int,
        now_sec: float,
        point_size: float,
        archive: FullFrames | None,
    ) -> None:
        """Send what changed, within this tick's share, and show what the settings ask for.

        `position` is the frame that the page stands at, from 0, or -1 while there is none. One
        older frame alone is drawn densely from the `archive`, where that has it.
        """
        self._point_size = point_size
        size = frames_per_chunk_for(
            len(lane.frames), lane.layout.frames_per_chunk, self._max_chunks
        )
        self._send_chunks(lane, size, settings, now_sec)
        self._send_live(lane, settings, position, now_sec, archive)
        self._send_partial(lane, size, settings, position)
        self._show(settings, position)

    def _send_chunks(
        self, lane: LaneScene, size: int, settings: ViewSettings, now_sec: float
    ) -> None:
        """Send changed chunks in their order, each in place of the smaller ones that it covers."""
        frames, layout = lane.frames, lane.layout
        key: tuple[int, ColorBy] = (layout.generation, settings.color_by)
        sent = 0
        for first in range(0, len(frames), size):
            if sent >= self._points_per_tick:
                return
            stop = min(first + size, len(frames))
            known = self._chunks.get((first, size))
            if known and (known.key, known.stop) == (key, stop):
                continue
            if known and known.key == key and stop - first < size:
                rest_sec = sum(known.counts.values()) / self._open_chunk_rate
                if now_sec - known.sent_at_sec < max(OPEN_CHUNK_SEC, rest_sec):
                    continue
            parts = [frame.points for frame in frames[first:stop]]
            clouds = chunk_clouds(parts, first, layout, settings.color_by, self._lane_color)
            self._send_chunk(clouds, _Chunk(key, first, size, stop, now_sec, {}, {}))
            sent += sum(len(part) for part in parts)

    def _send_chunk(self, clouds: list[Cloud | None], chunk: _Chunk) -> None:
        before = self._chunks.pop((chunk.first, chunk.size), None)
        stale = before.handles if before else {}
        covered = [c for c in self._chunks.values() if chunk.first <= c.first < chunk.stop]
        with self._page.atomic():
            for b, cloud in enumerate(clouds):
                if cloud is not None:
                    name = f"points/conf_{b}/chunk_{chunk.first}_{chunk.size}"
                    chunk.handles[b] = self._add(name, cloud)
                    chunk.counts[b] = len(cloud.points)
                elif b in stale:
                    stale[b].remove()
            for smaller in covered:
                for handle in smaller.handles.values():
                    handle.remove()
        for smaller in covered:
            del self._chunks[smaller.first, smaller.size]
        self._chunks[chunk.first, chunk.size] = chunk

    def _send_live(
        self,
        lane: LaneScene,
        settings: ViewSettings,
        position: int,
        now_sec: float,
        archive: FullFrames | None,
    ) -> None:
        """Show the newest frame, densely once it stays, or the one frame that was asked for."""
        layout = lane.layout
        is_newest = position == len(lane.frames) - 1
        wanted = position >= 0 and (settings.extent == "one" or (settings.live and is_newest))
        if self._newest[0] != len(lane.frames) - 1:
            self._newest = (len(lane.frames) - 1, now_sec)
        origin: Literal["passing", "latest", "archive", "kept"] = "kept"
        if is_newest and lane.latest is not None:
            stays = now_sec - self._newest[1] >= LIVE_SEC
            origin = "latest" if stays else "passing"
            if wanted and not stays and now_sec - self._live_sent_sec < LIVE_SEC:
                return
        elif wanted and archive is not None and lane.frames[position].sequence in archive:
            origin = "archive"
        key = (position, layout.generation, settings.color_by, settings.hidden_bins, origin)
        if not wanted:
            self._send_single("live", None, None)
        elif self._needs("live", key):
            self._live_sent_sec = now_sec
            if origin in ("latest", "passing") and lane.latest is not None:
                few = origin == "passing"
                points = thin_points(
                    lane.latest, self._passing_points if few else self._live_points
                )
            elif origin == "archive" and archive is not None:
                points = self._archived_points(archive, lane, position)
            else:
                points = lane.frames[position].points
            cloud = self._confident_cloud([points], position, layout, settings)
            self._send_single("live", key, cloud)

    def _archived_points(self, archive: FullFrames, lane: LaneScene, position: int) -> FramePoints:
        """Give a frame's points from its full result; the kept ones where that cannot be read."""
        try:
            result = archive.lane(lane.frames[position].sequence, self._lane)
        except RecordingError as error:
            logger.warning("%s", error)
            return lane.frames[position].points
        return thin_points(result, self._live_points)

    def _send_partial(
        self, lane: LaneScene, size: int, settings: ViewSettings, position: int
    ) -> None:
        """Show the frames up to `position` of the chunk that it stands in."""
        layout = lane.layout
        first = position - position % size
        ends_here = any(
            chunk.first <= first and chunk.stop == position + 1 for chunk in self._chunks.values()
        )
        key = (first, position, layout.generation, settings.color_by, settings.hidden_bins)
        if settings.live or settings.extent == "one" or position < 0 or ends_here:
            self._send_single("partial", None, None)
        elif self._needs("partial", key):
            parts = [frame.points for frame in lane.frames[first : position + 1]]
            cloud = self._confident_cloud(parts, first, layout, settings)
            self._send_single("partial", key, cloud)

    def _confident_cloud(
        self, parts: Sequence[FramePoints], first: int, layout: Layout, settings: ViewSettings
    ) -> Cloud | None:
        return confident_cloud(
            parts, first, layout, settings.color_by, settings.hidden_bins, self._lane_color
        )

    def _needs(self, name: str, key: object) -> bool:
        return name not in self._single or self._single[name][0] != key

    def _send_single(self, name: str, key: object, cloud: Cloud | None) -> None:
        _, before = self._single.get(name, (None, None))
        if cloud is not None:
            with self._page.atomic():
                self._single[name] = (key, self._add(name, cloud))
        else:
            if before is not None:
                before.remove()
            self._single[name] = (key, None)

    def _add(self, name: str, cloud: Cloud) -> viser.PointCloudHandle:
        return self._page.scene.add_point_cloud(
            f"{self._name}/{name}",
            cloud.points,
            cloud.colors,
            point_size=self._point_size,
            point_shape="square",
            point_shading="flat",
            precision=cloud.precision,
        )

    def _show(self, settings: ViewSettings, position: int) -> None:
        """Toggle what is already in the page; nothing is sent again for it."""
        shown = 0
        all_visible = settings.extent == "all"
        assign_changed(self._root, visible=all_visible)
        for b, handle in enumerate(self._bins):
            assign_changed(handle, visible=b >= settings.hidden_bins)
        for chunk in self._chunks.values():
            visible = settings.live or chunk.stop <= position + 1
            for b, handle in chunk.handles.items():
                assign_changed(handle, visible=visible, point_size=self._point_size)
                if all_visible and visible and b >= settings.hidden_bins:
                    shown += chunk.counts[b]
        for _, handle in self._single.values():
            if handle is not None:
                assign_changed(handle, point_size=self._point_size)
                shown += len(handle.points)
        self.points_shown = shown


def chunks_per_lane(lane_count: int) -> int:
    """Give the number of chunks that keeps the nodes of all lanes together within the limit."""
    left = MAX_NODES - lane_count * OTHER_NODES
    return min(MAX_CHUNKS, left // (lane_count * CONFIDENCE_BINS))
