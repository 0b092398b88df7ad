"""The run: what it does now, how far it is, and the buttons that steer it."""

import time

import viser
from viser import Icon

from ttt3r_viewer.reconstruct.messages import Pause, Play, Restart, Step
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import (
    WARNING,
    block,
    box,
    colored,
    counted,
    escape,
    lines,
    muted,
    rounded,
)
from ttt3r_viewer.viewer.server.start_screen import START_PATH
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import Widgets, assign_changed, show

PHASE_WORDS = {
    "starting": ("Starting", "#868e96"),
    "running": ("Running", "#2f9e44"),
    "paused": ("Paused", "#e8910c"),
    "finished": ("Finished", "#1c7ed6"),
    "failed": ("Failed", "#e03131"),
    "stopped": ("Stopped", "#868e96"),
}
START_LINK = (
    f'<a href="{START_PATH}" data-testid="start-link" style="display:block;padding:0.1em 0.95em;'
    'font-size:0.85em;color:#74b8f7">Show something else …</a>'
)


class RunPanel(Part):
    """Widgets of the run."""

    def __init__(self, page: PageContext) -> None:
        gui = page.server.gui
        self._server = page.server
        self._mailbox = page.mailbox
        self._controls = page.controls
        self._question = page.restart
        self._points_shown, self._points_limit = page.points_shown, page.points_limit
        self._phase = "starting"
        self._status = gui.add_html(status_html(Status(), ""))
        self._error = gui.add_html("", visible=False)
        self._progress = gui.add_progress_bar(0.0, visible=False)
        widgets = Widgets(gui)
        self._play = widgets.button(
            "Pause",
            Icon.PLAYER_PAUSE,
            lambda _: self._toggle(),
            hint="At the end: all frames again, from the first one on. Key: space",
        )
        self._step = widgets.button(
            "Step", Icon.PLAYER_SKIP_FORWARD, self._take_step, hint="One frame, then pause. Key: N"
        )
        hint = "Begin again; what is recorded is kept, or asked about. Key: Shift+R"
        widgets.button("Restart", Icon.REFRESH, self._restart, color="gray", hint=hint)
        if page.has_start:
            gui.add_html(START_LINK)
        if page.notice:
            gui.add_html(box("notice", "77,171,247", page.notice, dismissible=True))
        self._step_key = widgets.key("Step", "N", self._take_step, icon=Icon.PLAYER_SKIP_FORWARD)
        widgets.key("Restart", "R", self._restart, modifier="shift", icon=Icon.REFRESH)

    def _take_step(self, _: object) -> None:
        self._mailbox.put(Step())

    def _toggle(self) -> None:
        # Pause and Play say what is meant, so that two quick clicks do not depend on the order.
        if self._phase in ("starting", "running"):
            self._mailbox.put(Pause())
        elif self._phase == "paused":
            self._mailbox.put(Play())
        else:
            show = self._controls.settings.show.replayed(time.monotonic())
            self._controls.change(show=show, live=False)

    def _restart(self, client: viser.ClientHandle | None) -> None:
        def begin() -> None:
            self._mailbox.put(Restart())
            self._controls.stand_at(live=True, position=0)

        self._question.before(client, begin)

    def update(self, tick: Tick) -> None:
        """Show the status, and an error of the run or of the page itself."""
        status = tick.snapshot.status
        if status.phase == "failed" != self._phase:
            for client in self._server.get_clients().values():
                client.add_notification("The run has failed", status.message, color="red")
        self._phase = status.phase
        failure = status.message if status.phase == "failed" else tick.trouble
        running = status.phase in ("starting", "running")
        limit = self._points_limit(tick.snapshot.max_points)
        points = points_html(tick, self._points_shown(), limit)
        recording = tick.snapshot.recording
        earlier = "" if recording is None else recording.earlier
        assign_changed(self._status, content=status_html(status, points, earlier))
        error = box("error", "224,49,49", failure, title="Error")
        assign_changed(self._error, content=error, visible=bool(failure))
        if status.frames_total:
            share = round(100.0 * status.frames_taken / status.frames_total, 1)
            assign_changed(
                self._progress, value=min(share, 100.0), animated=status.phase == "running"
            )
        show(bool(status.frames_total), self._progress)
        ended = not status.goes_on
        assign_changed(
            self._play,
            label="Pause" if running else "Play again" if ended else "Play",
            icon=Icon.PLAYER_PAUSE if running else Icon.PLAYER_PLAY,
            disabled=ended and not tick.snapshot.frames,
        )
        for one in (self._step, self._step_key):
            assign_changed(one, disabled=ended)


def points_html(tick: Tick, points_shown: int, limit: str = "") -> str:
    """Say how many points are shown, of how many kept, the side of the lanes' voxels, and HTML on
    how many may be kept.
    """
    kept = rounded(tick.snapshot.point_count)
    side = max(lane.layout.voxel_side for lane in tick.snapshot.lanes)
    small = tick.unit == "m" and side < 0.0995
    size = f"{1e3 * side:.2g} mm" if small else f"{side:.2g} {tick.unit}"
    voxel = f", voxel {size}" if side else ""
    shown = f"shown {rounded(points_shown)} of {kept} points{voxel}"
    return " · ".join(filter(None, (shown, limit)))


def status_html(status: Status, points: str, earlier: str = "") -> str:
    """Say phase, model, rule, device, frame n of N and frames per second, always all of them, and
    `points`, a line about the points; `earlier` is where the recording of a run before is kept.
    """
    word, color = PHASE_WORDS[status.phase]
    total = "?" if status.frames_expected is None else f"{status.frames_expected:,}"
    progress = f"frame {status.frames_done:,} of {total}"
    source = f" - <b>{escape(status.source, 60)}</b>" if status.source else ""
    parts = {"model": status.model, "rule": status.rule, "device": status.device}
    facts = [f"{muted(name)} <b>{escape(value)}</b>" for name, value in parts.items()]
    shown = [
        f"{colored('●', color)} <b>{word}</b> · {progress}{source}",
        " · ".join((*facts, f"{status.frames_per_second:.1f} frames/s")),
        muted(points),
    ]
    if status.lag_sec is not None:
        shown.append(
            '<span title="Seconds from the arrival of a frame to its result; frames that a newer '
            f'one replaced">lag {status.lag_sec:.2f} s · '
            f"{counted(status.dropped, 'frame')} dropped</span>"
        )
    if status.phase != "failed":
        shown.append(escape(status.message))
    if earlier:
        shown.append(f"the recording of the run before is kept in {escape(printable(earlier))}")
    if status.skipped:
        skipped = f"{counted(status.skipped, 'frame')} skipped, last: {escape(status.last_skipped)}"
        shown.append(colored(skipped, WARNING))
    return block("status", lines(shown), size="0.8em", style="padding:0.4em 0.75em")
