"""What our script lays over the scene, in a real browser."""

from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.pages import EVERY_POINT
from tests.waiting import wait_for
from ttt3r_viewer.viewer.context import Presentation

pytestmark = pytest.mark.browser

WHERE = """() => {
    const box = (element) => element.getBoundingClientRect();
    const inset = box(document.getElementById("ttt3r-inset"));
    return { left: inset.left, right: inset.right, bottom: innerHeight - inset.bottom,
        loaded: [...document.querySelectorAll("#ttt3r-inset img")].map((one) => one.naturalWidth) };
}"""


def test_the_inset_shows_the_input_and_its_depth_beside_a_panel_or_without_one(show, open_ui):
    run, viewer = show(4, {"settings": replace(EVERY_POINT, show_inset=True)}, paused=True)
    ui = open_ui(viewer)
    inset = ui.page.locator("#ttt3r-inset")
    expect(inset).to_be_visible()
    expect(inset).to_contain_text("frame 4")
    expect(inset).to_contain_text("depth")
    assert ui.page.evaluate(WHERE)["loaded"] == [16, 16]
    assert ui.page.evaluate(WHERE)["right"] < 800 - 335
    ui.press("i")
    expect(inset).to_be_hidden()
    wait_for(lambda: not ui.checkbox("Input and depth").is_checked(), "the box to follow")
    ui.press("i")
    expect(inset).to_be_visible()
    # It stays, and goes on, where the panel is folded away.
    ui.page.get_by_label("Minimize panel").click()
    run.add_frame()
    expect(inset).to_contain_text("frame 5")


def test_in_a_talk_the_inset_stands_over_the_number_of_its_frame(show, open_ui):
    page = {"settings": EVERY_POINT, "presentation": Presentation(on=True, title="A talk")}
    _, viewer = show(4, page, lanes=2, paused=True)
    ui = open_ui(viewer)
    expect(ui.page.locator("#ttt3r-inset.talk")).to_be_visible()
    frame = ui.page.get_by_test_id("present-frame").bounding_box()
    where = ui.page.evaluate(WHERE)
    assert frame is not None
    assert 600 - where["bottom"] <= frame["y"]
    assert where["left"] > 400


def test_a_twin_view_has_no_inset_in_its_narrow_panes(show, browser):
    _, viewer = show(3, lanes=2, paused=True)
    page = browser.new_page()
    page.goto(f"{viewer.url}/twin")
    pane = page.frame_locator("iframe").first
    expect(pane.locator("canvas").first).to_be_visible(timeout=30_000)
    expect(pane.locator("#ttt3r-inset")).to_have_count(0)
    page.close()


def test_the_first_image_and_a_line_stand_in_the_middle_until_the_first_points(show, open_ui):
    run, viewer = show(0, {"settings": EVERY_POINT}, paused=True)
    run.store.set_first_image(np.full((60, 80, 3), 90, np.uint8))
    run.echo(phase="starting", message="loading the network: importing PyTorch")
    ui = open_ui(viewer)
    card = ui.page.locator("#ttt3r-loading")
    expect(card).to_contain_text("Loading the network")
    expect(card).to_contain_text("importing PyTorch; the first points come soon after")
    expect(card.locator("img")).to_be_visible()
    box = card.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] / 2 == pytest.approx((800 - 335) / 2, abs=2)
    run.add_frame()
    expect(card).to_be_hidden()
