"""The tab "Compare": the lanes with their rules, how they are arranged, and what is added."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import viser
from viser import Icon

from ttt3r_viewer.metrics.lane_errors import LaneError, lane_errors
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
from ttt3r_viewer.viewer.html import block, escape, lane_dot, note
from ttt3r_viewer.viewer.panels.parameters import ParameterRow
from ttt3r_viewer.viewer.server.clients import TWIN_PATH
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import Arrangement
from ttt3r_viewer.viewer.widgets import FieldWidgets, Widgets, assign_changed, bind, offer, show

QUIET_SEC = 0.3
"""A value is sent when no other has followed for so long: not each digit that is typed."""
HOLD_SEC = 1.5
"""A widget shows a user's value for so long, and two frames more, while it is not in force."""
OPEN_PARAMETERS = 4
"""The folder of a lane whose rule has more parameters than this is closed at first."""
NO_RULES: tuple[str, ...] = ("none",)
RESET_EVERY = ParameterInfo(
    name="Reset every",
    value=0,
    default=0,
    low=0,
    high=math.inf,
    help="Frames between two resets of every lane's state; 0 for never",
    whole=True,
)
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
COUNTERPARTS = ("constant", "ttt3r")
"""The rules that one click sets beside the lanes: the first that is not there."""


def counterpart(status: Status) -> RuleInfo | None:
    """Return the rule that one click compares the lanes with; None where there is none."""
    if not 0 < len(status.lanes) < len(LANE_COLORS):
        return None
    there = {one.argument for one in status.lanes}
    known = {one.name: one for one in status.known_rules}
    others = (known[name] for name in COUNTERPARTS if name in known)
    return next((one for one in others if one.argument not in there), None)


@dataclass(frozen=True)
class _Lane:
    """One lane's folder: its colour and label, and a row for each parameter."""

    folder: viser.GuiFolderHandle
    text: viser.GuiHtmlHandle
    shown: viser.GuiCheckboxHandle
    rows: tuple[ParameterRow, ...]


class ComparePanel(Part):
    """Widgets of the lanes and their rules; the publisher alone sends the messages."""

    def __init__(self, page: PageContext) -> None:
        gui = self._gui = page.server.gui
        self._controls, self._mailbox, self._series = page.controls, page.mailbox, page.series
        self._question = page.restart
        self._chosen = Mailbox()
        """What users chose and the run was not sent yet."""
        self._is_new = self._restarts = False
        """Whether something was chosen since the last tick, and whether it is a restart."""
        self._chosen_sec = -math.inf
        self._shape: object = None
        """Which widgets the lanes' folders hold now."""
        self._status = Status()
        self._lane_count = 1
        self._hint = gui.add_html(note("rules-hint", "Shown here once the network is loaded."))
        self._widgets = Widgets(gui)
        hint = "Begin again with this rule in a lane beside the others"
        self._compare = self._widgets.button(
            "", Icon.ARROWS_LEFT_RIGHT, self._add_counterpart, hint=hint, visible=False
        )
        # A container of their own keeps the folders above what follows when they are replaced.
        self._holder = gui.add_folder(None)
        self._lanes: list[_Lane] = []
        self._add_arrangement()
        self._reset = ParameterRow(
            gui, RESET_EVERY, lambda value: self._send(SetResetEvery(int(value)))
        )
        hint = "Begin again at the first frame with the lanes and parameters as they are now"
        self._widgets.button(
            "Restart with these",
            Icon.REFRESH,
            partial(self._restart, Restart()),
            hint=hint,
        )
        self._add_editor()

    def _add_arrangement(self) -> None:
        """Add what two and more lanes can have."""
        gui, controls = self._gui, self._controls
        fields = FieldWidgets(gui, controls.settings, controls.change)
        self._together = gui.add_folder("Lanes in the scene", visible=False)
        with self._together:
            hint = "Key C: side by side, or on each other"
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
            hint = "Show the first two lanes in turn. Key: B"
            fields.button("Blink", Icon.SWITCH_HORIZONTAL, lambda _: self._flip(), hint=hint)
            gui.add_html(TWIN_LINK)
        what = "Flip between the first two lanes"
        self._blink = fields.key(
            "Blink", "B", lambda _: self._flip(), description=what, disabled=True
        )

    def _add_editor(self) -> None:
        """Add what makes a lane with another rule."""
        gui = self._gui
        self._editor = gui.add_folder("Add a rule", visible=False)
        with self._editor:
            self._rule = gui.add_dropdown("Rule", NO_RULES)
            self._draft_holder = gui.add_folder(None)
            self._draft: tuple[RuleInfo, tuple[ParameterRow, ...], viser.GuiFolderHandle] | None
            self._draft = None
            hint = "Begin again with this rule in a lane beside the others"
            self._add = self._widgets.button(
                "Add as a lane", Icon.PLUS, partial(self._add_drafted, False), hint=hint
            )
            hint = "Begin again with this rule as the only lane"
            self._widgets.button(
                "Run it alone",
                Icon.PLAYER_PLAY,
                partial(self._add_drafted, True),
                hint=hint,
                color="gray",
            )

    def _show_lane(self, lane: int, shown: bool) -> None:
        others = self._controls.settings.hidden_lanes - {lane}
        self._controls.change(hidden_lanes=others if shown else others | {lane})

    def _flip(self) -> None:
        """Show one lane at a time, then the other of the first two that are switched on."""
        count = self._lane_count
        settings = self._controls.settings.within(count)
        chosen = settings.chosen_lanes(count)[:2]
        if count > 1 and chosen:
            first_shown = settings.arrangement == "blink" and settings.blink_lane == chosen[0]
            lane = chosen[-1] if first_shown else chosen[0]
            self._controls.change(arrangement="blink", blink_lane=lane)

    def _start_lanes(self, rules: Sequence[RuleInfo], client: viser.ClientHandle | None) -> None:
        self._restart(SetRules(tuple(one.argument for one in rules)), client)

    def _add_counterpart(self, client: viser.ClientHandle | None) -> None:
        if (rule := counterpart(self._status)) is not None:
            self._start_lanes((*self._status.lanes, rule), client)

    def _add_drafted(self, alone: bool, client: viser.ClientHandle | None) -> None:
        if self._draft is None:
            return
        rule, rows, _ = self._draft
        values = zip(rule.parameters, rows, strict=True)
        rule = replace(rule, parameters=tuple(replace(p, value=row.value) for p, row in values))
        lanes = (rule,) if alone else (*self._status.lanes, rule)[: len(LANE_COLORS)]
        self._start_lanes(lanes, client)

    def _remove_lane(self, lane: int, client: viser.ClientHandle | None) -> None:
        lanes = self._status.lanes
        self._start_lanes((*lanes[:lane], *lanes[lane + 1 :]), client)

    def _send(self, message: Message) -> None:
        # The mark comes first, or an update between the two would send what is not quiet yet.
        self._is_new = True
        self._chosen.put(message)
        self._controls.changed.set()

    def _restart(self, message: Restart | SetRules, client: viser.ClientHandle | None) -> None:
        def begin() -> None:
            if isinstance(message, SetRules):
                self._controls.change(hidden_lanes=frozenset())
            self._send(message)
            self._restarts = True
            self._controls.stand_at(live=True, position=0)

        self._question.before(client, begin)

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
        rules = [(one.name, _without_values(one)) for one in status.lanes]
        if rules != self._shape:
            self._shape = rules
            self._rebuild(status)
        hold_sec = HOLD_SEC + 2 / max(status.frames_per_second, 0.1)
        for lane, rule in zip(self._lanes, status.lanes, strict=True):
            for row, info in zip(lane.rows, rule.parameters, strict=True):
                row.follow(info, now_sec, hold_sec)
        interval = replace(RESET_EVERY, value=status.reset_every)
        self._reset.follow(interval, now_sec, hold_sec)
        show(not status.lanes, self._hint)
        self._offer(status)
        self._show_lanes(tick)

    def _offer(self, status: Status) -> None:
        """Offer the rules that a lane can have, with the parameters of the chosen one."""
        other = counterpart(status)
        show(other is not None, self._compare)
        if other is not None:
            assign_changed(self._compare, label=f"Compare with {other.text.split(' (')[0]}")
        show(bool(status.known_rules), self._editor)
        assign_changed(self._add, disabled=len(status.lanes) >= len(LANE_COLORS))
        if not status.known_rules:
            return
        names = tuple(rule.text for rule in status.known_rules)
        offer(self._rule, names)
        rule = status.known_rules[names.index(self._rule.value)]
        if self._draft is None or self._draft[0] != rule:
            if self._draft is not None:
                self._draft[2].remove()
            with self._draft_holder:
                folder = self._gui.add_folder(None)
            with folder:
                rows = [ParameterRow(self._gui, one, lambda _: None) for one in rule.parameters]
            self._draft = (rule, tuple(rows), folder)

    def _show_lanes(self, tick: Tick) -> None:
        """Name the lanes with their errors, and show how they lie in the scene."""
        count = self._lane_count = tick.lane_count
        show(count > 1, self._together)
        assign_changed(self._blink, disabled=count < 2)
        ate_m = self._series.ate_so_far(tick.position)
        errors = [None] * count if ate_m is None else lane_errors(ate_m)
        for k, lane in enumerate(self._lanes[:count]):
            text = lane_html(k, tick.lane_names[k], k in tick.visible_lanes, errors[k])
            assign_changed(lane.text, content=text)
            show(count > 1, lane.shown)
        show(tick.settings.arrangement == "side by side", self._spacing)
        # A widget that a user has just changed is ahead of older settings.
        if tick.settings is self._controls.settings:
            labels = {value: label for label, value in ARRANGEMENTS.items()}
            assign_changed(self._arrangement, value=labels[tick.settings.arrangement])
            for k, lane in enumerate(self._lanes):
                assign_changed(lane.shown, value=k not in tick.settings.hidden_lanes)

    def _rebuild(self, status: Status) -> None:
        """Replace the lanes' folders by those of the lanes that there are now."""
        for lane in self._lanes:
            lane.folder.remove()
        several = len(status.lanes) > 1
        with self._holder:
            self._lanes = [
                self._add_lane(k, rule, several=several) for k, rule in enumerate(status.lanes)
            ]

    def _add_lane(self, lane: int, rule: RuleInfo, *, several: bool) -> _Lane:
        def send(name: str, value: float) -> None:
            self._send(SetParameter(lane, name, value))

        gui, number = self._gui, lane + 1
        folder = gui.add_folder(
            f"Lane {number}", expand_by_default=len(rule.parameters) <= OPEN_PARAMETERS
        )
        with folder:
            text = gui.add_html("")
            shown = gui.add_checkbox(f"Show lane {number}", True, visible=several)
            bind(shown, lambda on: self._show_lane(lane, on))
            rows = [ParameterRow(gui, one, partial(send, one.name)) for one in rule.parameters]
            if several:
                hint, remove = "Begin again without it", partial(self._remove_lane, lane)
                self._widgets.button(
                    f"Remove lane {number}", Icon.X, remove, hint=hint, color="gray"
                )
        return _Lane(folder, text, shown, tuple(rows))


def _without_values(rule: RuleInfo) -> list[Any]:
    return [replace(one, value=0) for one in rule.parameters]


def lane_html(lane: int, name: str, visible: bool, error: LaneError | None = None) -> str:
    """Name a lane after a dot in its colour, with its error and a bar of that where it is known;
    pale where it is not drawn now.
    """
    content = f"{lane_dot(lane)}<b>{escape(name, 120)}</b>"
    if error is not None:
        bar = f"width:{error.share:.1%};background:{css_color(LANE_COLORS[lane])}"
        content += f'<div>{error.text}</div><div style="height:4px;{bar}"></div>'
    style = f"opacity:{1.0 if visible else 0.45};padding-bottom:0.4em"
    return block(f"lane-{lane}", content, size="0.8em", style=style)
