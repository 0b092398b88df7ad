"""Frames, network, rule, scene and page together, on the shipped miniature and demo."""

from collections.abc import Callable, Iterator

import pytest

from tests.browser.conftest import Ui
from tests.waiting import wait_for
from ttt3r_viewer.commands.view import MINIATURE_NOTICE
from ttt3r_viewer.runs.reconstruction import Reconstruction
from ttt3r_viewer.settings import Settings
from ttt3r_viewer.system.assets import asset_path
from ttt3r_viewer.viewer.app import Viewer

pytestmark = pytest.mark.browser

FEW_POINTS = 12_000
"""What a browser without a GPU draws fast enough for a test."""


@pytest.fixture
def view(open_ui: Callable[[Viewer], Ui]) -> Iterator[Callable[[Settings], Ui]]:
    """What `ttt3r-view` does with some settings, and its page in a browser."""
    opened: list[tuple[Reconstruction, Viewer]] = []

    def begin(settings: Settings) -> Ui:
        reconstruction = Reconstruction.prepare(settings)
        viewer = Viewer(
            reconstruction.store, reconstruction.mailbox, port=0, notice=MINIATURE_NOTICE
        )
        viewer.start()
        reconstruction.worker.start()
        opened.append((reconstruction, viewer))
        return open_ui(viewer)

    yield begin
    for reconstruction, viewer in opened:
        assert reconstruction.worker.stop(30)
        viewer.stop()


def test_the_demo_is_reconstructed_before_your_eyes(view):
    ui = view(Settings(max_frames=12, stride=5, max_points=FEW_POINTS))
    state = ui.wait_probe("the end of the demo", phase="finished", frames_done=12)
    assert 0 < state["points"] <= FEW_POINTS
    # The newest frame is drawn densely, once it stays the newest.
    wait_for(lambda: ui.drawn_points() == ui.probe()["points_shown"] > 160 * 128, "all points")
    status = ui.text("status")
    for part in ("miniature", "TTT3R", "cpu ", "frame 12 of 12", "frames/s"):
        assert part in status, status
    assert "never seen a photo" in ui.text("notice")

    all_points = ui.drawn_points()
    ui.set_number("Hide least sure (%)", 50)
    ui.wait_probe("the percentile", percentile=50)
    wait_for(lambda: 0 < ui.probe()["points_shown"] < all_points, "fewer points")
    wait_for(lambda: ui.drawn_points() == ui.probe()["points_shown"], "them in the browser")
    ui.set_number("Hide least sure (%)", 0)
    ui.wait_drawn(all_points)

    ui.button("Restart").click()
    wait_for(lambda: ui.probe()["frames_done"] < 12, "the start")
    ui.wait_probe("the second end", phase="finished", frames_done=12)


def test_weights_that_are_cut_off_are_said_in_the_page_and_restart_mends(view, tmp_path):
    whole = asset_path("miniature.safetensors").read_bytes()
    weights = tmp_path / "cut.safetensors"
    weights.write_bytes(whole[:100_000])
    ui = view(Settings(weights=str(weights), max_frames=3, max_points=FEW_POINTS))
    ui.wait_probe("the failure", phase="failed")
    wait_for(lambda: "cut.safetensors" in ui.text("error"), "the error's text")
    weights.write_bytes(whole)
    ui.settle()
    ui.button("Restart").click()
    ui.wait_probe("the end", phase="finished", frames_done=3)
