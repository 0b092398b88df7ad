"""Views that are guided, without a browser: panes of the twin view, waiting, and clicks."""

import contextlib
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.made_up_run import MadeUpRun, room_result
from tests.pages import on_own_loop
from tests.ticks import tick_of
from ttt3r_viewer.export.film.opening import FILL, PageView, Window, box_of_lanes, filled_share
from ttt3r_viewer.recording.tour import Keyframe
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Status
from ttt3r_viewer.viewer.cameras import fitted_box, guided_cameras
from ttt3r_viewer.viewer.cameras.client_cameras import view_of
from ttt3r_viewer.viewer.cameras.guided_cameras import GuidedCameras
from ttt3r_viewer.viewer.cameras.page_views import APPROACH_SEC, LINGER_SEC
from ttt3r_viewer.viewer.cameras.tour_recorder import TourRecorder
from ttt3r_viewer.viewer.layers.camera_layer import CameraLayer
from ttt3r_viewer.viewer.server.clients import Client
from ttt3r_viewer.viewer.tick import Tick
from ttt3r_viewer.viewer.view_settings import Clock, ShowSettings, ViewSettings

SIZE = (1366, 768)


@pytest.fixture
def guide(server, monkeypatch):
    """Guided cameras, and browsers by number, of whom the gate knows what is given."""
    known: dict[int, Client] = {}
    browsers = {}

    def one(*clients: Client):
        for number, client in enumerate(clients):
            camera = SimpleNamespace(
                position=np.zeros(3),
                look_at=np.array([0.0, 0.0, 1.0]),
                up_direction=np.array([0.0, -1.0, 0.0]),
                fov=1.0,
                image_width=SIZE[0],
                image_height=SIZE[1],
            )
            known[number] = client
            browsers[number] = SimpleNamespace(
                client_id=number, camera=camera, atomic=contextlib.nullcontext
            )
        return GuidedCameras(server, TourRecorder(None)), browsers

    monkeypatch.setattr(guided_cameras, "client_of", lambda _, number: known[number])
    monkeypatch.setattr(server, "get_clients", lambda: dict(browsers))
    return one


def orbiting(**changes: object) -> ViewSettings:
    show = ShowSettings(motion="orbit", motion_clock=Clock(0.0, 0.0))
    return replace(ViewSettings(show=show), **changes)


def store_of(lanes: int) -> SceneStore:
    store = SceneStore(max_points=20_000, points_per_frame=100)
    return MadeUpRun(store, lanes=lanes, total=None, paused=True).gone(8).store


def test_a_pane_of_the_twin_view_is_filled_by_its_one_lane(guide):
    cameras, browsers = guide(Client(on_gpu=True), Client(on_gpu=True, lane=1))
    tick = tick_of(store_of(2), orbiting(arrangement="side by side"), 1.0)
    assert tick.offsets[1] > 1
    cameras.update(tick)
    for number, lanes, offsets in ((0, (0, 1), tick.offsets), (1, (1,), (0.0,))):
        shown = [tick.snapshot.lanes[k] for k in lanes]
        box = box_of_lanes(shown, offsets, tick.up, tick.drawn.hidden_bins)
        assert cameras.box_in(number).corners() == pytest.approx(box.corners())
        window = Window.of(*SIZE, panel=number == 0)
        bounds = filled_share(box, view_of(browsers[number]), window)
        assert (bounds[:, 1] - bounds[:, 0]).max() == pytest.approx(FILL, abs=0.01)


def test_a_paused_run_that_goes_on_moves_no_browser_by_a_jump(guide):
    cameras, browsers = guide(Client())
    store, settings = store_of(1), orbiting()
    places: list[np.ndarray] = []
    phases = [
        (Status(phase="running"), 2.0),
        (Status(phase="paused"), 30.0),
        (Status(phase="running"), 45.0),
        (Status(phase="paused"), 60.0),
    ]
    for status, until_sec in phases:
        store.set_status(status)
        now_sec = len(places) * 0.04
        while now_sec < until_sec:
            cameras.update(tick_of(store, settings, now_sec))
            places.append(np.array(browsers[0].camera.position))
            now_sec += 0.04
    moved = np.linalg.norm(np.diff(places, axis=0), axis=1)
    away = np.linalg.norm(places[-1])
    assert moved.max() < 0.02 * away
    stands = moved[int(32 / 0.04) : int(44 / 0.04)]
    assert stands.max() == 0, "it waits where the orbit was"
    assert moved[:40].max() == 0
    assert moved[-100:].max() > 0


def test_a_view_to_which_a_click_sends_a_pane_is_that_of_a_lane_in_the_middle(guide):
    cameras, browsers = guide(Client(on_gpu=True), Client(on_gpu=True, lane=1))
    tick = tick_of(store_of(2), replace(ViewSettings(), arrangement="side by side"), 1.0)
    cameras.update(tick)
    place = np.array([0.5, 0.0, -1.0])

    def view_at(offset: float) -> PageView:
        at = place + np.array([offset, 0.0, 0.0])
        return PageView(at, at + np.array([0.0, 0.0, 1.0]), tick.up)

    for number, offset in ((0, 7.0), (1, 0.0)):
        cameras.fly_to(browsers[number], 7.0, view_at)
        for now_sec in (2.0, 4.0):
            cameras.update(replace(tick, now_sec=now_sec + 10 * number))
        assert np.allclose(browsers[number].camera.position, place + np.array([offset, 0.0, 0.0]))


def test_a_click_flies_to_the_camera_that_stands_there_and_only_picks_while_inspecting(server):
    flights, store = [], store_of(2)
    layer = CameraLayer(server, "/lanes/1", 1, 2, lambda *given: flights.append(given))
    settings = replace(ViewSettings(), arrangement="side by side")
    tick = tick_of(store, settings, time.monotonic())
    layer.update(tick)
    handle = server.scene._handle_from_node_name["/lanes/1/camera/live"]
    center = tick.snapshot.lanes[1].frames[-1].camera.T_world_camera[:3, 3]
    origin = np.array([0.0, -1.0, -5.0])
    event = SimpleNamespace(
        client=None, ray_origin=tuple(origin), ray_direction=tuple(center - origin)
    )
    (clicked,) = (one.callback for one in handle._impl.click_cb)
    on_own_loop(clicked(event))
    ((_, offset, view_at),) = flights
    assert offset == tick.offsets[1]
    for stands_at in (0.0, offset):
        assert np.allclose(view_at(stands_at).position, center + np.array([stands_at, 0.0, 0.0]))
    inspecting = replace(settings, inspect=replace(settings.inspect, on=True))
    layer.update(replace(tick, settings=inspecting))
    on_own_loop(clicked(event))
    assert len(flights) == 1


def test_the_box_of_a_long_run_is_found_from_few_frames_and_rarely(monkeypatch):
    store = SceneStore(max_points=3000, points_per_frame=2)
    frame = room_result(0, 8, 6)
    for sequence in range(3000):
        store.add(replace(frame, sequence=sequence, index=sequence))
    looked_at = []
    monkeypatch.setattr(
        "ttt3r_viewer.scene.seen.FramePoints.off_edges",
        lambda points, *_: looked_at.append(points) or points,
    )
    snapshot, box, fits = store.snapshot(), fitted_box.FittedBox(), []
    for number in range(8):
        frames = replace(snapshot.lanes[0], frames=snapshot.frames[: 2900 + number])
        box.update(
            Tick(replace(snapshot, lanes=(frames,)), ViewSettings(), float(number)), [0], [0]
        )
        fits.append(len(looked_at))
        looked_at.clear()
    assert max(fits) <= 200
    assert [count > 0 for count in fits] == [True, False, False, True, False, False, True, False]


@pytest.mark.parametrize("ends", ["by itself", "by the panel"])
def test_a_slow_browser_ends_where_the_tour_ends_though_that_falls_into_a_pause(guide, ends):
    cameras, browsers = guide(Client())
    poses = [np.eye(4), np.eye(4)]
    poses[1][:3, 3] = (2.0, 0.0, -1.0)
    cameras._tour.keep(tuple(Keyframe(pose, 0.8, 2.0) for pose in poses))
    show = ShowSettings(motion="tour", motion_clock=Clock(0.0, 0.0))
    store, settings = store_of(1), ViewSettings(show=show)
    over_sec = APPROACH_SEC + 2.0 + LINGER_SEC
    for now_sec in np.arange(0.0, over_sec, 0.04):
        cameras.update(tick_of(store, settings, float(now_sec)))
        if now_sec == 0.0:
            cameras._guided[0].throttle.paused = True
            cameras._guided[0].throttle.ends_sec = 100.0
    assert not np.allclose(browsers[0].camera.position, poses[1][:3, 3])
    if ends == "by the panel":
        settings = replace(settings, show=ShowSettings())
    cameras.update(tick_of(store, settings, over_sec + 0.1))
    assert np.allclose(browsers[0].camera.position, poses[1][:3, 3], atol=1e-6)
