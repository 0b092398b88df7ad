"""The look: what is hidden, how points are coloured and sized, and what else is drawn."""

from __future__ import annotations

import math

import viser

from ttt3r_viewer.scene.budget import CONFIDENCE_BINS
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ColorBy
from ttt3r_viewer.viewer.widgets import assign_changed

COLORS: dict[str, ColorBy] = {
    "Picture": "picture",
    "Confidence": "confidence",
    "Frame": "frame",
    "Height": "height",
}
LANE_COLOR: dict[str, ColorBy] = {"Lane": "lane"}
"""Offered where there are several."""

BIN_PERCENT = 100 // CONFIDENCE_BINS


class LookPanel(Part):
    """Widgets of the look."""

    def __init__(self, page: PageContext) -> None:
        gui, controls = page.server.gui, page.controls
        self._controls = controls
        self._fitted_size = 0.0
        with gui.add_folder("Look"):
            self._hide = gui.add_slider(
                "Hide least sure (%)",
                min=0,
                max=100 - BIN_PERCENT,
                step=BIN_PERCENT,
                initial_value=0,
                hint="Hides this share of all points: those with the lowest confidence",
            )

            @self._hide.on_update
            async def _(event: viser.GuiEvent[viser.GuiSliderHandle[int]]) -> None:
                if event.client is not None:
                    hidden = round(self._hide.value / BIN_PERCENT)
                    controls.change(hidden_bins=min(max(hidden, 0), CONFIDENCE_BINS - 1))

            self._color = gui.add_dropdown("Colour by", tuple(COLORS))

            @self._color.on_update
            async def _(event: viser.GuiEvent[viser.GuiDropdownHandle[str]]) -> None:
                if event.client is not None:
                    known = COLORS | LANE_COLOR
                    controls.change(color_by=known.get(self._color.value, "picture"))

            self._size = gui.add_slider(
                "Point size (m)",
                min=0.001,
                max=0.04,
                step=0.001,
                initial_value=0.01,
                hint="In metres where the weights are metric, else in the scene's own unit",
            )

            @self._size.on_update
            async def _(event: viser.GuiEvent[viser.GuiSliderHandle[float]]) -> None:
                if event.client is not None:
                    size = min(max(self._size.value, self._size.min), self._size.max)
                    controls.change(point_size=size)

            self._add_switches(gui)

        follow = gui.add_command("Follow camera", hotkey="F")

        @follow.on_trigger
        async def _(_: viser.CommandEvent) -> None:
            self._set_follow(not controls.settings.follow_camera)

    def _add_switches(self, gui: viser.GuiApi) -> None:
        controls = self._controls
        self._cameras = gui.add_checkbox("Cameras", True)

        @self._cameras.on_update
        async def _(event: viser.GuiEvent[viser.GuiCheckboxHandle]) -> None:
            if event.client is not None:
                controls.change(show_cameras=self._cameras.value)

        self._path = gui.add_checkbox("Path", True)

        @self._path.on_update
        async def _(event: viser.GuiEvent[viser.GuiCheckboxHandle]) -> None:
            if event.client is not None:
                controls.change(show_path=self._path.value)

        self._follow = gui.add_checkbox(
            "Follow camera", False, hint="Fly behind the shown camera. Key: F"
        )

        @self._follow.on_update
        async def _(event: viser.GuiEvent[viser.GuiCheckboxHandle]) -> None:
            if event.client is not None:
                self._set_follow(self._follow.value)

    def _set_follow(self, follow: bool) -> None:
        """Follow the camera or not; another motion of the view ends with it."""
        show = self._controls.settings.show.still()
        self._controls.change(follow_camera=follow, show=show)

    def update(self, tick: Tick) -> None:
        """Fit the size slider to the scene until a user moves it; show what the key F changed."""
        settings, automatic_size = tick.settings, tick.geometry.point_size
        offered = COLORS | LANE_COLOR if tick.lane_count > 1 else COLORS
        assign_changed(self._color, options=tuple(offered))
        if settings is self._controls.settings:
            color_by = tick.drawn.color_by
            names = {value: name for name, value in offered.items()}
            assign_changed(self._color, value=names[color_by])
        assign_changed(self._follow, value=settings.follow_camera)
        if settings.point_size is None and automatic_size != self._fitted_size:
            self._fitted_size = automatic_size
            step = automatic_size / 10
            assign_changed(
                self._size,
                min=step,
                max=5 * automatic_size,
                step=step,
                precision=max(0, 1 - math.floor(math.log10(step))),
                value=automatic_size,
            )
