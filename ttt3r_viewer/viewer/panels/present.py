"""The presentation: captions in place of the panel, what moves by itself, the tour, screenshots."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import viser
from numpy.typing import NDArray
from viser import Icon

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.reconstruct.messages import Pause, Play
from ttt3r_viewer.recording.tour import Keyframe
from ttt3r_viewer.viewer.cameras.page_views import has_ended
from ttt3r_viewer.viewer.cameras.tour_recorder import TourRecorder
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import BAD, block, colored, counted, escape, lines, muted
from ttt3r_viewer.viewer.layers.maps import png
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import Motion, ShowSettings
from ttt3r_viewer.viewer.widgets import Widgets, assign_changed, bind, send_file, value_of

SECONDS = 4.0
"""From one view of a tour to the next."""
SCALE = 2
LONGEST_SIDE = 8192
"""Limit that every browser's graphics can render."""
WAIT_SEC = 60.0
"""Time limit of a browser's answer; one without a GPU takes seconds."""
BACKGROUND = (20, 20, 20)
"""Colour of the page where nothing is drawn."""

log = logging.getLogger(__name__)
_taking = threading.Lock()
"""Held while a screenshot is taken."""


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
        gui, tour, widgets = page.server.gui, page.tour, Widgets(page.server.gui)
        with gui.add_folder("Presentation", expand_by_default=False):
            hint = "Key: H; keys: ?"
            widgets.button(
                "Present", Icon.PRESENTATION, lambda _: self._flip("presenting"), hint=hint
            )
            self._orbit = gui.add_checkbox("Orbit", False, hint="Slowly round the scene. Key: O")
            bind(self._orbit, self._set_orbit)
            icon = Icon.PLAYER_TRACK_NEXT
            widgets.button("Show growth", icon, lambda _: self._grow(), hint="Key: G")
            widgets.button("Screenshot (2x)", Icon.CAMERA, self._take_image, hint="Key: P")
        with gui.add_folder("Tour", expand_by_default=False):
            self._tour_text = gui.add_html("")
            widgets.button("Add this view", Icon.PLUS, self._add_view, hint="Key: M")
            self._remove = widgets.button(
                "Remove last",
                Icon.MINUS,
                lambda _: self._change_tour(tour.keyframes[:-1]),
                color="gray",
            )
            self._clear = widgets.button(
                "Clear", Icon.X, lambda _: self._change_tour(()), color="gray"
            )
            self._seconds = gui.add_number(
                "Seconds per view", SECONDS, min=0.5, max=60.0, step=0.5, hint="For all views"
            )
            bind(self._seconds, self._pace)
            self._play = widgets.button(
                "Play tour", Icon.ROUTE, lambda _: self._toggle_motion("tour"), hint="Key: T"
            )
        self._add_keys(widgets.key)
        show, opening = (
            ShowSettings(presenting=page.presentation.on),
            page.controls.settings.opening,
        )
        if opening != "still":
            show = replace(show.toggled_motion(opening, time.monotonic()), motion_asked=False)
        page.controls.change(show=show)

    def _add_keys(self, key: Callable[..., object]) -> None:
        key("Pause or go on", "space", lambda _: self._pause_or_go_on(), icon=Icon.PLAYER_PLAY)
        key("Orbit", "O", lambda _: self._toggle_motion("orbit"))
        key("Play or stop the tour", "T", lambda _: self._toggle_motion("tour"))
        key("Show growth", "G", lambda _: self._grow())
        key("Captions or panel", "H", lambda _: self._flip("presenting"))
        key("Add this view to the tour", "M", self._add_view)
        key("Lanes side by side", "C", lambda _: self._set_apart())
        key("Screenshot", "P", self._take_image)
        # viser's types know letters only; its page takes what the key writes, wherever that is.
        key("Show the keys", "?", lambda _: self._flip("keys_shown"), modifier="shift")

    def _set_orbit(self, on: bool) -> None:
        if on != (self._controls.settings.show.motion == "orbit"):
            self._toggle_motion("orbit")

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
            # viser's cameras are OpenCV's too.
            pose = pose_from_vector(np.concatenate((camera.position, camera.wxyz)))
            keyframe = Keyframe(pose, float(camera.fov), value_of(self._seconds))
            self._change_tour((*self._tour.keyframes, keyframe))

    def _pace(self, seconds: float) -> None:
        paced = (replace(one, seconds=seconds) for one in self._tour.keyframes)
        self._change_tour(tuple(paced))

    def _change_tour(self, keyframes: tuple[Keyframe, ...]) -> None:
        try:
            self._tour.keep(keyframes)
            self._refusal = ""
        except SettingsError as error:
            self._refusal = str(error)
        self._controls.changed.set()

    def _take_image(self, client: viser.ClientHandle | None) -> None:
        if client is not None:
            take_screenshot(client, f"screenshot_{self._position + 1:05d}.png")

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
        assign_changed(self._tour_text, content=tour_html(self._tour, self._refusal))
        if settings is self._controls.settings:
            assign_changed(self._orbit, value=show.motion == "orbit")


def tour_html(recorder: TourRecorder, refusal: str) -> str:
    """Say how long the tour is, why a view was not taken, and where the tour is kept."""
    length, tour = "no view yet", recorder.tour
    if tour is not None:
        length = f"{counted(len(tour.keyframes), 'view')}, {tour.duration_sec:.3g} s"
    content = lines((length, colored(escape(refusal), BAD), muted(escape(recorder.note))))
    return block("tour", content, size="0.8em", style="padding:0.25em 0.75em")


def image_size(width: int, height: int) -> tuple[int, int]:
    """Return twice the size of a canvas, or as much as its browser can render."""
    factor = min(SCALE, LONGEST_SIDE / max(width, height))
    return max(round(width * factor), 1), max(round(height * factor), 1)


def on_background(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend an image (height, width, 4) RGBA with the background; gives (height, width, 3)."""
    share = image[..., 3:].astype(np.float32) / 255
    laid = share * image[..., :3] + (1 - share) * np.array(BACKGROUND, np.float32)
    return laid.round().astype(np.uint8)


def take_screenshot(client: viser.ClientHandle, name: str) -> None:
    """Let a browser render twice as large what it shows, and send it the PNG as `name`.

    Returns at once: browsers may take long, so each is taken in its own thread, one at a time.
    """
    if not _taking.acquire(blocking=False):
        text = "Another one is being taken: try again in a moment."
        client.add_notification("Screenshot", text, color="yellow")
        return
    threading.Thread(target=_render, args=(client, name), name="screenshot", daemon=True).start()


def _render(client: viser.ClientHandle, name: str) -> None:
    try:
        width, height = image_size(client.camera.image_width, client.camera.image_height)
        image = client.get_render(height, width, transport_format="png", timeout=WAIT_SEC)
        send_file(client, name, png(on_background(image)))
    except (RuntimeError, TimeoutError, ValueError, MemoryError) as error:
        # The notification does not reach a browser that was closed meanwhile.
        log.warning("no screenshot: %s", error)
        client.add_notification("No screenshot", str(error), color="red")
    finally:
        _taking.release()
