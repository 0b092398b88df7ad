"""Several lanes in a real browser: hidden, set side by side, flipped with a key, coloured."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Ui
from tests.made_up_run import MadeUpRun
from tests.waiting import wait_for
from ttt3r_viewer.reconstruct.messages import SetRules
from ttt3r_viewer.viewer.app import Viewer

pytestmark = pytest.mark.browser

FRAMES = 6
FRAME_POINTS = 16 * 12
LANE_POINTS = (FRAMES + 1) * FRAME_POINTS
ROOT_X = "name => window.__viserMutable.nodeRefFromName[name].position.x"


@pytest.fixture
def begin(show, open_ui: Callable[[Viewer], Ui]) -> Callable[[int], tuple[MadeUpRun, Ui]]:
    """Show six frames of so many lanes, and wait until all of their points are drawn."""

    def begin_with(lanes: int) -> tuple[MadeUpRun, Ui]:
        run, viewer = show(FRAMES, lanes=lanes, frames_per_second=50, paused=True)
        ui = open_ui(viewer)
        ui.wait_drawn(lanes * LANE_POINTS)
        return run, ui

    return begin_with


def test_lanes_are_hidden_and_shown_and_named_in_the_panel(begin):
    _, ui = begin(2)
    state = ui.wait_probe("two lanes", lanes=2, visible_lanes=[0, 1], arrangement="overlay")
    assert state["points_shown_by_lane"] == [LANE_POINTS, LANE_POINTS]
    assert ui.text("lane-0") == "steady, rate 1"
    assert ui.text("lane-1") == "drifting, rate 0.8"
    expect(ui.page.get_by_test_id("lane-2")).not_to_be_visible()
    wait_for(lambda: ui.visible("/lanes/drift"), "the line between the cameras")
    ui.checkbox("Lane 2").click()
    ui.wait_probe("the first lane alone", visible_lanes=[0])
    ui.wait_drawn(LANE_POINTS)
    assert ui.visible("/lanes/0")
    assert not ui.visible("/lanes/1")
    wait_for(lambda: not ui.visible("/lanes/drift"), "the line to go")
    ui.settle()
    ui.checkbox("Lane 2").click()
    ui.wait_drawn(2 * LANE_POINTS)
    ui.choose("Colour by", "Lane")
    ui.wait_probe("the tint", color_by="lane")
    ui.wait_drawn(2 * LANE_POINTS)


def test_side_by_side_moves_a_lane_aside_and_names_it(begin):
    _, ui = begin(2)
    ui.choose("Arrange", "Side by side")
    ui.wait_probe("the arrangement", arrangement="side by side")
    wait_for(lambda: ui.page.evaluate(ROOT_X, "/lanes/1") > 0.5, "the second lane to move")
    near = ui.page.evaluate(ROOT_X, "/lanes/1")
    assert ui.page.evaluate(ROOT_X, "/lanes/0") == 0
    ui.wait_drawn(2 * LANE_POINTS)
    expect(ui.page.get_by_text("drifting, rate 0.8")).to_have_count(2)
    ui.set_number("Spacing", 2)
    wait_for(lambda: ui.page.evaluate(ROOT_X, "/lanes/1") > 1.9 * near, "the lanes to part")
    ui.choose("Arrange", "Overlay")
    wait_for(lambda: ui.page.evaluate(ROOT_X, "/lanes/1") == 0, "the lane to come back")


def test_key_flips_between_two_lanes(begin):
    _, ui = begin(3)
    for lane in (0, 1, 0):
        ui.settle()
        ui.page.keyboard.press("b")
        ui.wait_probe("the flip", arrangement="blink", blink_lane=lane, visible_lanes=[lane])
        ui.wait_drawn(LANE_POINTS)
        assert ui.visible(f"/lanes/{lane}")
    expect(ui.page.get_by_label("Arrange", exact=True).first).to_have_value("Blink")
    ui.choose("Arrange", "Overlay")
    ui.wait_drawn(3 * LANE_POINTS)


def test_one_lane_has_no_panel_of_lanes_until_there_are_two(begin):
    run, ui = begin(1)
    assert ui.visible("/lanes/0")
    expect(ui.page.get_by_text("Lanes", exact=True)).not_to_be_visible()
    expect(ui.page.get_by_test_id("lane-0")).not_to_be_visible()
    ui.page.get_by_label("Colour by", exact=True).first.click()
    expect(ui.page.get_by_role("option", name="Height", exact=True)).to_be_visible()
    expect(ui.page.get_by_role("option", name="Lane", exact=True)).to_have_count(0)
    ui.page.keyboard.press("Escape")
    ui.page.keyboard.press("b")
    ui.settle()
    assert ui.probe()["arrangement"] == "overlay"
    run.mailbox.put(SetRules(("steady", "drifting:0.5")))
    ui.wait_probe("two lanes", lanes=2)
    expect(ui.page.get_by_text("Lanes", exact=True)).to_be_visible()
    wait_for(lambda: ui.visible("/lanes/1/camera/live"), "the second lane")
    run.mailbox.put(SetRules(("steady",)))
    ui.wait_probe("one lane", lanes=1)
    wait_for(lambda: not ui.visible("/lanes/1"), "the second lane to go")
    assert not [name for name in ui.chunk_nodes() if name.startswith("/lanes/1")]
