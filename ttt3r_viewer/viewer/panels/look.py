"""The look: what is hidden, how points are coloured and sized, and what else is drawn."""

import math

from ttt3r_viewer.scene.budget import SURE_BINS, Layout
from ttt3r_viewer.scene.crop_box import CropBox
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import block
from ttt3r_viewer.viewer.layers.colors import COLOR_MODES, color_modes_for
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import FieldWidgets, assign_changed, bind, show

BIN_PERCENT = 100 // SURE_BINS
MOST_EDGE_FILTER = 0.5
SIZE_LABEL = "Point size ({})"
REFIT_SHARE = 0.1
"""The size slider follows the drawn points where their median side changes by more."""
TRUTH_HINT = "Dashed, moved to each lane by Sim3; a thin line joins a camera and its true place"
SURFACE_HINT = "Grey: what the frames truly saw, from the first camera, neither moved nor scaled"


class LookPanel(Part):
    """Widgets of the look."""

    def __init__(self, page: PageContext) -> None:
        gui, controls = page.server.gui, page.controls
        self._page = page
        self._controls = controls
        self._fitted_size = 0.0
        self._tick: Tick | None = None
        fields = FieldWidgets(gui, controls.settings, controls.change)
        with gui.add_folder("Look"):
            hide = gui.add_slider(
                "Hide least sure (%)",
                min=0,
                max=100 - BIN_PERCENT,
                step=BIN_PERCENT,
                initial_value=BIN_PERCENT * controls.settings.hidden_bins,
                hint="Hides this share of all points: the least confident for their distance",
            )
            bind(hide, lambda percent: controls.change(hidden_bins=round(percent / BIN_PERCENT)))
            edges = gui.add_slider(
                "Edge filter",
                min=0.0,
                max=max(MOST_EDGE_FILTER, controls.settings.edge_filter),
                step=0.01,
                initial_value=controls.settings.edge_filter,
                hint="Hides points where log depth changes by more (0.12: by 13 %); 0: none",
            )
            bind(edges, lambda change: controls.change(edge_filter=change))
            self._series = page.series
            modes = {mode.label: name for name, mode in COLOR_MODES.items()}
            self._color = fields.choice("Colour by", "color_by", modes)
            self._size = gui.add_slider(
                SIZE_LABEL.format("m"),
                min=0.001,
                max=0.04,
                step=0.001,
                initial_value=0.01,
                hint="Side of a point: in metres, or in the scene's own unit where the weights are "
                "not metric",
            )
            bind(self._size, lambda size: controls.change(point_size=size))
            self._automatic = gui.add_checkbox(
                "Automatic size", True, hint="As far apart as pixels are at a point's depth"
            )
            bind(self._automatic, self._set_automatic)
            self._add_switches(page, fields)
            self._follow = gui.add_checkbox(
                "Follow camera", False, hint="Fly behind the shown camera. Key: F"
            )
            bind(self._follow, self._set_follow)
        fields.key(
            "Follow camera", "F", lambda _: self._set_follow(not controls.settings.follow_camera)
        )

    def _add_switches(self, page: PageContext, fields: FieldWidgets) -> None:
        """Add what shows and hides parts of the scene."""
        gui = page.server.gui
        fields.add(gui.add_checkbox, "Cameras", "show_cameras")
        self._path = fields.add(gui.add_checkbox, "Path", "show_path")
        fields.add(gui.add_checkbox, "Grid", "show_grid", hint="On the floor")
        self._up = gui.add_html("", visible=False)
        axes = "Right (red), up (green) and back (blue), at the scale bar"
        fields.add(gui.add_checkbox, "Axes", "show_axes", hint=axes)
        fields.add(
            gui.add_checkbox,
            "Ceiling cut",
            "ceiling_cut",
            hint="Hides the upper 15 % of the heights, but not while following the camera",
        )
        fields.add(
            gui.add_checkbox,
            "Near wall cut",
            "near_wall_cut",
            hint="From outside, hides what was only seen from the other side",
        )
        self._crop = gui.add_checkbox(
            "Crop box",
            False,
            disabled=True,
            hint="Hides what lies outside a box, whose corners have handles; exports keep all",
        )
        bind(self._crop, self._set_crop)
        if page.ground_truth is not None:
            fields.add(gui.add_checkbox, "True path", "show_truth", hint=TRUTH_HINT)
        surface = fields.add(
            gui.add_checkbox, "True surface", "show_true_cloud", hint=SURFACE_HINT, visible=False
        )
        self._surface = surface

    def _set_automatic(self, automatic: bool) -> None:
        """Let each point have its own size, or all of them the one that the slider shows."""
        self._controls.change(point_size=None if automatic else self._size.value)

    def _set_crop(self, on: bool) -> None:
        """Begin a box around the first lane, or take it away."""
        tick = self._tick
        crop = None
        if on and tick is not None and tick.snapshot.lanes[0].point_count:
            crop = CropBox.around(tick.snapshot.lanes[0])
        self._controls.change(crop=crop)

    def _set_follow(self, follow: bool) -> None:
        """Follow the camera or not; another motion of the view ends with it."""
        still = self._controls.settings.show.still()
        self._controls.change(follow_camera=follow, show=still)

    def update(self, tick: Tick) -> None:
        """Fit the size slider to the scene until a user moves it; show what the key F changed."""
        self._tick = tick
        has_depth, filled = self._series.has_depth and tick.metric, tick.snapshot.point_count > 0
        show(has_depth, self._surface)
        assign_changed(self._up, content=up_html(tick.snapshot.layout), visible=filled)
        modes = color_modes_for(tick.lane_count, has_depth=has_depth)
        assign_changed(self._color, options=tuple(modes.values()))
        # A widget that a user has just changed is ahead of older settings.
        if tick.settings is self._controls.settings:
            assign_changed(self._color, value=modes[tick.drawn.color_by])
            assign_changed(self._crop, value=tick.settings.crop is not None)
        assign_changed(self._crop, disabled=not filled)
        assign_changed(self._follow, value=tick.settings.follow_camera)
        assign_changed(self._automatic, value=tick.settings.point_size is None)
        assign_changed(self._size, label=SIZE_LABEL.format(tick.unit))
        size = float(f"{self._page.median_point_size():.2g}")
        differs = abs(size - self._fitted_size) > REFIT_SHARE * self._fitted_size
        if tick.settings.point_size is None and size and differs:
            self._fitted_size, step = size, size / 10
            assign_changed(
                self._size,
                min=step,
                max=10 * size,
                step=step,
                precision=max(0, 1 - math.floor(math.log10(step))),
                value=size,
            )


def up_html(layout: Layout) -> str:
    """Say where the first lane's up comes from, which turns the view, the grid and the heights."""
    known = "from floors and walls" if layout.up_is_seen else "guessed from how the camera was held"
    return block("up", f"Up: {known}", style="opacity:.75")
