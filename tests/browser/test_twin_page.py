"""The twin view in a real browser: two panes, each with its lane, that look from one place."""

import urllib.error
import urllib.request

import numpy as np
import pytest
from playwright.sync_api import Error, Frame, Page

from tests.waiting import wait_for
from ttt3r_viewer.viewer.app import Viewer

pytestmark = pytest.mark.browser

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
    ui.checkbox("Lane 1").click()
    wait_for(lambda: not ui.visible("/lanes/0"), "the first lane to go from the page")
    wait_for(lambda: roots(left) == [True, False], "the left pane to keep it")
    page.locator("#left").select_option(index=1)
    wait_for(lambda: roots(panes(page)[0]) == [False, True], "the other lane on the left")
    page.close()


def test_only_the_one_page_is_served_and_names_are_escaped(viewer):
    twin = viewer._twin
    assert twin is not None
    wait_for(lambda: twin.offered, "the twin view")
    with urllib.request.urlopen(f"{viewer.url}/twin") as answer:
        assert answer.read() == twin.page()
    assert viewer._publisher is not None
    viewer._publisher.stop()  # which would give the lanes their own names again
    viewer._publisher._thread.join()
    twin._names = ("<script>", "b")
    assert b"&lt;script&gt;</option>" in twin.page()
    for path in ("/twin/etc/passwd", "/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{viewer.url}{path}")


def test_one_lane_has_no_twin_view(show):
    _, viewer = show(1, paused=True)
    wait_for(lambda: viewer._twin is not None and viewer._twin._names, "the lane's name")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{viewer.url}/twin")
