"""The question before a restart in a real browser: nothing recorded goes without an answer."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import FRAMES
from tests.waiting import wait_for
from ttt3r_viewer.reconstruct.messages import Restart
from ttt3r_viewer.recording.manifest import Manifest
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.types import Status

pytestmark = pytest.mark.browser

BOXES = """() => [...document.querySelectorAll('[role=dialog] button')].map((one) => {
    const { left, right, top, bottom } = one.getBoundingClientRect();
    return { text: one.textContent.trim(), left, right, top, bottom };
})"""


class Recorder:
    """What the page knows of a writer that records for the page only."""

    def __init__(self, path: Path) -> None:
        self.temporary = True
        self.recording = Recording(path, Manifest(7, "pictures", {}, Status()))
        places: dict[int, Any] = dict.fromkeys(range(FRAMES))
        self.recording._places = places
        self.forgotten: list[int] = []
        self.kept: list[Path] = []

    def forget(self, run: int) -> None:
        self.forgotten.append(run)

    def keep(self, beside: Path) -> Path:
        self.kept.append(beside)
        self.temporary = False
        return beside / "ttt3r-view-recording-1"


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
def test_a_restart_asks_what_becomes_of_the_frames(
    width, height, show, open_ui, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    recorder = Recorder(tmp_path)
    run, viewer = show(FRAMES, {"recorder": recorder}, paused=True)
    ui = open_ui(viewer)
    ui.page.set_viewport_size({"width": width, "height": height})
    dialog = ui.page.get_by_role("dialog")
    ui.page.keyboard.press("Shift+R")
    dialog.get_by_text(f"{FRAMES} frames are recorded for this page only").wait_for()
    boxes = ui.page.evaluate(BOXES)
    assert [one["text"] for one in boxes] == ["Save them and restart", "Replace them", "Cancel"]
    for one in boxes:
        assert 0 <= one["left"] < one["right"] <= width
        assert 0 <= one["top"] < one["bottom"] <= height
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    ui.settle()
    assert Restart() not in run.seen_commands
    ui.page.keyboard.press("Shift+R")
    dialog.get_by_role("button", name="Replace them").click()
    wait_for(lambda: Restart() in run.seen_commands, "the restart")
    assert (recorder.forgotten, recorder.kept) == ([7], [])
    dialog.wait_for(state="detached")
    run.seen_commands.clear()
    ui.page.keyboard.press("Shift+R")
    dialog.get_by_role("button", name="Save them and restart").click()
    ui.page.get_by_text("The recording is saved").wait_for()
    wait_for(lambda: Restart() in run.seen_commands, "the other restart")
    assert recorder.kept == [tmp_path]
    run.seen_commands.clear()
    ui.page.keyboard.press("Shift+R")  # is kept beside it now
    wait_for(lambda: Restart() in run.seen_commands, "the restart without a question")
