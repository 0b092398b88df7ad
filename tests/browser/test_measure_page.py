"""Measuring in a real browser: two clicks give the length between two points of a known room."""

import numpy as np
import pytest

from tests.waiting import wait_for

pytestmark = pytest.mark.browser

WIDTH, HEIGHT = 800, 600
CLEAR = np.array([(60, 420), (60, 540)])
"""Of the window, in pixels: what neither the panel nor a corner covers."""


def test_two_clicks_give_the_length_between_two_points_and_escape_takes_the_marks_away(
    show, open_ui
):
    run, viewer = show(6, lanes=2, paused=True)
    ui = open_ui(viewer)
    ui.wait_probe("all frames", frames_seen=6)
    ui.page.get_by_text("Measure", exact=True).click()
    ui.checkbox("Pick points").click()
    ui.wait_probe("the switch", "measure", on=True)
    lane = run.store.snapshot().lanes[0]
    pose = lane.frames[0].camera.T_world_camera
    ui.client.camera.position = tuple(pose[:3, 3])
    ui.client.camera.look_at = tuple(pose[:3, 3] + pose[:3, 2])
    wait_for(lambda: np.allclose(ui.client.camera.position, pose[:3, 3], atol=1e-3), "the view")
    ui.page.wait_for_timeout(500)
    points = lane.frames[0].points.points_world.astype(np.float64)
    x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
    focal_px = HEIGHT / 2 / np.tan(ui.client.camera.fov / 2)
    pixels = np.stack([x, y], 1) / z[:, None] * focal_px + [WIDTH / 2, HEIGHT / 2]
    seen = np.flatnonzero(((pixels > CLEAR[:, 0]) & (pixels < CLEAR[:, 1])).all(axis=1))
    ends = seen[[pixels[seen, 0].argmin(), pixels[seen, 0].argmax()]]
    for number, end in enumerate(ends, start=1):
        ui.page.mouse.click(*pixels[end])
        ui.wait_probe("the point", "measure", points=number)
        ui.settle()
    wanted = np.linalg.norm(points[ends[0]] - points[ends[1]])
    measured = ui.probe()["measure"]["length"]
    assert abs(measured - wanted) < 0.05 * wanted
    assert f"{measured:.3g} m" in ui.text("measure")
    wait_for(lambda: ui.visible("/lanes/0/measure"), "the marks")
    ui.press("Escape")
    ui.wait_probe("the end", "measure", on=False, points=0)
    wait_for(lambda: not ui.visible("/lanes/0/measure"), "the marks to go")
