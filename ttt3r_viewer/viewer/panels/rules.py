"""The rules: their parameters while the run goes on, the reset interval, and other lanes."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import viser
from viser import Icon

from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.reconstruct.messages import (
    Mailbox,
    Message,
    Restart,
    SetParameter,
    SetResetEvery,
    SetRules,
)
from ttt3r_viewer.types import ParameterInfo, RuleInfo, Status
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import block, escape, lane_dot, note
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import Widgets, assign_changed, bind, show

QUIET_SEC = 0.3
"""A value is sent when no other has followed for so long: not each digit that is typed."""
HOLD_SEC = 1.5
"""A widget shows a user's value for so long, and two frames more, while it is not in force."""
WIDEST_SLIDER = 1000.0
SLIDER_STEPS = 100
OPEN_PARAMETERS = 4
"""The folder of a rule with more parameters than this is closed at first."""
NO_LANE = "none"
NO_RULES: tuple[str, ...] = (NO_LANE,)
RESET_EVERY = ParameterInfo(
    name="Reset every",
    value=0,
    default=0,
    low=0,
    high=math.inf,
    help="Frames between two resets of every lane's state; 0 for never",
    whole=True,
)


def widget_options(info: ParameterInfo) -> tuple[bool, dict[str, Any]]:
    """Return whether a parameter is shown as a slider, and viser's options of its range.

    Where the range is too wide for a slider, it is a number box, whose limits may be None. The step
    is round, and reaches the lower limit.
    """
    slider = 0 < info.high - info.low <= WIDEST_SLIDER
    step = 1.0 if info.whole else 0.01
    if slider and not info.whole:
        step = _round_step((info.high - info.low) / SLIDER_STEPS, info.low)
    number = round if info.whole else float
    options = {"min": info.low, "max": info.high, "step": step}
    return slider, {
        name: number(value) if math.isfinite(value) else None for name, value in options.items()
    }


def _round_step(most: float, low: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten up to `most` that divides `low`."""
    exponent = math.floor(math.log10(most))
    steps = [float(f"{digit}e{exponent - k}") for k in range(3) for digit in (5, 2, 1)]
    fitting = [step for step in steps if step <= most * (1 + 1e-9)]
    exact = (step for step in fitting if abs(low / step - round(low / step)) < 1e-6)
    return next(exact, fitting[0])


def chosen_rules(chosen: Sequence[str], now: Sequence[RuleInfo]) -> tuple[str, ...]:
    """Return the lanes for these names; a lane that keeps its rule keeps its parameters too."""
    texts = []
    for lane, name in enumerate(chosen):
        kept = lane < len(now) and now[lane].name == name
        if name != NO_LANE:
            texts.append(now[lane].argument if kept else name)
    return tuple(texts)


class _ParameterRow:
    """The widget of one parameter; `send` is given the value that a user chose."""

    def __init__(
        self, gui: viser.GuiApi, info: ParameterInfo, send: Callable[[float], None]
    ) -> None:
        self._send = send
        self._chosen = (info.value, -math.inf)
        """The value that a user chose, and when (`time.monotonic`)."""
        slider, options = widget_options(info)
        self._number = round if info.whole else float
        # A recording may say anything, and a slider takes no value out of its range.
        value = self._number(min(max(info.value, info.low), info.high))
        add = gui.add_slider if slider else gui.add_number
        self._handle = add(info.name, initial_value=value, hint=info.help, **options)
        self._known = self._handle.value
        bind(self._handle, self._choose)

    def _choose(self, value: float) -> None:
        self._chosen = (value, time.monotonic())
        self._known = self._handle.value
        self._send(float(value))

    def follow(self, info: ParameterInfo, now_sec: float, hold_sec: float) -> None:
        """Show the value in force, unless a user's own is still on its way."""
        value, chosen_sec = self._chosen
        if self._handle.value != self._known:
            return  # The callback of a newer value is about to run.
        if value != info.value and now_sec - chosen_sec < hold_sec:
            return
        self._known = self._number(info.value)
        assign_changed(self._handle, value=self._known)


@dataclass(frozen=True)
class _Lane:
    """One lane's folder: its colour and rule, and a row for each parameter."""

    folder: viser.GuiFolderHandle
    text: viser.GuiHtmlHandle
    rows: tuple[_ParameterRow, ...]


class RulesPanel(Part):
    """Widgets of the rules; the publisher alone sends the messages."""

    def __init__(self, page: PageContext) -> None:
        gui = self._gui = page.server.gui
        self._controls = page.controls
        self._mailbox = page.mailbox
        self._chosen = Mailbox()
        """What users chose and the run was not sent yet."""
        self._is_new = self._restarts = False
        """Whether something was chosen since the last tick, and whether it is a restart."""
        self._chosen_sec = -math.inf
        self._shape: object = None
        """Which widgets the lanes' folders hold now."""
        self._status = Status()
        hint = "The rules show here once the network is loaded."
        self._hint = gui.add_html(note("rules-hint", hint))
        # A container of their own keeps the folders above what follows when they are replaced.
        self._holder = gui.add_folder(None)
        self._lanes: list[_Lane] = []
        self._reset = _ParameterRow(
            gui, RESET_EVERY, lambda value: self._send(SetResetEvery(int(value)))
        )
        widgets = Widgets(gui)
        hint = "Begin again at the first frame with the parameters as they are set now"
        widgets.button(
            "Restart with these", Icon.REFRESH, lambda _: self._restart(Restart()), hint=hint
        )
        self._editor = gui.add_folder("Other lanes", visible=False)
        with self._editor:
            self._choices = [
                gui.add_dropdown(f"Rule {k + 1}", NO_RULES) for k in range(len(LANE_COLORS))
            ]
            hint = "Begin again with one lane for each of these rules"
            widgets.button(
                "Start these lanes", Icon.PLAYER_PLAY, lambda _: self._start_lanes(), hint=hint
            )

    def _start_lanes(self) -> None:
        if rules := chosen_rules([one.value for one in self._choices], self._status.lanes):
            self._restart(SetRules(rules))

    def _send(self, message: Message) -> None:
        # The mark comes first, or an update between the two would send what is not quiet yet.
        self._is_new = True
        self._chosen.put(message)
        self._controls.changed.set()

    def _restart(self, message: Restart | SetRules) -> None:
        self._send(message)
        self._restarts = True
        self._controls.stand_at(live=True, position=0)

    def update(self, tick: Tick) -> None:
        """Show what is in force and send what was chosen, once it is quiet."""
        status, now_sec = tick.snapshot.status, tick.now_sec
        if self._is_new:
            self._is_new, self._chosen_sec = False, now_sec
        if self._restarts or now_sec - self._chosen_sec >= QUIET_SEC:
            self._restarts = False
            for message in self._chosen.waiting():
                self._mailbox.put(message)
        self._status = status
        rules = [(one.name, [replace(p, value=0) for p in one.parameters]) for one in status.lanes]
        shape = (rules, [rule.name for rule in status.known_rules])
        if shape != self._shape:
            self._shape = shape
            self._rebuild(status)
        hold_sec = HOLD_SEC + 2 / max(status.frames_per_second, 0.1)
        for k, (lane, rule) in enumerate(zip(self._lanes, status.lanes, strict=True)):
            assign_changed(lane.text, content=lane_html(k, rule))
            for row, info in zip(lane.rows, rule.parameters, strict=True):
                row.follow(info, now_sec, hold_sec)
        interval = replace(RESET_EVERY, value=status.reset_every)
        self._reset.follow(interval, now_sec, hold_sec)
        show(not status.lanes, self._hint)
        show(bool(status.known_rules), self._editor)

    def _rebuild(self, status: Status) -> None:
        """Replace the lanes' folders by those of the lanes that there are now."""
        for lane in self._lanes:
            lane.folder.remove()
        with self._holder:
            self._lanes = [self._add_lane(k, rule) for k, rule in enumerate(status.lanes)]
        names = tuple(rule.name for rule in status.known_rules)
        for k, choice in enumerate(self._choices if names else ()):
            assign_changed(choice, options=names if k == 0 else (*NO_RULES, *names))
            lane_rule = status.lanes[k].name if k < len(status.lanes) else NO_LANE
            assign_changed(choice, value=lane_rule)

    def _add_lane(self, lane: int, rule: RuleInfo) -> _Lane:
        def send(name: str, value: float) -> None:
            self._send(SetParameter(lane, name, value))

        gui, few = self._gui, len(rule.parameters) <= OPEN_PARAMETERS
        folder = gui.add_folder(f"Lane {lane + 1}: {rule.title}", expand_by_default=few)
        with folder:
            text = gui.add_html(lane_html(lane, rule))
            rows = [_ParameterRow(gui, one, partial(send, one.name)) for one in rule.parameters]
        return _Lane(folder, text, tuple(rows))


def lane_html(lane: int, rule: RuleInfo) -> str:
    """Say what is in force in a lane, after a dot in its colour."""
    content = f"{lane_dot(lane)}{escape(rule.text, 200)}"
    return block(f"rule-{lane}", content, size="0.8em", style="padding-bottom:0.4em")
