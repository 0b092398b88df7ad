"""The run: what it does now, how far it is, and the buttons that steer it."""

from __future__ import annotations

import viser

from ttt3r_viewer.reconstruct.messages import Pause, Play, Restart, Step
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import assign_changed, escape

PHASE_WORDS = {
    "starting": ("Starting", "#868e96"),
    "running": ("Running", "#2f9e44"),
    "paused": ("Paused", "#e8910c"),
    "finished": ("Finished", "#1c7ed6"),
    "failed": ("Failed", "#e03131"),
    "stopped": ("Stopped", "#868e96"),
}


class RunPanel(Part):
    """Widgets of the run."""

    def __init__(self, page: PageContext) -> None:
        gui = page.server.gui
        self._server = page.server
        self._mailbox = page.mailbox
        self._controls = page.controls
        self._phase = "starting"

        self._status = gui.add_html(status_html(Status(), 0))
        self._error = gui.add_html("", visible=False)
        self._progress = gui.add_progress_bar(0.0, visible=False)

        self._play = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE, hint="Key: space")

        @self._play.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._toggle()

        self._step = gui.add_button(
            "Step", icon=viser.Icon.PLAYER_SKIP_FORWARD, hint="One frame, then pause. Key: N"
        )

        @self._step.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._mailbox.put(Step())

        self._restart = gui.add_button(
            "Restart", icon=viser.Icon.REFRESH, color="gray", hint="Begin again. Key: R"
        )

        @self._restart.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._begin_again()

        if page.notice:
            gui.add_html(notice_html(page.notice))
        self._add_hotkeys(gui)

    def _add_hotkeys(self, gui: viser.GuiApi) -> None:
        step = gui.add_command("Step", hotkey="N", icon=viser.Icon.PLAYER_SKIP_FORWARD)

        @step.on_trigger
        async def _(_: viser.CommandEvent) -> None:
            if not self._step.disabled:
                self._mailbox.put(Step())

        restart = gui.add_command("Restart", hotkey="R", icon=viser.Icon.REFRESH)

        @restart.on_trigger
        async def _(_: viser.CommandEvent) -> None:
            self._begin_again()

    def _toggle(self) -> None:
        # Pause and Play say what is wanted, so that two quick clicks do not depend on the order.
        match self._phase:
            case "starting" | "running":
                self._mailbox.put(Pause())
            case "paused":
                self._mailbox.put(Play())
            case _:
                pass

    def _begin_again(self) -> None:
        self._mailbox.put(Restart())
        self._controls.stand_at(live=True, position=0)

    def update(self, tick: Tick) -> None:
        """Show the status, and an error of the run or of the page itself."""
        status = tick.snapshot.status
        if status.phase == "failed" != self._phase:
            for client in self._server.get_clients().values():
                client.add_notification("The run has failed", status.message, color="red")
        self._phase = status.phase
        failure = status.message if status.phase == "failed" else tick.trouble
        assign_changed(self._status, content=status_html(status, tick.snapshot.point_count))
        assign_changed(self._error, content=error_html(failure), visible=bool(failure))
        if status.frames_total:
            share = 100.0 * status.frames_taken / status.frames_total
            assign_changed(
                self._progress,
                value=min(round(share, 1), 100.0),
                animated=status.phase == "running",
                visible=True,
            )
        else:
            assign_changed(self._progress, visible=False)
        running, paused = status.phase in ("starting", "running"), status.phase == "paused"
        assign_changed(
            self._play,
            label="Pause" if running else "Play",
            icon=viser.Icon.PLAYER_PAUSE if running else viser.Icon.PLAYER_PLAY,
            disabled=not (running or paused),
        )
        assign_changed(self._step, disabled=not (running or paused))


def status_html(status: Status, point_count: int) -> str:
    """Say phase, model, rule, device, frame n of N and frames per second, always all of them."""
    word, color = PHASE_WORDS[status.phase]
    total = "?" if status.frames_total is None else f"{status.frames_total:,}"
    facts = f"frame {status.frames_taken:,} of {total} · {status.frames_per_second:.1f} frames/s"
    parts = (("model", status.model), ("rule", status.rule), ("device", status.device))
    names = " · ".join(
        f'<span style="opacity:.65">{name}</span> <b>{escape(value)}</b>' for name, value in parts
    )
    lines = [
        f'<div><span style="color:{color}">●</span> <b>{word}</b> · {facts}</div>',
        f"<div>{names}</div>",
        f'<div style="opacity:.65">{point_count:,} points kept</div>',
    ]
    if status.lag_sec is not None:
        noun = "frame" if status.dropped == 1 else "frames"
        lines.append(
            f'<div title="Seconds from the arrival of a frame to its result; frames that a newer '
            f'one replaced">lag {status.lag_sec:.2f} s · {status.dropped:,} {noun} dropped</div>'
        )
    if status.message and status.phase != "failed":
        lines.append(f'<div style="opacity:.8">{escape(status.message)}</div>')
    if status.skipped:
        noun = "frame" if status.skipped == 1 else "frames"
        lines.append(
            f'<div style="color:#e8910c">{status.skipped:,} {noun} skipped, '
            f"last: {escape(status.last_skipped)}</div>"
        )
    return (
        '<div data-testid="status" style="font-size:0.8em;line-height:1.5;padding:0.4em 0.75em;'
        f'overflow-wrap:anywhere">{"".join(lines)}</div>'
    )


def notice_html(text: str) -> str:
    """Put a plain text that a person should know in a quiet box."""
    return _box_html("notice", "77,171,247", escape(text))


def error_html(text: str) -> str:
    """Put an error's text in a red box."""
    return _box_html("error", "224,49,49", f"<b>Error</b><br>{escape(text)}")


def _box_html(name: str, rgb: str, content: str) -> str:
    style = (
        "font-size:0.8em;line-height:1.5;margin:0.25em 0.75em 0.75em;padding:0.4em 0.75em;"
        f"border-left:4px solid rgb({rgb});border-radius:4px;background:rgba({rgb},.15);"
        "overflow-wrap:anywhere"
    )
    return f'<div data-testid="{name}" style="{style}">{content}</div>'
