"""The tab "Inspect": looks into what the rule did with the shown frame, while its switch is on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.export.results import lane_names
from ttt3r_viewer.export.tokens import statistics_csv, tokens_npz
from ttt3r_viewer.scene.store import LaneScene, SceneSnapshot
from ttt3r_viewer.types import Camera, Inspection
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers import inspect_layer, maps
from ttt3r_viewer.viewer.layers.camera_layer import LIVE_DEPTH
from ttt3r_viewer.viewer.panels import inspect_views as views
from ttt3r_viewer.viewer.panels.inspect_widgets import DIFFERENCE, OFF_TEXT, InspectWidgets
from ttt3r_viewer.viewer.tick import Geometry, Part, Tick
from ttt3r_viewer.viewer.view_settings import InspectSettings
from ttt3r_viewer.viewer.widgets import assign_changed

DRAW_SEC = 0.2
LIST_SEC = 1.0
BUSY_SHARE = 0.1
"""Of the publisher's time that drawing may take, however large the state."""


@dataclass(frozen=True, eq=False)
class _Target:
    """What a click in the scene can meet of the frame that was looked into: points, picture."""

    points_world: NDArray[np.float32]
    patches: NDArray[np.intp]
    offset: float
    camera: Camera
    image_depth: float | None
    """How far in front of the camera its picture stands; None where it is not drawn."""
    rows: int
    columns: int

    def patch_at(self, origin: NDArray[np.float64], direction: Sequence[float]) -> int | None:
        """Give the patch of what a ray meets first."""
        origin = origin - [self.offset, 0.0, 0.0]
        hit = inspect_layer.point_on_ray(self.points_world, origin, direction)
        if self.image_depth is not None:
            met = inspect_layer.patch_on_image(
                origin, direction, self.camera, self.image_depth, self.rows, self.columns
            )
            if met is not None and (
                hit is None or met[1] < np.linalg.norm(self.points_world[hit] - origin)
            ):
                return met[0]
        return None if hit is None else int(self.patches[hit])


class InspectPanel(Part):
    """The tab and what it draws in the scene."""

    def __init__(self, page: PageContext) -> None:
        self._server = page.server
        controls = self._controls = page.controls
        self._mailbox = page.mailbox
        self._layer = inspect_layer.InspectLayer(page.server)
        self._questions = views.Questions()
        self._was_on = False
        self._note = ""
        self._forget()
        widgets = self._widgets = InspectWidgets(page.server.gui, controls)

        @widgets.go.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            place = self._moved_places.get(widgets.moved.value)
            if place is not None:
                controls.stand_at(live=False, position=place)

        @widgets.save_map.on_click
        async def _(event: viser.GuiEvent[viser.GuiButtonGroupHandle]) -> None:
            name = widgets.save_map.value
            image = self._pictures.get(name)
            if event.client is not None and image is not None:
                file = f"{name.lower()}_map.png"
                event.client.send_file_download(file, maps.png(image), save_immediately=True)

        # Packing thousands of frames takes a while, so this one is left to viser's own threads.
        @widgets.save_numbers.on_click
        def _(event: viser.GuiEvent[viser.GuiButtonGroupHandle]) -> None:
            lane, found = self._lane_shown, self._found
            if event.client is not None and lane is not None and found is not None:
                name, content = self._file(widgets.save_numbers.value, lane, found)
                event.client.send_file_download(name, content, save_immediately=True)

    def _file(self, kind: str, lane: LaneScene, found: Inspection) -> tuple[str, bytes]:
        if kind == "CSV":
            threshold = self._controls.settings.inspect.threshold
            return "statistics.csv", statistics_csv(lane.frames, threshold)
        return "tokens.npz", tokens_npz(lane, found.state_columns)

    async def _click(self, event: viser.SceneClickEvent) -> None:
        """Pick the patch that was clicked, on the shown camera's picture or a point."""
        target = self._target
        if target is None:
            return
        patch = target.patch_at(np.array(event.ray_origin), event.ray_direction)
        if patch is not None:
            row, column = divmod(patch, target.columns)
            self._controls.change_inspect(row=row, column=column)

    def _forget(self) -> None:
        """Let go of all that was looked into."""
        self._history = maps.GainHistory()
        self._history_of: object = None
        self._found: Inspection | None = None
        self._target: _Target | None = None
        self._lane_shown: LaneScene | None = None
        self._drawn: dict[str, object] = {}
        self._pictures: dict[str, maps.Pixels] = {}
        self._moved_places: dict[str, int] = {}
        self._draw_due_sec = self._list_due_sec = -math.inf
        self._questions.forget()

    def update(self, tick: Tick) -> None:
        """Ask about the shown frame and draw what came back; nothing at all while it is off."""
        snapshot, settings, position = tick.snapshot, tick.settings, tick.position
        now_sec, count = tick.now_sec, tick.lane_count
        self._layer.begin((snapshot.epoch, count))
        chosen = settings.inspect
        self._switch(chosen.on)
        if not chosen.on:
            return
        number = min(chosen.lane, count - 1)
        lane = self._lane_shown = snapshot.lanes[number]
        self._offer_lanes(snapshot)
        found = self._take(snapshot, number)
        question = self._questions.ask(snapshot, number, position, now_sec)
        if question is not None:
            self._mailbox.put(question)
        self._note = views.note_text(snapshot, found, position)
        assign_changed(self._widgets.note, content=views.note_html(self._note))
        if found is not None:
            chosen = views.picked_within(chosen, found)
            self._show_picked(chosen, found, up_to_date=settings is self._controls.settings)
        if now_sec < self._draw_due_sec or position < 0:
            return
        started = time.perf_counter()
        self._gather(snapshot, number, difference=chosen.difference and count > 1)
        self._draw_history(lane, chosen, position, now_sec)
        if found is not None:
            self._draw_state(chosen, position, found)
            self._draw_image(lane, chosen, found)
            at_frame = settings.show_cameras and found.sequence == position
            depth = LIVE_DEPTH * lane.layout.median_depth if at_frame else None
            self._draw_scene(lane, chosen, found, tick.geometry, depth)
        busy_sec = time.perf_counter() - started
        self._draw_due_sec = now_sec + max(DRAW_SEC, busy_sec / BUSY_SHARE)

    def probe(self) -> dict[str, object]:
        """Say what this tab shows, for programs."""
        chosen, found = self._controls.settings.inspect, self._found
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
        if on == self._was_on:
            return
        self._was_on = on
        self._forget()
        for folder in self._widgets.folders:
            folder.visible = on
        if on:
            # A page that listens to clicks shows another pointer, so it does only while on.
            # viser awaits callbacks that are coroutines, which its annotation does not say.
            self._server.scene.on_click()(self._click)  # pyright: ignore[reportArgumentType]
        else:
            self._server.scene.remove_click_callback(self._click)
            self._layer.clear()
            self._widgets.lane.visible = False
            self._note = ""
            self._widgets.note.content = views.note_html(OFF_TEXT)

    def _offer_lanes(self, snapshot: SceneSnapshot) -> None:
        count = len(snapshot.lanes)
        names = lane_names(snapshot.status.lanes)
        known = names if len(names) == count else ("",) * count
        options = [f"{k + 1} {name}".strip() for k, name in enumerate(known)]
        if count > 1:
            options.append(DIFFERENCE)
        assign_changed(self._widgets.lane, options=tuple(options), visible=count > 1)

    def _take(self, snapshot: SceneSnapshot, lane: int) -> Inspection | None:
        """Keep the last answer about this lane until the next one comes."""
        found, kept = snapshot.inspection, self._found
        if found is not None and (found.epoch, found.lane) == (snapshot.epoch, lane):
            self._found = found
        elif kept is not None and (kept.epoch, kept.lane) != (snapshot.epoch, lane):
            self._found = self._target = None
        return self._found

    def _show_picked(self, chosen: InspectSettings, found: Inspection, *, up_to_date: bool) -> None:
        """Keep the widgets within what there is, and show what a click picked."""
        widgets = self._widgets
        assign_changed(widgets.layer_slider, max=len(found.writes))
        assign_changed(widgets.token, max=len(found.gain) - 1)
        assign_changed(widgets.row, max=found.rows - 1)
        assign_changed(widgets.column, max=found.columns - 1)
        # A widget that a person has just changed is ahead of older settings.
        if up_to_date:
            assign_changed(widgets.row, value=chosen.row)
            assign_changed(widgets.column, value=chosen.column)

    def _gather(self, snapshot: SceneSnapshot, lane: int, *, difference: bool) -> None:
        """Take in the gains of new frames, all of them where it is another lane or run."""
        first, second = (0, 1) if difference else (lane, lane)
        key = (snapshot.epoch, first, second)
        if key != self._history_of:
            self._history, self._history_of = maps.GainHistory(), key
            self._drawn.clear()
        a, b = snapshot.lanes[first].frames, snapshot.lanes[second].frames
        for k in range(self._history.count, len(a)):
            self._history.add(a[k].gain - b[k].gain if difference else a[k].gain)

    def _new(self, name: str, *key: object) -> bool:
        """Whether something has to be drawn anew, which is then taken as done."""
        if self._drawn.get(name) == key:
            return False
        self._drawn[name] = key
        return True

    def _put(self, name: str, handle: viser.GuiImageHandle, image: maps.Pixels) -> None:
        self._pictures[name] = handle.image = image

    def _draw_history(
        self, lane: LaneScene, chosen: InspectSettings, position: int, now_sec: float
    ) -> None:
        """Draw what needs the gains alone."""
        history, widgets = self._history, self._widgets
        count, tokens = history.rows.shape
        token = min(chosen.token, tokens - 1)
        if self._new("history", count, position, token, chosen.by_mean):
            unit = "gain of lane 1 - lane 2" if chosen.difference else "gain"
            image = maps.history_image(
                history, by_mean=chosen.by_mean, token=token, position=position, unit=unit
            )
            self._put("History", widgets.history_image, image)
            widgets.history_text.content = views.history_html(
                count, history.stretch, tokens, chosen.by_mean
            )
        if self._new("statistics", position, chosen.threshold):
            frame = lane.frames[position]
            widgets.statistics.content = views.statistics_html(
                frame.gain, chosen.threshold, frame.state_change
            )
            widgets.histogram.data = maps.histogram_steps(frame.gain)
        if now_sec >= self._list_due_sec and self._new("moved", count):
            self._list_due_sec = now_sec + LIST_SEC
            self._moved_places = views.most_moved(lane.frames)
            widgets.moved.options = tuple(self._moved_places)

    def _draw_state(self, chosen: InspectSettings, position: int, found: Inspection) -> None:
        """Draw the state map, and list the tokens of the picked patch."""
        patch = chosen.row * found.columns + chosen.column
        mode, layer, token = chosen.mode, chosen.layer, chosen.token
        where = (views.key_of(found), layer, patch, token)
        if not self._new("state", position, mode, chosen.threshold, chosen.difference, *where):
            return
        widgets = self._widgets
        rows = self._history.rows
        values = views.state_values(mode, rows, position, chosen.threshold, found)
        of_two = chosen.difference and mode in views.GAIN_MODES
        unit = ("difference of " if of_two else "") + views.STATE_UNITS[mode]
        lit = views.lit_tokens(found, patch, layer)
        image = maps.state_image(values, found.state_columns, unit, token, lit)
        self._put("State", widgets.state_image, image)
        assign_changed(widgets.token_text, content=views.token_html(found, token))
        assign_changed(widgets.tokens, content=views.tokens_html(found, patch, layer))

    def _draw_image(self, lane: LaneScene, chosen: InspectSettings, found: Inspection) -> None:
        """Draw the input picture of the frame that was looked into, and the map over it."""
        frame, latest = lane.frames[found.sequence], lane.latest
        newest = latest is not None and latest.sequence == found.sequence
        layer, token = chosen.layer, chosen.token
        patch = chosen.row * found.columns + chosen.column
        where = (views.key_of(found), newest, layer, token, patch)
        if not self._new("picture", chosen.image, chosen.opacity, *where):
            return
        top = inspect_layer.top_patches(found, token, layer)
        image = maps.overlay_image(
            latest.image if newest and latest is not None else frame.image,
            views.image_values(chosen.image, found, lane, token, layer),
            chosen.opacity,
            views.IMAGE_UNITS[chosen.image],
            patches=(found.rows, found.columns),
            top=top,
            picked=patch,
        )
        self._put("Picture", self._widgets.image_image, image)

    def _draw_scene(
        self,
        lane: LaneScene,
        chosen: InspectSettings,
        found: Inspection,
        geometry: Geometry,
        image_depth: float | None,
    ) -> None:
        """Colour and highlight the points of the frame that was looked into."""
        offset, point_size = geometry.offsets[found.lane], geometry.point_size
        layer, token = chosen.layer, chosen.token
        patch = chosen.row * found.columns + chosen.column
        seen = (views.key_of(found), lane.layout.generation, point_size)
        image = self._pictures["Picture"]
        camera = lane.frames[found.sequence].camera
        if self._new("frustum", *seen, image_depth, self._drawn["picture"]):
            if image_depth is None:
                self._layer.hide_image()
            else:
                height = maps.image_height(camera.aspect)
                self._layer.show_image(found.lane, image[:height], camera, image_depth)
        if not self._new("scene", *seen, offset, image_depth, layer, token, patch, chosen.points):
            return
        points = inspect_layer.shown_points(lane, found.sequence)
        patches = inspect_layer.patches_of_points(
            points.points_world, camera, found.rows, found.columns
        )
        known = patches >= 0
        self._target = _Target(
            points_world=points.points_world[known],
            patches=patches[known],
            offset=offset,
            camera=camera,
            image_depth=image_depth,
            rows=found.rows,
            columns=found.columns,
        )
        self._layer.show_points(
            found.lane,
            points.points_world,
            camera,
            patches,
            top=inspect_layer.top_patches(found, token, layer),
            picked=patch,
            values=views.point_values(chosen.points, found),
            point_size=point_size,
        )
