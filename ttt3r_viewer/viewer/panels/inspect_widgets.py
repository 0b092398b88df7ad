"""The widgets of the tab "Inspect", from top to bottom; most replace one of the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import viser
from viser import uplot

from ttt3r_viewer.viewer.layers import maps
from ttt3r_viewer.viewer.panels.inspect_views import (
    IMAGE_MODES,
    POINT_MAPS,
    STATE_MODES,
    note_html,
)
from ttt3r_viewer.viewer.view_settings import ViewControls

OFF_TEXT = (
    "Shows how the state tokens and the patches of the shown frame speak to each other. "
    "While this is on, the run takes each shown frame again."
)
EMPTY = np.full((maps.WIDTH_PX // 2, maps.WIDTH_PX, 3), maps.BACKGROUND, np.uint8)
MAPS = ("State", "Picture", "History")
NUMBERS = ("tokens.npz", "CSV")
ONE_LANE: tuple[str, ...] = ("1",)
NO_FRAMES: tuple[str, ...] = ("-",)
DIFFERENCE = "Lane 1 - lane 2"


class InspectWidgets:
    """Handles of the widgets; the publisher assigns them."""

    def __init__(self, gui: viser.GuiApi, controls: ViewControls) -> None:
        self._controls = controls
        self.on = gui.add_checkbox(
            "Look inside", False, hint="Asks the run about the shown frame; costs time while on"
        )
        self._bind(self.on, "on", bool)
        self.note = gui.add_html(note_html(OFF_TEXT))
        self.lane = gui.add_dropdown("Inspected lane", ONE_LANE, visible=False)

        @self.lane.on_update
        async def _(event: viser.GuiEvent[viser.GuiDropdownHandle[str]]) -> None:
            if event.client is not None:
                names, name = self.lane.options, self.lane.value
                difference = name == DIFFERENCE
                place = names.index(name) if name in names and not difference else 0
                controls.change_inspect(lane=place, difference=difference)

        self._build_state(gui)
        self._build_image(gui)
        self._build_history(gui)
        self._build_statistics(gui)
        self._build_save(gui)
        for folder in self.folders:
            folder.visible = False

    def _build_state(self, gui: viser.GuiApi) -> None:
        state = gui.add_folder("State map")
        with state:
            self.mode = gui.add_dropdown("Show tokens by", tuple(STATE_MODES))
            self._bind(self.mode, "mode", lambda name: STATE_MODES.get(name, "gain"))
            self.threshold = gui.add_slider(
                "Gain above",
                min=0.0,
                max=1.0,
                step=0.01,
                initial_value=0.5,
                hint="For the age, and for the share of tokens above it",
            )
            self._bind(self.threshold, "threshold", lambda value: min(max(value, 0.0), 1.0))
            self.state_image = gui.add_image(EMPTY, format="png")
            self.token = gui.add_number("Token", 0, min=0, step=1)
            self._bind(self.token, "token", _place)
            self.token_text = gui.add_html("")
            self.layer_slider = gui.add_slider(
                "Layer", min=0, max=1, step=1, initial_value=0, hint="0 is the mean of all layers"
            )
            self._bind(self.layer_slider, "layer", _place)
        self.folders = [state]

    def _build_image(self, gui: viser.GuiApi) -> None:
        image = gui.add_folder("Picture and patches")
        with image:
            self.image_mode = gui.add_dropdown("Lay over", tuple(IMAGE_MODES))
            self._bind(self.image_mode, "image", lambda name: IMAGE_MODES.get(name, "alignment"))
            self.opacity = gui.add_slider("Opacity", min=0.0, max=1.0, step=0.05, initial_value=0.6)
            self._bind(self.opacity, "opacity", lambda value: min(max(value, 0.0), 1.0))
            self.image_image = gui.add_image(EMPTY, format="png")
            self.row = gui.add_number("Patch row", 0, min=0, step=1)
            self._bind(self.row, "row", _place)
            self.column = gui.add_number("Patch column", 0, min=0, step=1)
            self._bind(self.column, "column", _place)
            self.tokens = gui.add_html("")
            self.points = gui.add_dropdown(
                "Frame's points", tuple(POINT_MAPS), hint="Colours of the shown frame's points"
            )
            self._bind(self.points, "points", lambda name: POINT_MAPS.get(name, "none"))
        self.folders.append(image)

    def _build_history(self, gui: viser.GuiApi) -> None:
        history = gui.add_folder("History of the gain", expand_by_default=False)
        with history:
            self.by_mean = gui.add_checkbox(
                "By mean gain", False, hint="The tokens that accept most are at the top"
            )
            self._bind(self.by_mean, "by_mean", bool)
            self.history_image = gui.add_image(EMPTY, format="png")
            self.history_text = gui.add_html("")
        self.folders.append(history)

    def _build_statistics(self, gui: viser.GuiApi) -> None:
        statistics = gui.add_folder("Frame statistics", expand_by_default=False)
        with statistics:
            self.statistics = gui.add_html("")
            self.histogram = gui.add_uplot(
                (np.zeros(1), np.zeros(1)),
                (
                    uplot.Series(label="gain"),
                    uplot.Series(
                        label="tokens",
                        stroke="rgb(94,201,98)",
                        fill="rgba(94,201,98,.25)",
                        width=1.5,
                        points={"show": False},
                    ),
                ),
                scales={"x": uplot.Scale(time=False)},
                height=150,
            )
            self.moved = gui.add_dropdown("Moved most", NO_FRAMES)
            self.go = gui.add_button("Go to this frame")
        self.folders.append(statistics)

    def _build_save(self, gui: viser.GuiApi) -> None:
        save = gui.add_folder("Save", expand_by_default=False)
        with save:
            self.save_map = gui.add_button_group("Map (PNG)", MAPS)
            self.save_numbers = gui.add_button_group("Numbers", NUMBERS)
        self.folders.append(save)

    def _bind(self, handle: Any, field: str, read: Callable[[Any], Any]) -> None:
        """Let a widget replace one field of what is looked into."""

        @handle.on_update
        async def _(event: viser.GuiEvent[Any]) -> None:
            if event.client is not None:
                self._controls.change_inspect(**{field: read(handle.value)})


def _place(value: float) -> int:
    """Read a number from a browser, which checks nothing, as one that counts from 0."""
    return max(int(value), 0)
