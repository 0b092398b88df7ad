"""The tabs in a real browser: in one row at every width, and few clicks to a comparison."""

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import SCENE_READY
from tests.waiting import wait_for
from ttt3r_viewer.reconstruct.messages import SetRules
from ttt3r_viewer.rules.registry import catalogue, describe, rule_from_text

pytestmark = pytest.mark.browser

TABS = ["View", "Compare", "Charts", "Inspect", "Export"]
BOXES = """() => [...document.querySelectorAll('[role=tab]')].map((tab) => {
    const word = tab.lastElementChild, { top, left, right } = tab.getBoundingClientRect();
    const cut = word.scrollWidth > word.clientWidth;
    return { text: tab.innerText.trim(), top, left, right, cut };
})"""


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (1920, 1080), (390, 844)])
def test_all_tabs_stand_in_one_row_with_whole_words(width, height, show, browser: Browser):
    _, viewer = show(2, paused=True)
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(f"{viewer.url}/?fixedDpr=1")
    page.wait_for_function(SCENE_READY, timeout=30_000)

    def texts() -> list[str]:
        return [one["text"] for one in page.evaluate(BOXES)]

    wait_for(lambda: texts() == [*TABS, "Ask"], "all tabs")
    boxes = page.evaluate(BOXES)
    assert len({round(one["top"]) for one in boxes}) == 1
    assert all(0 <= one["left"] < one["right"] <= width for one in boxes)
    assert not any(one["cut"] for one in boxes)
    page.close()


def test_two_clicks_set_cut3r_beside_ttt3r(show, open_ui):
    run, viewer = show(2, paused=True)
    run.echo(lanes=(describe(rule_from_text("ttt3r")),), known_rules=catalogue())
    ui = open_ui(viewer)
    ui.open_tab("Compare")
    ui.button("Compare with CUT3R").click()
    wait_for(lambda: SetRules(("ttt3r", "constant")) in run.seen_commands, "both lanes")
