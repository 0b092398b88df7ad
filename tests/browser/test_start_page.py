"""The start screen in a real browser: from a dropped video to two lanes, and by the keyboard."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import SCENE_READY
from tests.media import level_frames, write_images, write_video
from tests.test_imports import PACKAGE
from tests.waiting import wait_for
from ttt3r_viewer.runs.start_offers import StartOffers
from ttt3r_viewer.settings import Settings
from ttt3r_viewer.viewer.server.door import Door
from ttt3r_viewer.viewer.server.gate import Gate
from ttt3r_viewer.viewer.server.start_screen import StartScreen
from ttt3r_viewer.viewer.server.uploads import UploadFolder

pytestmark = pytest.mark.browser

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
SIZES = ((1366, 768), (1920, 1080), (390, 844))
DROP = """([name, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(bytes)], name));
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
}"""
FRAMES_SEEN = """() => {
    const probe = document.querySelector('[data-testid=probe]');
    const said = JSON.parse(probe?.textContent || '{}');
    return said.frames_seen >= 2 ? said.rules : null;
}"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the program is started in, and an own one for what it keeps."""
    write_images(tmp_path / "here" / "images", ["a.png", "b.png"])
    write_images(tmp_path / "outside", ["a.png"])
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def program(here: Path) -> Iterator[str]:
    """The address of `ttt3r-view` without an input, in a process of its own."""
    words = ("-m", "ttt3r_viewer", "--port", "0", "--device", "cpu", "--max-frames", "3")
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=here, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def screen(here: Path) -> Iterator[tuple[StartScreen, Door]]:
    """The same start screen in this process, with nobody to show what is chosen."""
    assert here.is_dir()
    offers = StartOffers(Settings())
    screen = StartScreen(offers, UploadFolder(offers.inputs, offers.videos, offers.images))
    door = Door(port=0, start=screen)
    gate = Gate(door)
    gate.start()
    yield screen, door
    gate.stop()
    door.close()


@pytest.fixture
def opened(browser) -> Iterator[Callable[[str], Page]]:
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    def open_page(address: str) -> Page:
        page.goto(address)
        page.locator("#demos .card").first.wait_for()
        return page

    yield open_page
    page.close()
    assert errors == []


def drop(page: Page, name: str, content: bytes) -> None:
    page.evaluate(DROP, [name, list(content)])


def test_a_dropped_video_is_shown_in_two_lanes_after_two_clicks_and_nothing_is_lost_unasked(
    opened, program, tmp_path
):
    page = opened(program)
    video = tmp_path / "my film.mp4"
    write_video(video, level_frames(4))
    drop(page, video.name, video.read_bytes())
    page.locator("#own .card", has_text="my film.mp4").wait_for()
    kept = tmp_path / "data" / "ttt3r-viewer" / "inputs"
    assert [path.name for path in kept.iterdir()] == ["my film.mp4"]
    page.get_by_text("TTT3R beside CUT3R", exact=True).click()
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_function(SCENE_READY, timeout=60_000)
    lanes = page.wait_for_function(FRAMES_SEEN, timeout=90_000).json_value()
    assert len(lanes) == 2
    # And back, from the run's own page.
    page.get_by_test_id("start-link").press("Enter")
    page.locator("#demos .card", has_text="walk").click()
    page.get_by_role("button", name="Start", exact=True).click()
    stake = page.get_by_role("alert").filter(has_text="This ends the run that is shown now")
    stake.wait_for()
    page.get_by_role("button", name="Go back to it").click()
    page.wait_for_url(f"{program}/", wait_until="commit")


def test_a_path_is_completed_inside_and_what_cannot_be_shown_is_said_in_a_line(opened, screen):
    page = opened(screen[1].url)
    box, line = page.get_by_label("A path on the computer"), page.locator("#line")
    box.press_sequentially("im")
    page.locator("#paths option[value='images/']").wait_for(state="attached")
    for text, message in (("../outside", "is not inside"), ("nothing", "there is no file")):
        box.fill(text)
        box.press("Enter")
        line.get_by_text(message).wait_for()
        assert page.get_by_role("button", name="Start").is_disabled()
    box.fill("images/")
    box.press("Enter")
    page.locator("#own .card", has_text="2 frames").wait_for()
    assert line.is_hidden()
    drop(page, "x.exe", b"1")
    line.get_by_text("x.exe is neither a video").wait_for()


def test_a_demo_is_started_by_the_keyboard_alone(opened, screen):
    page = opened(screen[1].url)
    page.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "go":
            break
    page.keyboard.press("Enter")
    wait_for(screen[0].chosen.is_set, "the choice")
    assert screen[0].take().input.input == "demo:loop"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_controls_have_names_and_contrast_and_nothing_leaves_the_screen(opened, screen, size):
    page = opened(screen[1].url)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    for card in (None, "compare"):
        if card:
            page.locator("#demos .card", has_text=card).first.click()
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        inside = page.locator(".bar").bounding_box()
        assert inside["y"] + inside["height"] <= size[1] + 1
