"""The rules: their parameters while the run goes on, the reset interval, and other lanes."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from queue import Empty

import viser

from ttt3r_viewer.metrics.palette import LANE_COLORS, css_color
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
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import assign_changed, escape

QUIET_SEC = 0.3
"""A value is sent when no other has followed for so long: not each digit of a number being typed.
"""
HOLD_SEC = 1.5
"""A widget that a person moved shows their value for so long, and two frames more, before it goes
back to what is in force.
"""
WIDEST_SLIDER = 1000.0
SLIDER_STEPS = 100
OPEN_PARAMETERS = 4
"""The folder of a rule with more parameters than this is closed at first."""
NO_LANE = "none"
RESET_EVERY = ParameterInfo(
    name="Reset every",
    value=0,
    default=0,
    low=0,
    high=math.inf,
    help="Frames between two resets of every lane's state; 0 for never",
    whole=True,
)


@dataclass(frozen=True)
class WidgetRange:
    """How a parameter is shown: as a slider, or as a number box where the range is too wide."""

    slider: bool
    low: float | None
    """None where there is no limit."""
    high: float | None
    step: float


def widget_range(info: ParameterInfo) -> WidgetRange:
    """Choose slider or number box, with a round step that reaches the lower limit."""
    low = info.low if math.isfinite(info.low) else None
    high = info.high if math.isfinite(info.high) else None
    if low is None or high is None or not 0 < high - low <= WIDEST_SLIDER:
        return WidgetRange(False, low, high, 1.0 if info.whole else 0.01)
    if info.whole:
        return WidgetRange(True, low, high, 1.0)
    return WidgetRange(True, low, high, _round_step((high - low) / SLIDER_STEPS, low))


def _round_step(most: float, low: float) -> float:
    """Give the largest 1, 2 or 5 times a power of ten below `most` of which `low` is a multiple."""
    exponent = math.floor(math.log10(most))
    steps = [float(f"{digit}e{exponent - k}") for k in range(3) for digit in (5, 2, 1)]
    fitting = [step for step in steps if step <= most * (1 + 1e-9)]
    exact = (step for step in fitting if abs(low / step - round(low / step)) < 1e-6)
    return next(exact, fitting[0])


def clamped(info: ParameterInfo, value: float) -> float:
    """Bring a value from a browser, which checks nothing, into the parameter's range."""
    inside = min(max(float(value), info.low), info.high)
    return float(round(inside)) if info.whole else inside


def rule_text(info: RuleInfo) -> str:
    """Write a rule as `--rules` takes it: its first parameter bare, the others by name."""
    pieces = [info.name]
    for place, one in enumerate(info.parameters):
        if one.value != one.default:
            number = f"{one.value:.12g}"
            pieces.append(number if place == 0 else f"{one.name}={number}")
    return ":".join(pieces)


def rules_wanted(chosen: Sequence[str], now: Sequence[RuleInfo]) -> tuple[str, ...]:
    """Give the lanes for these names; a lane that keeps its rule keeps its parameters too."""
    texts = []
    for lane, name in enumerate(chosen):
        kept = lane < len(now) and now[lane].name == name
        if name != NO_LANE:
            texts.append(rule_text(now[lane]) if kept else name)
    return tuple(texts)


def coalesce(messages: Iterable[Message]) -> list[Message]:
    """Keep the last of the messages that replace each other, in the order of those last ones."""
    latest: dict[tuple[object, ...], Message] = {}
    for command in messages:
        match command:
            case SetParameter(lane, name, _):
                key: tuple[object, ...] = (SetParameter, lane, name)
            case _:
                key = (type(command),)
        latest.pop(key, None)
        latest[key] = command
    return list(latest.values())


class _ParameterRow:
    """The widget of one parameter; `ask` is told the value that a person wants."""

    def __init__(self, gui: viser.GuiApi, info: ParameterInfo, ask: Callable[[float], None]):
        self._info = info
        self._asked = (info.value, -math.inf)
        """The value that a person wants, and when (`time.monotonic`) they said so."""
        span, number = widget_range(info), (round if info.whole else float)
        low = None if span.low is None else number(span.low)
        high = None if span.high is None else number(span.high)
        self._handle: viser.GuiSliderHandle[float] | viser.GuiNumberHandle[float]
        if span.slider and low is not None and high is not None:
            self._handle = gui.add_slider(
                info.name,
                min=low,
                max=high,
                step=number(span.step),
                initial_value=number(clamped(info, info.value)),
                hint=info.help,
            )
        else:
            self._handle = gui.add_number(
                info.name,
                number(clamped(info, info.value)),
                min=low,
                max=high,
                step=number(span.step),
                hint=info.help,
            )
        self._known = self._handle.value

        @self._handle.on_update
        async def _(event: viser.GuiEvent) -> None:
            typed = self._handle.value
            if event.client is not None and math.isfinite(typed):
                value = clamped(self._info, typed)
                self._asked = (value, time.monotonic())
                self._known = typed
                ask(value)

    def follow(self, info: ParameterInfo, now_sec: float, hold_sec: float) -> None:
        """Show the value in force, unless a person's own is still on its way."""
        value, asked_sec = self._asked
        self._info = info
        if self._handle.value != self._known:
            return  # The callback of a newer value is about to run.
        if value != info.value and now_sec - asked_sec < hold_sec:
            return
        self._known = round(info.value) if info.whole else float(info.value)
        assign_changed(self._handle, value=self._known)


class _LaneFolder:
    """One lane's folder: its colour and rule, and a widget for each parameter."""

    def __init__(
        self, gui: viser.GuiApi, lane: int, rule: RuleInfo, ask: Callable[[Message], None]
    ):
        self._lane = lane
        few = len(rule.parameters) <= OPEN_PARAMETERS
        title = f"Lane {lane + 1}: {rule.title}"
        self._folder = gui.add_folder(title, expand_by_default=few)
        with self._folder:
            self._text = gui.add_html(lane_html(lane, rule))
            self._rows = [
                _ParameterRow(gui, one, functools.partial(self._want, ask, one.name))
                for one in rule.parameters
            ]

    def remove(self) -> None:
        """Take the folder with all its widgets out of the page."""
        self._folder.remove()

    def _want(self, ask: Callable[[Message], None], name: str, value: float) -> None:
        ask(SetParameter(self._lane, name, value))

    def follow(self, rule: RuleInfo, now_sec: float, hold_sec: float) -> None:
        """Show the rule in force, of the same name and with the same parameters as before."""
        assign_changed(self._text, content=lane_html(self._lane, rule))
        for row, info in zip(self._rows, rule.parameters, strict=True):
            row.follow(info, now_sec, hold_sec)


class RulesPanel(Part):
    """Widgets of the rules; the publisher alone sends the commands."""

    def __init__(self, page: PageContext) -> None:
        gui = self._gui = page.server.gui
        self._controls = page.controls
        self._mailbox = page.mailbox
        self._asked = Mailbox()
        """What callbacks have asked for since the last `update`."""
        self._waiting: list[Message] = []
        self._asked_sec = -math.inf
        self._shape: object = None
        """Which widgets the lanes' folders hold now."""
        self._status = Status()
        self._hint = gui.add_html(quiet_html("The rules show here once the network is loaded."))
        # A container of their own keeps the folders above what follows when they are made anew.
        self._holder = gui.add_folder(None)
        self._lanes: list[_LaneFolder] = []
        self._reset = _ParameterRow(
            gui, RESET_EVERY, lambda value: self._ask(SetResetEvery(int(value)))
        )
        self._restart = gui.add_button(
            "Restart with these",
            icon=viser.Icon.REFRESH,
            hint="Begin again at the first frame with the parameters as they are set now",
        )

        @self._restart.on_click
        async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            self._begin_again(Restart())

        self._add_editor(gui)

    def _add_editor(self, gui: viser.GuiApi) -> None:
        self._editor = gui.add_folder("Other lanes", visible=False)
        with self._editor:
            options = [(NO_LANE,)] * len(LANE_COLORS)
            self._choices = [
                gui.add_dropdown(f"Rule {k + 1}", each) for k, each in enumerate(options)
            ]
            start = gui.add_button(
                "Start these lanes",
                icon=viser.Icon.PLAYER_PLAY,
                hint="Begin again with one lane for each of these rules",
            )

            @start.on_click
            async def _(_: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
                known = {rule.name for rule in self._status.known_rules}
                chosen = [each.value if each.value in known else NO_LANE for each in self._choices]
                if rules := rules_wanted(chosen, self._status.lanes):
                    self._begin_again(SetRules(rules))

    def _ask(self, command: Message) -> None:
        self._asked.put(command)
        self._controls.changed.set()

    def _begin_again(self, command: Restart | SetRules) -> None:
        self._ask(command)
        self._controls.stand_at(live=True, position=0)

    def update(self, tick: Tick) -> None:
        """Show what is in force and send what was asked for."""
        status, now_sec = tick.snapshot.status, tick.now_sec
        self._send(now_sec)
        self._status = status
        rules = [(one.name, [replace(p, value=0) for p in one.parameters]) for one in status.lanes]
        shape = (rules, [rule.name for rule in status.known_rules])
        if shape != self._shape:
            self._shape = shape
            self._rebuild(status)
        hold_sec = HOLD_SEC + 2 / max(status.frames_per_second, 0.1)
        for folder, rule in zip(self._lanes, status.lanes, strict=True):
            folder.follow(rule, now_sec, hold_sec)
        interval = replace(RESET_EVERY, value=status.reset_every)
        self._reset.follow(interval, now_sec, hold_sec)
        assign_changed(self._hint, visible=not status.lanes)
        assign_changed(self._editor, visible=bool(status.known_rules))

    def _send(self, now_sec: float) -> None:
        """Pass on what callbacks asked for, the last of each, once they are quiet."""
        while True:
            try:
                self._waiting.append(self._asked.get_nowait())
            except Empty:
                break
            self._asked_sec = now_sec
        begin = any(isinstance(each, Restart | SetRules) for each in self._waiting)
        if self._waiting and (begin or now_sec - self._asked_sec >= QUIET_SEC):
            for command in coalesce(self._waiting):
                self._mailbox.put(command)
            self._waiting = []

    def _rebuild(self, status: Status) -> None:
        """Make the folders of these lanes in place of the former ones."""
        for folder in self._lanes:
            folder.remove()
        with self._holder:
            self._lanes = [
                _LaneFolder(self._gui, k, rule, self._ask) for k, rule in enumerate(status.lanes)
            ]
        if not status.known_rules:
            return
        names = tuple(rule.name for rule in status.known_rules)
        for k, choice in enumerate(self._choices):
            assign_changed(choice, options=names if k == 0 else (NO_LANE, *names))
            if k < len(status.lanes):
                assign_changed(choice, value=status.lanes[k].name)
            else:
                assign_changed(choice, value=NO_LANE)


def lane_html(lane: int, rule: RuleInfo) -> str:
    """Say what is in force in a lane, after a dot in its colour."""
    dot = (
        "display:inline-block;width:0.7em;height:0.7em;border-radius:50%;margin-right:0.5em;"
        f"background:{css_color(LANE_COLORS[lane])}"
    )
    return (
        f'<div data-testid="rule-{lane}" style="font-size:0.8em;padding:0 0.75em 0.4em;'
        f'overflow-wrap:anywhere"><span style="{dot}"></span>{escape(rule.text, 200)}</div>'
    )


def quiet_html(text: str) -> str:
    """Put a plain text in small, pale letters."""
    return (
        '<div style="font-size:0.75em;opacity:.75;padding:0 0.75em 0.4em;'
        f'overflow-wrap:anywhere">{escape(text)}</div>'
    )
