"""A recording in a real browser: its points, its timeline, and what it cannot do alone."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import Ui
from tests.browser.test_present_page import record
from tests.pages import running
from tests.waiting import wait_for
from ttt3r_viewer.commands.open import notice_of
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.runs.player import Player
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.app import Viewer

pytestmark = pytest.mark.browser

FRAMES = 8


@pytest.fixture
def session(tmp_path: Path, open_ui: Callable[[Viewer], Ui]) -> Iterator[Ui]:
    """What `ttt3r-view open` shows of two lanes whose run was cut off."""
    record(tmp_path, FRAMES)
    archive = Recording.open(tmp_path)
    store, mailbox = SceneStore(max_points=20_000), Mailbox()
    player = Player(archive, store, mailbox)
    viewer = Viewer(store, mailbox, port=0, notice=notice_of(archive))
    with running(viewer, player):
        yield open_ui(viewer)


def test_a_session_is_seen_gone_through_and_says_what_it_needs(session):
    ui = session
    ui.wait_probe("all frames", phase="finished", frames_seen=FRAMES, lanes=2)
    wait_for(lambda: ui.drawn_points() == ui.probe()["points_shown"] > 2 * 32 * 24, "all points")
    assert "A recording of pictures" in ui.text("notice")
    assert "did not come to its end" in ui.text("status")
    assert "frame 8 of 20" in ui.text("status")
    assert not ui.button("Play").is_enabled()

    all_points = ui.drawn_points()
    ui.set_number("Frame", 3)
    ui.wait_probe("the third frame", position=2, live=False)
    wait_for(lambda: "room_0_0002.png" in ui.text("caption"), "its name")
    wait_for(lambda: 0 < ui.drawn_points() < all_points, "the points up to it")
    ui.choose("Show", "This frame only")
    ui.wait_drawn(2 * 32 * 24)

    ui.open_tab("Inspect")
    ui.checkbox("Look inside").click()
    wait_for(lambda: "needs the weights: ttt3r-view open" in ui.text("inspect-note"), "the answer")

    ui.button("Restart").click()
    ui.wait_probe("the frames again", phase="finished", frames_seen=FRAMES, live=True)
