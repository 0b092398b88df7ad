"""Names and contrast of the page's controls, judged by axe-core in a real browser."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.pages import EVERY_POINT
from tests.waiting import wait_for

pytestmark = pytest.mark.browser

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
SIZES = ((1366, 768), (1920, 1080), (390, 844))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_controls_have_names_and_texts_contrast_in_every_tab(show, open_ui, size):
    _, viewer = show(4, {"settings": EVERY_POINT}, lanes=2, paused=True)
    page = open_ui(viewer).page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    tabs = page.get_by_role("tab")
    assert tabs.count() >= 5
    for number in range(tabs.count()):
        tabs.nth(number).click()
        found: list[str] = []

        def is_clean(found: list[str] = found) -> bool:
            found[:] = [
                f"{one['id']}: {node['html'][:200]}"
                for one in Axe().run(page, options=RULES).response["violations"]
                for node in one["nodes"]
            ]
            return not found

        # Our script names what viser draws a moment after it was drawn.
        wait_for(is_clean, lambda found=found: "\n".join(found), timeout_sec=15)
