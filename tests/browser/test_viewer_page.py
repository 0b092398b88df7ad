"""The page in a real browser, fed by a made-up run, and by the shipped miniature on the demo."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Ui
from tests.made_up_run import MadeUpRun
from tests.waiting import wait_for
from ttt3r_viewer.commands.page import MINIATURE_NOTICE
from ttt3r_viewer.reconstruct.messages import Pause, Play, Restart, Step
from ttt3r_viewer.runs.reconstruction import Reconstruction
from ttt3r_viewer.settings import settings_from
from ttt3r_viewer.system.assets import asset_path
from ttt3r_viewer.viewer.app import Viewer

pytestmark = pytest.mark.browser

FRAME_POINTS = 16 * 12
NOTICE = "Made-up rooms only <b>&</b> never a photo."


@pytest.fixture
def still(show, open_ui: Callable[[Viewer], Ui]) -> tuple[MadeUpRun, Ui]:
    """A paused run of twelve frames that are all in the page."""
    run, viewer = show(12, frames_per_second=10, paused=True)
    ui = open_ui(viewer)
    ui.wait_drawn(13 * FRAME_POINTS)
    return run, ui


def test_points_grow_and_pause_stops_growth_and_step_adds_one(show, open_ui):
    begun, viewer = show(page={"notice": NOTICE}, total=None, frames_per_second=10)
    ui = open_ui(viewer)
    wait_for(lambda: ui.probe().get("frames_seen", 0) >= 3, "three frames")
    before = ui.drawn_points()
    wait_for(lambda: ui.drawn_points() > before + 3 * FRAME_POINTS, "more points")
    ui.button("Pause").click()
    ui.wait_probe("the pause", phase="paused")
    assert begun.seen_commands == [Pause()]
    seen = begun.frames_done
    expect(ui.button("Play")).to_be_visible()
    ui.wait_drawn((seen + 1) * FRAME_POINTS)
    ui.button("Step").click()
    ui.wait_probe("the step", frames_seen=seen + 1)
    ui.wait_drawn((seen + 2) * FRAME_POINTS)
    ui.settle()
    ui.page.keyboard.press("Space")
    wait_for(lambda: begun.frames_done > seen + 1, "the run to go on")
    assert begun.seen_commands == [Pause(), Step(), Play()]
    ui.wait_probe("the run", phase="running")
    text = ui.text("status")
    for fact in ("Running", "made-up", "none", "cpu", "of ?", "10.0 frames/s"):
        assert fact in text
    assert ui.text("notice").endswith(NOTICE)


def test_percentile_slider_hides_nodes_and_points(still):
    _, ui = still
    all_points = ui.drawn_points()

    def shown(tenth: int) -> bool:
        return any(ui.visible(name) for name in ui.chunk_nodes() if name.endswith(f"_{tenth}"))

    assert shown(0)
    ui.set_number("Hide least sure", 50)
    ui.wait_probe("the percentile", percentile=50)
    wait_for(lambda: not shown(4), "the lower half to go")
    assert shown(5)
    wait_for(lambda: ui.drawn_points() <= 0.65 * all_points, "fewer points")
    assert ui.drawn_points() >= 0.35 * all_points
    assert ui.drawn_points() == ui.probe()["points_shown"]
    ui.set_number("Hide least sure", 0)
    ui.wait_drawn(all_points)


def test_timeline_shows_all_up_to_a_frame_or_that_frame_only(still):
    begun, ui = still
    ui.set_number("Frame", 6)
    ui.wait_probe("the sixth frame", position=5, live=False)
    ui.wait_drawn(6 * FRAME_POINTS)
    live = ui.page.locator("#ttt3r-bar").get_by_role("button", name="Live")
    expect(live).to_have_attribute("aria-pressed", "false")
    expect(ui.page.get_by_test_id("caption")).to_contain_text("room_0_0005.png")
    ui.choose("Show", "This frame only")
    ui.wait_drawn(FRAME_POINTS)
    ui.choose("Show", "All up to here")
    ui.wait_drawn(6 * FRAME_POINTS)
    begun.add_frame()
    ui.wait_probe("a new frame that leaves the view alone", frames_seen=13, position=5)
    ui.wait_drawn(6 * FRAME_POINTS)
    live.click()
    ui.wait_probe("the newest frame", position=12, live=True)
    ui.wait_drawn(14 * FRAME_POINTS)


def test_cameras_colours_and_followed_view_obey_their_widgets(still):
    begun, ui = still
    wait_for(
        lambda: ui.visible("/lanes/0/camera/live") and ui.visible("/lanes/0/camera/path"),
        "the cameras",
    )
    ui.checkbox("Cameras").click()
    wait_for(lambda: not ui.visible("/lanes/0/camera/live"), "the camera to go")
    assert ui.visible("/lanes/0/camera/path")
    ui.settle()
    ui.checkbox("Path").click()
    wait_for(lambda: not ui.visible("/lanes/0/camera/path"), "the path to go")
    ui.settle()
    ui.choose("Colour by", "Height")
    ui.wait_probe("the colours", color_by="height")
    ui.wait_drawn(13 * FRAME_POINTS)
    before = ui.client.camera.position.copy()
    ui.checkbox("Follow camera").click()
    camera = begun.store.snapshot().frames[-1].camera.T_world_camera

    def depth_behind() -> float:
        return float((camera[:3, 3] - ui.client.camera.position) @ camera[:3, 2])

    depth = begun.store.snapshot().layout.median_depth
    wait_for(lambda: abs(depth_behind() - 0.5 * depth) < 0.02 * depth, "the view to follow")
    assert abs(ui.client.camera.position - before).max() > 0.1


def test_failure_is_shown_as_text_and_a_restart_empties_the_scene(still):
    begun, ui = still
    begun.echo(phase="failed", message="Out of memory: lower --size <b>now</b> {1+1}")
    ui.wait_probe("the failure", phase="failed")
    expect(ui.page.get_by_test_id("error")).to_contain_text(
        "Out of memory: lower --size <b>now</b> {1+1}"
    )
    expect(ui.page.get_by_text("The run has failed")).to_be_visible()
    ui.set_number("Frame", 3)
    ui.wait_drawn(3 * FRAME_POINTS)
    ui.button("Restart").click()
    wait_for(lambda: begun.seen_commands == [Restart()], "the restart")
    ui.wait_probe("the run", phase="running", live=True)
    expect(ui.page.get_by_test_id("error")).not_to_be_visible()
    caption = ui.page.get_by_test_id("caption")
    expect(caption).to_have_text(re.compile("room_1_|no frame yet"))
    begun.mailbox.put(Pause())
    ui.wait_probe("the pause", phase="paused")
    begun.store.clear()
    ui.wait_drawn(0)
    assert ui.chunk_nodes() == []


def test_late_browser_sees_the_same_scene_and_settings(still, open_ui):
    _, ui = still
    ui.set_number("Hide least sure", 30)
    shown = ui.wait_probe("the percentile", percentile=30)["points_shown"]
    ui.wait_drawn(shown)
    late = open_ui(ui.viewer)
    late.wait_drawn(shown)
    assert sorted(late.chunk_nodes()) == sorted(ui.chunk_nodes())
    assert late.probe() == ui.probe()


def test_five_hundred_frames_stay_within_the_node_limit(show, open_ui):
    begun, viewer = show(total=500, paused=True)
    ui = open_ui(viewer)
    begun.gone(500)
    ui.wait_probe("the end", phase="finished", frames_seen=500)
    ui.wait_drawn(begun.store.snapshot().point_count + FRAME_POINTS)
    script = "() => Object.values(window.__viserMutable.nodeRefFromName).filter((n) => n).length"
    assert ui.page.evaluate(script) <= 250


FEW_POINTS = 12_000
"""What a browser without a GPU draws fast enough for a test."""


@pytest.fixture
def view(open_ui: Callable[[Viewer], Ui]) -> Iterator[Callable[[dict[str, Any]], Ui]]:
    """What `ttt3r-view` does with some settings, and its page in a browser."""
    opened: list[tuple[Reconstruction, Viewer]] = []

    def begin(settings: dict[str, Any]) -> Ui:
        reconstruction = Reconstruction.prepare(settings_from(settings))
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
    ui = view({"max_frames": 12, "stride": 5, "max_points": FEW_POINTS})
    state = ui.wait_probe("the end of the demo", phase="finished", frames_done=12)
    assert 0 < state["points"] <= FEW_POINTS
    # The newest frame is drawn densely, once it stays the newest.
    # A fifth is hidden, and those at depth edges.
    least, few = 0.6 * 160 * 128, state["points"] + 160 * 128
    wait_for(lambda: least < ui.drawn_points() == ui.probe()["points_shown"] < few, "the points")
    status = ui.text("status")
    for part in ("miniature", "TTT3R", "cpu ", "frame 12 of 12", "frames/s", "shown ", "voxel "):
        assert part in status, status
    assert "never seen a photo" in ui.text("notice")

    all_points = ui.drawn_points()
    ui.set_number("Hide least sure (%)", 50)
    ui.wait_probe("the percentile", percentile=50)
    wait_for(lambda: 0 < ui.probe()["points_shown"] < all_points, "fewer points")
    wait_for(lambda: ui.drawn_points() == ui.probe()["points_shown"], "them in the browser")
    ui.set_number("Hide least sure (%)", 20)
    ui.wait_drawn(all_points)
    ui.set_number("Edge filter", 0)
    wait_for(lambda: ui.probe()["points_shown"] > 1.02 * all_points, "the points at edges")
    wait_for(lambda: ui.drawn_points() == ui.probe()["points_shown"], "them in the browser")

    ui.button("Restart").click()
    wait_for(lambda: ui.probe()["frames_done"] < 12, "the start")
    ui.wait_probe("the second end", phase="finished", frames_done=12)


def test_weights_that_are_cut_off_are_said_in_the_page_and_restart_mends(view, tmp_path):
    whole = asset_path("miniature.safetensors").read_bytes()
    weights = tmp_path / "cut.safetensors"
    weights.write_bytes(whole[:100_000])
    ui = view({"weights": str(weights), "max_frames": 3, "max_points": FEW_POINTS})
    ui.wait_probe("the failure", phase="failed")
    wait_for(lambda: "cut.safetensors" in ui.text("error"), "the error's text")
    weights.write_bytes(whole)
    ui.settle()
    ui.button("Restart").click()
    ui.wait_probe("the end", phase="finished", frames_done=3)


def test_the_runs_buttons_are_one_row_and_a_notice_is_shown_until_it_is_dismissed(show, open_ui):
    _, viewer = show(1, page={"notice": "This is a notice."}, paused=True)
    ui = open_ui(viewer)
    notice = ui.page.get_by_test_id("notice")
    expect(notice).to_be_visible()
    boxes = [ui.button(name).bounding_box() for name in ("Play", "Step", "Restart")]
    assert all(boxes)
    assert len({round(one["y"]) for one in boxes if one}) == 1
    assert [one["x"] for one in boxes if one] == sorted(one["x"] for one in boxes if one)
    ui.button("Dismiss this notice").click()
    expect(notice).to_be_hidden()
    ui.page.reload()
    ui.page.get_by_test_id("status").wait_for()
    ui.page.wait_for_timeout(1000)
    expect(notice).to_be_hidden()
    ui.page.set_viewport_size({"width": 390, "height": 844})
    wait_for(lambda: width_of(ui.page.get_by_test_id("status")) > 350, "a sheet as wide as a phone")


def width_of(part: Locator) -> float:
    box = part.bounding_box()
    return 0.0 if box is None else box["width"]
