"""Charts and their table in a real browser: units, values at the pointer, a larger view, copies."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.made_up_run import MadeUpRun, pose_at
from tests.pages import EVERY_POINT
from tests.waiting import wait_for
from ttt3r_viewer.metrics.ground_truth import CountedPoses

pytestmark = pytest.mark.browser

FRAMES = 12
NAMES = ["steady, rate 1", "drifting, rate 0.8", "drifting, rate 0.6"]
PLOT = """() => {
    const { chart } = Object.values(window.__viserTestpoints.uplots)[0];
    return { axes: chart.axes.slice(0, 2).map((axis) => axis.label), x: [...chart.data[0]],
        y: chart.series.slice(1).map((one, k) => [one.label, [...chart.data[k + 1]]]) };
}"""


@pytest.fixture
def at_charts(show, open_ui) -> tuple[MadeUpRun, Page]:
    """The charts of a measured run of three lanes."""
    truth = CountedPoses(Path("poses.txt"), np.array([pose_at(k) for k in range(FRAMES)]))
    options = {"settings": EVERY_POINT, "ground_truth": truth}
    run, viewer = show(FRAMES, options, lanes=3, paused=True)
    ui = open_ui(viewer)
    ui.open_tab("Charts")
    expect(ui.page.locator(".u-over").first).to_be_visible()
    return run, ui.page


def width_of(one: Locator) -> float:
    return (one.bounding_box() or {"width": 0.0})["width"]


def point_at(page: Page, plot: Locator, share: float) -> None:
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.4 * box["height"])


def plotted(page: Page, until: Callable[[dict], bool]) -> dict:
    found: dict = {}

    def is_there() -> bool:
        found.update(page.evaluate(PLOT))
        return until(found)

    wait_for(is_there, lambda: f"the chart, not {found['axes']}")
    return found


def test_the_error_comes_first_with_units_on_its_axes_and_every_lane_in_its_legend(at_charts):
    run, page = at_charts
    expect(page.get_by_label("Chart", exact=True)).to_have_value("ATE so far")
    shown = plotted(page, lambda one: len(one["x"]) == FRAMES - 2)
    assert shown["axes"] == ["frame", "position error (m)"]
    rows = page.locator(".u-legend .u-series:not(.ttt3r-no-legend) .u-label").all_inner_texts()
    assert rows == ["frame", *NAMES]
    page.get_by_label("Chart", exact=True).click()
    page.get_by_role("option", name="Step length", exact=True).click()
    plotted(page, lambda one: one["axes"] == ["frame", "step (m)"])
    run.echo(metric=False)
    plotted(page, lambda one: one["axes"] == ["frame", "step (scene units)"])


def test_values_stand_at_the_pointer_with_their_unit_and_go_with_it(at_charts):
    _, page = at_charts
    shown = plotted(page, lambda one: len(one["x"]) == FRAMES - 2)
    values = page.locator("#ttt3r-values")
    expect(values).to_be_hidden()
    point_at(page, page.locator(".u-over").first, 0.999)
    expect(values).to_be_visible()
    error = dict(shown["y"])[NAMES[2]][-1]
    row = values.locator("tr", has_text=NAMES[2])
    wait_for(lambda: row.locator("td").inner_text() == f"{error:.3f}".rstrip("0"), "the value")
    unit = "one => getComputedStyle(one, '::after').content"
    assert row.locator("td").evaluate(unit) == '" m"'
    assert values.locator("tr").first.inner_text().split() == ["frame", str(FRAMES)]
    box = values.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 800
    page.mouse.move(100, 100)
    expect(values).to_be_hidden()


def test_a_chart_opens_large_by_the_keyboard_and_stays_on_the_screen(at_charts):
    _, page = at_charts
    dialog = page.get_by_role("dialog")
    for width, height in ((1920, 1080), (1366, 768), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.get_by_role("tab", name="Charts").click()  # a phone's sheet begins at its first tab
        page.get_by_role("button", name="Larger view", exact=True).first.focus()
        page.keyboard.press("Enter")
        wait_for(lambda: dialog.locator(".u-over").count() == 1, "the larger view")
        least = 0.5 * min(width, height)
        wait_for(lambda least=least: width_of(dialog.locator(".u-over")) > least, "its size")
        box = dialog.bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
        assert 0 <= box["y"] < box["y"] + box["height"] <= height
        page.keyboard.press("Escape")
        wait_for(lambda: dialog.count() == 0, "its end")


def test_the_table_names_its_units_marks_the_best_and_is_copied_with_tabs(at_charts):
    _, page = at_charts
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    table = page.get_by_test_id("measures")
    wait_for(lambda: table.locator("tbody tr").count() == len(NAMES), "its lanes")
    heads = [one.split() for one in table.locator("th").all_inner_texts()]
    assert [one[-1] for one in heads[1:]] == ["m", "m", "°", "1", "ms"]
    stars = [
        [k for k, one in enumerate(row.locator("td").all_inner_texts()) if "★" in one]
        for row in table.locator("tbody tr").all()
    ]
    assert stars == [[1, 2, 3], [], []]
    page.get_by_role("button", name="Copy table", exact=True).click()
    expect(page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    head, *rows = page.evaluate("navigator.clipboard.readText()").split("\n")
    assert head.split("\t")[:2] == ["lane", "ATE (m)"]
    assert [row.split("\t")[0] for row in rows] == NAMES
    assert 0 < float(rows[1].split("\t")[1]) < float(rows[2].split("\t")[1])
