"""The opening shot in a real browser: the whole scene, beside the panel."""

import numpy as np
import pytest

from tests.waiting import wait_for
from ttt3r_viewer.export.film.opening import Window, box_of_lanes, filled_share
from ttt3r_viewer.viewer.cameras.client_cameras import view_of
from ttt3r_viewer.viewer.layers import near_walls
from ttt3r_viewer.viewer.view_settings import ViewSettings

pytestmark = pytest.mark.browser


def test_a_page_opens_on_the_whole_scene_and_home_comes_back_to_it(show, open_ui):
    run, viewer = show(12, {"settings": ViewSettings()}, paused=True)
    ui = open_ui(viewer)
    snapshot, hidden = run.store.snapshot(), viewer.controls.settings.hidden_bins
    box = box_of_lanes(snapshot.lanes, (0.0,), snapshot.layout.up, hidden)

    def filled() -> bool:
        camera = ui.client.camera
        window = Window.of(camera.image_width, camera.image_height)
        bounds = filled_share(box, view_of(ui.client), window)
        share = (bounds[:, 1] - bounds[:, 0]).max()
        return 0.5 <= share <= 0.95 and bool(np.allclose(bounds.mean(axis=1), 0.5, atol=0.05))

    wait_for(filled, "the opening shot")
    ui.wait_probe("the orbit", motion="orbit", taken=0)
    ui.press("o")
    ui.wait_probe("no orbit", motion="still")
    ui.client.camera.position = (9.0, -9.0, 9.0)
    wait_for(lambda: not filled(), "another view")
    ui.press("Home")
    wait_for(filled, "the whole scene again")
    before = np.array(ui.client.camera.position)
    ui.press("7")
    wait_for(lambda: np.abs(ui.client.camera.position - before).max() > 0.5, "the top")
    wait_for(filled, "all of it from the top")


def test_near_walls_are_hidden_in_the_browser_that_looks_from_there_alone(
    show, open_ui, monkeypatch
):
    monkeypatch.setattr(
        near_walls, "facing_sectors", lambda *given: (4,) if given[2][2] < -5 else ()
    )
    _, viewer = show(6, {"settings": ViewSettings(opening="still")}, paused=True)
    ui, other = open_ui(viewer), open_ui(viewer)
    assert ui.visible("/lanes/0/sector_4")
    ui.client.camera.position = (0.0, -1.0, -9.0)
    wait_for(lambda: not ui.visible("/lanes/0/sector_4"), "the near wall to go")
    assert ui.visible("/lanes/0/sector_0")
    assert other.visible("/lanes/0/sector_4")
    viewer.controls.change(near_wall_cut=False)
    wait_for(lambda: ui.visible("/lanes/0/sector_4"), "the near wall to come back")


def test_a_click_on_a_camera_flies_there_in_that_browser_alone(show, open_ui):
    run, viewer = show(6, {"settings": ViewSettings(opening="still")}, paused=True)
    ui, other = open_ui(viewer), open_ui(viewer)
    ui.wait_probe("all frames", frames_seen=6)
    assert ui.visible("/lanes/0/camera/past_faces")
    camera = run.store.snapshot().frames[-1].camera.T_world_camera
    with ui.client.atomic():
        ui.client.camera.position = camera[:3, 3] - 1.5 * camera[:3, 2] + np.array([0, -0.2, 0])
        ui.client.camera.look_at = camera[:3, 3] + 0.2 * camera[:3, 2]

    def arrived() -> bool:
        ui.page.mouse.click(400, 300)
        ui.page.wait_for_timeout(2500)
        return bool(np.allclose(ui.client.camera.position, camera[:3, 3], atol=0.02))

    wait_for(arrived, "the flight", 60)
    assert np.linalg.norm(other.client.camera.position - camera[:3, 3]) > 0.5
