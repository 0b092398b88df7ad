"""The widgets of the tab "Inspect"."""

from collections.abc import Callable

import numpy as np
import viser
from viser import uplot

from ttt3r_viewer.viewer.html import note
from ttt3r_viewer.viewer.layers import maps
from ttt3r_viewer.viewer.panels import inspect_views as views
from ttt3r_viewer.viewer.view_settings import ViewControls
from ttt3r_viewer.viewer.widgets import FieldWidgets, Press, bind

OFF_TEXT = (
    "Shows how the state tokens and the patches of the shown frame speak to each other. "
    "While this is on, the run takes each shown frame again."
)
EMPTY = np.full((maps.WIDTH_PX // 2, maps.WIDTH_PX, 3), maps.BACKGROUND, np.uint8)
FOLDERS = ("Image and patches", "State map", "History of the gain", "Frame statistics", "Save")
OPEN_FOLDERS = 3
"""The first ones are open at first."""
NO_FRAMES: tuple[str, ...] = ("-",)
DIFFERENCE = "{} less {}"
"""Of the first two lanes' labels."""
NO_LANES: tuple[str, ...] = ("lane 1",)
"""While there is one lane there is no choice."""
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
        self,
        gui: viser.GuiApi,
        controls: ViewControls,
        *,
        widen: Press,
        go: Press,
        save_map: Save,
        save_data: Save,
    ) -> None:
        """`go` stands at the frame that is chosen of those that moved most."""
        self._controls = controls
        self.images: dict[str, viser.GuiImageHandle] = {}
        fields = FieldWidgets(gui, controls.settings.inspect, controls.change_inspect)
        self.on = fields.add(gui.add_checkbox, "Look inside", "on")
        self.note = gui.add_html(note("inspect-note", OFF_TEXT))
        lanes = gui.add_dropdown("Inspected lane", NO_LANES, visible=False)
        self.lane = bind(lanes, self._choose_lane)
        self.folders = [
            gui.add_folder(title, expand_by_default=k < OPEN_FOLDERS, visible=False)
            for k, title in enumerate(FOLDERS)
        ]
        self.wide = fields.button(
            "Side by side", viser.Icon.COLUMNS_3, widen, color="gray", visible=False
        )
        image, state, history, statistics, save = self.folders
        with image:
            self._add_image(gui, fields)
        with state:
            self._add_state(gui, fields)
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
        self.token = self._add_place(gui, "Token", "token")
        self.token_text = gui.add_html("")
        hint = "0 is the mean of all layers"
        self.layer = fields.add(gui.add_slider, "Layer", "layer", min=0, max=1, step=1, hint=hint)

    def _add_image(self, gui: viser.GuiApi, fields: FieldWidgets) -> None:
        fields.choice("Lay over", "image", views.IMAGE_LABELS)
        fields.add(gui.add_slider, "Opacity", "opacity", min=0.0, max=1.0, step=0.05)
        self.images["Image"] = gui.add_image(EMPTY, format="png")
        self.row = self._add_place(gui, "Patch row", "row")
        self.column = self._add_place(gui, "Patch column", "column")
        self.tokens = gui.add_html("")
        hint = "Colours of the shown frame's points"
        fields.choice("Frame's points", "points", views.POINT_LABELS, hint=hint)

    def _add_place(self, gui: viser.GuiApi, label: str, field: str) -> viser.GuiNumberHandle[int]:
        """Add a number box for what is picked; it begins where the inspection does."""
        box = gui.add_number(label, 0, min=0, step=1)
        return bind(box, lambda value: self._controls.change_inspect(**{field: value}))

    def _choose_lane(self, label: str) -> None:
        *lanes, difference = self.lane.options
        lane = lanes.index(label) if label in lanes else 0
        self._controls.change_inspect(lane=lane, difference=bool(lanes) and label == difference)
