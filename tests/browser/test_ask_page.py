"""The tab "Ask" in a real browser: the camera that is asked about, its answer, and its end."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FRAMES, Ui
from tests.made_up_run import MadeUpRun, pose_at
from tests.waiting import wait_for
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.reconstruct.messages import Query

pytestmark = pytest.mark.browser

PIXELS = 16 * 12
EXPECTED_NODES = [f"/lanes/{k}/expected_{what}" for k in (0, 1) for what in ("points", "camera")]


@pytest.fixture
def still(at_tab: Callable[[str], tuple[MadeUpRun, Ui]]) -> tuple[MadeUpRun, Ui]:
    """A paused run of two lanes and six frames, and its page at the tab "Ask"."""
    return at_tab("Ask")


def queries(run: MadeUpRun) -> list[Query]:
    return [command for command in run.seen_commands if isinstance(command, Query)]


def stand_at(ui: Ui, pose: np.ndarray, aside: float = 0.0) -> None:
    """Bring the browser to a pose (4, 4), moved along the page's x axis."""
    position = pose[:3, 3] + [aside, 0, 0]
    ui.client.camera.position = tuple(position)
    ui.client.camera.look_at = tuple(position + pose[:3, 2])
    wait_for(lambda: np.allclose(ui.client.camera.position, position, atol=1e-3), "the view")
    ui.page.wait_for_timeout(300)


def press(ui: Ui, run: MadeUpRun) -> Query:
    """Press the button, again where the page dropped the message; give the latest question."""
    before = len(queries(run))
    for _ in range(5):
        ui.button("Look from here").click()
        ui.page.wait_for_timeout(1000)
        if len(queries(run)) > before:
            break
    assert len(queries(run)) > before
    return queries(run)[-1]


def test_the_view_is_asked_about_and_the_answer_stands_there_until_it_is_removed(still):
    run, ui = still
    assert queries(run) == []
    assert "not an observation" in ui.text("ask-note")
    stand_at(ui, pose_at(3))
    question = press(ui, run)
    assert np.abs(pose_from_vector(question.pose) - pose_at(3)).max() < 1e-3
    assert question.fov_y_rad == pytest.approx(ui.client.camera.fov)
    ui.wait_probe("the answer", "ask", number=question.number, points=[PIXELS, PIXELS])
    wait_for(lambda: all(map(ui.visible, EXPECTED_NODES)), "points and camera of both lanes")
    assert f"after frame {FRAMES}" in ui.text("ask-note")
    expect(ui.page.get_by_text("drifting, rate 0.8: confidence")).to_be_visible()

    box = ui.row("Hide unsure (%)").locator("input:not([type=hidden])").first
    ui.typed(box, 50)
    ui.wait_probe("half of the points", "ask", points=[PIXELS // 2, PIXELS // 2])
    ui.settle()
    ui.button("Remove").click()
    ui.wait_probe("nothing", "ask", number=None, points=[])
    wait_for(lambda: not any(map(ui.visible, EXPECTED_NODES)), "all to go")
    expect(ui.button("Remove")).not_to_be_visible()


def test_lanes_side_by_side_are_asked_about_the_same_camera_and_a_wide_view_is_limited(still):
    run, ui = still
    ui.open_tab("View")
    ui.choose("Arrange", "Side by side")
    ui.wait_probe("the lanes apart", arrangement="side by side")
    root = ui.viewer.server.scene._handle_from_node_name["/lanes/1"]
    wait_for(lambda: root.position[0] > 0, "the second lane's place")
    ui.open_tab("Ask")
    ui.client.camera.fov = math.radians(130)
    stand_at(ui, pose_at(3), aside=root.position[0])
    question = press(ui, run)
    assert np.abs(pose_from_vector(question.pose) - pose_at(3)).max() < 1e-3
    assert question.fov_y_rad == pytest.approx(math.radians(100))
    ui.wait_probe("the answer", "ask", number=question.number)
    assert "limited from 130°" in ui.text("ask-note")


def test_what_cannot_be_asked_is_greyed_out_with_its_reason(still):
    run, ui = still
    run.echo(cannot_ask="these weights were never trained for it")
    wait_for(lambda: "Greyed out: these weights were never" in ui.text("ask-note"), "the reason")
    expect(ui.button("Look from here")).to_be_disabled()
    ui.page.mouse.click(200, 300)
    ui.page.keyboard.press("v")
    ui.page.wait_for_timeout(500)
    assert queries(run) == []
    run.echo(cannot_ask="")
    expect(ui.button("Look from here")).to_be_enabled()
    ui.page.keyboard.press("v")
    wait_for(lambda: len(queries(run)) == 1, "the key's question")
