"""The tab "Ask": what the state of every lane expects to see from where a browser looks."""

import math

import numpy as np
import viser
from PIL import Image

from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.reconstruct.messages import Query
from ttt3r_viewer.types import Answer, Expectation
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import block, escape
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
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ExpectedColor
from ttt3r_viewer.viewer.widgets import add_button, add_key, assign_changed, bind, clamp

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
        self._imaged: Answer | None = None
        self._draw_due_sec = -math.inf
        gui = page.server.gui
        self._button = add_button(
            gui,
            "Look from here",
            self._ask,
            icon=viser.Icon.MESSAGE_QUESTION,
            hint="Key: V",
            disabled=True,
        )
        self._note = gui.add_html(note_html(OFF_TEXT))
        self._remove = add_button(
            gui,
            "Remove",
            lambda _: controls.change_ask(removed=self._asked),
            icon=viser.Icon.X,
            color="gray",
            visible=False,
        )
        self._images = [
            gui.add_image(EMPTY, label="", format="png", visible=False) for _ in LANE_COLORS
        ]
        hide = gui.add_slider(
            "Hide unsure (%)",
            min=0,
            max=95,
            step=5,
            initial_value=0,
            visible=False,
            hint="Hides this share of what is expected: points with the lowest confidence",
        )
        bind(hide, lambda percent: controls.change_ask(hidden_percent=clamp(percent, 0, 95)))
        default = controls.settings.ask.tint
        tint = gui.add_slider(
            "Tint", min=0.0, max=1.0, step=0.05, initial_value=default, visible=False
        )
        bind(tint, lambda share: controls.change_ask(tint=clamp(share, 0.0, 1.0)))
        color = gui.add_dropdown("Paint by", tuple(COLORS), visible=False)
        bind(color, lambda name: controls.change_ask(color_by=COLORS.get(name, "image")))
        self._looks = (hide, tint, color)
        self._key = add_key(gui, "Look from here", "V", self._ask, disabled=True)

    def _ask(self, client: viser.ClientHandle | None) -> None:
        """Send the camera of a browser; what was shown before stays until the answer comes."""
        tick = self._tick
        if client is None or tick is None or why_not(tick):
            return
        camera, fov_deg = client.camera, math.degrees(client.camera.fov)
        limited = clamp(fov_deg, *FOV_Y_DEG)
        self._limited_from = fov_deg if limited != fov_deg else None
        self._asked, self._asked_epoch = self._asked + 1, tick.snapshot.epoch
        places = []
        for k in tick.visible_lanes:
            shown = tick.snapshot.lanes[k].frames[tick.position].camera
            places.append((tick.offsets[k], float(shown.T_world_camera[0, 3])))
        pose = lane_camera(camera.position, camera.wxyz, camera.look_at, places)
        self._mailbox.put(Query(self._asked, pose, math.radians(limited)))
        self._controls.changed.set()

    def update(self, tick: Tick) -> None:
        """Offer the question where it can be asked, and show the answer until it is taken away."""
        self._tick = tick
        snapshot, chosen, point_size = tick.snapshot, tick.drawn.ask, tick.point_size
        cannot = why_not(tick)
        assign_changed(self._button, disabled=bool(cannot))
        assign_changed(self._key, disabled=bool(cannot))
        answer = snapshot.answer
        if answer is not None and answer.number <= chosen.removed:
            answer = None
        answered = snapshot.answer.number if snapshot.answer is not None else 0
        waits = self._asked_epoch == snapshot.epoch and self._asked > max(answered, chosen.removed)
        self._text = note_text(answer, cannot, waits=waits, limited_from=self._limited_from)
        assign_changed(self._note, content=note_html(self._text))
        self._layer.begin((snapshot.epoch, tick.lane_count))
        found = answer.lanes if answer is not None else ()
        assign_changed(self._remove, visible=bool(found) or waits)
        for widget in self._looks:
            assign_changed(widget, visible=bool(found))
        self._show_images(tick, answer if found else None)
        depth = snapshot.layout.median_depth
        key = (snapshot.epoch, answer.number, chosen, point_size, depth) if answer else None
        if key != self._drawn and tick.now_sec >= self._draw_due_sec:
            self._drawn, self._draw_due_sec = key, tick.now_sec + DRAW_SEC
            if found:
                self._layer.show(found, chosen, point_size=point_size, median_depth=depth)
            else:
                self._layer.clear()

    def _show_images(self, tick: Tick, answer: Answer | None) -> None:
        if answer is self._imaged:
            return
        self._imaged = answer
        lanes = answer.lanes if answer is not None else ()
        for k, handle in enumerate(self._images):
            if k < len(lanes):
                found = lanes[k]
                handle.image = expected_image(found)
                handle.label = (
                    f"{tick.lane_names[k]}: confidence "
                    f"{float(np.median(found.confidence)):.3g} (median)"
                )
            assign_changed(handle, visible=k < len(lanes))

    def probe(self) -> dict[str, object]:
        """Say what the tab shows in a form that a program can read."""
        shown = self._imaged
        state = {
            "number": shown.number if shown is not None else None,
            "asked": self._asked,
            "points": self._layer.points_shown,
            "note": self._text,
            "can": not self._button.disabled,
        }
        return {"ask": state}


def why_not(tick: Tick) -> str:
    """Say why nothing can be asked now; empty where it can."""
    if tick.snapshot.status.cannot_ask:
        return tick.snapshot.status.cannot_ask
    return "no frame was taken yet" if tick.position < 0 else ""


def note_text(
    answer: Answer | None, cannot: str, *, waits: bool, limited_from: float | None
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


def note_html(text: str) -> str:
    """Show the note."""
    return block("ask-note", escape(text), style="opacity:.75")


def expected_image(found: Expectation) -> Pixels:
    """Draw the expected image beside the confidence of its points, with that one's scale."""
    width = (WIDTH_PX - GAP_PX) // 2
    size = (width, max(round(width / found.camera.aspect), 1))
    scale = robust_scale(found.confidence)
    sides = (found.image, color_map(found.confidence, scale))
    left, right = (np.asarray(Image.fromarray(one).resize(size)) for one in sides)
    gap = np.full((size[1], WIDTH_PX - 2 * width, 3), BACKGROUND, np.uint8)
    return with_color_bar(np.concatenate([left, gap, right], axis=1), scale, "confidence")
