"""Inspect and Ask in a real browser: pick, click, save, ask; and nothing while they are off."""

import csv
import io
import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, TimeoutError, expect

from tests.browser.conftest import FRAMES, Ui
from tests.made_up_run import MadeUpRun, pose_at
from tests.waiting import wait_for
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.reconstruct.messages import Inspect, Query

pytestmark = pytest.mark.browser


@pytest.fixture
def still(at_tab: Callable[[str], tuple[MadeUpRun, Ui]]) -> tuple[MadeUpRun, Ui]:
    """A paused run of two lanes and six frames, and its page at the tab "Inspect"."""
    return at_tab("Inspect")


def questions(run: MadeUpRun) -> list[Inspect]:
    return [command for command in run.seen_commands if isinstance(command, Inspect)]


def look_inside(ui: Ui) -> None:
    ui.checkbox("Look inside").click()
    ui.wait_probe("the answer", "inspect", on=True, sequence=FRAMES - 1)


def fill(ui: Ui, label: str, value: int) -> None:
    """Type into a number box."""
    ui.typed(ui.page.get_by_label(label, exact=True), value)
    ui.settle()


def open_folder(ui: Ui, name: str, inside: Locator) -> None:
    """Open a folder, again where the panel moved under the click."""
    for _ in range(5):
        ui.page.get_by_text(name, exact=True).click()
        try:
            inside.wait_for(state="visible", timeout=3000)
        except TimeoutError:
            continue
        return


def shown_images(ui: Ui) -> list[str]:
    """Sources of the pictures that the browser shows in the panel."""
    return ui.page.evaluate("() => [...document.images].map((image) => image.src)")


def test_nothing_is_asked_until_the_switch_is_on_nor_after_it_is_off(still):
    run, ui = still
    assert questions(run) == []
    expect(ui.page.get_by_text("State map", exact=True)).not_to_be_visible()
    look_inside(ui)
    assert questions(run) == [Inspect(0, FRAMES - 1)]
    expect(ui.page.get_by_text("State map", exact=True)).to_be_visible()
    run.add_frame()
    ui.wait_probe("the new frame", "inspect", sequence=FRAMES)
    ui.choose("Inspected lane", "drifting, rate 0.8")
    wait_for(lambda: questions(run)[-1] == Inspect(1, FRAMES), "the other lane")
    asked = len(questions(run))
    ui.checkbox("Look inside").click()
    ui.wait_probe("the end", "inspect", on=False, sequence=None)
    assert not ui.visible("/lanes/1/inspect_patches")
    run.gone(3)
    ui.wait_probe("the new frames", frames_seen=FRAMES + 4)
    ui.page.wait_for_timeout(800)
    assert len(questions(run)) == asked == 3


def test_picked_token_and_layer_change_the_overlay_and_the_points(still):
    _, ui = still
    look_inside(ui)
    ui.choose("Lay over", "Token's attention")
    wait_for(lambda: ui.visible("/lanes/0/inspect_patches"), "the points of its patches")
    before = shown_images(ui)
    fill(ui, "Token", 7)
    ui.wait_probe("the token", "inspect", token=7)

    def changed() -> int:
        return sum(a != b for a, b in zip(before, shown_images(ui), strict=True))

    wait_for(lambda: changed() >= 2, "other images")
    assert "Token 7 accepted" in ui.text("token")
    before = shown_images(ui)
    box = ui.row("Layer").locator("input:not([type=hidden])").first
    ui.typed(box, 2)
    ui.wait_probe("the layer", "inspect", layer=2)
    wait_for(lambda: shown_images(ui) != before, "the other layer's picture")
    ui.choose("Frame's points", "Patch alignment")
    wait_for(lambda: ui.visible("/lanes/0/inspect_map"), "coloured points")


def test_a_click_on_a_point_lists_its_tokens(still):
    run, ui = still
    look_inside(ui)
    fill(ui, "Patch row", 2)
    ui.wait_probe("the row", "inspect", patch=[2, 2])
    wait_for(lambda: "row 2, column 2" in ui.text("tokens"), "its tokens")
    stand_at(ui, run.store.snapshot().frames[-1].camera.T_world_camera)
    ui.page.wait_for_timeout(200)
    # From the frame's own camera, what is a little left of the middle is in column 1.
    ui.page.mouse.click(380, 300)
    ui.wait_probe("the patch that was clicked", "inspect", patch=[1, 1])
    wait_for(lambda: "row 1, column 1" in ui.text("tokens"), "its tokens")
    rows = ui.page.get_by_test_id("tokens").locator("tbody tr")
    assert rows.count() == 8
    # In the made-up run, tokens 5 and 4 look at this patch, in one layer each.
    assert {rows.nth(k).locator("td").nth(3).inner_text() for k in (0, 1)} <= {"4", "5"}
    assert re.search(r"\d\.\d %", rows.nth(0).inner_text())


def test_a_click_on_the_image_of_the_shown_camera_picks_its_patch(still):
    run, ui = still
    look_inside(ui)
    wait_for(lambda: ui.visible("/lanes/0/inspect_image"), "the image")
    scene = run.store.snapshot()
    camera = scene.frames[-1].camera.T_world_camera
    behind = camera[:3, 3] - 0.2 * scene.layout.median_depth * camera[:3, 2]
    ui.client.camera.position = tuple(behind)
    ui.client.camera.look_at = tuple(camera[:3, 3])
    wait_for(lambda: np.allclose(ui.client.camera.position, behind, atol=1e-3), "the view")
    ui.page.wait_for_timeout(500)
    # Here is patch (2, 0) of the picture; of the points behind it, one of patch (1, 1).
    ui.page.mouse.click(301, 366)
    ui.wait_probe("the patch", "inspect", patch=[2, 0])


def test_a_look_begins_in_the_middle_and_its_marks_leave_the_scene_with_the_tab(still):
    run, ui = still
    look_inside(ui)
    found = run.store.snapshot().inspection
    assert found is not None
    ui.wait_probe("the middle", "inspect", patch=[1, 2], token=int(found.state_change.argmax()))
    marks = [f"/lanes/0/inspect_{what}" for what in ("patches", "image")]
    wait_for(lambda: all(map(ui.visible, marks)), "its marks")
    ui.open_tab("View")
    ui.wait_probe("nothing of it", "inspect", on=False, sequence=None)
    wait_for(lambda: not any(map(ui.visible, marks)), "the marks to go")
    asked = len(questions(run))
    run.add_frame()
    ui.wait_probe("the new frame", frames_seen=FRAMES + 1)
    assert len(questions(run)) == asked
    ui.open_tab("Inspect")
    ui.wait_probe("the new frame's inside", "inspect", on=True, sequence=FRAMES)
    wait_for(lambda: all(map(ui.visible, marks)), "its marks again")


def test_maps_stand_beside_each_other_where_the_window_allows_and_words_explain_themselves(still):
    _, ui = still
    look_inside(ui)
    ui.page.set_viewport_size({"width": 1366, "height": 768})

    def tops() -> list[float]:
        titles = ("Image and patches", "State map", "History of the gain")
        boxes = [ui.page.get_by_text(one, exact=True).bounding_box() for one in titles]
        return sorted({round(box["y"]) for box in boxes if box})

    assert len(tops()) == 3
    wait_for(lambda: ui.client.camera.image_width > 1300, "the wider window")
    ui.button("Side by side").click()
    wait_for(lambda: len(tops()) == 1, lambda: f"one row, not {tops()}")
    word = ui.page.get_by_test_id("token").locator("abbr").nth(1)
    why = ui.page.get_by_test_id("token").get_by_text("length of its step")
    opacity = "one => getComputedStyle(one).opacity"
    box, below = word.bounding_box(), why.bounding_box()
    assert why.evaluate(opacity) == "0"
    word.focus()
    assert why.evaluate(opacity) == "1"
    assert box is not None
    assert below is not None
    assert below["y"] >= box["y"] + box["height"] - 1
    ui.button("Side by side").click()
    wait_for(lambda: len(tops()) == 3, "the narrow panel")


def test_maps_and_numbers_can_be_saved_and_read_back(still):
    run, ui = still
    look_inside(ui)
    wait_for(lambda: ui.visible("/lanes/0/inspect_image"), "all maps")
    open_folder(ui, "Save", ui.button("State"))
    for name in ("State", "Image", "History"):
        file, content = ui.download(name)
        assert file == f"{name.lower()}_map.png"
        image = np.asarray(Image.open(io.BytesIO(content)))
        assert image.shape[1:] == (300, 3)
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    lane = run.store.snapshot().lanes[0]
    _, content = ui.download("tokens.npz")
    with np.load(io.BytesIO(content), allow_pickle=False) as tokens:
        assert np.array_equal(tokens["gain"], np.stack([frame.gain for frame in lane.frames]))
        assert int(tokens["state_columns"]) == 4
    file, content = ui.download("CSV")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert (file, len(rows)) == ("statistics.csv", FRAMES)


def test_a_frame_that_moved_the_state_is_gone_to(still):
    run, ui = still
    look_inside(ui)
    ui.press("g")
    ui.wait_probe("the growth", replaying=True)
    open_folder(ui, "Frame statistics", ui.button("Go to this frame"))
    ui.choose("Moved most", "Frame 3: state changed by 8.33 %")
    ui.button("Go to this frame").click()
    ui.wait_probe("the third frame", position=2, live=False, replaying=False)
    ui.wait_probe("its inside", "inspect", sequence=2)
    assert questions(run)[-1] == Inspect(0, 2)
    assert "Looked into frame 3" in ui.text("inspect-note")


PIXELS = 16 * 12
EXPECTED_NODES = [f"/lanes/{k}/expected_{what}" for k in (0, 1) for what in ("points", "camera")]


@pytest.fixture
def at_ask(at_tab: Callable[[str], tuple[MadeUpRun, Ui]]) -> tuple[MadeUpRun, Ui]:
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


def test_the_view_is_asked_about_and_the_answer_stands_there_until_it_is_removed(at_ask):
    run, ui = at_ask
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


def test_lanes_side_by_side_are_asked_about_the_same_camera_and_a_wide_view_is_limited(at_ask):
    run, ui = at_ask
    ui.open_tab("View")
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


def test_what_cannot_be_asked_is_greyed_out_with_its_reason(at_ask):
    run, ui = at_ask
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
