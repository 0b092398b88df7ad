"""The lanes: which are shown, and whether on each other, side by side or in turn."""

from __future__ import annotations

from dataclasses import dataclass

import viser

from ttt3r_viewer.metrics.palette import LANE_COLORS, css_color
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import Arrangement
from ttt3r_viewer.viewer.widgets import assign_changed, escape

ARRANGEMENTS: dict[str, Arrangement] = {
    "Overlay": "overlay",
    "Side by side": "side by side",
    "Blink": "blink",
}
MAX_SPACING = 3.0
TWIN_LINK = (
    '<a data-testid="twin" href="/twin" target="_blank" '
    'style="font-size:0.8em;padding:0 0.75em;color:#74c0fc">'
    "Open the twin view: two lanes in two panes</a>"
)


@dataclass(frozen=True, eq=False)
class _LaneRow:
    """The widgets of one lane."""

    legend: viser.GuiHtmlHandle
    shown: viser.GuiCheckboxHandle


class LanesPanel(Part):
    """Widgets of the lanes, for two and more of them."""

    def __init__(self, page: PageContext) -> None:
        gui, controls = page.server.gui, page.controls
        self._controls = controls
        self._lane_count = 1
        self._folder = gui.add_folder("Lanes", visible=False)
        with self._folder:
            self._rows = [self._add_row(gui, k) for k in range(len(LANE_COLORS))]
            self._arrangement = gui.add_dropdown(
                "Arrange", tuple(ARRANGEMENTS), hint="Key B flips between the first two"
            )

            @self._arrangement.on_update
            async def _(event: viser.GuiEvent[viser.GuiDropdownHandle[str]]) -> None:
                if event.client is not None:
                    chosen = ARRANGEMENTS.get(self._arrangement.value, "overlay")
                    controls.change(arrangement=chosen)

            self._spacing = gui.add_slider(
                "Spacing",
                min=0.0,
                max=MAX_SPACING,
                step=0.05,
                initial_value=controls.settings.spacing,
                visible=False,
                hint="Distance between neighbours as a share of the scene's width",
            )

            @self._spacing.on_update
            async def _(event: viser.GuiEvent[viser.GuiSliderHandle[float]]) -> None:
                if event.client is not None:
                    controls.change(spacing=min(max(self._spacing.value, 0.0), MAX_SPACING))

            self._twin = gui.add_html("")

        self._blink = gui.add_command(
            "Blink", hotkey="B", description="Flip between the first two lanes", disabled=True
        )

        @self._blink.on_trigger
        async def _(_: viser.CommandEvent) -> None:
            self._flip()

    def _add_row(self, gui: viser.GuiApi, lane: int) -> _LaneRow:
        legend = gui.add_html("", visible=False)
        shown = gui.add_checkbox(f"Lane {lane + 1}", True, visible=False)

        @shown.on_update
        async def _(event: viser.GuiEvent[viser.GuiCheckboxHandle]) -> None:
            if event.client is not None:
                others = self._controls.settings.hidden_lanes - {lane}
                self._controls.change(hidden_lanes=others if shown.value else others | {lane})

        return _LaneRow(legend, shown)

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
        settings, visible = tick.settings, tick.visible_lanes
        count = self._lane_count = tick.lane_count
        assign_changed(self._folder, visible=count > 1)
        assign_changed(self._blink, disabled=count < 2)
        for k, row in enumerate(self._rows):
            assign_changed(row.legend, visible=k < count)
            assign_changed(row.shown, visible=k < count)
            if k < count > 1:
                text = legend_html(k, tick.lane_names[k], k in visible)
                assign_changed(row.legend, content=text)
        assign_changed(self._twin, content=TWIN_LINK if count > 1 else "")
        assign_changed(self._spacing, visible=settings.arrangement == "side by side")
        # A widget that a person has just changed is ahead of older settings.
        if settings is self._controls.settings:
            names = {arrangement: name for name, arrangement in ARRANGEMENTS.items()}
            assign_changed(self._arrangement, value=names[settings.arrangement])


def legend_html(lane: int, name: str, visible: bool) -> str:
    """Name a lane after a dot in its colour; pale where it is not drawn now."""
    dot = (
        "display:inline-block;width:0.7em;height:0.7em;border-radius:50%;margin-right:0.5em;"
        f"background:{css_color(LANE_COLORS[lane])}"
    )
    return (
        f'<div data-testid="lane-{lane}" style="font-size:0.8em;padding:0 0.75em;'
        f'overflow-wrap:anywhere;opacity:{1.0 if visible else 0.45}">'
        f'<span style="{dot}"></span>{escape(name, 120)}</div>'
    )
