"""The timeline: which of the seen frames is shown, and whether with all before it."""

from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import block, escape
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import Extent
from ttt3r_viewer.viewer.widgets import FieldWidgets, assign_changed, bind

FOLLOW_SEC = 2.0
"""While frames come, the slider is moved on at most this often: a user who types a frame's number
into its box would otherwise type into one that changes."""
EXTENTS: dict[str, Extent] = {"All up to here": "all", "This frame only": "one"}


class TimelinePanel(Part):
    """Widgets of the timeline."""

    def __init__(self, page: PageContext) -> None:
        gui, controls = page.server.gui, page.controls
        self._controls = controls
        self._frame_count = 0
        self._shown = -1
        """Where the page stands."""
        self._follow_due_sec = 0.0
        fields = FieldWidgets(gui, controls.settings, controls.change)
        with gui.add_folder("Timeline"):
            # People count frames from 1, as the status line does.
            self._slider = gui.add_slider(
                "Frame", min=1, max=2, step=1, initial_value=1, disabled=True, hint="Keys: J, K"
            )
            bind(self._slider, lambda number: self._go_to(number - 1))
            self._caption = gui.add_html(caption_html(None))
            self._live = gui.add_checkbox("Live", True, hint="Stay at the newest frame. Key: L")
            bind(self._live, self._set_live)
            fields.choice("Show", "extent", EXTENTS)
        fields.key("One frame back", "J", lambda _: self._go_to(self._position() - 1))
        fields.key("One frame forward", "K", lambda _: self._go_to(self._position() + 1))
        what = "Stay at the newest frame"
        fields.key(
            "Live", "L", lambda _: self._set_live(not controls.settings.live), description=what
        )

    def _position(self) -> int:
        settings = self._controls.settings
        if settings.show.replaying:
            return self._shown
        return self._frame_count - 1 if settings.live else settings.position

    def _go_to(self, position: int) -> None:
        last = max(self._frame_count - 1, 0)
        self._controls.stand_at(live=False, position=min(max(position, 0), last))

    def _set_live(self, live: bool) -> None:
        self._controls.stand_at(live=live, position=max(self._position(), 0))

    def update(self, tick: Tick) -> None:
        """Stretch the slider over the seen frames and put it where the page stands."""
        frames, settings = tick.snapshot.frames, tick.settings
        self._frame_count, self._shown = len(frames), tick.position
        end, value = max(len(frames), 2), max(tick.position + 1, 1)
        due = tick.now_sec >= self._follow_due_sec
        assign_changed(self._slider, disabled=len(frames) < 2)
        if settings.live or not frames:
            if due and (end, value) != (self._slider.max, self._slider.value):
                self._follow_due_sec = tick.now_sec + FOLLOW_SEC
                assign_changed(self._slider, max=end, value=value)
        # While a user drags, the slider is ahead of these settings and must not be pulled back.
        elif settings is self._controls.settings and self._slider.value != value:
            assign_changed(self._slider, max=end, value=value)
        elif due:
            self._follow_due_sec = tick.now_sec + FOLLOW_SEC
            assign_changed(self._slider, max=end)
        assign_changed(self._live, value=settings.live)
        shown = frames[tick.position] if frames else None
        assign_changed(self._caption, content=caption_html(shown))


def caption_html(frame: FrameSummary | None) -> str:
    """Name the shown frame with its time, and its segment where there was a reset."""
    if frame is None:
        return block("caption", "no frame yet", style="opacity:.75")
    text = f"{escape(frame.name, 80)} · {frame.time_sec:.2f} s"
    if frame.segment:
        text += f" · after reset {frame.segment}"
    return block("caption", text, style="opacity:.75")
