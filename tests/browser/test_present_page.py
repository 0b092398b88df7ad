"""A recording in a real browser, opened and presented: points, timeline, captions, keys, a tour."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import viser
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import Ui
from tests.made_up_run import room_result
from tests.pages import EVERY_POINT, running
from tests.test_recording import STATUS, new_writer
from tests.waiting import wait_for
from ttt3r_viewer.commands.shows import notice_of
from ttt3r_viewer.reconstruct.messages import Mailbox, Pause, Play
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.recording.tour import TOUR_FILE, read_tour
from ttt3r_viewer.runs.player import Player
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.context import Presentation

pytestmark = pytest.mark.browser

FRAMES = 20


@contextmanager
def camera_places(client: viser.ClientHandle) -> Iterator[list[np.ndarray]]:
    """Where a browser's camera is meanwhile, written down by a thread: whoever asks now and then
    may come too late for a place that it only passes.
    """
    places: list[np.ndarray] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            places.append(np.array(client.camera.position))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield places
    finally:
        over.set()
        thread.join()


def record(folder: Path, frames: int = FRAMES) -> None:
    """Leave what a run of 20 frames and two lanes leaves that was cut off after so many."""
    writer = new_writer(folder)
    writer.begin(replace(STATUS, frames_total=FRAMES))
    for sequence in range(frames):
        room = room_result(sequence, 32, 24)
        writer.add(*(replace(room, rule=f"rule {lane}") for lane in range(2)))


@contextmanager
def presented(folder: Path, open_ui: Callable[[Viewer], Ui]) -> Iterator[Ui]:
    """What `ttt3r-view open DIR --present` shows."""
    store, mailbox = SceneStore(max_points=8_000), Mailbox()
    player = Player(Recording.open(folder), store, mailbox)
    presentation = Presentation(True, "A <talk>", "The lab", folder)
    viewer = Viewer(store, mailbox, port=0, presentation=presentation)
    with running(viewer, player):
        ui = open_ui(viewer)
        ui.wait_probe("all frames", phase="finished", frames_seen=FRAMES)
        yield ui


def test_a_session_is_presented_with_captions_and_keys_alone(tmp_path, open_ui):
    record(tmp_path)
    with presented(tmp_path, open_ui) as ui:
        expect(ui.page.get_by_test_id("present-title")).to_be_visible()
        assert ui.text("present-title") == "A <talk>"
        assert ui.text("present-logo") == "The lab"
        assert "frame 20 of 20" in ui.text("present-frame")
        assert ui.text("present-lanes").count("\n") == 1
        expect(ui.page.get_by_test_id("status")).not_to_be_visible()
        expect(ui.button("Restart")).not_to_be_visible()

        ui.press("Shift+?")
        expect(ui.page.get_by_test_id("keys")).to_be_visible()
        ui.press("Shift+?")
        expect(ui.page.get_by_test_id("keys")).to_have_count(0)

        ui.wait_probe("the orbit", motion="orbit", motion_going=True, taken=0)
        places = {tuple(np.round(ui.client.camera.position, 3))}
        wait_for(
            lambda: places.add(tuple(np.round(ui.client.camera.position, 3))) or len(places) > 5,
            "the view to move",
        )
        ui.press("Space")
        ui.wait_probe("the pause", motion_going=False)
        ui.press("Space")
        ui.wait_probe("the orbit again", motion_going=True)
        # A person who takes the view keeps it.
        ui.page.mouse.move(400, 300)
        ui.page.mouse.down()
        steps = iter(range(10_000))

        def drag() -> bool:
            step = next(steps)
            ui.page.mouse.move(400 + 4 * (step % 30), 300 + 3 * (step % 30))
            return ui.probe()["taken"] == 1

        wait_for(drag, "the view to be left alone")
        ui.page.mouse.up()
        ui.press("o")
        ui.wait_probe("no orbit", motion="still")

        ui.press("g")
        ui.wait_probe("the growth", replaying=True, live=False, position=FRAMES - 1)
        ui.press("j")
        ui.wait_probe("the frame before", replaying=False, position=FRAMES - 2)
        assert f"frame {FRAMES - 1} of {FRAMES}" in ui.text("present-frame")
        for arrangement in ("overlay", "side by side"):
            ui.press("c")
            ui.wait_probe("the other arrangement", arrangement=arrangement)
        ui.press("b")
        ui.wait_probe("one lane", arrangement="blink")

        ui.press("h")
        expect(ui.button("Restart")).to_be_visible()
        expect(ui.page.get_by_test_id("present")).to_have_count(0)


def test_a_screenshot_is_twice_as_large_as_the_page(tmp_path, open_ui):
    record(tmp_path)
    with presented(tmp_path, open_ui) as ui:
        ui.press("Space")
        ui.wait_probe("the pause", motion_going=False)
        with ui.page.expect_download(timeout=60_000) as waiting:
            ui.press("p")
        assert waiting.value.suggested_filename == f"screenshot_{FRAMES:05d}.png"
        image = Image.open(io.BytesIO(Path(waiting.value.path()).read_bytes()))
        assert image.format == "PNG"
        assert image.size == (1600, 1200)
        assert len(image.convert("RGB").getcolors(1 << 22) or ()) > 20


def test_a_tour_is_recorded_kept_and_replayed_when_the_session_is_opened_again(tmp_path, open_ui):
    record(tmp_path)
    with presented(tmp_path, open_ui) as ui:
        ui.press("o")
        ui.wait_probe("no orbit", motion="still")
        ui.press("m")
        ui.wait_probe("a view", tour_views=1)
        ui.page.mouse.move(400, 300)
        ui.page.mouse.wheel(0, 400)
        ui.page.wait_for_timeout(1500)
        ui.press("m")
        ui.wait_probe("another view", tour_views=2)
    keyframes = read_tour(tmp_path / TOUR_FILE).keyframes
    first, last = (one.T_world_camera[:3, 3] for one in keyframes)
    assert np.linalg.norm(first - last) > 0.05

    with presented(tmp_path, open_ui) as ui:
        ui.wait_probe("the tour", tour_views=2)
        with camera_places(ui.client) as places:
            ui.press("t")
            ui.wait_probe("the tour", motion="tour")
            ui.wait_probe("the end of the tour", motion="still", motion_going=False)
            # The browser tells where it is a little later.
            wait_for(lambda: np.linalg.norm(places[-1] - last) < 0.02, "the tour's last view")
        nearest = [np.linalg.norm(np.stack(places) - place, axis=1) for place in (first, last)]
        # On a busy machine the view moves in steps, and one may lead past the first place.
        step = float(np.linalg.norm(np.diff(places, axis=0), axis=1).max())
        assert nearest[0].min() < 0.02 + step / 2
        assert nearest[0].argmin() < nearest[1].argmin()
        ui.press("h")
        ui.page.get_by_text("Tour", exact=True).click()
        wait_for(lambda: "2 views, 4 s" in ui.text("tour"), "its length")
        for _ in range(5):  # again where the page dropped the message
            ui.settle()
            ui.button("Clear").click()
            ui.page.wait_for_timeout(1000)
            if ui.button("Clear").is_disabled():
                break
        ui.wait_probe("no tour", tour_views=0)
        assert not (tmp_path / TOUR_FILE).exists()


def test_space_pauses_a_run_and_lets_it_go_on(show, open_ui):
    page = {"presentation": Presentation(True), "settings": replace(EVERY_POINT, opening="orbit")}
    run, viewer = show(page=page, total=None, frames_per_second=5)
    ui = open_ui(viewer)
    ui.wait_probe("the run", phase="running")
    ui.press("Space")
    ui.wait_probe("the pause", phase="paused", motion_going=False)
    wait_for(lambda: "paused" in ui.text("present-frame"), "the word")
    ui.press("Space")
    ui.wait_probe("the run again", phase="running", motion_going=True)
    assert [type(one) for one in run.seen_commands] == [Pause, Play]


SEEN = 8


@pytest.fixture
def session(tmp_path: Path, open_ui: Callable[[Viewer], Ui]) -> Iterator[Ui]:
    """What `ttt3r-view open` shows of two lanes whose run was cut off."""
    record(tmp_path, SEEN)
    archive = Recording.open(tmp_path)
    store, mailbox = SceneStore(max_points=20_000), Mailbox()
    player = Player(archive, store, mailbox)
    viewer = Viewer(store, mailbox, port=0, notice=notice_of(archive), settings=EVERY_POINT)
    with running(viewer, player):
        yield open_ui(viewer)


def test_a_session_is_seen_gone_through_and_says_what_it_needs(session):
    ui = session
    ui.wait_probe("all frames", phase="finished", frames_seen=SEEN, lanes=2)
    wait_for(lambda: ui.drawn_points() == ui.probe()["points_shown"] > 2 * 32 * 24, "all points")
    assert "A recording of pictures" in ui.text("notice")
    assert "did not come to its end" in ui.text("status")
    assert "frame 8 of 20" in ui.text("status")
    assert ui.button("Play again").is_enabled()
    assert not ui.button("Step").is_enabled()

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
    ui.wait_probe("the frames again", phase="finished", frames_seen=SEEN, live=True)
