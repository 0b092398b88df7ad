"""The publisher: the one thread that brings the page to what the store and the settings say."""

from __future__ import annotations

import html
import json
import logging
import threading
import time
from dataclasses import dataclass

import viser

from ttt3r_viewer.scene.budget import CONFIDENCE_BINS
from ttt3r_viewer.scene.store import SceneSnapshot, SceneStore
from ttt3r_viewer.viewer.cameras.client_cameras import ClientCameras
from ttt3r_viewer.viewer.cameras.guided_cameras import GuidedCameras
from ttt3r_viewer.viewer.layers.lane_layer import LaneLayer, lane_name
from ttt3r_viewer.viewer.panels.ask import AskPanel
from ttt3r_viewer.viewer.panels.charts import ChartsPanel
from ttt3r_viewer.viewer.panels.export import ExportPanel
from ttt3r_viewer.viewer.panels.inspect import InspectPanel
from ttt3r_viewer.viewer.panels.lanes import LanesPanel
from ttt3r_viewer.viewer.panels.look import LookPanel
from ttt3r_viewer.viewer.panels.present import PresentPanel
from ttt3r_viewer.viewer.panels.rules import RulesPanel
from ttt3r_viewer.viewer.panels.run import RunPanel
from ttt3r_viewer.viewer.panels.timeline import TimelinePanel
from ttt3r_viewer.viewer.server.guest_views import GuestViews
from ttt3r_viewer.viewer.server.twin import TwinView
from ttt3r_viewer.viewer.view_settings import ViewControls, ViewSettings
from ttt3r_viewer.viewer.widgets import Resender, assign_changed

TICK_SEC = 0.1
FOLLOW_TICK_SEC = 0.04
"""A followed view moves in steps of this, which the eye takes for smooth."""
SHORTEST_TICK_SEC = 0.03
"""However fast a slider is dragged, the page is not brought up to date more often than this."""

STOP_SEC = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PageParts:
    """Everything in the page that the publisher keeps up to date."""

    run: RunPanel
    timeline: TimelinePanel
    lanes: LanesPanel
    look: LookPanel
    present: PresentPanel
    rules: RulesPanel
    charts: ChartsPanel
    inspect: InspectPanel
    ask: AskPanel
    export: ExportPanel
    scene: LaneLayer
    client_cameras: ClientCameras
    guided_cameras: GuidedCameras
    twin: TwinView
    guests: GuestViews
    repeater: Resender
    probe: viser.GuiHtmlHandle


class Publisher:
    """Reads the store and the settings about ten times a second and assigns what differs."""

    def __init__(self, store: SceneStore, controls: ViewControls, parts: PageParts) -> None:
        self._store = store
        self._controls = controls
        self._parts = parts
        self._trouble = ""
        self.report = ""
        """An error's text from outside that the page shows; one thread replaces it."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page-publisher", daemon=True)

    def start(self) -> None:
        """Begin to keep the page up to date."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait a moment for it; it is a daemon, should it be busy."""
        self._stopping.set()
        self._controls.changed.set()
        self._thread.join(STOP_SEC)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._controls.changed.clear()
            try:
                self._tick(time.monotonic())
                self._trouble = ""
            except Exception as error:
                # One frame that cannot be drawn must not freeze the page for all that follow.
                trouble = f"The page could not be brought up to date: {error!r}"
                if trouble != self._trouble:
                    logger.exception(trouble)
                self._trouble = trouble
            settings = self._controls.settings
            moves = settings.follow_camera or settings.show.motion_clock.going
            self._stopping.wait(SHORTEST_TICK_SEC)
            self._controls.changed.wait(FOLLOW_TICK_SEC if moves else TICK_SEC)

    def _tick(self, now_sec: float) -> None:
        snapshot, settings, parts = self._store.snapshot(), self._controls.settings, self._parts
        position = shown_position(snapshot, settings, now_sec)
        parts.run.show(snapshot.status, snapshot.point_count, self.report or self._trouble)
        parts.timeline.show(snapshot.frames, settings, position, now_sec)
        parts.lanes.show(snapshot, settings, twin=parts.twin.offered)
        count = len(snapshot.lanes)
        drawn = settings.within(count)
        parts.scene.update(snapshot, drawn, position, now_sec)
        parts.look.show(settings, parts.scene.point_size, len(snapshot.lanes))
        parts.client_cameras.update(snapshot, drawn, position, now_sec, parts.scene.offsets)
        tour = parts.present.book.tour
        parts.guided_cameras.update(snapshot, drawn, tour, now_sec, parts.scene.offsets)
        names = tuple(lane_name(snapshot.status, lane) for lane in range(count))
        parts.twin.update(snapshot.epoch, names, drawn, parts.scene.offsets)
        parts.guests.update(snapshot, drawn, position, now_sec)
        parts.rules.show(snapshot.status, now_sec)
        parts.charts.show(snapshot, now_sec)
        parts.export.show(count)
        parts.present.show(snapshot, settings, position, parts.charts.ate_so_far(position))
        parts.inspect.show(
            snapshot,
            settings,
            position,
            now_sec,
            offsets=parts.scene.offsets,
            point_size=parts.scene.point_size,
        )
        parts.ask.show(
            snapshot,
            drawn,
            position,
            now_sec,
            offsets=parts.scene.offsets,
            point_size=parts.scene.point_size,
        )
        parts.repeater.tick()
        assign_changed(parts.probe, content=self._probe_html(snapshot, settings, position))

    def _probe_html(self, snapshot: SceneSnapshot, settings: ViewSettings, position: int) -> str:
        """Say what the page shows in a form that a program can read; people do not see it."""
        scene, drawn = self._parts.scene, settings.within(len(snapshot.lanes))
        state = {
            "phase": snapshot.status.phase,
            "frames_done": snapshot.status.frames_done,
            "frames_seen": len(snapshot.frames),
            "position": position,
            "live": settings.live,
            "extent": settings.extent,
            "percentile": 100 * settings.hidden_bins // CONFIDENCE_BINS,
            "color_by": settings.color_by,
            "points": snapshot.point_count,
            "points_shown": sum(scene.points_shown_by_lane),
            "points_shown_by_lane": scene.points_shown_by_lane,
            "nodes": scene.node_count,
            "lanes": len(snapshot.lanes),
            "arrangement": drawn.arrangement,
            "blink_lane": drawn.blink_lane,
            "visible_lanes": drawn.visible_lanes(len(snapshot.lanes)),
            "rules": [rule.text for rule in snapshot.status.lanes],
            "chart": self._parts.charts.chart_name,
            "chart_points": self._parts.charts.chart_points,
            "inspect": self._parts.inspect.probe(settings),
            "ask": self._parts.ask.probe(),
            "presenting": settings.show.presenting,
            "motion": settings.show.motion,
            "motion_going": settings.show.motion_clock.going,
            "replaying": settings.show.replaying,
            "taken": self._parts.guided_cameras.taken,
            "tour_views": len(self._parts.present.book.keyframes),
            "marks": sum(mark.kind == "change" for mark in self._parts.charts.marks),
        }
        return probe_html(state)


def shown_position(snapshot: SceneSnapshot, settings: ViewSettings, now_sec: float) -> int:
    """Give the frame that the page stands at, from 0, or -1 while there is none."""
    last = len(snapshot.frames) - 1
    if settings.show.replaying:
        return settings.show.replay_position(last + 1, now_sec)
    return last if settings.live else min(max(settings.position, 0), last)


def probe_html(state: dict[str, object]) -> str:
    """Wrap a state as JSON in an element that is not displayed."""
    text = html.escape(json.dumps(state))
    return f'<pre data-testid="probe" style="display:none">{text}</pre>'
