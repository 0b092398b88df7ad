"""The widgets of the tab "Inspect", from top to bottom; most replace one of the settings."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import viser
from viser import uplot

from ttt3r_viewer.viewer.layers import maps
from ttt3r_viewer.viewer.panels import inspect_views as views
from ttt3r_viewer.viewer.view_settings import ViewControls
from ttt3r_viewer.viewer.widgets import bind, clamp

OFF_TEXT = (
    "Shows how the state tokens and the patches of the shown frame speak to each other. "
    "While this is on, the run takes each shown frame again."
)
EMPTY = np.full((maps.WIDTH_PX // 2, maps.WIDTH_PX, 3), maps.BACKGROUND, np.uint8)
MAPS = ("State", "Image", "History")
NUMBERS = ("tokens.npz", "CSV")
ONE_LANE: tuple[str, ...] = ("1",)
NO_FRAMES: tuple[str, ...] = ("-",)
DIFFERENCE = "Lane 1 - lane 2"
HISTOGRAM_SERIES = (
    uplot.Series(label="gain"),
    uplot.Series(
        label="tokens",
        stroke="rgb(94,201,98)",
        fill="rgba(94,201,98,.25)",
        width=1.5,
        points={"show": False},
    ),
)


class InspectWidgets:
    """Handles of the widgets; the publisher assigns them."""

    def __init__(self, gui: viser.GuiApi, controls: ViewControls) -> None:
        self._gui = gui
        self._controls = controls
        on = gui.add_checkbox(
            "Look inside", False, hint="Asks the run about the shown frame; costs time while on"
        )
        self.on = self._set(on, "on", bool)
        self.note = gui.add_html(views.note_html(OFF_TEXT))
        self.lane = gui.add_dropdown("Inspected lane", ONE_LANE, visible=False)
        bind(self.lane, self._choose_lane)
        self.folders: list[viser.GuiFolderHandle] = []
        with self._folder("State map", expand_by_default=True):
            self._add_state(gui)
        with self._folder("Image and patches", expand_by_default=True):
            self._add_image(gui)
        with self._folder("History of the gain"):
            by_mean = gui.add_checkbox(
                "By mean gain", False, hint="The tokens that accept most are at the top"
            )
            self._set(by_mean, "by_mean", bool)
            self.history_image = gui.add_image(EMPTY, format="png")
            self.history_text = gui.add_html("")
        with self._folder("Frame statistics"):
            self.statistics = gui.add_html("")
            self.histogram = gui.add_uplot(
                (np.zeros(1), np.zeros(1)),
                HISTOGRAM_SERIES,
                scales={"x": uplot.Scale(time=False)},
                height=150,
            )
            self.moved = gui.add_dropdown("Moved most", NO_FRAMES)
            self.go = gui.add_button("Go to this frame")
        with self._folder("Save"):
            self.save_map = gui.add_button_group("Map (PNG)", MAPS)
            self.save_numbers = gui.add_button_group("Numbers", NUMBERS)
        for folder in self.folders:
            folder.visible = False

    def _folder(self, title: str, *, expand_by_default: bool = False) -> viser.GuiFolderHandle:
        folder = self._gui.add_folder(title, expand_by_default=expand_by_default)
        self.folders.append(folder)
        return folder

    def _add_state(self, gui: viser.GuiApi) -> None:
        self._choice("Show tokens by", "mode", views.STATE_LABELS, "gain")
        threshold = gui.add_slider(
            "Gain above",
            min=0.0,
            max=1.0,
            step=0.01,
            initial_value=0.5,
            hint="For the age, and for the share of tokens above it",
        )
        self._set(threshold, "threshold", _share)
        self.state_image = gui.add_image(EMPTY, format="png")
        self.token = self._set(gui.add_number("Token", 0, min=0, step=1), "token", _place)
        self.token_text = gui.add_html("")
        layer = gui.add_slider(
            "Layer", min=0, max=1, step=1, initial_value=0, hint="0 is the mean of all layers"
        )
        self.layer_slider = self._set(layer, "layer", _place)

    def _add_image(self, gui: viser.GuiApi) -> None:
        self._choice("Lay over", "image", views.IMAGE_LABELS, "alignment")
        opacity = gui.add_slider("Opacity", min=0.0, max=1.0, step=0.05, initial_value=0.6)
        self._set(opacity, "opacity", _share)
        self.image_image = gui.add_image(EMPTY, format="png")
        self.row = self._set(gui.add_number("Patch row", 0, min=0, step=1), "row", _place)
        self.column = self._set(gui.add_number("Patch column", 0, min=0, step=1), "column", _place)
        self.tokens = gui.add_html("")
        hint = "Colours of the shown frame's points"
        self._choice("Frame's points", "points", views.POINT_LABELS, "none", hint=hint)

    def _choose_lane(self, label: str) -> None:
        labels = self.lane.options
        known = label in labels and label != DIFFERENCE
        place = labels.index(label) if known else 0
        self._controls.change_inspect(lane=place, difference=label == DIFFERENCE)

    def _choice(
        self, label: str, field: str, names: dict[str, str], default: str, hint: str | None = None
    ) -> None:
        """Add a dropdown that replaces a field by the name that stands for the label."""
        dropdown = self._gui.add_dropdown(label, tuple(names), hint=hint)
        self._set(dropdown, field, lambda chosen: names.get(chosen, default))

    def _set(self, handle: Any, field: str, read: Callable[[Any], Any]) -> Any:
        """Let a widget replace one field of the inspection's settings; return the widget."""
        bind(handle, lambda value: self._controls.change_inspect(**{field: read(value)}))
        return handle


def _place(value: float) -> int:
    """Read a number from a browser, which checks nothing, as one that counts from 0."""
    return max(int(value), 0)


_share = partial(clamp, low=0.0, high=1.0)
