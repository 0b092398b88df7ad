"""A real Chromium for tests of the page; the selectors that a test may rely on live in `Ui`."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import viser
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect, sync_playwright

from tests.made_up_run import MadeUpRun
from tests.waiting import wait_for
from ttt3r_viewer.viewer.app import Viewer

CHROMIUM_FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
]
expect.set_options(timeout=30_000)
FRAMES = 6
"""Of the run that `at_tab` begins."""
SCENE_READY = "() => window.__viserMutable?.nodeRefFromName?.['/WorldAxes']"
# Read from the scene itself, because the renderer's own count is that of its last frame.
DRAWN_POINTS = """() => {
    let scene = window.__viserMutable.nodeRefFromName['/WorldAxes'];
    while (scene?.parent) scene = scene.parent;
    if (!scene) return -1;
    let points = 0;
    scene.traverseVisible((node) => {
        const geometry = node.isPoints ? node.geometry : null;
        if (geometry) points += geometry.attributes.position.count;
    });
    return points;
}"""
DRAWN_NODES = """() => Object.entries(window.__viserMutable.nodeRefFromName)
    .filter(([name, node]) => node && name.includes('/sector_') && name.includes('chunk'))
    .map(([name]) => name)"""


def find_chromium() -> str | None:
    """Give the program named by CHROMIUM, or the first one on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; they skip without it unless TTT3R_REQUIRE_BROWSER=1."""
    program = find_chromium()
    if program is None:
        reason = "no Chromium found: install one, or name it in CHROMIUM"
        if os.environ.get("TTT3R_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        # A persistent context would keep idle sockets open, for which viser waits when it stops.
        chromium = playwright.chromium.launch(
            executable_path=program, headless=True, args=CHROMIUM_FLAGS
        )
        yield chromium
        chromium.close()


class Ui:
    """The page as a person sees and uses it."""

    def __init__(self, page: Page, viewer: Viewer) -> None:
        self.page, self.viewer = page, viewer
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        # Software that draws on a busy machine may take half a minute for one click.
        page.set_default_timeout(120_000)
        known = set(viewer.server.get_clients())
        # A fixed pixel ratio, or viser lowers the resolution as it likes.
        page.goto(f"{viewer.url}/?fixedDpr=1")
        page.wait_for_function(SCENE_READY)
        self.client: viser.ClientHandle = wait_for(
            lambda: [c for i, c in viewer.server.get_clients().items() if i not in known],
            "the browser's first camera message",
        )[0]

    def row(self, label: str) -> Locator:
        """The row of a slider."""
        flex = "xpath=ancestor::div[contains(@class,'Flex-root')][1]"
        return self.page.locator("label", has_text=label).locator(flex)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def checkbox(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def download(self, name: str, timeout_ms: float = 5000) -> tuple[str, bytes]:
        """Press a button that sends a file, again where the page dropped the message; read that."""
        for _ in range(5):
            self.settle()
            try:
                with self.page.expect_download(timeout=timeout_ms) as waiting:
                    self.button(name).click()
            except TimeoutError:
                continue
            return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()
        raise AssertionError(f"{name} sent no file")

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()
        self.settle()

    def typed(self, box: Locator, value: float) -> None:
        """Type into a number's box."""
        box.fill(str(value))
        box.press("Enter")

    def text(self, test_id: str) -> str:
        """The text of `status`, `error`, `notice` or `caption`."""
        return self.page.get_by_test_id(test_id).inner_text()

    def set_number(self, label: str, value: float) -> None:
        """Type into the box beside a slider, again where viser's page dropped the message.

        It keeps one pending message per 50 ms for the whole panel, which a busy machine overruns.
        """
        shown = {"Frame": ("position", value - 1), "Hide least sure (%)": ("percentile", value)}
        box = self.row(label).locator("input:not([type=hidden])").first
        if label == "Frame":
            box = self.page.get_by_label("Frame number")
        for _ in range(5):
            self.typed(box, value)
            end = time.monotonic() + 3
            while time.monotonic() < end:
                self.settle()
                key, wanted = shown.get(label, (None, None))
                if key is None or self.probe().get(key) == wanted:
                    return

    def choose(self, label: str, option: str) -> None:
        """Take an option of a dropdown, again where the panel moved under the click."""
        entry = self.page.get_by_role("option", name=option, exact=True)
        for _ in range(5):
            self.page.get_by_label(label, exact=True).first.click()
            try:
                entry.click(timeout=5000)
            except TimeoutError:
                self.page.keyboard.press("Escape")
                self.settle()
                continue
            self.settle()
            return
        raise AssertionError(f"{label} never offered {option}")

    def press(self, key: str) -> None:
        """Press a key of the page, which an input that has the focus would take for itself."""
        self.page.evaluate("document.activeElement?.blur()")
        self.page.keyboard.press(key)
        self.settle()

    def settle(self) -> None:
        """Leave time between two actions: viser's page sends one message per 50 ms, no more."""
        self.page.wait_for_timeout(120)

    def probe(self) -> dict[str, Any]:
        """What the page says to programs."""
        return json.loads(self.page.get_by_test_id("probe").text_content() or "{}")

    def wait_probe(self, what: str, part: str = "", **wanted: Any) -> dict[str, Any]:
        """Wait until the page says so, or a part of what it says does."""

        def state() -> dict[str, Any]:
            return self.probe().get(part, {}) if part else self.probe()

        def matches() -> dict[str, Any] | None:
            now = state()
            return now if all(now.get(key) == value for key, value in wanted.items()) else None

        return wait_for(matches, lambda: f"{what}: {wanted}, not {state()}")

    def drawn_points(self) -> int:
        """How many points of all visible nodes the browser itself has."""
        return self.page.evaluate(DRAWN_POINTS)

    def wait_drawn(self, count: int) -> None:
        """Wait until the browser draws exactly that many points."""
        wait_for(
            lambda: self.drawn_points() == count,
            lambda: f"{count} points, not {self.drawn_points()}",
        )

    def chunk_nodes(self) -> list[str]:
        """Names of the chunk nodes that the browser has."""
        return self.page.evaluate(DRAWN_NODES)

    def visible(self, node: str) -> bool:
        """Whether a node exists in the browser and is switched on."""
        script = "name => window.__viserMutable.nodeRefFromName[name]?.visible === true"
        return self.page.evaluate(script, node)


@pytest.fixture
def open_ui(
    browser: Browser, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[Viewer], Ui]]:
    """Open a viewer's page in a fresh browser window; a failed test leaves a screenshot behind."""
    opened: list[Ui] = []

    def open_page(viewer: Viewer) -> Ui:
        ui = Ui(browser.new_page(viewport={"width": 800, "height": 600}), viewer)
        opened.append(ui)
        return ui

    yield open_page
    for number, ui in enumerate(opened):
        if getattr(request.node, "call_failed", False):
            ui.page.screenshot(path=tmp_path / f"failed_{number}.png")
        ui.page.close()
    assert [error for ui in opened for error in ui.errors] == []


@pytest.fixture
def at_tab(show, open_ui: Callable[[Viewer], Ui]) -> Callable[[str], tuple[MadeUpRun, Ui]]:
    """Begin a paused run of two lanes and six frames, and open its page at a tab."""

    def begin(tab: str) -> tuple[MadeUpRun, Ui]:
        run, viewer = show(FRAMES, lanes=2, paused=True)
        ui = open_ui(viewer)
        ui.wait_probe("all frames", frames_seen=FRAMES)
        ui.open_tab(tab)
        return run, ui

    return begin


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tell the fixtures whether the test itself failed."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.when == "call":
        item.call_failed = report.failed  # pyright: ignore[reportAttributeAccessIssue]
