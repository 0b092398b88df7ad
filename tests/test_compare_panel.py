"""The tab of lanes and rules without a browser: its widgets, and when messages are sent."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.made_up_run import rule_info
from tests.ticks import status_tick
from ttt3r_viewer.reconstruct.messages import Mailbox, Restart, SetParameter, SetRules
from ttt3r_viewer.rules.registry import catalogue, describe, rule_from_text
from ttt3r_viewer.types import ParameterInfo, RuleInfo, Status
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.panels.compare import ComparePanel, counterpart
from ttt3r_viewer.viewer.panels.parameters import widget_options
from ttt3r_viewer.viewer.view_settings import ViewControls


def parameter(low: float, high: float, whole: bool = False, value: float = 1.0) -> ParameterInfo:
    return ParameterInfo("p", value, 1.0, low, high, "help", whole)


def test_a_widget_comes_from_its_parameter():
    def shown(*given: Any, **options: Any) -> tuple[object, ...]:
        slider, limits = widget_options(parameter(*given, **options))
        return slider, *limits.values()

    assert shown(0, 1) == (True, 0, 1, 0.01)
    assert shown(0, 2) == (True, 0, 2, 0.02)
    assert shown(0.1, 10) == (True, 0.1, 10, 0.05)
    assert shown(0.01, 10) == (True, 0.01, 10, 0.01)
    assert shown(1, 12, whole=True) == (True, 1, 12, 1)
    assert shown(0, math.inf, whole=True) == (False, 0, None, 1)
    assert shown(-math.inf, 3) == (False, None, 3, 0.01)
    assert not shown(0, 1e6)[0]


@given(st.floats(-100, 100), st.floats(1e-3, 900))
def test_slider_steps_are_round_and_about_a_hundredth_of_the_range(low, span):
    step = widget_options(parameter(low, low + span))[1]["step"]
    assert span / 1e5 < step <= span / 100 * (1 + 1e-6)
    digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(digits - each) for each in (1, 2, 5)) < 1e-6


def test_rules_are_written_as_the_command_line_takes_them():
    plain = rule_info("steady", 1.0)
    slow = rule_info("steady", 0.3)
    two = RuleInfo("two", "Two", "", (parameter(0, 9), replace(parameter(0, 9, value=2), name="q")))
    texts = [one.argument for one in (plain, slow, two)]
    assert texts == ["steady", "steady:0.3", "two:q=2"]


def status_with(*rules: str) -> Status:
    return Status(lanes=tuple(map(describe, map(rule_from_text, rules))), known_rules=catalogue())


@pytest.mark.parametrize(
    ("rules", "other"),
    [
        ((), None),
        (("ttt3r",), "constant"),
        (("constant:1.0",), "ttt3r"),
        (("ttt3r:2",), "constant"),
        (("ttt3r", "constant"), None),
        (("ttt3r", "constant:0.3"), "constant"),
        (("filt3r", "recal3r", "ttsa3r", "ttt3r"), None),
    ],
)
def test_one_click_sets_cut3r_beside_the_lanes_or_ttt3r_where_that_is_there(rules, other, server):
    status, mailbox = status_with(*rules), Mailbox()
    found = counterpart(status)
    assert (found and found.name) == other
    panel = ComparePanel(PageContext(server, mailbox=mailbox))
    panel.update(status_tick(status, 0.0))
    assert panel._compare.visible == (other is not None)
    if other is not None:
        title = {"constant": "CUT3R", "ttt3r": "TTT3R"}[other]
        assert panel._compare.label == f"Compare with {title}"
        panel._add_counterpart(None)
        panel.update(status_tick(status, 0.1))
        arguments = tuple(one.argument for one in status.lanes)
        assert list(mailbox.waiting()) == [SetRules((*arguments, other))]


def test_a_rule_is_added_with_the_parameters_that_were_set_before_or_runs_alone(server):
    mailbox, status = Mailbox(), status_with("ttt3r:temperature=2")
    panel = ComparePanel(PageContext(server, mailbox=mailbox))
    panel.update(status_tick(status, 0.0))
    assert panel._rule.value == "TTT3R"
    panel._rule.value = "CUT3R (rate 1)"
    panel.update(status_tick(status, 1.0))
    assert panel._draft is not None
    (row,) = panel._draft[1]
    row._handle.value = 0.3
    panel.update(status_tick(status, 2.0))
    both = ("ttt3r:temperature=2", "constant:0.3")
    for alone, lanes in ((False, both), (True, both[1:])):
        panel._add_drafted(alone, None)
        panel.update(status_tick(status, 3.0))
        assert list(mailbox.waiting()) == [SetRules(lanes)]


def test_a_lane_is_removed_with_one_click_and_the_others_keep_their_parameters(server):
    mailbox, controls = Mailbox(), ViewControls()
    controls.change(hidden_lanes=frozenset({0}))
    status = status_with("ttt3r", "constant:0.3", "filt3r")
    panel = ComparePanel(PageContext(server, controls, mailbox))
    panel.update(status_tick(status, 0.0))
    panel._remove_lane(0, None)
    panel.update(status_tick(status, 0.1))
    assert list(mailbox.waiting()) == [SetRules(("constant:0.3", "filt3r"))]
    assert not controls.settings.hidden_lanes


def test_values_are_sent_once_they_are_quiet_and_always_before_a_restart(server, monkeypatch):
    mailbox, controls = Mailbox(), ViewControls()
    controls.change(live=False)
    panel = ComparePanel(PageContext(server, controls, mailbox))
    status = Status(lanes=(rule_info("steady", 1.0),), known_rules=(rule_info("steady", 1.0),))
    for tick, rate in enumerate((0.5, 0.4, 0.3)):
        panel._send(SetParameter(0, "rate", rate))
        panel.update(status_tick(status, 0.1 * tick))
    assert not list(mailbox.waiting())
    panel.update(status_tick(status, 0.9))
    assert mailbox.get(0) == SetParameter(0, "rate", 0.3)
    panel._restart(SetRules(("steady",)), None)
    panel._send(SetParameter(0, "rate", 0.2))
    panel._restart(Restart(), None)
    panel.update(status_tick(status, 1.0))
    sent = [mailbox.get(0) for _ in range(3)]
    assert sent == [SetRules(("steady",)), SetParameter(0, "rate", 0.2), Restart()]
    assert not list(mailbox.waiting())
    assert controls.settings.live
    # An update that comes in the middle of a callback does not take the value for a quiet one.
    put, late = panel._chosen.put, status_tick(status, 9.0)
    monkeypatch.setattr(panel._chosen, "put", lambda one: (put(one), panel.update(late)))
    panel._send(SetParameter(0, "rate", 0.1))
    assert not list(mailbox.waiting())


def test_widgets_show_what_is_in_force_and_are_made_anew_for_other_lanes_only(server):
    mailbox = Mailbox()
    panel = ComparePanel(PageContext(server, mailbox=mailbox))
    known = (rule_info("steady", 1.0), rule_info("drifting", 1.0))
    panel.update(status_tick(Status(lanes=known[:1], known_rules=known), 0.0))
    folder = panel._lanes[0]
    handle = folder.rows[0]._handle
    assert handle.value == 1.0
    status = Status(lanes=(rule_info("steady", 0.3),), known_rules=known, reset_every=7)
    panel.update(status_tick(status, 100.0))
    assert panel._lanes[0] is folder
    assert (handle.value, panel._reset._handle.value) == (0.3, 7)
    # A value that a person wants is not pulled back before the run had time to obey.
    folder.rows[0]._chosen = (0.9, 200.0)
    folder.rows[0]._known = handle.value = 0.9
    status = Status(lanes=(rule_info("steady", 0.3),), known_rules=known, frames_per_second=10)
    panel.update(status_tick(status, 201.0))
    assert handle.value == 0.9
    panel.update(status_tick(status, 210.0))
    assert handle.value == 0.3
    panel.update(status_tick(Status(lanes=known[::-1], known_rules=known), 300.0))
    assert len(panel._lanes) == 2
    with pytest.raises(RuntimeError, match="removed"):
        handle.value = 0.1
    assert not list(mailbox.waiting())
