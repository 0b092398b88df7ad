"""The presentation: captions in place of the panel, what moves by itself, the tour, pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.reconstruct.messages import Pause, Play
from ttt3r_viewer.recording.tour import Keyframe
from ttt3r_viewer.viewer.cameras.page_views import has_ended
from ttt3r_viewer.viewer.cameras.screenshot import Screenshots
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.presentation import Motion, ShowSettings
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import assign_changed, escape

SECONDS = 4.0
"""From one view of a tour to the next."""


class PresentPanel(Part):
    """Widgets and keys of the presentation."""

    def __init__(self, page: PageContext) -> None:
        self._loop = page.server.get_event_loop()
        self._controls = page.controls
        self._mailbox = page.mailbox
        self._tour = page.tour
        self._phase = "starting"
        self._frame_count = 0
        self._position = -1
        self._refusal = ""
        """Why the latest view was not taken; callbacks, all on viser's own loop, replace it."""
        self._screenshots = Screenshots()
        gui = page.server.gui
        with gui.add_folder("Presentation", expand_by_default=False):
            self._add_buttons(gui)
        with gui.add_folder("Tour", expand_by_default=False):
            self._add_tour(gui)
        self._add_keys(gui)
        if page.presentation.on:
            show = ShowSettings(presenting=True).toggled_motion("orbit", time.monotonic())
            page.controls.change(show=show)

    def _add_buttons(self, gui: viser.GuiApi) -> None:
        present = gui.add_button("Present", icon=viser.Icon.PRESENTATION, hint="Key: H; keys: ?")

        @present.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._flip("presenting")

        self._orbit = gui.add_checkbox("Orbit", False, hint="Slowly round the scene. Key: O")

        @self._orbit.on_update
        async def _(event: viser.GuiEvent[viser.GuiCheckboxHandle]) -> None:
            if event.client is not None and self._orbit.value != self._is_on("orbit"):
                self._toggle_motion("orbit")

        grow = gui.add_button("Show growth", icon=viser.Icon.PLAYER_TRACK_NEXT, hint="Key: G")

        @grow.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._grow()

        image = gui.add_button("Screenshot (2x)", icon=viser.Icon.CAMERA, hint="Key: P")

        @image.on_click
        async def _(event: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._take_image(event.client)

    def _add_tour(self, gui: viser.GuiApi) -> None:
        self._tour_text = gui.add_html("")
        add = gui.add_button("Add this view", icon=viser.Icon.PLUS, hint="Key: M")

        @add.on_click
        async def _(event: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._add_view(event.client)

        self._remove = gui.add_button("Remove last", icon=viser.Icon.MINUS, color="gray")

        @self._remove.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._change_tour(self._tour.remove_last)

        self._clear = gui.add_button("Clear", icon=viser.Icon.X, color="gray")

        @self._clear.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._change_tour(self._tour.clear)

        seconds = gui.add_number(
            *("Seconds per view", SECONDS), min=0.5, max=60.0, step=0.5, hint="For all views"
        )
        self._seconds = seconds

        @seconds.on_update
        async def _(event: viser.GuiEvent[viser.GuiNumberHandle[float]]) -> None:
            if event.client is not None:
                self._change_tour(lambda: self._tour.pace(self._pace_sec))

        self._play = gui.add_button("Play tour", icon=viser.Icon.ROUTE, hint="Key: T")

        @self._play.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._toggle_motion("tour")

    def _add_keys(self, gui: viser.GuiApi) -> None:
        toggle = gui.add_command("Pause or go on", hotkey="space", icon=viser.Icon.PLAYER_PLAY)

        @toggle.on_trigger
        async def _(_: viser.CommandEvent) -> None:
            self._pause_or_go_on()

        self._on_key(gui, "Orbit", "O", lambda _: self._toggle_motion("orbit"))
        self._on_key(gui, "Play or stop the tour", "T", lambda _: self._toggle_motion("tour"))
        self._on_key(gui, "Show growth", "G", lambda _: self._grow())
        self._on_key(gui, "Captions or panel", "H", lambda _: self._flip("presenting"))
        self._on_key(gui, "Add this view to the tour", "M", self._add_view)
        self._on_key(gui, "Lanes side by side", "C", lambda _: self._set_apart())
        self._on_key(gui, "Screenshot", "P", self._take_image)
        # viser's types know letters only; its page takes what the key writes, wherever that is.
        self._on_key(gui, "Show the keys", "?", lambda _: self._flip("keys_shown"), shift=True)

    def _on_key(
        self, gui: viser.GuiApi, label: str, key: Any, act: Any, *, shift: bool = False
    ) -> None:
        command = gui.add_command(label, hotkey=key, modifier="shift" if shift else None)

        @command.on_trigger
        async def _(event: viser.CommandEvent) -> None:
            act(event.client)

    @property
    def _pace_sec(self) -> float:
        return min(max(float(self._seconds.value), 0.5), 60.0)

    def _is_on(self, motion: Motion) -> bool:
        return self._controls.settings.show.motion == motion

    def _flip(self, name: str) -> None:
        show = self._controls.settings.show
        self._controls.change(show=replace(show, **{name: not getattr(show, name)}))

    def _toggle_motion(self, motion: Motion) -> None:
        if motion == "tour" and self._tour.tour is None:
            self._refusal = "no view yet: add some first"
            self._controls.changed.set()
            return
        show = self._controls.settings.show.toggled_motion(motion, time.monotonic())
        # Two hands at one view would tear it to and fro.
        self._controls.change(show=show, follow_camera=False)

    def _end_tour(self) -> None:
        """Let the view stand where a tour has ended; on viser's loop, as callbacks are."""
        if self._tour_has_ended:
            self._controls.change(show=self._controls.settings.show.still())

    @property
    def _tour_has_ended(self) -> bool:
        show, tour = self._controls.settings.show, self._tour.tour
        time_sec = show.motion_clock.at(time.monotonic())
        return show.motion == "tour" and (tour is None or has_ended(tour, time_sec))

    def _grow(self) -> None:
        show = self._controls.settings.show.replayed(time.monotonic())
        self._controls.change(show=show, live=False)

    def _set_apart(self) -> None:
        apart = self._controls.settings.arrangement == "side by side"
        self._controls.change(arrangement="overlay" if apart else "side by side")

    def _pause_or_go_on(self) -> None:
        """Stop whatever moves by itself, the run among it; else let it go on, or grow again."""
        show, now_sec = self._controls.settings.show, time.monotonic()
        runs = self._phase in ("starting", "running")
        if runs or show.moving(self._frame_count, now_sec):
            if runs:
                self._mailbox.put(Pause())
            self._controls.change(show=show.stopped(now_sec))
            return
        show = show.started(now_sec)
        if self._phase == "paused":
            self._mailbox.put(Play())
        elif not show.moving(self._frame_count, now_sec):
            self._grow()
            return
        self._controls.change(show=show)

    def _add_view(self, client: viser.ClientHandle | None) -> None:
        if client is not None:
            camera = client.camera
            pose = pose_of(camera.position, camera.wxyz)
            self._change_tour(
                lambda: self._tour.add(Keyframe(pose, float(camera.fov), self._pace_sec))
            )

    def _change_tour(self, change: Callable[[], None]) -> None:
        try:
            change()
            self._refusal = ""
        except SettingsError as error:
            self._refusal = str(error)
        self._controls.changed.set()

    def _take_image(self, client: viser.ClientHandle | None) -> None:
        if client is not None:
            self._screenshots.take(client, f"screenshot_{self._position + 1:05d}.png")

    def probe(self) -> dict[str, object]:
        """Say how many views the tour has."""
        return {"tour_views": len(self._tour.keyframes)}

    def update(self, tick: Tick) -> None:
        """Say how the tour is, and show what a key changed."""
        snapshot, settings = tick.snapshot, tick.settings
        show, self._position = settings.show, tick.position
        self._phase, self._frame_count = snapshot.status.phase, len(snapshot.frames)
        if self._tour_has_ended:
            self._loop.call_soon_threadsafe(self._end_tour)
        views = len(self._tour.keyframes)
        playing = show.motion == "tour"
        assign_changed(self._play, label="Stop tour" if playing else "Play tour")
        for button in (self._remove, self._clear, self._play):
            assign_changed(button, disabled=not views)
        length = 0.0 if self._tour.tour is None else self._tour.tour.duration_sec
        text = tour_html(views, length, self._refusal, self._tour.note)
        assign_changed(self._tour_text, content=text)
        if settings is self._controls.settings:
            assign_changed(self._orbit, value=show.motion == "orbit")


def pose_of(position: NDArray[np.float64], wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give a browser's camera as T_world_camera (4, 4); viser's cameras are OpenCV's too."""
    return pose_from_vector(np.concatenate((position, wxyz)))


def tour_html(views: int, length_sec: float, refusal: str, note: str) -> str:
    """Say how long the tour is, why a view was not taken, and where the tour is kept."""
    noun = "view" if views == 1 else "views"
    lines = [f"{views} {noun}, {length_sec:.3g} s" if views else "no view yet"]
    lines += [f'<span style="color:#ff8787">{escape(refusal)}</span>'] if refusal else []
    lines += [f'<span style="opacity:.75">{escape(note)}</span>'] if note else []
    return (
        '<div data-testid="tour" style="font-size:0.8em;line-height:1.5;padding:0.25em 0.75em;'
        f'overflow-wrap:anywhere">{"<br>".join(lines)}</div>'
    )
