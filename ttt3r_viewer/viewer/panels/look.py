"""The look: what is hidden, how points are coloured and sized, and what else is drawn."""

import math

from ttt3r_viewer.scene.budget import CONFIDENCE_BINS
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers.colors import (
    COLOR_MODES,
    DEFAULT_COLOR_MODE,
    color_modes_for,
)
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import add_key, assign_changed, bind, clamp

BIN_PERCENT = 100 // CONFIDENCE_BINS


class LookPanel(Part):
    """Widgets of the look."""

    def __init__(self, page: PageContext) -> None:
        gui, controls = page.server.gui, page.controls
        self._controls = controls
        self._fitted_size = 0.0
        with gui.add_folder("Look"):
            hide = gui.add_slider(
                "Hide least sure (%)",
                min=0,
                max=100 - BIN_PERCENT,
                step=BIN_PERCENT,
                initial_value=0,
                hint="Hides this share of all points: those with the lowest confidence",
            )
            bind(hide, self._hide)
            self._color = gui.add_dropdown("Colour by", tuple(color_modes_for(1).values()))
            modes = {mode.label: name for name, mode in COLOR_MODES.items()}
            bind(
                self._color,
                lambda label: controls.change(color_by=modes.get(label, DEFAULT_COLOR_MODE)),
            )
            self._size = gui.add_slider(
                "Point size (m)",
                min=0.001,
                max=0.04,
                step=0.001,
                initial_value=0.01,
                hint="In metres where the weights are metric, else in the scene's own unit",
            )
            bind(
                self._size,
                lambda size: controls.change(
                    point_size=clamp(size, self._size.min, self._size.max)
                ),
            )
            bind(gui.add_checkbox("Cameras", True), lambda on: controls.change(show_cameras=on))
            self._path = gui.add_checkbox("Path", True)
            bind(self._path, lambda on: controls.change(show_path=on))
            self._follow = gui.add_checkbox(
                "Follow camera", False, hint="Fly behind the shown camera. Key: F"
            )
            bind(self._follow, self._set_follow)
        add_key(
            gui,
            "Follow camera",
            "F",
            lambda _: self._set_follow(not controls.settings.follow_camera),
        )

    def _hide(self, percent: float) -> None:
        bins = round(percent / BIN_PERCENT)
        self._controls.change(hidden_bins=min(max(bins, 0), CONFIDENCE_BINS - 1))

    def _set_follow(self, follow: bool) -> None:
        """Follow the camera or not; another motion of the view ends with it."""
        show = self._controls.settings.show.still()
        self._controls.change(follow_camera=follow, show=show)

    def update(self, tick: Tick) -> None:
        """Fit the size slider to the scene until a user moves it; show what the key F changed."""
        modes = color_modes_for(tick.lane_count)
        assign_changed(self._color, options=tuple(modes.values()))
        # A widget that a user has just changed is ahead of older settings.
        if tick.settings is self._controls.settings:
            assign_changed(self._color, value=modes[tick.drawn.color_by])
        assign_changed(self._follow, value=tick.settings.follow_camera)
        automatic_size = tick.point_size
        if tick.settings.point_size is None and automatic_size != self._fitted_size:
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
