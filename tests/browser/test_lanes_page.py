"""Several lanes in a real browser: hidden, side by side, flipped with a key, in a twin view."""

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Error, Frame, Page, expect

from tests.browser.conftest import Ui
from tests.made_up_run import MadeUpRun, pose_at
from tests.waiting import wait_for
from ttt3r_viewer.metrics.ground_truth import CountedPoses
from ttt3r_viewer.reconstruct.messages import SetRules
from ttt3r_viewer.types import RuleInfo
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.server.twin import PAGE as TWIN_PAGE

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
        ui.open_tab("Compare")
        return run, ui

    return begin_with


def test_lanes_are_hidden_and_shown_and_named_in_the_panel(begin):
    _, ui = begin(2)
    state = ui.wait_probe("two lanes", lanes=2, visible_lanes=[0, 1], arrangement="side by side")
    assert state["points_shown_by_lane"] == [LANE_POINTS, LANE_POINTS]
    assert ui.text("lane-0") == "steady, rate 1"
    assert ui.text("lane-1") == "drifting, rate 0.8"
    expect(ui.page.get_by_test_id("lane-2")).not_to_be_visible()
    ui.choose("Arrange", "Overlay")
    wait_for(lambda: ui.visible("/lanes/drift"), "the line between the cameras")
    ui.checkbox("Show lane 2").click()
    ui.wait_probe("the first lane alone", visible_lanes=[0])
    ui.wait_drawn(LANE_POINTS)
    assert ui.visible("/lanes/0")
    assert not ui.visible("/lanes/1")
    wait_for(lambda: not ui.visible("/lanes/drift"), "the line to go")
    ui.settle()
    ui.checkbox("Show lane 2").click()
    ui.wait_drawn(2 * LANE_POINTS)
    ui.open_tab("View")
    ui.choose("Colour by", "Lane")
    ui.wait_probe("the tint", color_by="lane")
    ui.wait_drawn(2 * LANE_POINTS)


def test_side_by_side_moves_a_lane_aside_and_names_it(begin):
    _, ui = begin(2)
    ui.wait_probe("the arrangement", arrangement="side by side")
    wait_for(lambda: ui.page.evaluate(ROOT_X, "/lanes/1") > 0.5, "the second lane to move")
    near = ui.page.evaluate(ROOT_X, "/lanes/1")
    assert ui.page.evaluate(ROOT_X, "/lanes/0") == 0
    ui.wait_drawn(2 * LANE_POINTS)
    expect(ui.page.get_by_text("drifting, rate 0.8")).to_have_count(2)
    ui.set_number("Spacing", 1)
    wait_for(lambda: ui.page.evaluate(ROOT_X, "/lanes/1") > 1.5 * near, "the lanes to part")
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
    expect(ui.page.get_by_text("Lanes in the scene")).not_to_be_visible()
    expect(ui.checkbox("Show lane 1")).not_to_be_visible()
    assert ui.text("lane-0") == "steady, rate 1"
    ui.open_tab("View")
    ui.page.get_by_label("Colour by", exact=True).first.click()
    expect(ui.page.get_by_role("option", name="Height", exact=True)).to_be_visible()
    expect(ui.page.get_by_role("option", name="Lane", exact=True)).to_have_count(0)
    ui.page.keyboard.press("Escape")
    ui.page.keyboard.press("b")
    ui.settle()
    assert ui.probe()["arrangement"] == "overlay"
    run.mailbox.put(SetRules(("steady", "drifting:0.5")))
    ui.wait_probe("two lanes", lanes=2)
    ui.open_tab("Compare")
    expect(ui.page.get_by_text("Lanes in the scene")).to_be_visible()
    wait_for(lambda: ui.visible("/lanes/1/camera/live"), "the second lane")
    run.mailbox.put(SetRules(("steady",)))
    ui.wait_probe("one lane", lanes=1)
    wait_for(lambda: not ui.visible("/lanes/1"), "the second lane to go")
    assert not [name for name in ui.chunk_nodes() if name.startswith("/lanes/1")]


ROOTS = "['/lanes/0', '/lanes/1'].map((n) => window.__viserMutable?.nodeRefFromName[n]?.visible)"
CAMERA = "window.__viserMutable.camera.position.toArray()"


@pytest.fixture
def viewer(show) -> Viewer:
    return show(6, lanes=2, paused=True)[1]


def roots(pane: Frame) -> list[bool | None]:
    """Whether each lane is shown in a pane; None while it has no such node, or loads anew."""
    try:
        return pane.evaluate(ROOTS)
    except Error:  # the choice of another lane loads the pane anew, in the middle of a question
        return [None, None]


def panes(page: Page) -> list[Frame]:
    """The left and the right pane, once their scenes are there."""

    def ready() -> list[Frame] | None:
        page.wait_for_timeout(50)  # frames are known only after Playwright had its turn
        frames = page.frames[1:]
        return frames if len(frames) == 2 and all(None not in roots(f) for f in frames) else None

    return wait_for(ready, "both panes")


def test_each_pane_keeps_to_its_lane_and_both_to_one_view(viewer, open_ui):
    ui = open_ui(viewer)
    ui.open_tab("Compare")
    with ui.page.expect_popup() as popup:
        ui.page.get_by_test_id("twin").click()
    page = popup.value
    # A narrow pane would put the panel at the bottom, over the scene.
    page.set_viewport_size({"width": 1400, "height": 700})
    left, right = panes(page)
    wait_for(lambda: roots(left) == [True, False], "the left lane alone")
    wait_for(lambda: roots(right) == [False, True], "the right lane alone")
    assert ui.visible("/lanes/0")
    assert ui.visible("/lanes/1")

    before = left.evaluate(CAMERA)
    box = page.locator("iframe").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + 0.7 * box["height"]

    def turned() -> bool:
        """Drag, again where a busy page took no notice."""
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 90, y - 20, steps=5)
        page.mouse.up()
        page.wait_for_timeout(1000)
        return not np.allclose(left.evaluate(CAMERA), before, atol=0.05)

    wait_for(turned, "the left to turn")
    wait_for(
        lambda: np.allclose(left.evaluate(CAMERA), right.evaluate(CAMERA), atol=1e-3),
        "the right to follow",
    )
    # What is chosen in the page does not reach into the panes.
    ui.checkbox("Show lane 1").click()
    wait_for(lambda: not ui.visible("/lanes/0"), "the first lane to go from the page")
    wait_for(lambda: roots(left) == [True, False], "the left pane to keep it")
    page.locator("#left").select_option(index=1)
    wait_for(lambda: roots(panes(page)[0]) == [False, True], "the other lane on the left")
    page.close()


def test_only_the_one_page_is_served(viewer):
    with urllib.request.urlopen(f"{viewer.url}/twin") as answer:
        assert answer.read() == TWIN_PAGE.read_bytes()
    for path in ("/twin/etc/passwd", "/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{viewer.url}{path}")


def test_the_twin_view_waits_for_two_lanes_and_says_what_to_do(show, browser):
    run, viewer = show(0, paused=True)
    run.echo(phase="starting")
    page = browser.new_page()
    page.goto(f"{viewer.url}/twin")
    page.get_by_text("The network is being loaded").wait_for()
    run.echo(phase="running")
    page.get_by_text("This run has one lane").wait_for()
    page.get_by_role("link", name="the page").wait_for()
    assert page.locator("iframe").first.is_hidden()
    rules = (RuleInfo("a", "A", "<script>"), RuleInfo("b", "B", "steady"))
    run.store.clear(2, replace(run.store.snapshot().status, lanes=rules))
    page.locator("#left").wait_for()
    assert page.locator("#right option").all_inner_texts() == ["<script>", "steady"]
    assert [page.locator(f"#{one}").input_value() for one in ("left", "right")] == ["0", "1"]
    assert page.locator("main").is_hidden()
    page.close()


def test_the_true_path_is_drawn_and_hidden_and_lanes_say_their_errors(show, open_ui):
    truth = CountedPoses(Path("poses.txt"), np.array([pose_at(i) for i in range(FRAMES)]))
    ui = open_ui(show(FRAMES, {"ground_truth": truth}, lanes=2, paused=True)[1])
    nodes = [f"/lanes/{lane}/truth/{name}" for lane in (0, 1) for name in ("path", "error")]
    wait_for(lambda: all(map(ui.visible, nodes)), "the truth")
    ui.open_tab("Compare")
    assert "ATE 0.000 m" in ui.text("lane-0")
    ui.open_tab("View")
    expect(ui.page.get_by_text("times the first lane's")).to_have_count(0)
    ui.checkbox("True path").click()
    wait_for(lambda: not any(map(ui.visible, nodes)), "the truth to go")
    ui.settle()
    ui.checkbox("True path").click()
    wait_for(lambda: all(map(ui.visible, nodes)), "the truth again")
