"""Two lanes in a real browser: sliders that act while it runs, charts, the table, other lanes."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Ui
from tests.made_up_run import MadeUpRun, pose_at
from tests.waiting import wait_for
from ttt3r_viewer.metrics.ground_truth import CountedPoses
from ttt3r_viewer.reconstruct.messages import Restart, SetParameter, SetResetEvery, SetRules
from ttt3r_viewer.viewer.app import Viewer

pytestmark = pytest.mark.browser

# Of the one plot in the page: its columns, and what its legend names.
PLOT_DATA = """() => Object.values(window.__viserTestpoints.uplots ?? {})
    .map(({chart}) => chart.data.map((column) => Array.from(column)))[0] ?? []"""
LEGEND = """() => [...document.querySelectorAll('.u-legend .u-series')]
    .filter((row) => getComputedStyle(row).display !== 'none')
    .map((row) => row.querySelector('.u-label').textContent)"""


@pytest.fixture
def pair(show, open_ui: Callable[[Viewer], Ui]) -> tuple[MadeUpRun, Ui]:
    """A made-up run of two lanes, and its page, which has the truth that the first follows."""
    truth = CountedPoses(Path("poses.txt"), np.array([pose_at(i) for i in range(2000)]))
    run, viewer = show(page={"ground_truth": truth}, lanes=2, total=None, frames_per_second=10)
    return run, open_ui(viewer)


def type_number(ui: Ui, label: str, value: float, arrived: Callable[[], bool]) -> None:
    """Type into the first box of that label until the command has arrived."""

    def attempt() -> bool:
        ui.set_number(label, value)
        ui.page.wait_for_timeout(700)
        return arrived()

    wait_for(attempt, f"{label} = {value}")


def test_rate_moved_while_frames_arrive_is_marked_and_the_table_is_saved(pair):
    begun, ui = pair
    wait_for(lambda: ui.probe().get("frames_seen", 0) >= 5, "five frames")
    assert ui.probe()["rules"] == ["steady, rate 1", "drifting, rate 0.8"]
    ui.open_tab("Compare")
    told = SetParameter(0, "rate", 0.3)
    type_number(ui, "rate", 0.3, lambda: told in begun.seen_commands)
    state = ui.wait_probe("the mark", marks=1)
    assert state["rules"] == ["steady, rate 0.3", "drifting, rate 0.8"]
    assert ui.text("lane-0").splitlines()[0] == "steady, rate 0.3"

    ui.open_tab("Charts")
    expect(ui.page.get_by_test_id("marks")).to_contain_text(
        "steady, rate 1 becomes steady, rate 0.3"
    )
    assert ui.probe()["chart"] == "ATE so far", "errors come first where the truth is known"
    ui.choose("Chart", "Gain")
    wait_for(lambda: len(ui.page.evaluate(PLOT_DATA)) == 9, "x, two lanes with bands, two marks")
    x, *_, changes, resets = ui.page.evaluate(PLOT_DATA)
    assert len(x) == len(changes) <= 1000
    assert sum(height > 1 for height in changes) == 1
    assert sum(height > 1 for height in resets) == 0
    assert ui.page.evaluate(LEGEND) == ["frame", "steady, rate 0.3", "drifting, rate 0.8"]
    for name, columns in (("Lane separation", 5), ("ATE so far", 5), ("Confidence", 5)):
        ui.choose("Chart", name)
        ui.wait_probe("the chart", chart=name)
        wait_for(lambda n=columns: len(ui.page.evaluate(PLOT_DATA)) == n, f"{columns} columns")

    wait_for(lambda: "drifting, rate 0.8" in ui.text("measures"), "the table")
    assert "poses.txt" in ui.text("measures")

    name, table = ui.download("CSV")
    assert name == "comparison.csv"
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    assert [row["lane"] for row in rows] == ["steady, rate 0.3", "drifting, rate 0.8"]
    assert float(rows[0]["ate_sim3_m"]) < float(rows[1]["ate_sim3_m"])
    assert ui.download("Markdown")[1].startswith(b"| lane |")


def test_resets_are_set_restarted_and_two_other_lanes_begun(pair):
    begun, ui = pair
    wait_for(lambda: ui.probe().get("frames_seen", 0) >= 2, "two frames")
    ui.open_tab("Compare")
    box = ui.page.get_by_label("Reset every", exact=True)

    def attempt() -> bool:
        box.fill("4")
        ui.page.wait_for_timeout(700)
        return SetResetEvery(4) in begun.seen_commands

    wait_for(attempt, "the interval")
    wait_for(lambda: begun.store.snapshot().frames[-1].segment > 0, "a reset")
    epoch = begun.store.snapshot().epoch
    ui.press("g")
    ui.wait_probe("the growth", replaying=True, live=False)
    ui.button("Restart with these").click()
    ui.wait_probe("the newest frame", replaying=False, live=True)
    wait_for(lambda: Restart() in begun.seen_commands, "the restart")
    wait_for(lambda: begun.store.snapshot().epoch > epoch, "an empty scene")
    ui.wait_probe("no change since the restart", marks=0)

    ui.choose("Rule", "steady, rate 1")
    ui.button("Add as a lane").click()
    added = SetRules(("steady", "drifting:0.8", "steady"))
    wait_for(lambda: added in begun.seen_commands, "three lanes")
    ui.wait_probe("three lanes", lanes=3)
    expect(ui.page.get_by_test_id("lane-2")).to_be_visible()
    ui.open_tab("Charts")
    # Of two lanes with one rule each has a name of its own.
    names = ["frame", "steady, rate 1", "drifting, rate 0.8", "steady, rate 1 #2"]
    wait_for(lambda: ui.page.evaluate(LEGEND) == names, "the legend")
