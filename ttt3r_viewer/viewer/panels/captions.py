"""What a room reads while the scene is presented: HTML laid over the page, in large letters.

viser puts what `add_html` takes inside the panel. Nothing around it is transformed there, so that
a fixed position is one on the whole page; and a style that it brings hides the panel itself.
"""

from collections.abc import Iterable

from ttt3r_viewer.metrics.lane_errors import LaneError, ahead_text, lane_errors
from ttt3r_viewer.metrics.palette import LANE_COLORS, css_color
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.context import PageContext, Presentation
from ttt3r_viewer.viewer.html import BAD, colored, escape, lines
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import assign_changed

KEYS = (
    ("Drag", "turn the view; with the right button: move it; the wheel: nearer or farther"),
    ("Touch", "one finger turns, two fingers move and come nearer"),
    ("Click", "a camera: fly there; a point, while measuring or inspecting: take it"),
    ("Space", "pause, and go on; at the end: show the growth again"),
    ("G", "show the growth again from the first frame"),
    ("O", "orbit round the scene"),
    ("Home", "fit the view to the scene"),
    ("1  3  7", "look from the front, the side, the top"),
    ("F", "follow the camera"),
    ("T", "play or stop the tour"),
    ("M", "add this view to the tour"),
    ("B", "blink between the first two lanes"),
    ("C", "lanes side by side, or on each other"),
    ("I", "the input image with its depth"),
    ("J  K  L", "a frame back, a frame forward, the newest"),
    ("N", "one frame of the run, then pause"),
    ("Shift R", "begin the run again"),
    ("V", "ask the state what it expects to see from here"),
    ("Esc", "end measuring"),
    ("P", "save a screenshot, twice as large"),
    ("H", "captions, or the panel"),
    ("?", "these keys"),
)

# `:has` lets the rule name the panel by what is in it: viser's own class names change.
STYLE = """<style>
.mantine-Paper-root:has(.ttt3r-present) { visibility: hidden; box-shadow: none; }
.ttt3r-present { visibility: visible; position: fixed; inset: 0; pointer-events: none;
  color: #fff; font-size: clamp(16px, 1.75vw, 60px); line-height: 1.3;
  text-shadow: 0 0 0.15em #000, 0 0 0.5em #000; }
.ttt3r-present > div { position: absolute; }
.ttt3r-title { left: 1.4em; top: 1em; max-width: 56%; font-size: 1.45em; font-weight: 600; }
.ttt3r-logo { right: calc(1.4em + 48px); top: 1.15em; max-width: 26%;
  text-align: right; opacity: 0.8; }
.ttt3r-lanes { left: 2em; bottom: 1.4em; max-width: 68%; }
.ttt3r-lanes > div { display: flex; align-items: center; gap: 0.6em; white-space: nowrap;
  transition: opacity 0.15s; }
.ttt3r-lanes i { flex: none; width: 0.8em; height: 0.8em; border-radius: 50%;
  box-shadow: 0 0 0.4em #000; }
.ttt3r-lanes span { overflow: hidden; text-overflow: ellipsis; }
.ttt3r-lanes b { font-variant-numeric: tabular-nums; font-weight: 600; }
.ttt3r-frame { right: 2em; bottom: 1.4em; text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 600px) { .ttt3r-lanes { bottom: 3em; max-width: 88%; } }
</style>"""


class CaptionsPanel(Part):
    """What lies over the page. In no tab: it would go when another is opened."""

    def __init__(self, page: PageContext) -> None:
        self._presentation = page.presentation
        self._series = page.series
        self._captions = page.server.gui.add_html("", visible=False)
        self._keys = page.server.gui.add_html(keys_html(), visible=False)

    def update(self, tick: Tick) -> None:
        """Write the captions while the page is presented, and show the keys where asked to."""
        show, content = tick.settings.show, ""
        if show.presenting:
            self._series.update(tick.snapshot)
            ate_m = self._series.ate_so_far(tick.position)
            errors = lane_errors(ate_m) if ate_m else None
            lanes = [
                lane_caption_html(k, name, k in tick.visible_lanes, errors[k] if errors else None)
                for k, name in enumerate(tick.lane_names)
            ]
            if errors:
                lanes.append(truth_caption_html(tick, ahead_text(tick.lane_names, errors)))
            content = captions_html(
                self._presentation,
                tick.snapshot.status,
                tick.frame_text,
                lanes,
            )
        assign_changed(self._captions, content=content, visible=show.presenting)
        assign_changed(self._keys, visible=show.keys_shown)


def captions_html(given: Presentation, status: Status, frame: str, lanes: Iterable[str]) -> str:
    """Lay the captions along the page's edges, and hide the panel.

    `frame` says which one is shown. `lanes` are HTML.
    """
    trouble = ""
    if status.phase == "failed":
        trouble = lines([colored(escape(status.message, 200), BAD)])
    elif status.phase in ("starting", "paused"):
        trouble = lines([colored(status.phase, "#ffd43b")])
    texts = {
        "title": escape(given.title, 120),
        "logo": escape(given.logo_text, 60),
        "lanes": "".join(lanes) + remark_html(given.remark),
        "frame": f"{trouble}{escape(frame)}",
    }
    content = "".join(
        f'<div class="ttt3r-{name}" data-testid="present-{name}">{text}</div>'
        for name, text in texts.items()
    )
    return f'{STYLE}<div class="ttt3r-present" data-testid="present">{content}</div>'


def lane_caption_html(lane: int, name: str, shown: bool, error: LaneError | None) -> str:
    """Name a lane after a dot in its colour, pale where it is not drawn now.

    `error` is that so far; None where the truth is not known.
    """
    ate = "" if error is None else f"<b>{error.ate_text}</b>"
    return (
        f'<div style="opacity:{1.0 if shown else 0.3}">'
        f'<i style="background:{css_color(LANE_COLORS[lane])}"></i>'
        f"<span>{escape(name, 80)}</span>{ate}</div>"
    )


def truth_caption_html(tick: Tick, ahead: str) -> str:
    """Say what the truth looks like, and who is `ahead`; empty where there is nothing to say."""
    dashed = "true path dashed" if tick.drawn.show_truth else ""
    text = escape("; ".join(filter(None, (ahead, dashed))), 240)
    return f'<div style="white-space:normal">{text}</div>'


def remark_html(remark: str) -> str:
    """Say what is to be known of what is shown, smaller than the lanes."""
    style = "white-space:normal;font-size:0.8em"
    content = f'<div data-testid="present-remark" style="{style}">{escape(remark, 200)}</div>'
    return content if remark else ""


def keys_html() -> str:
    """List the keys in a box in the middle of the page, over whatever is there."""
    rows = "".join(
        f'<tr><td style="padding:0.1em 1em 0.1em 0;text-align:right;font-weight:600;'
        f'white-space:nowrap;color:#74c0fc">{escape(key)}</td><td>{escape(text)}</td></tr>'
        for key, text in KEYS
    )
    return (
        '<div data-testid="keys" style="visibility:visible;position:fixed;left:50%;top:50%;'
        "transform:translate(-50%,-50%);z-index:20;pointer-events:none;color:#fff;"
        "font-size:clamp(13px,1.35vw,46px);line-height:1.45;background:rgba(20,20,22,.92);"
        'border:1px solid #555;border-radius:0.6em;padding:0.9em 1.6em;max-width:92vw">'
        f'<table style="border-collapse:collapse">{rows}</table></div>'
    )
