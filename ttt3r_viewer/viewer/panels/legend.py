"""The legend: what the colours of the points mean, as a bar at the left edge of the scene."""

from ttt3r_viewer.metrics.palette import css_color
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import escape
from ttt3r_viewer.viewer.layers.colors import COLOR_MODES, Legend, LegendInput
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import assign_changed

# Fixed on the page and visible while captions hide the panel, as `captions.py` says.
STYLE = """<style>
.ttt3r-legend { visibility: visible; position: fixed; left: 20px; top: 50%;
  transform: translateY(-50%); pointer-events: none; color: #fff; font-size: 12px;
  line-height: 1.2; text-shadow: 0 0 2px #000, 0 0 6px #000; }
@media (max-width: 576px) { .ttt3r-legend { left: 10px; top: 20%; } }
.ttt3r-legend b { display: block; margin-bottom: 12px; font-weight: 600; }
.ttt3r-legend > div { position: relative; width: 12px; height: min(180px, 22vh);
  border: 1px solid #999; border-radius: 2px; }
.ttt3r-legend span { position: absolute; left: 11px; padding-left: 10px; white-space: nowrap;
  transform: translateY(50%); }
.ttt3r-legend span::before { content: ""; position: absolute; left: 0; top: 50%; width: 6px;
  border-top: 1px solid #fff; }
</style>"""


class LegendPanel(Part):
    """Writes the legend of the chosen colours. In no tab: it would go when another is opened."""

    def __init__(self, page: PageContext) -> None:
        self._html = page.server.gui.add_html("", visible=False)

    def update(self, tick: Tick) -> None:
        """Show what the colours of the first visible lane mean."""
        make, visible = COLOR_MODES[tick.drawn.color_by].legend, tick.visible_lanes
        shown = make is not None and bool(visible and tick.snapshot.frames)
        if make is not None and shown:
            layout = tick.snapshot.lanes[visible[0]].layout
            legend = make(LegendInput(layout, tick.unit))
            lane = f" ({tick.lane_names[visible[0]]})" if len(visible) > 1 else ""
            assign_changed(self._html, content=legend_html(legend, lane))
        assign_changed(self._html, visible=shown)


def legend_html(legend: Legend, lane: str = "") -> str:
    """Draw an upright bar with its ticks; `lane` says whose numbers they are."""
    stops = ", ".join(
        css_color((int(red), int(green), int(blue))) for red, green, blue in legend.table
    )
    ticks = "".join(
        f'<span style="bottom:{share:.1%}">{escape(text)}</span>' for share, text in legend.ticks
    )
    return (
        f'{STYLE}<div class="ttt3r-legend" data-testid="legend">'
        f"<b>{escape(legend.title + lane)}</b>"
        f'<div style="background:linear-gradient(to top, {stops})">{ticks}</div></div>'
    )
