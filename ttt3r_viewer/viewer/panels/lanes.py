"""The lanes: which are shown, and whether on each other, side by side or in turn."""

from ttt3r_viewer.metrics.lane_errors import LaneError, lane_errors
from ttt3r_viewer.metrics.palette import LANE_COLORS, css_color
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import block, escape, lane_dot
from ttt3r_viewer.viewer.server.clients import TWIN_PATH
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import Arrangement
from ttt3r_viewer.viewer.widgets import FieldWidgets, assign_changed, bind, show

ARRANGEMENTS: dict[str, Arrangement] = {
    "Overlay": "overlay",
    "Side by side": "side by side",
    "Blink": "blink",
}
MAX_SPACING = 1.0
TWIN_LINK = (
    f'<a data-testid="twin" href="{TWIN_PATH}" target="_blank" '
    'style="font-size:0.8em;padding:0 0.75em;color:#74c0fc">'
    "Open the twin view: two lanes in two panes</a>"
)


class LanesPanel(Part):
    """Widgets of the lanes, for two and more of them."""

    def __init__(self, page: PageContext) -> None:
        gui, controls = page.server.gui, page.controls
        self._controls = controls
        self._series = page.series
        self._lane_count = 1
        fields = FieldWidgets(gui, controls.settings, controls.change)
        self._folder = gui.add_folder("Lanes", visible=False)
        with self._folder:
            self._rows = []
            for lane in range(len(LANE_COLORS)):
                legend = gui.add_html("", visible=False)
                shown = gui.add_checkbox(f"Lane {lane + 1}", True, visible=False)
                bind(shown, lambda on, lane=lane: self._show_lane(lane, on))
                self._rows.append((legend, shown))
            hint = "Key B flips between the first two"
            self._arrangement = fields.choice("Arrange", "arrangement", ARRANGEMENTS, hint=hint)
            self._spacing = fields.add(
                gui.add_slider,
                "Spacing",
                "spacing",
                min=0.0,
                max=MAX_SPACING,
                step=0.05,
                visible=False,
                hint="Gap between neighbours as a share of the widest scene",
            )
            self._twin = gui.add_html("")
        what = "Flip between the first two lanes"
        self._blink = fields.key(
            "Blink", "B", lambda _: self._flip(), description=what, disabled=True
        )

    def _show_lane(self, lane: int, shown: bool) -> None:
        others = self._controls.settings.hidden_lanes - {lane}
        self._controls.change(hidden_lanes=others if shown else others | {lane})

    def _flip(self) -> None:
        """Show one lane at a time, then the other of the first two that are switched on."""
        settings = self._controls.settings.within(self._lane_count)
        chosen = settings.chosen_lanes(self._lane_count)[:2]
        if self._lane_count > 1 and chosen:
            first_shown = settings.arrangement == "blink" and settings.blink_lane == chosen[0]
            lane = chosen[-1] if first_shown else chosen[0]
            self._controls.change(arrangement="blink", blink_lane=lane)

    def update(self, tick: Tick) -> None:
        """Offer what this number of lanes can have, and show what a key changed."""
        count = self._lane_count = tick.lane_count
        show(count > 1, self._folder)
        assign_changed(self._blink, disabled=count < 2)
        ate_m = self._series.ate_so_far(tick.position)
        errors = [None] * count if ate_m is None else lane_errors(ate_m)
        for k, (legend, shown) in enumerate(self._rows):
            show(k < count, legend, shown)
            if k < count > 1:
                visible = k in tick.visible_lanes
                text = legend_html(k, tick.lane_names[k], visible, errors[k])
                assign_changed(legend, content=text)
        assign_changed(self._twin, content=TWIN_LINK if count > 1 else "")
        show(tick.settings.arrangement == "side by side", self._spacing)
        # A widget that a user has just changed is ahead of older settings.
        if tick.settings is self._controls.settings:
            labels = {value: label for label, value in ARRANGEMENTS.items()}
            assign_changed(self._arrangement, value=labels[tick.settings.arrangement])


def legend_html(lane: int, name: str, visible: bool, error: LaneError | None = None) -> str:
    """Name a lane after a dot in its colour, with its error and a bar of that where it is known;
    pale where it is not drawn now.
    """
    content = f"{lane_dot(lane)}{escape(name, 120)}"
    if error is not None:
        bar = f"width:{error.share:.1%};background:{css_color(LANE_COLORS[lane])}"
        content += f'<div>{error.text}</div><div style="height:4px;{bar}"></div>'
    style = f"opacity:{1.0 if visible else 0.45}"
    return block(f"lane-{lane}", content, size="0.8em", style=style)
