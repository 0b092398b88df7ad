"""Exports in a real browser: the tab with its download, and the page that opens from disk."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trimesh
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import DRAWN_POINTS, Ui
from tests.made_up_run import room_result
from tests.pages import running
from tests.test_export_formats import FRAMES, make_session, silent
from tests.test_export_job import Held
from tests.waiting import wait_for
from ttt3r_viewer.export.film.film import Film
from ttt3r_viewer.export.film.footage import read_growth
from ttt3r_viewer.export.job import Exporter
from ttt3r_viewer.export.known_formats import export_recording
from ttt3r_viewer.export.lane_source import Source, StepCount, Thinning, usable
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.runs.player import Player
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.app import Viewer

pytestmark = pytest.mark.browser

KEPT = [int(usable(room_result(k, 64, 48), edge_filter=0.12).sum()) for k in range(FRAMES)]
"""How many points of each frame lie off the edges, which exports leave out."""


@pytest.fixture
def session(tmp_path: Path, open_ui: Callable[[Viewer], Ui]) -> Iterator[tuple[Ui, Exporter]]:
    """What `ttt3r-view open` shows, with the tab of exports in front."""
    archive = Recording.open(make_session(tmp_path / "session"))
    exporter = Exporter(lambda: archive, tmp_path / "session")
    store, mailbox = SceneStore(max_points=5_000), Mailbox()
    player = Player(archive, store, mailbox)
    viewer = Viewer(store, mailbox, port=0, exporter=exporter)
    with running(viewer, player):
        ui = open_ui(viewer)
        ui.wait_probe("all frames", phase="finished", frames_seen=FRAMES)
        ui.open_tab("Export")
        yield ui, exporter


def test_an_export_is_chosen_started_and_downloaded(session):
    ui, _ = session
    expect(ui.button("Download")).not_to_be_visible()
    expect(ui.page.get_by_text("Image size")).not_to_be_visible()
    ui.button("Export").click()
    wait_for(lambda: f"{sum(KEPT):,} points" in ui.text("export-state"), "the result")
    name, content = ui.download("Download", 30_000)
    assert name == "points.ply"
    loaded = trimesh.load(io.BytesIO(content), file_type="ply")
    assert isinstance(loaded, trimesh.PointCloud)
    assert len(loaded.vertices) == sum(KEPT)

    ui.choose("Format", "COLMAP model (folder)")
    ui.button("Export").click()
    wait_for(lambda: "colmap" in ui.text("export-state").split(" at ")[-1], "the folder")
    name, content = ui.download("Download", 30_000)
    assert name == "colmap.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert "colmap/sparse/0/points3D.bin" in packed.namelist()

    ui.choose("Format", "Film (.mp4)")
    expect(ui.page.get_by_text("Image size")).to_be_visible()
    ui.choose("Format", "Camera path, TUM (.txt)")
    expect(ui.page.get_by_text("Most points")).not_to_be_visible()


def test_an_export_shows_how_far_it_is_and_is_cancelled(session):
    ui, exporter = session
    held = Held(exporter)
    ui.button("Export").click()
    assert held.reached.wait(10)
    wait_for(
        lambda: "Writing Point cloud (.ply): 1 of 4 steps" in ui.text("export-state"),
        "the progress",
    )
    expect(ui.page.get_by_role("progressbar").last).to_be_visible()
    ui.button("Export").click()
    wait_for(lambda: "is going on: wait for it" in ui.text("export-state"), "the refusal")
    ui.button("Cancel").click()
    ui.settle()
    held.go_on.set()
    wait_for(lambda: "Cancelled: nothing is left of it" in ui.text("export-state"), "the end")
    expect(ui.button("Download")).not_to_be_visible()
    expect(ui.button("Cancel")).not_to_be_visible()


def test_a_run_without_an_archive_says_why_it_cannot(show, open_ui):
    ui = open_ui(show(paused=True)[1])
    ui.page.get_by_role("tab", name="Export").click()
    wait_for(lambda: "keeps no frames on disk" in ui.text("export-why"), "the reason")
    expect(ui.button("Export")).not_to_be_visible()


def test_the_page_opens_from_disk_and_plays_the_growth(browser, tmp_path):
    source = Source(Recording.open(make_session(tmp_path / "session")))
    path = tmp_path / "growth.html"
    export_recording(source, "html", path, silent, film=Film(seconds=4))
    thinning = Thinning(max_points=500_000, min_confidence_percentile=20.0)
    kept = read_growth(source, thinning, StepCount(silent)).ends.tolist()
    page = browser.new_page(viewport={"width": 800, "height": 600})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{path.as_uri()}?fixedDpr=1")
    seen: set[int] = set()

    def grown() -> bool:
        seen.add(page.evaluate(f"() => window.__viserMutable ? ({DRAWN_POINTS})() : 0"))
        return set(kept) <= seen

    wait_for(grown, "the cloud to grow")
    # The playback bar: 4 s of growth, and 2 s to look at it.
    expect(page.locator(".mantine-Slider-root")).to_be_visible()
    length = page.locator("[role=slider]").get_attribute("aria-valuemax")
    assert float(length or 0) == pytest.approx(6)
    image = page.screenshot()
    colors = Image.open(io.BytesIO(image)).convert("RGB").crop((150, 150, 650, 500))
    assert len(colors.getcolors(1 << 20) or ()) > 20
    page.close()
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert errors == []
