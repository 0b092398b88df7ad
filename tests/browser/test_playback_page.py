"""The playback bar in a real browser: dragged, typed into, played, at three sizes, and by keys."""

from dataclasses import replace

import pytest
from playwright.sync_api import expect

from tests.pages import EVERY_POINT
from tests.waiting import wait_for
from ttt3r_viewer.reconstruct.messages import Pause, Play
from ttt3r_viewer.viewer.context import Presentation
from ttt3r_viewer.viewer.server.access import access_for

pytestmark = pytest.mark.browser

FRAMES = 12
SIZES = ((1366, 768), (1920, 1080), (390, 844))
BOXES = """() => {
    const box = (one) => {
        const { left, right, top, bottom, width, height } = one.getBoundingClientRect();
        return { name: one.ariaLabel ?? one.id, left, right, top, bottom, width, height };
    };
    const rows = "#ttt3r-row > :not(.name)";
    const panel = [...document.querySelectorAll(".mantine-Paper-root")].find(
        (one) => one.querySelector('[role="tablist"]'));
    return {
        bar: box(document.getElementById("ttt3r-bar")),
        controls: [...document.querySelectorAll(rows)].map(box).filter((one) => one.width),
        inset: box(document.getElementById("ttt3r-inset")),
        panel: box(panel),
    };
}"""
LOADED = "(all) => all.every((one) => one.naturalWidth > 0)"
CONTRAST = """() => {
    const numbers = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.map((one) => one / 255).map(
            (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const back = light(numbers(getComputedStyle(document.getElementById("ttt3r-bar"))
        .backgroundColor));
    return [...document.querySelectorAll("#ttt3r-row *")]
        .filter((one) => one.textContent && !one.closest("select"))
        .map((one) => light(numbers(getComputedStyle(one).color)))
        .map((one) => (Math.max(one, back) + 0.05) / (Math.min(one, back) + 0.05));
}"""


@pytest.fixture
def still(show, open_ui):
    run, viewer = show(FRAMES, {"settings": replace(EVERY_POINT, show_inset=True)}, paused=True)
    ui = open_ui(viewer)
    ui.wait_probe("all frames", frames_seen=FRAMES)
    expect(ui.page.locator("#ttt3r-bar")).to_be_visible()
    return run, ui


def in_bar(ui, name):
    return ui.page.locator("#ttt3r-bar").get_by_label(name, exact=True)


def test_a_frame_is_dragged_to_typed_and_reached_by_keys(still):
    _, ui = still
    track = in_bar(ui, "Frame")
    expect(track).to_have_attribute("aria-valuetext", "frame 12 of 30")
    box = track.bounding_box()
    assert box is not None
    # The run is not at its end: the bar is as long as all 30 frames.
    frame_px, y = box["width"] / 30, box["y"] + 20
    ui.page.mouse.move(box["x"] + 9.5 * frame_px, y)
    expect(ui.page.locator("#ttt3r-hint")).to_have_text("frame 10")
    ui.page.mouse.down()
    for frame in (8.5, 6.5, 4.5):
        ui.page.mouse.move(box["x"] + frame * frame_px, y, steps=3)
    expect(track).to_have_attribute("aria-valuetext", "frame 5 of 30")
    ui.page.mouse.up()
    ui.wait_probe("the dragged frame", position=4, live=False)
    ui.page.mouse.move(box["x"] + 28 * frame_px, y)
    ui.page.mouse.down()
    ui.page.mouse.up()
    ui.wait_probe("the last frame that there is", position=FRAMES - 1)
    ui.typed(in_bar(ui, "Frame number"), 3)
    ui.wait_probe("the typed frame", position=2)
    expect(ui.page.get_by_test_id("caption")).to_contain_text("room_0_0002.png")
    track.focus()
    for key, position in (("ArrowRight", 3), ("Home", 0), ("End", 11), ("PageDown", 10)):
        ui.page.keyboard.press(key)
        ui.wait_probe(f"the frame after {key}", position=position)
    ui.press("j")
    ui.wait_probe("a frame back", position=9)
    ui.press("l")
    ui.wait_probe("the newest frame", live=True)


def test_frames_are_played_stopped_looped_and_faster(show, open_ui):
    run, viewer = show(FRAMES, frames_per_second=1, paused=True)
    ui = open_ui(viewer)
    ui.wait_probe("all frames", frames_seen=FRAMES)
    ui.typed(in_bar(ui, "Frame number"), 2)
    ui.wait_probe("the typed frame", position=1)
    in_bar(ui, "Speed").select_option("0.25")
    in_bar(ui, "Play").click()
    ui.wait_probe("the frames", replaying=True)
    wait_for(lambda: 3 <= ui.probe()["position"] < 11, "some frames on")
    in_bar(ui, "Pause").click()
    ui.wait_probe("the stop", replaying=False, live=False)
    assert 2 < ui.probe()["position"] < FRAMES - 1
    in_bar(ui, "Speed").select_option("4")
    in_bar(ui, "Loop").click()
    expect(in_bar(ui, "Loop")).to_have_attribute("aria-pressed", "true")
    in_bar(ui, "Play").click()
    seen = set()

    def again() -> bool:
        seen.add(ui.probe()["position"])
        return {0, 1, 2} & seen != set() and {9, 10, 11} & seen != set()

    wait_for(again, lambda: f"the end and the start: {seen}")
    assert ui.probe()["replaying"]
    ui.page.locator("#ttt3r-bar").get_by_role("button", name="Live").click()
    ui.wait_probe("the newest frame", live=True, replaying=False)
    assert run.seen_commands == []
    # At the newest frame the button is the run's.
    in_bar(ui, "Go on with the run").click()
    wait_for(lambda: run.seen_commands == [Play()], "the run")
    in_bar(ui, "Pause the run").click()
    wait_for(lambda: run.seen_commands == [Play(), Pause()], "the pause")


def test_the_view_goes_to_the_camera_of_the_shown_frame_in_this_browser_alone(still, open_ui):
    run, ui = still
    other = open_ui(ui.viewer)
    ui.typed(in_bar(ui, "Frame number"), 4)
    ui.wait_probe("the typed frame", position=3)
    in_bar(ui, "Go to this camera").click()
    pose = run.store.snapshot().frames[3].camera.T_world_camera
    wait_for(lambda: abs(ui.client.camera.position - pose[:3, 3]).max() < 0.02, "the camera")
    assert abs(other.client.camera.position - pose[:3, 3]).max() > 0.1


@pytest.mark.parametrize("size", SIZES)
def test_nothing_of_the_bar_is_off_screen_or_over_another_thing(still, size):
    _, ui = still
    width, height = size
    phone = width < 577
    ui.page.set_viewport_size({"width": width, "height": height})

    def placed() -> bool:
        """Whether panel and bar have come to their places, beside or above each other."""
        found = ui.page.evaluate(BOXES)
        bar, panel = found["bar"], found["panel"]
        if bar["left"] != 0 or panel["right"] > width or panel["bottom"] > height + 1:
            return False
        if phone:
            return bar["width"] == panel["width"] == width and bar["bottom"] == panel["top"]
        return bar["bottom"] == height and -20 <= bar["right"] - panel["left"] <= 0

    wait_for(placed, lambda: f"bar and panel beside each other: {ui.page.evaluate(BOXES)}")
    found = ui.page.evaluate(BOXES)
    bar, controls = found["bar"], found["controls"]
    assert phone or found["inset"]["bottom"] <= bar["top"]
    assert len(controls) == 7
    least = 40 if phone else 24
    for one, following in zip(controls, [*controls[1:], bar | {"left": width}], strict=True):
        assert one["height"] >= least or one["name"] == "", one
        assert one["right"] <= min(following["left"], bar["right"]) + 1, (one, following)
        assert one["bottom"] <= bar["bottom"] + 1, one
    assert min(ui.page.evaluate(CONTRAST)) >= 4.5
    ui.page.evaluate("document.documentElement.dataset.mantineColorScheme = 'light'")
    assert min(ui.page.evaluate(CONTRAST)) >= 4.5


def test_each_control_is_reached_by_tab_and_has_a_name(still):
    _, ui = still
    in_bar(ui, "Frame").focus()
    names = []
    for _ in range(7):
        script = "() => document.activeElement.ariaLabel"
        names.append(ui.page.evaluate(script))
        ui.page.keyboard.press("Tab")
    assert names[:2] == ["Frame", "Go on with the run"]
    assert names[2:6] == ["Frame number", "Speed", "Loop", "Go to this camera"]
    assert names[6].startswith("Live")


def test_thumbnails_and_marks_are_there_and_a_late_page_has_them_too(show, open_ui):
    run, viewer = show(0, paused=True)
    run.echo(reset_every=5)
    run.gone(FRAMES)
    ui = open_ui(viewer)
    late = open_ui(viewer)
    for one in (ui, late):
        expect(one.page.locator(".ttt3r-mark.reset")).to_have_count(2)
        images = one.page.locator("#ttt3r-strip img:not([hidden])")
        wait_for(lambda images=images: images.count() >= 2, "the small images")
        wait_for(lambda images=images: images.evaluate_all(LOADED), "them to be drawn")
    ui.typed(in_bar(ui, "Frame number"), 6)
    expect(in_bar(late, "Frame")).to_have_attribute("aria-valuetext", "frame 6 of 30, reset")
    run.store.clear()
    expect(ui.page.locator("#ttt3r-strip img")).to_have_count(0)
    expect(ui.page.locator(".ttt3r-mark")).to_have_count(0)


def test_in_a_talk_there_is_no_bar_but_a_button_that_leads_out(show, open_ui):
    page = {"settings": EVERY_POINT, "presentation": Presentation(on=True, title="A talk")}
    _, viewer = show(4, page, lanes=2, paused=True)
    ui = open_ui(viewer)
    ui.page.set_viewport_size({"width": 390, "height": 844})
    leave = ui.page.get_by_label("Leave the talk's captions")
    expect(leave).to_be_visible()
    expect(ui.page.locator("#ttt3r-bar")).to_be_hidden()
    box = leave.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 40
    assert box["x"] + box["width"] <= 390
    leave.click()
    ui.wait_probe("the panel", presenting=False)
    expect(ui.page.locator("#ttt3r-bar")).to_be_visible()
    expect(leave).to_be_hidden()


TEXTS = """() => ["title", "logo", "lanes", "frame"].map((name) => {
    const one = document.querySelector(`[data-testid="present-${name}"]`);
    const range = document.createRange();
    range.selectNodeContents(one);
    const { left, right, top, bottom } = range.getBoundingClientRect();
    return { name, left, right, top, bottom };
}).concat(["ttt3r-inset", "ttt3r-leave"].map((name) => {
    const { left, right, top, bottom } = document.getElementById(name).getBoundingClientRect();
    return { name, left, right, top, bottom };
}))"""


@pytest.mark.parametrize("size", SIZES)
def test_captions_do_not_overprint(show, open_ui, size):
    talk = Presentation(on=True, title="A talk about how states forget", logo_text="University")
    page = {"settings": replace(EVERY_POINT, show_inset=True), "presentation": talk}
    run, viewer = show(4, page, lanes=2, paused=True)
    run.echo(message="")
    ui = open_ui(viewer)
    width, height = size
    ui.page.set_viewport_size({"width": width, "height": height})
    expect(ui.page.locator("#ttt3r-inset.talk")).to_be_visible()
    ui.page.wait_for_timeout(700)
    boxes = [one for one in ui.page.evaluate(TEXTS) if one["right"] > one["left"]]
    assert len(boxes) == 6
    for k, one in enumerate(boxes):
        assert one["left"] >= 0, one
        assert one["right"] <= width, one
        assert one["bottom"] <= height, one
        for other in boxes[k + 1 :]:
            apart = one["right"] <= other["left"] or other["right"] <= one["left"]
            apart = apart or one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
            assert apart, (one, other)


def test_a_guests_bar_is_their_own(show, browser):
    access = access_for("127.0.0.1", token="a-token", guests=True)
    _, viewer = show(FRAMES, {"access": access}, paused=True)
    contexts = [browser.new_context(viewport={"width": 1000, "height": 700}) for _ in range(2)]
    owner, guest = (context.new_page() for context in contexts)
    owner.goto(f"{viewer.url}&fixedDpr=1")
    guest.goto(f"{viewer.door.guest_url}&fixedDpr=1")
    for page in (owner, guest):
        expect(page.locator("#ttt3r-track")).to_have_attribute(
            "aria-valuetext", "frame 12 of 30", timeout=30_000
        )

    def typed() -> bool:  # once viser's page is connected
        guest.get_by_label("Frame number").fill("3")
        guest.get_by_label("Frame number").press("Enter")
        guest.wait_for_timeout(1500)
        return guest.locator("#ttt3r-track").get_attribute("aria-valuenow") == "3"

    wait_for(typed, "the guest's frame")
    assert owner.locator("#ttt3r-track").get_attribute("aria-valuenow") == "12"
    assert viewer.controls.settings.live
    guest.get_by_label("Show what the owner shows").click()
    expect(guest.locator("#ttt3r-track")).to_have_attribute("aria-valuenow", "12")
    for context in contexts:
        context.close()
