"""The timeline: which of the seen frames is shown, and whether with all before it."""

from __future__ import annotations

import viser

from ttt3r_viewer.scene.store import FrameSummary
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import Extent
from ttt3r_viewer.viewer.widgets import assign_changed, escape

FOLLOW_SEC = 2.0
"""While frames come, the slider is moved on at most this often: who types a frame's number into its
box would otherwise type into one that changes under the hand."""
EXTENTS: dict[str, Extent] = {"All up to here": "all", "This frame only": "one"}


class TimelinePanel(Part):
    """Widgets of the timeline."""

    def __init__(self, page: PageContext) -> None:
        gui = page.server.gui
        self._controls = page.controls
        self._frame_count = 0
        self._shown = -1
        """Where the page stands."""
        self._follow_due_sec = 0.0
        with gui.add_folder("Timeline"):
            # People count frames from 1, as the status line does.
            self._slider = gui.add_slider(
                "Frame", min=1, max=2, step=1, initial_value=1, disabled=True, hint="Keys: J, K"
            )

            @self._slider.on_update
            async def _(event: viser.GuiEvent[viser.GuiSliderHandle[int]]) -> None:
                if event.client is not None:
                    self._go_to(int(self._slider.value) - 1)

            self._caption = gui.add_html(caption_html(None))
            self._live = gui.add_checkbox("Live", True, hint="Stay at the newest frame. Key: L")

            @self._live.on_update
            async def _(event: viser.GuiEvent[viser.GuiCheckboxHandle]) -> None:
                if event.client is not None:
                    self._set_live(self._live.value)

            self._extent = gui.add_dropdown("Show", tuple(EXTENTS))

            @self._extent.on_update
            async def _(event: viser.GuiEvent[viser.GuiDropdownHandle[str]]) -> None:
                if event.client is not None:
                    self._controls.change(extent=EXTENTS.get(self._extent.value, "all"))

        self._add_hotkeys(gui)

    def _add_hotkeys(self, gui: viser.GuiApi) -> None:
        back = gui.add_command("One frame back", hotkey="J")

        @back.on_trigger
        async def _(_: viser.CommandEvent) -> None:
            self._go_to(self._position() - 1)

        forward = gui.add_command("One frame forward", hotkey="K")

        @forward.on_trigger
        async def _(_: viser.CommandEvent) -> None:
            self._go_to(self._position() + 1)

        live = gui.add_command("Live", hotkey="L", description="Stay at the newest frame")

        @live.on_trigger
        async def _(_: viser.CommandEvent) -> None:
            self._set_live(not self._controls.settings.live)

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

    @property
    def _at(self) -> tuple[int, int]:
        return int(self._slider.max), int(self._slider.value)

    def _move(self, end: int, value: int) -> None:
        assign_changed(self._slider, max=end)
        assign_changed(self._slider, value=value)

    def update(self, tick: Tick) -> None:
        """Stretch the slider over the seen frames and put it where the page stands."""
        frames, settings = tick.snapshot.frames, tick.settings
        position, now_sec = tick.position, tick.now_sec
        self._frame_count, self._shown = len(frames), position
        assign_changed(self._slider, disabled=len(frames) < 2)
        end, value = max(len(frames), 2), max(position + 1, 1)
        if settings.live or not frames:
            if now_sec >= self._follow_due_sec and (end, value) != self._at:
                self._follow_due_sec = now_sec + FOLLOW_SEC
                self._move(end, value)
        # While a person drags, the slider is ahead of these settings and must not be pulled back.
        elif settings is self._controls.settings and self._slider.value != value:
            self._move(end, value)
        elif now_sec >= self._follow_due_sec:
            self._follow_due_sec = now_sec + FOLLOW_SEC
            assign_changed(self._slider, max=end)
        assign_changed(self._live, value=settings.live)
        assign_changed(self._caption, content=caption_html(frames[position] if frames else None))


def caption_html(frame: FrameSummary | None) -> str:
    """Name the shown frame with its time and its segment where there was a reset."""
    if frame is None:
        text = "no frame yet"
    else:
        text = f"{escape(frame.name, 80)} · {frame.time_sec:.2f} s"
        if frame.segment:
            text += f" · after reset {frame.segment}"
    return (
        '<div data-testid="caption" style="font-size:0.75em;opacity:.75;padding:0 0.75em;'
        f'overflow-wrap:anywhere">{text}</div>'
    )
