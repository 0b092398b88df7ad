"""The widgets of the tab "Inspect", from top to bottom; most replace one of the settings."""

from collections.abc import Callable

import numpy as np
import viser
from viser import uplot

from ttt3r_viewer.viewer.layers import maps
from ttt3r_viewer.viewer.panels import inspect_views as views
from ttt3r_viewer.viewer.view_settings import ViewControls
from ttt3r_viewer.viewer.widgets import FieldWidgets, Press, bind

OFF_TEXT = (
    "Shows how the state tokens and the patches of the shown frame speak to each other. "
    "While this is on, the run takes each shown frame again."
)
EMPTY = np.full((maps.WIDTH_PX // 2, maps.WIDTH_PX, 3), maps.BACKGROUND, np.uint8)
FOLDERS = ("State map", "Image and patches", "History of the gain", "Frame statistics", "Save")
OPEN_FOLDERS = 2
"""The first ones are open at first."""
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
Save = Callable[[viser.ClientHandle, str], object]
"""Sends a browser the file of this name."""


class InspectWidgets:
    """Handles of the widgets; the publisher assigns them."""

    def __init__(
        self, gui: viser.GuiApi, controls: ViewControls, go: Press, save_map: Save, save_data: Save
    ) -> None:
        """`go` stands at the frame that is chosen of those that moved most."""
        self._controls = controls
        self.images: dict[str, viser.GuiImageHandle] = {}
        fields = FieldWidgets(gui, controls.settings.inspect, controls.change_inspect)
        hint = "Asks the run about the shown frame; costs time while on"
        self.on = fields.add(gui.add_checkbox, "Look inside", "on", hint=hint)
        self.note = gui.add_html(views.note_html(OFF_TEXT))
        lanes = gui.add_dropdown("Inspected lane", ("1",), visible=False)
        self.lane = bind(lanes, self._choose_lane)
        self.folders = [
            gui.add_folder(title, expand_by_default=k < OPEN_FOLDERS, visible=False)
            for k, title in enumerate(FOLDERS)
        ]
        state, image, history, statistics, save = self.folders
        with state:
            self._add_state(gui, fields)
        with image:
            self._add_image(gui, fields)
        with history:
            hint = "The tokens that accept most are at the top"
            fields.add(gui.add_checkbox, "By mean gain", "by_mean", hint=hint)
            self.images["History"] = gui.add_image(EMPTY, format="png")
            self.history_text = gui.add_html("")
        with statistics:
            self.statistics = gui.add_html("")
            self.histogram = gui.add_uplot(
                (np.zeros(1), np.zeros(1)),
                HISTOGRAM_SERIES,
                scales={"x": uplot.Scale(time=False)},
                height=150,
            )
            self.moved = gui.add_dropdown("Moved most", NO_FRAMES)
            fields.button("Go to this frame", None, go)
        with save:
            fields.buttons("Map (PNG)", ("State", "Image", "History"), save_map)
            fields.buttons("Numbers", ("tokens.npz", "CSV"), save_data)

    def _add_state(self, gui: viser.GuiApi, fields: FieldWidgets) -> None:
        fields.choice("Show tokens by", "mode", views.STATE_LABELS)
        hint = "For the age, and for the share of tokens above it"
        fields.add(
            gui.add_slider, "Gain above", "threshold", min=0.0, max=1.0, step=0.01, hint=hint
        )
        self.images["State"] = gui.add_image(EMPTY, format="png")
        self.token = fields.add(gui.add_number, "Token", "token", min=0, step=1)
        self.token_text = gui.add_html("")
        hint = "0 is the mean of all layers"
        self.layer = fields.add(gui.add_slider, "Layer", "layer", min=0, max=1, step=1, hint=hint)

    def _add_image(self, gui: viser.GuiApi, fields: FieldWidgets) -> None:
        fields.choice("Lay over", "image", views.IMAGE_LABELS)
        fields.add(gui.add_slider, "Opacity", "opacity", min=0.0, max=1.0, step=0.05)
        self.images["Image"] = gui.add_image(EMPTY, format="png")
        self.row = fields.add(gui.add_number, "Patch row", "row", min=0, step=1)
        self.column = fields.add(gui.add_number, "Patch column", "column", min=0, step=1)
        self.tokens = gui.add_html("")
        hint = "Colours of the shown frame's points"
        fields.choice("Frame's points", "points", views.POINT_LABELS, hint=hint)

    def _choose_lane(self, label: str) -> None:
        """Labels begin with the number of the lane, all but that of the difference."""
        lane = 0 if label == DIFFERENCE else int(label.split()[0]) - 1
        self._controls.change_inspect(lane=lane, difference=label == DIFFERENCE)
