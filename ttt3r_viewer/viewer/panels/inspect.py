"""The tab "Inspect": looks into what the rule did with the shown frame, while its switch is on."""

import math
import time
from dataclasses import replace

import numpy as np
import viser

from ttt3r_viewer.export.results import statistics_csv, tokens_npz
from ttt3r_viewer.scene.store import LaneScene, SceneSnapshot
from ttt3r_viewer.types import Inspection
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import note
from ttt3r_viewer.viewer.layers import maps
from ttt3r_viewer.viewer.layers.camera_layer import LIVE_DEPTH
from ttt3r_viewer.viewer.layers.inspect_layer import InspectLayer, Shown, key_of
from ttt3r_viewer.viewer.panels import inspect_views as views
from ttt3r_viewer.viewer.panels.inspect_widgets import (
    DIFFERENCE,
    NO_LANES,
    OFF_TEXT,
    InspectWidgets,
)
from ttt3r_viewer.viewer.server.clients import client_of
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import InspectSettings
from ttt3r_viewer.viewer.widgets import assign_changed, offer, send_file, show

DRAW_SEC = 0.2
LIST_SEC = 1.0
BUSY_SHARE = 0.1
"""Of the publisher's time that drawing may take, however large the state."""
NARROW_PX, WIDE_PX, WIDE_SHARE = 320, 1100, 0.8
"""Widths of the panel, and the share of the window that it may take."""


class InspectPanel(Part):
    """The tab and what it draws in the scene."""

    def __init__(self, page: PageContext) -> None:
        self._server = page.server
        self._controls = page.controls
        self._mailbox = page.mailbox
        self._layer = InspectLayer(page.server)
        self._chosen = InspectSettings()
        self._note = ""
        self._clear()
        gui, controls = page.server.gui, page.controls
        self._looking: set[int] = set()
        """Owners' browsers in which the tab is open."""
        page.channel.on_action(self._hear)
        page.overlay.show("panel", {"channel": page.channel.name})
        page.server.on_client_disconnect(self._forget)
        self._wide: set[int] = set()
        """Browsers whose panel was made wide here."""
        self._widgets = InspectWidgets(
            gui,
            controls,
            widen=self._widen,
            go=self._go,
            save_map=self._save_map,
            save_data=self._save_data,
        )

    def _hear(self, client: viser.ClientHandle, _page: str, action: str, value: object) -> None:
        """Note in which browsers the tab is open, as their script says."""
        number = client.client_id
        if action != "looks" or client_of(self._server, number).role != "owner":
            return
        if isinstance(value, bool) and value != (number in self._looking):
            self._looking ^= {number}
            self._controls.changed.set()

    async def _forget(self, client: viser.ClientHandle) -> None:
        self._looking.discard(client.client_id)
        self._wide.discard(client.client_id)

    def _widen(self, client: viser.ClientHandle | None) -> None:
        """Give the maps a place beside each other in one browser, or take it away again."""
        if client is None:
            return
        self._wide ^= {client.client_id}
        wide_px = min(WIDE_PX, WIDE_SHARE * client.camera.image_width)
        width_px = wide_px if client.client_id in self._wide else NARROW_PX
        client.gui.main_panel.set_width(max(width_px, NARROW_PX))

    def _go(self, _: viser.ClientHandle | None) -> None:
        place = self._moved_places.get(self._widgets.moved.value)
        if place is not None:
            self._controls.stand_at(live=False, position=place)

    def _save_map(self, client: viser.ClientHandle, name: str) -> None:
        if name in self._drawn:
            image = self._widgets.images[name].image
            send_file(client, f"{name.lower()}_map.png", maps.png(image))

    def _save_data(self, client: viser.ClientHandle, name: str) -> None:
        lane, found = self._lane_shown, self._found
        if lane is None or found is None:
            return
        if name == "CSV":
            threshold = self._chosen.threshold
            send_file(client, "statistics.csv", statistics_csv(lane.frames, threshold))
        else:
            send_file(client, "tokens.npz", tokens_npz(lane, found.state_columns))

    async def _click(self, event: viser.SceneClickEvent) -> None:
        """Pick the patch that was clicked, on the shown camera's image or a point."""
        who = client_of(self._server, event.client_id)
        origin = np.array(event.ray_origin) - [who.offset_of(self._layer.offset), 0.0, 0.0]
        patch = self._layer.patch_at(origin, event.ray_direction)
        if patch is not None:
            self._controls.change_inspect(row=patch[0], column=patch[1])

    def _clear(self) -> None:
        """Drop all that was inspected and drawn."""
        self._gains = np.zeros((0, 0), np.float16)
        """(frame, state) so far; of two lanes, their difference."""
        self._gains_of: object = None
        self._first: Inspection | None = None
        self._found: Inspection | None = None
        """What was found first since the switch was turned on, and last."""
        self._layer.clear()
        self._lane_shown: LaneScene | None = None
        self._drawn: dict[str, object] = {}
        self._moved_places: dict[str, int] = {}
        self._draw_due_sec = self._list_due_sec = -math.inf
        self._schedule = views.InspectionSchedule()

    def update(self, tick: Tick) -> None:
        """Ask about the shown frame and draw what came back; nothing at all while it is off, or
        nobody has the tab open.
        """
        snapshot, position = tick.snapshot, tick.position
        was_on, chosen = self._chosen.on, tick.drawn.inspect
        # Its marks leave the scene with the tab.
        chosen = self._chosen = replace(chosen, on=chosen.on and bool(self._looking))
        self._layer.begin((snapshot.epoch, tick.lane_count))
        if chosen.on != was_on:
            self._switch(chosen.on)
        if not chosen.on:
            return
        number = min(chosen.lane, tick.lane_count - 1)
        lane = self._lane_shown = snapshot.lanes[number]
        self._offer_lanes(snapshot)
        found = self._latest(snapshot, number)
        if message := self._schedule.due(snapshot, number, position, tick.now_sec):
            self._mailbox.put(message)
        self._note = views.note_text(snapshot, found, position)
        assign_changed(self._widgets.note, content=note("inspect-note", self._note))
        if found is not None:
            self._first = self._first or found
            chosen = self._chosen = views.picked_within(chosen, found, self._first)
            self._show_picked(found, chosen, up_to_date=tick.settings is self._controls.settings)
        if tick.now_sec < self._draw_due_sec or position < 0:
            return
        started = time.perf_counter()
        self._gather(snapshot, number, difference=chosen.difference)
        self._draw_history(lane, chosen, position, tick.now_sec)
        if found is not None:
            shown = Shown(lane, found, chosen, self._gains[: position + 1])
            self._draw_state(shown)
            self._draw_image(shown)
            self._draw_scene(shown, tick)
        busy_sec = time.perf_counter() - started
        self._draw_due_sec = tick.now_sec + max(DRAW_SEC, busy_sec / BUSY_SHARE)

    def probe(self) -> dict[str, object]:
        """Say what this tab shows, for programs."""
        chosen, found = self._chosen, self._found
        state = {
            "on": chosen.on,
            "lane": chosen.lane,
            "sequence": None if found is None else found.sequence,
            "token": chosen.token,
            "patch": [chosen.row, chosen.column],
            "layer": chosen.layer,
            "mode": chosen.mode,
            "note": self._note,
            "picked_points": self._layer.picked_points,
        }
        return {"inspect": state}

    def _switch(self, on: bool) -> None:
        """Do what has to be done once when the switch is turned."""
        self._clear()
        show(on, *self._widgets.folders, self._widgets.wide)
        if on:
            # A page that listens to clicks shows another pointer, so it does only while on.
            # viser awaits callbacks that are coroutines, which its annotation does not say.
            self._server.scene.on_click()(self._click)  # pyright: ignore[reportArgumentType]
        else:
            self._server.scene.remove_click_callback(self._click)
            show(False, self._widgets.lane)
            self._note = ""
            assign_changed(self._widgets.note, content=note("inspect-note", OFF_TEXT))

    def _offer_lanes(self, snapshot: SceneSnapshot) -> None:
        names = snapshot.lane_labels
        options = (*names, DIFFERENCE.format(*names[:2])) if len(names) > 1 else NO_LANES
        offer(self._widgets.lane, options)
        show(len(names) > 1, self._widgets.lane)

    def _latest(self, snapshot: SceneSnapshot, lane: int) -> Inspection | None:
        """Keep the last inspection of this lane until the next one comes."""
        for found in (snapshot.inspection, self._found):
            if found is not None and (found.epoch, found.lane) == (snapshot.epoch, lane):
                self._found = found
                return found
        self._found = None
        self._layer.clear()
        return None

    def _show_picked(self, found: Inspection, chosen: InspectSettings, *, up_to_date: bool) -> None:
        """Keep the widgets within what there is, and show what a click picked."""
        widgets = self._widgets
        assign_changed(widgets.layer, max=len(found.writes))
        assign_changed(widgets.token, max=len(found.gain) - 1)
        assign_changed(widgets.row, max=found.rows - 1)
        assign_changed(widgets.column, max=found.columns - 1)
        # A widget that a user has just changed is ahead of older settings.
        if up_to_date:
            assign_changed(widgets.token, value=chosen.token)
            assign_changed(widgets.row, value=chosen.row)
            assign_changed(widgets.column, value=chosen.column)

    def _gather(self, snapshot: SceneSnapshot, lane: int, *, difference: bool) -> None:
        """Collect the gains of all frames again, where there are new ones or others."""
        lanes = (0, 1) if difference else (lane,)
        key = (snapshot.epoch, lanes)
        if key != self._gains_of:
            self._gains_of = key
            self._drawn.clear()
        if self._is_due("gains", len(snapshot.frames)):
            own, *others = (np.stack([one.gain for one in snapshot.lanes[k].frames]) for k in lanes)
            self._gains = own - others[0] if others else own

    def _is_due(self, name: str, *key: object) -> bool:
        """Whether something has to be drawn again, which then counts as done."""
        due = self._drawn.get(name) != key
        self._drawn[name] = key
        return due

    def _draw_history(
        self, lane: LaneScene, chosen: InspectSettings, position: int, now_sec: float
    ) -> None:
        """Draw what needs the gains alone."""
        widgets, (count, tokens) = self._widgets, self._gains.shape
        token = min(max(chosen.token, 0), tokens - 1)
        if self._is_due("History", count, position, token, chosen.by_mean):
            unit = "gain of lane 1 - lane 2" if chosen.difference else "gain"
            widgets.images["History"].image = maps.history_image(
                self._gains, by_mean=chosen.by_mean, token=token, position=position, unit=unit
            )
            widgets.history_text.content = views.history_html(count, tokens, chosen.by_mean)
        if self._is_due("statistics", position, chosen.threshold):
            frame = lane.frames[position]
            widgets.statistics.content = views.statistics_html(
                frame.gain, chosen.threshold, frame.state_change
            )
            widgets.histogram.data = maps.histogram_steps(frame.gain)
        if now_sec >= self._list_due_sec and self._is_due("moved", count):
            self._list_due_sec = now_sec + LIST_SEC
            self._moved_places = views.most_moved(lane.frames)
            widgets.moved.options = tuple(self._moved_places)

    def _draw_state(self, shown: Shown) -> None:
        """Draw the state map, and list the tokens of the picked patch."""
        found, chosen, widgets = shown.found, shown.chosen, self._widgets
        kind = views.STATE_MAPS[chosen.mode]
        key = (len(shown.gains), chosen.mode, chosen.threshold, chosen.difference, *shown.key)
        if not self._is_due("State", *key):
            return
        values = kind.values(shown)
        assert values is not None, chosen.mode
        unit = ("difference of " if chosen.difference and kind.of_gains else "") + kind.unit
        lit = [token for _, tokens in views.listed_tokens(shown) for token in tokens]
        widgets.images["State"].image = maps.state_image(
            values, found.state_columns, unit, chosen.token, lit
        )
        assign_changed(widgets.token_text, content=views.token_html(shown))
        assign_changed(widgets.tokens, content=views.tokens_html(shown))

    def _draw_image(self, shown: Shown) -> None:
        """Draw the image of the inspected frame, and the map over it."""
        found, chosen, latest = shown.found, shown.chosen, shown.lane.latest
        newest = latest if latest is not None and latest.sequence == found.sequence else None
        if not self._is_due("Image", chosen.image, chosen.opacity, newest is None, *shown.key):
            return
        kind = views.PATCH_MAPS[chosen.image]
        values = kind.values(shown)
        if values is not None and values.ndim == 1:
            values = values.reshape(found.rows, found.columns)
        self._widgets.images["Image"].image = maps.overlay_image(
            (newest or shown.lane.frames[found.sequence]).image,
            values,
            chosen.opacity,
            kind.unit,
            patches=(found.rows, found.columns),
            top=shown.top_patches,
            picked=shown.patch,
        )

    def _draw_scene(self, shown: Shown, tick: Tick) -> None:
        """Colour and highlight the points of the inspected frame, and cover its image."""
        found, chosen, layout = shown.found, shown.chosen, shown.lane.layout
        point_size, offset = tick.settings.point_size, tick.offsets[found.lane]
        at_frame = tick.settings.show_cameras and found.sequence == tick.position
        depth = LIVE_DEPTH * layout.median_depth if at_frame else None
        seen = (key_of(found), layout.generation, point_size, depth)
        if self._is_due("frustum", *seen, self._drawn["Image"]):
            if depth is None:
                self._layer.remove("image")
            else:
                height = maps.image_height(shown.camera.aspect)
                self._layer.show_image(shown, self._widgets.images["Image"].image[:height], depth)
        if self._is_due("scene", *seen, offset, chosen.points, *shown.key):
            values = views.PATCH_MAPS[chosen.points].values(shown)
            self._layer.show_points(
                shown, values, point_size=point_size, offset=offset, image_depth=depth
            )
