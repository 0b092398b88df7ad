"""What the page says when the program has ended, and when it is there again."""

import re

import pytest
from playwright.sync_api import expect

from tests.made_up_run import MadeUpRun
from tests.pages import EVERY_POINT, running
from tests.waiting import wait_for
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.app import Viewer

pytestmark = pytest.mark.browser


def viewer_at(port: int, source: str, frames: int) -> Viewer:
    run = MadeUpRun(SceneStore(max_points=10_000, points_per_frame=200), paused=True).gone(frames)
    run.echo(source=source)
    return Viewer(run.store, run.mailbox, port=port, settings=EVERY_POINT)


def test_the_page_says_that_the_program_has_ended_and_goes_on_with_the_next(open_ui):
    first = viewer_at(0, "desk.mp4", 4)
    with running(first):
        ui = open_ui(first)
        port = first.port
        expect(ui.page).to_have_title("frame 4 of 30 - desk.mp4 (paused)")
        ended = ui.page.get_by_role("alert").filter(has_text="program")
        expect(ended).to_have_count(0)
        ui.typed(ui.page.get_by_label("Frame number"), 2)
        expect(ui.page).to_have_title("frame 2 of 30 - desk.mp4 (paused)")
        expect(ui.page.get_by_test_id("status")).to_contain_text("frame 4 of 30 - desk.mp4")
    expect(ended).to_contain_text("The program has ended.", timeout=20_000)
    expect(ended).to_contain_text("Start it again")
    second = viewer_at(port, "walk.mp4", 6)
    with running(second):
        assert second.port == port
        expect(ui.page.locator("#ttt3r-ended")).to_be_hidden(timeout=20_000)
        expect(ui.page).to_have_title(re.compile("frame 6 of 30 - walk.mp4"))
        wait_for(lambda: second.server.get_clients(), "viser's page to connect again", 30)
