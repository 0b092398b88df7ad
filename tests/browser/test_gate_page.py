"""The page through the gate: a link with a token, a guest, hostile names, another page."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from tests.browser.conftest import DRAWN_POINTS, SCENE_READY
from tests.live_media import served
from tests.made_up_run import room_result
from tests.waiting import wait_for
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.server.access import access_for

pytestmark = pytest.mark.browser

TOKEN = "a-token-for-tests"
HOSTILE = '<img src=x onerror="broken=1">[a](javascript:broken=1)&lt;b&gt;.jpg'
CAMERA = "window.__viserMutable.camera.position.toArray()"


@pytest.fixture
def viewer(show) -> Viewer:
    access = access_for("127.0.0.1", token=TOKEN, guests=True)
    return show(4, {"notice": HOSTILE, "access": access}, lanes=2, paused=True)[1]


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Callable[[], BrowserContext]]:
    """Browsers that know nothing of each other's cookies."""
    contexts: list[BrowserContext] = []

    def make() -> BrowserContext:
        contexts.append(browser.new_context(viewport={"width": 800, "height": 600}))
        return contexts[-1]

    yield make
    for context in contexts:
        context.close()


def drawn(page: Page) -> int:
    return page.evaluate(DRAWN_POINTS)


def shown(page: Page, node: str) -> bool:
    return page.evaluate(
        "name => window.__viserMutable.nodeRefFromName[name]?.visible === true", node
    )


def opened(page: Page, address: str) -> Page:
    page.goto(address)
    page.wait_for_function(SCENE_READY, timeout=30_000)
    return page


def test_the_link_opens_the_page_and_its_twin_and_nothing_else_does(viewer, new_context, tmp_path):
    stranger = new_context().new_page()
    answer = stranger.goto(viewer.door.address)
    assert answer is not None
    assert answer.status == 403
    assert "open the link that the program printed" in stranger.inner_text("body")

    context = new_context()
    page = opened(context.new_page(), f"{viewer.url}&fixedDpr=1")
    assert page.url == f"{viewer.door.address}/?fixedDpr=1"
    cookie, *said = sorted(context.cookies(), key=lambda one: one.get("httpOnly"), reverse=True)
    words = {one.get("name"): one.get("value") for one in said}
    assert words == {"ttt3r-draws": "software", "ttt3r-pixels": "1.000"}
    assert cookie.get("httpOnly") is True
    assert cookie.get("sameSite") == "Strict"
    assert TOKEN not in page.evaluate("document.cookie + JSON.stringify(localStorage)")
    page.get_by_role("button", name="Step", exact=True).click()
    wait_for(lambda: "frame 5 of" in page.get_by_test_id("status").inner_text(), "the step")

    with page.expect_popup() as popup:
        page.get_by_role("tab", name="Compare").click()
        page.get_by_test_id("twin").click()
    twin = popup.value
    assert twin.url == f"{viewer.door.address}/twin"
    root = "window.__viserMutable?.nodeRefFromName['/lanes/1']?.visible"

    def right_only() -> bool:
        twin.wait_for_timeout(100)
        panes = twin.frames[1:]
        try:
            return len(panes) == 2 and [pane.evaluate(root) for pane in panes] == [False, True]
        except Error:  # a pane that is still being loaded
            return False

    wait_for(right_only, "each pane to show its lane")
    page.screenshot(path=tmp_path / "owner.png")


def test_a_guest_looks_around_and_steers_nothing(viewer, new_context, tmp_path):
    assert viewer.door.guest_url is not None
    page = opened(new_context().new_page(), f"{viewer.door.guest_url}&fixedDpr=1")
    expect(page.get_by_text("guest: view only")).to_be_visible(timeout=10_000)
    expect(page.get_by_role("button", name="Step", exact=True)).to_be_disabled()
    expect(page.get_by_label("Path", exact=True)).to_be_disabled()
    expect(page.get_by_role("tab", name="Charts")).to_be_enabled()
    page.screenshot(path=tmp_path / "guest.png")
    before = viewer.controls.settings
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("tab", name="View").click()
    page.keyboard.press("Shift+R")
    wait_for(lambda: viewer.gate.dropped >= 1, "the key to be dropped")
    assert viewer.controls.settings is before
    assert "frame 4 of" in page.get_by_test_id("status").inner_text()
    start = page.evaluate(CAMERA)

    def turned() -> bool:
        page.mouse.move(250, 400)
        page.mouse.down()
        page.mouse.move(340, 380, steps=5)
        page.mouse.up()
        page.wait_for_timeout(800)
        return not np.allclose(page.evaluate(CAMERA), start, atol=0.05)

    wait_for(turned, "the guest's view to turn")


def test_a_guests_own_timeline_moves_nobody_elses(viewer, new_context, tmp_path):
    owner = opened(new_context().new_page(), f"{viewer.url}&fixedDpr=1")
    guest = opened(new_context().new_page(), f"{viewer.door.guest_url}&fixedDpr=1")
    wait_for(lambda: drawn(guest), "the points of all frames")
    lanes = viewer._store.snapshot().lanes
    count = [len(frame.points) for frame in lanes[0].frames]
    before = viewer.controls.settings

    def at(frame: int) -> bool:
        guest.get_by_label("Frame number").fill(str(frame))
        guest.get_by_label("Frame number").press("Enter")
        guest.wait_for_timeout(500)
        return drawn(guest) == 2 * sum(count[:frame])

    wait_for(lambda: at(1), "the points of the first frame")
    assert shown(guest, "/own/0")
    assert not shown(guest, "/lanes")
    guest.screenshot(path=tmp_path / "own.png")
    wait_for(lambda: at(3), "the points of three frames")
    assert viewer.controls.settings is before
    assert shown(owner, "/lanes")
    assert drawn(owner) > 2 * sum(count)  # with the newest frame densely
    guest.get_by_label("Show what the owner shows").click()
    wait_for(lambda: shown(guest, "/lanes") and not shown(guest, "/own"), "everybody's view")
    assert drawn(guest) == drawn(owner)
    guest.close()
    wait_for(lambda: len(viewer.server.get_clients()) == 1, "the guest's end")


def test_another_page_reaches_nothing_and_a_link_in_it_works_for_who_is_in(viewer, new_context):
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/html")
        request.end_headers()
        request.wfile.write(f'<a href="{viewer.door.address}/?fixedDpr=1">go</a>'.encode())

    with served(respond) as other:
        context = new_context()
        opened(context.new_page(), f"{viewer.url}&fixedDpr=1")
        page = context.new_page()
        page.goto(f"http://localhost:{other}/")
        # Both the gate and viser's own port behind it.
        for port in (viewer.port, viewer.server.get_port()):
            script = f"""() => new Promise((done) => {{
                const s = new WebSocket('ws://127.0.0.1:{port}/', ['viser-v1.1.1']);
                s.onmessage = () => done('heard');
                s.onclose = () => done('closed');
            }})"""
            assert page.evaluate(script) == "closed"
        page.get_by_text("go").click()
        page.wait_for_function(SCENE_READY, timeout=30_000)


def test_names_from_input_stay_text_everywhere(show, new_context, tmp_path):
    run, viewer = show(0, {"notice": HOSTILE, "title": HOSTILE}, lanes=2, paused=True)
    store = run.store
    for sequence in range(3):
        store.add(*(replace(room_result(sequence), name=HOSTILE) for _ in range(2)))
    status = store.snapshot().status
    store.set_status(
        replace(
            status,
            model=HOSTILE,
            rule=HOSTILE,
            device=HOSTILE,
            message=HOSTILE,
            skipped=2,
            last_skipped=HOSTILE,
            lanes=tuple(replace(one, text=HOSTILE, title=HOSTILE) for one in status.lanes),
        )
    )
    viewer.report(HOSTILE)
    page = opened(new_context().new_page(), f"{viewer.url}/?fixedDpr=1")
    page.evaluate("window.broken = 0")
    for test_id in ("status", "notice", "error", "caption"):
        wait_for(
            lambda test_id=test_id: HOSTILE in page.get_by_test_id(test_id).inner_text(),
            f"the name in {test_id}",
        )
    for tab in ("Compare", "Charts", "Inspect", "Export", "Ask"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        if tab == "Compare":
            assert HOSTILE in page.get_by_test_id("lane-0").inner_text()
    page.screenshot(path=tmp_path / "hostile.png")
    assert page.evaluate("window.broken") == 0
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("a[href^=javascript]").count() == 0


FAKED_GPU = """const real = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
    return name === 0x9246 ? "ANGLE (NVIDIA GeForce RTX 4090, OpenGL 4.5)" : real.call(this, name);
};"""  # 0x9246 is UNMASKED_RENDERER_WEBGL


def test_a_browser_in_software_keeps_the_budget_and_one_with_a_gpu_raises_it(show, browser):
    run, viewer = show(2, {"gpu_points": 150_000}, paused=True)
    software = opened(browser.new_page(), viewer.url)
    wait_for(viewer.server.get_clients, "the browser")
    wait_for(lambda: "(no GPU)" in software.get_by_test_id("status").inner_text(), "the limit")
    assert run.store.snapshot().max_points == 100_000
    software.close()
    wait_for(lambda: not viewer.server.get_clients(), "no browser")
    page = browser.new_page()
    page.add_init_script(FAKED_GPU)
    opened(page, viewer.url)
    wait_for(lambda: run.store.snapshot().max_points == 150_000, "the budget")
    wait_for(lambda: "at most 150 k" in page.get_by_test_id("status").inner_text(), "the new limit")
    page.close()
