"""The tab "Ask": what the state of every lane expects to see from where a browser looks."""

import math
from collections.abc import Sequence

import numpy as np
import viser
from PIL import Image
from viser import Icon

from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.reconstruct.messages import Query
from ttt3r_viewer.types import Answer, Expectation
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import note
from ttt3r_viewer.viewer.layers.ask_layer import AskLayer, lane_camera
from ttt3r_viewer.viewer.layers.maps import (
    BACKGROUND,
    GAP_PX,
    WIDTH_PX,
    Pixels,
    color_map,
    robust_scale,
    with_color_bar,
)
from ttt3r_viewer.viewer.server.clients import Client, client_of
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ExpectedColor
from ttt3r_viewer.viewer.widgets import FieldWidgets, assign_changed, show

COLORS: dict[str, ExpectedColor] = {"Expected colour": "image", "Confidence": "confidence"}
FOV_Y_DEG = (20.0, 100.0)
"""Narrower and wider views are nothing that the networks were trained on."""
DRAW_SEC = 0.1
WHAT_IT_IS = "This is what the network expects, not an observation."
OFF_TEXT = f"Asks each lane's state what is to be seen from where you look now. {WHAT_IT_IS}"
EMPTY = np.full((8, WIDTH_PX, 3), BACKGROUND, np.uint8)


class AskPanel(Part):
    """The tab and what it draws in the scene."""

    def __init__(self, page: PageContext) -> None:
        controls = self._controls = page.controls
        self._mailbox = page.mailbox
        self._server = page.server
        self._layer = AskLayer(page.server)
        self._tick: Tick | None = None
        """The latest one."""
        self._asked = 0
        """Number of the latest question."""
        self._asked_epoch = -1
        self._limited_from: float | None = None
        """The field of view in degrees that the latest question was limited from."""
        self._text = ""
        self._drawn: object = None
        self._shown: Answer | None = None
        self._draw_due_sec = -math.inf
        gui = page.server.gui
        fields = FieldWidgets(gui, controls.settings.ask, controls.change_ask)
        self._button = fields.button(
            "Look from here", Icon.MESSAGE_QUESTION, self._ask, hint="Key: V", disabled=True
        )
        self._note = gui.add_html(note("ask-note", OFF_TEXT))
        self._remove = fields.button("Remove", Icon.X, self._take_away, color="gray", visible=False)
        self._images = [
            gui.add_image(EMPTY, label="", format="png", visible=False) for _ in LANE_COLORS
        ]
        hide = fields.add(
            gui.add_slider,
            "Hide unsure (%)",
            "hidden_percent",
            min=0,
            max=95,
            step=5,
            visible=False,
            hint="Hides this share of what is expected: points with the lowest confidence",
        )
        tint = fields.add(
            gui.add_slider, "Tint", "tint", min=0.0, max=1.0, step=0.05, visible=False
        )
        self._looks = (hide, tint, fields.choice("Paint by", "color_by", COLORS, visible=False))
        self._key = fields.key("Look from here", "V", self._ask, disabled=True)

    def _take_away(self, _: object) -> None:
        self._controls.change_ask(removed=self._asked)

    def _ask(self, client: viser.ClientHandle | None) -> None:
        """Send the camera of a browser; what was shown before stays until the answer comes."""
        tick = self._tick
        if client is None or tick is None or why_not(tick):
            return
        camera, fov_deg = client.camera, math.degrees(client.camera.fov)
        limited = min(max(fov_deg, FOV_Y_DEG[0]), FOV_Y_DEG[1])
        self._limited_from = fov_deg if limited != fov_deg else None
        self._asked, self._asked_epoch = self._asked + 1, tick.snapshot.epoch
        places = places_of_lanes(tick, client_of(self._server, client.client_id))
        pose = lane_camera(camera.position, camera.wxyz, camera.look_at, places)
        self._mailbox.put(Query(self._asked, pose, math.radians(limited)))
        self._controls.changed.set()

    def update(self, tick: Tick) -> None:
        """Offer the question where it can be asked, and show the answer until it is taken away."""
        self._tick = tick
        snapshot, chosen, point_size = tick.snapshot, tick.drawn.ask, tick.settings.point_size
        cannot, answer = why_not(tick), snapshot.answer
        for one in (self._button, self._key):
            assign_changed(one, disabled=bool(cannot))
        answered = answer.number if answer is not None else 0
        if answered <= chosen.removed:
            answer = None
        waits = self._asked_epoch == snapshot.epoch and self._asked > max(answered, chosen.removed)
        self._text = note_text(answer, cannot, waits, self._limited_from)
        assign_changed(self._note, content=note("ask-note", self._text))
        self._layer.begin((snapshot.epoch, tick.lane_count))
        found = answer.lanes if answer is not None else ()
        show(bool(found) or waits, self._remove)
        show(bool(found), *self._looks)
        shown = answer if found else None
        if shown is not self._shown:
            self._shown = shown
            self._show_images(found, tick.lane_names)
        layout = snapshot.layout
        looks = (chosen, point_size, layout.median_depth)
        key = (snapshot.epoch, answer.number, looks) if answer else None
        if key != self._drawn and tick.now_sec >= self._draw_due_sec:
            self._drawn, self._draw_due_sec = key, tick.now_sec + DRAW_SEC
            if found:
                self._layer.show(found, chosen, point_size=point_size, layout=layout)
            else:
                self._layer.clear()

    def _show_images(self, lanes: Sequence[Expectation], names: Sequence[str]) -> None:
        show(False, *self._images[len(lanes) :])
        for found, name, handle in zip(lanes, names, self._images, strict=False):
            handle.image = expected_image(found)
            handle.label = f"{name}: confidence {np.median(found.confidence):.3g} (median)"
            show(True, handle)

    def probe(self) -> dict[str, object]:
        """Say what the tab shows in a form that a program can read."""
        state = {
            "number": self._shown.number if self._shown is not None else None,
            "asked": self._asked,
            "points": self._layer.points_shown,
            "note": self._text,
            "can": not self._button.disabled,
        }
        return {"ask": state}


def places_of_lanes(tick: Tick, who: Client) -> list[tuple[float, float]]:
    """Return of each lane that a browser shows where on the x axis its root stands there, and x of
    its shown camera in its own world.
    """
    places = []
    for k in tick.visible_lanes:
        if who.lane in (None, k):
            shown = tick.snapshot.lanes[k].frames[tick.position].camera
            places.append((who.offset_of(tick.offsets[k]), float(shown.T_world_camera[0, 3])))
    return places


def why_not(tick: Tick) -> str:
    """Say why nothing can be asked now; empty where it can."""
    no_frame = "no frame was taken yet" if tick.position < 0 else ""
    return tick.snapshot.status.cannot_ask or no_frame


def note_text(
    answer: Answer | None, cannot: str, waits: bool = False, limited_from: float | None = None
) -> str:
    """Say what is shown, what is waited for, and why something cannot be."""
    if cannot:
        return f"Greyed out: {cannot}."
    if waits:
        return "Asked; the run answers between two frames."
    if answer is None:
        return OFF_TEXT
    if answer.note:
        return f"No answer: {answer.note}."
    found: Expectation = answer.lanes[0]
    fov_deg = math.degrees(found.camera.fov_y_rad)
    known = "what networks know, {:.0f}° to {:.0f}°".format(*FOV_Y_DEG)
    limited = "" if limited_from is None else f", limited from {limited_from:.0f}° to {known}"
    return (
        f"{WHAT_IT_IS} Asked of the state after frame {found.sequence + 1}; "
        f"vertical field of view {fov_deg:.0f}°{limited}."
    )


def expected_image(found: Expectation) -> Pixels:
    """Draw the expected image beside the confidence of its points, with that one's scale."""
    width = (WIDTH_PX - GAP_PX) // 2
    size = (width, max(round(width / found.camera.aspect), 1))
    scale = robust_scale(found.confidence)
    sides = (found.image, color_map(found.confidence, scale))
    left, right = (np.asarray(Image.fromarray(one).resize(size)) for one in sides)
    gap = np.full((size[1], WIDTH_PX - 2 * width, 3), BACKGROUND, np.uint8)
    return with_color_bar(np.concatenate([left, gap, right], axis=1), scale, "confidence")
