"""The page without a browser: addresses, layers, texts, and the thread that publishes."""

import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import viser
from viser import _messages
from viser._messages import GuiUpdateMessage

from tests.made_up_run import MadeUpRun, room_result
from tests.pages import running
from tests.ticks import status_tick, tick_of
from tests.waiting import wait_for
from ttt3r_viewer.errors import ViewerServerError
from ttt3r_viewer.metrics.palette import LANE_COLORS, css_color
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.scene.budget import SURE_BINS, Layout
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Camera, Status
from ttt3r_viewer.viewer.app import PANELS, LatePanel, Viewer, build_panels
from ttt3r_viewer.viewer.cameras.client_cameras import ClientCameras
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.html import box
from ttt3r_viewer.viewer.layers import camera_layer, point_layer
from ttt3r_viewer.viewer.layers import colors as palette
from ttt3r_viewer.viewer.layers.clouds import Cloud, batch_of, chunk_clouds, sure_cloud
from ttt3r_viewer.viewer.layers.lane_layer import LaneLayer, drift_segments
from ttt3r_viewer.viewer.layers.looks import NO_SECTOR, SECTORS
from ttt3r_viewer.viewer.layers.nodes import LIVE_POINTS
from ttt3r_viewer.viewer.panels.compare import ComparePanel, lane_html
from ttt3r_viewer.viewer.panels.run import RunPanel, points_html, status_html
from ttt3r_viewer.viewer.server.address import free_port
from ttt3r_viewer.viewer.view_settings import InspectSettings, ViewSettings
from ttt3r_viewer.viewer.widgets import Resender


def filled_store(count: int, max_points: int = 100_000, points_per_frame: int = 100) -> SceneStore:
    store = SceneStore(max_points=max_points, points_per_frame=points_per_frame)
    for sequence in range(count):
        store.add(room_result(sequence, 16, 12))
    return store


everything = partial(
    ViewSettings, hidden_bins=0, edge_filter=0.0, ceiling_cut=False, arrangement="overlay"
)
"""Settings that hide no points: the tests' images are hardly wider than their borders."""


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    viewer = Viewer(SceneStore(), Mailbox(), port=0)
    with running(viewer):
        yield viewer


def test_busy_port_gives_a_free_one_and_a_note_that_names_both():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        viewer = Viewer(SceneStore(), Mailbox(), port=busy)
        with running(viewer):
            assert viewer.port != busy
            assert viewer.door.note == f"port {busy} is busy, so the page is at {viewer.port}"
            socket.create_connection(("127.0.0.1", viewer.port), timeout=2).close()


def test_port_that_is_free_is_taken_and_needs_no_note():
    port = free_port("127.0.0.1", 0)
    viewer = Viewer(SceneStore(), Mailbox(), port=port)
    viewer.start()
    assert (viewer.port, viewer.door.note) == (port, "")
    assert viewer.url == f"http://127.0.0.1:{port}"
    viewer.stop()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_host_that_cannot_be_bound_is_an_error_at_once(host):
    viewer = Viewer(SceneStore(), Mailbox(), host=host, port=0)
    with pytest.raises(ViewerServerError, match=r"--host .* give 127\.0\.0\.1"):
        viewer.start()
    viewer.stop()


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_that_is_none_is_an_error(port):
    with pytest.raises(ViewerServerError, match=f"--port {port} is no port: give 0"):
        free_port("127.0.0.1", port)


def test_no_browser_can_open_the_public_tunnel(viewer):
    assert _messages.ShareUrlRequest not in viewer.server._websock_server._incoming_handlers


def test_stop_ends_the_thread_quickly_and_twice_is_once(capfd):
    viewer = Viewer(SceneStore(), Mailbox(), port=0)
    viewer.start()
    # An idle connection makes viser's own stop wait for six seconds.
    with socket.create_connection(("127.0.0.1", viewer.port)):
        begin = time.monotonic()
        viewer.stop()
        assert time.monotonic() - begin < 2
    viewer.stop()
    assert not [t for t in threading.enumerate() if t.name == "page-publisher"]
    assert capfd.readouterr().out == ""


def test_error_of_one_tick_is_shown_and_does_not_end_the_thread(viewer, monkeypatch):
    shown: list[str] = []
    run_panel, scene = viewer.part(RunPanel), viewer.part(LaneLayer)
    monkeypatch.setattr(run_panel, "update", lambda tick: shown.append(tick.trouble))
    update = scene.update

    def fail(*_: Any) -> None:
        raise ValueError("a mistake of ours")

    scene.update = fail
    wait_for(lambda: any("a mistake of ours" in text for text in shown), "the error's text")
    scene.update = update
    wait_for(lambda: shown[-1] == "", "the error to go away")


def nodes(server: viser.ViserServer, prefix: str) -> list[str]:
    return [n for n in server.scene._handle_from_node_name if n.startswith(prefix)]


def draw(
    layer: LaneLayer,
    store: SceneStore,
    settings: ViewSettings,
    ticks: int = 3,
) -> int:
    """Let the layer come to rest and give the number of points that it shows."""
    for tick in range(ticks):
        snapshot = store.snapshot()
        layer.update(tick_of(snapshot, settings, time.monotonic() + 10 * tick))
    return sum(layer.points_shown_by_lane)


def offsets_of(layer: LaneLayer) -> tuple[float, ...]:
    """Where each lane's root stands on the world's x axis."""
    return tuple(nodes.root.position[0] for nodes in layer._lanes)


def chunk_colors(layer: LaneLayer) -> dict[int, np.ndarray]:
    """Give the colours of the first lane's only chunk by tenth of confidence."""
    chunks = layer._lanes[0].points._chunks.values()
    return {c: node.handle.colors for chunk in chunks for c, node in chunk.nodes.items()}


def test_all_kept_points_are_drawn_and_hiding_tenths_hides_their_share(server):
    store, layer = filled_store(32), LaneLayer(server)
    live = 16 * 12
    assert draw(layer, store, everything()) == 32 * 100 + live
    for hidden in (3, 9):
        shown = draw(layer, store, everything(live=False, position=31, hidden_bins=hidden))
        # Percentiles are of the doublings only, and equal confidences fall into the same tenth.
        assert shown == pytest.approx(3200 * (10 - hidden) / 10, rel=0.25)


def test_hiding_sends_no_points_again(server, monkeypatch):
    store, layer = filled_store(16), LaneLayer(server)
    draw(layer, store, everything(live=False, position=15))
    monkeypatch.setattr(server.scene, "add_point_cloud", lambda *_a, **_k: pytest.fail("sent"))
    draw(layer, store, everything(live=False, position=15, hidden_bins=5))
    draw(layer, store, everything(live=False, position=7, hidden_bins=5))


def test_scrubbing_shows_exactly_the_frames_up_to_there(server):
    store, layer = filled_store(30), LaneLayer(server)
    for position in (29, 0, 5, 7, 12, 29):
        shown = draw(layer, store, everything(live=False, position=position))
        assert shown == (position + 1) * 100, position
        only = draw(layer, store, everything(live=False, position=position, extent="one"))
        assert only == (16 * 12 if position == 29 else 100)


def test_an_older_frame_alone_is_full_where_the_archive_has_it(server, tmp_path, caplog):
    store, layer = filled_store(6, points_per_frame=10), LaneLayer(server)
    writer = RecordingWriter(tmp_path, source="", settings={})
    writer.begin(Status())
    for sequence in (0, 1, 2):
        writer.add(room_result(sequence, 16, 12))
    store.set_recording(writer.recording)
    places = {1: 16 * 12, 4: 10, 2: 16 * 12, 5: 16 * 12}
    for position, expected in places.items():
        only = everything(live=False, position=position, extent="one")
        assert draw(layer, store, only) == expected, position
    path = tmp_path / "frames-00000.bin"
    path.write_bytes(path.read_bytes()[:99] + bytes(path.stat().st_size - 99))
    assert draw(layer, store, everything(live=False, position=0, extent="one")) == 10
    assert "frame 0: " in caplog.text
    writer.close()


@pytest.mark.parametrize("color_by", palette.COLOR_MODES)
def test_every_colour_redraws_the_same_points(server, color_by):
    store, layer = filled_store(9), LaneLayer(server)
    settings = everything(live=False, position=8)
    assert draw(layer, store, settings) == 900
    before = chunk_colors(layer)
    assert draw(layer, store, replace(settings, color_by=color_by)) == 900
    after = chunk_colors(layer)
    same = all(np.array_equal(before[c], after[c]) for c in before)
    assert same == (color_by in ("image", "lane")), "one lane has no colour of its own"


@pytest.mark.parametrize(("lane_count", "frame_count"), [(1, 500), (2, 150), (4, 150)])
def test_long_run_stays_within_nodes_and_points_and_a_restart_leaves_nothing(
    server, lane_count, frame_count
):
    store, layer = SceneStore(max_points=20_000, points_per_frame=200), LaneLayer(server)
    store.clear(lane_count)
    settings, most = everything(arrangement="side by side").within(lane_count), 0
    store.set_status(Status(phase="running"))
    for sequence in range(frame_count):
        store.add(*[room_result(sequence, 16, 12)] * lane_count)
        layer.update(tick_of(store, settings, sequence * 0.1))
        most = max(most, len(nodes(server, "/")))
    assert most <= 250
    assert layer.probe()["nodes"] == len(nodes(server, "/lanes"))
    shown = draw(layer, store, replace(settings, live=False, position=frame_count - 1))
    assert shown == store.snapshot().point_count
    assert 10_000 < shown <= 20_000
    store.clear(lane_count)
    draw(layer, store, settings)
    empty = ("", *(f"/sector_{sector}" for sector in (*range(SECTORS), NO_SECTOR)), "/camera")
    left = {f"/lanes/{k}{name}" for k in range(lane_count) for name in empty}
    assert set(nodes(server, "/lanes/")) == left
    assert layer.points_shown_by_lane == (0,) * lane_count


def test_growing_chunk_is_sent_at_most_twice_a_second(server, monkeypatch):
    store, layer = filled_store(64), LaneLayer(server)
    draw(layer, store, everything())
    sent: list[str] = []
    add = server.scene.add_point_cloud

    def noted(name, *given, **options):
        sent.append(name)
        return add(name, *given, **options)

    monkeypatch.setattr(server.scene, "add_point_cloud", noted)
    begin = time.monotonic() + 100
    for tick in range(10):
        if tick < 3:
            store.add(room_result(64 + tick, 16, 12))
        layer.update(tick_of(store, now_sec=begin + tick * 0.1))
    live = "/lanes/0/sector_0/live"
    assert sent.count(live) == 3
    assert max(sent.count(name) for name in sent if name != live) == 2


def test_live_frame_is_denser_than_kept_ones_but_bounded(server):
    store, layer = SceneStore(points_per_frame=10), LaneLayer(server)
    store.add(room_result(0, 256, 192))
    assert draw(layer, store, everything()) == LIVE_POINTS + 10


def test_tenths_of_a_chunk_hold_every_point_once():
    snapshot = filled_store(8).snapshot()
    parts = [frame.points for frame in snapshot.frames]
    clouds = chunk_clouds(batch_of(snapshot.frames, 0, snapshot.layout))
    assert len(clouds) == SURE_BINS
    drawn = np.concatenate([cloud.points for cloud in clouds])
    kept = np.concatenate([part.points_world for part in parts])
    assert np.allclose(np.sort(drawn, axis=0), np.sort(kept, axis=0), atol=4 * 2**-10)


def test_far_points_take_float32_and_a_stray_one_does_not_become_infinite():
    near = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    assert cloud_of(near).points.dtype == np.float16
    far = cloud_of(near + 500)
    assert far.points.dtype == np.float32
    assert np.array_equal(far.points, near + 500)
    near[0] = 1e6
    cloud = cloud_of(near)
    assert np.isfinite(cloud.points).all()
    assert len(cloud.points) == len(cloud.colors) == 999


def test_points_are_as_large_as_their_pixels_lie_apart_up_to_two_centimetres_in_a_room():
    points = np.zeros((1000, 3), np.float32)
    assert cloud_of(points, spacing=0.004).point_size == pytest.approx(0.004 * 1.4)
    assert cloud_of(points, spacing=0.1).point_size == 0.02
    assert cloud_of(points[:0]).point_size == 0.02


def cloud_of(points: np.ndarray, spacing: float = 0.01) -> Cloud:
    """The cloud of all these points, in a scene of a median depth of 3 m."""
    batch = palette.PointBatch(
        points_world=points,
        colors=np.zeros((len(points), 3), np.uint8),
        confidence=np.ones(len(points), np.float32),
        sureness=np.ones(len(points), np.float32),
        spacing=np.full(len(points), spacing),
        frames=np.zeros(len(points)),
        layout=Layout(median_depth=3.0),
    )
    return sure_cloud(batch, 0)


def test_colour_maps_run_from_end_to_end_and_the_image_stays():
    ends = palette.apply_color_map(np.array([-1.0, 0.5, 2.0]), palette.VIRIDIS)
    assert np.array_equal(ends, palette.VIRIDIS[[0, 4, 8]])
    layout = Layout(height_range=(-1.0, 1.0), frames_scale=3)
    batch = palette.PointBatch(
        points_world=np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], np.float32),
        colors=np.array([[1, 2, 3], [4, 5, 6]], np.uint8),
        confidence=np.array([0.0, 1.0], np.float32),
        sureness=np.array([0.0, 1.0], np.float32),
        spacing=np.array([0.01, 0.01]),
        frames=np.array([0.0, 2.0]),
        layout=layout,
        lane_color=LANE_COLORS[1],
    )
    assert palette.COLOR_MODES["image"].colors(batch) is batch.colors
    for color_by in ("confidence", "frame", "height"):
        low, high = palette.COLOR_MODES[color_by].colors(batch).sum(axis=1)
        assert high > 1.3 * low


def test_frustum_and_pyramid_agree_on_where_the_image_stands():
    camera = Camera(np.eye(4), focal_px=100.0, width=160, height=120)
    # viser draws (x, y, 1) scaled by this, divided by the cube root of the pyramid's volume.
    y = math.tan(camera.fov_y_rad / 2)
    volume = (y * camera.aspect) * y / 3
    assert camera_layer.frustum_scale(camera, 0.5) / volume ** (1 / 3) == pytest.approx(0.5)
    corners = camera_layer.pyramid_segments(camera, 0.5)[:4, 1]
    assert np.allclose(corners[2], [0.4, 0.3, 0.5])
    assert np.allclose(camera_layer.pyramid_segments(camera, 0.5)[:4, 0], 0)


def test_path_and_past_cameras_stay_small_however_many_frames():
    snapshot = filled_store(3).snapshot()
    frames = [
        replace(f, camera=replace(f.camera, T_world_camera=translation(0.5 * i)))
        for i, f in enumerate(snapshot.frames[:1] * 3000)
    ]
    points, colors = camera_layer.path_segments(frames, snapshot.layout)
    assert len(points) == len(colors) <= 1000
    assert np.allclose(points[-1, 1], [1499.5, 0, 0])
    assert np.array_equal(points[1:, 0], points[:-1, 1])
    points, colors = camera_layer.past_frusta(frames, snapshot.layout)
    assert points.shape == colors.shape
    assert len(points) <= 8 * 200


def translation(x: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


def lanes_store(count: int, frames: int) -> SceneStore:
    """Give what a made-up run of so many lanes leaves behind."""
    store = SceneStore(max_points=100_000, points_per_frame=100)
    return MadeUpRun(store, lanes=count, total=None, paused=True).gone(frames).store


def test_every_lane_is_below_its_root_and_hiding_one_hides_its_points(server):
    store, layer = lanes_store(3, 9), LaneLayer(server)
    settings = everything(live=False, position=8)
    assert draw(layer, store, settings) == 3 * 900
    assert layer.points_shown_by_lane == (900, 900, 900)
    roots = [server.scene._handle_from_node_name[f"/lanes/{k}"] for k in range(3)]
    assert draw(layer, store, replace(settings, hidden_lanes=frozenset({1}))) == 2 * 900
    assert layer.points_shown_by_lane == (900, 0, 900)
    assert [root.visible for root in roots] == [True, False, True]
    assert draw(layer, store, replace(settings, arrangement="blink", blink_lane=2)) == 900
    assert [root.visible for root in roots] == [False, False, True]


def test_looking_at_lanes_another_way_sends_no_points_again(server, monkeypatch):
    store, layer = lanes_store(2, 9), LaneLayer(server)
    draw(layer, store, everything())
    monkeypatch.setattr(server.scene, "add_point_cloud", lambda *_a, **_k: pytest.fail("sent"))
    for arrangement in ("side by side", "blink", "overlay"):
        draw(layer, store, everything(arrangement=arrangement))
    draw(layer, store, everything(hidden_lanes=frozenset({0})))


def test_side_by_side_boxes_stand_apart_by_one_gap_that_waits_for_the_next_layout(
    server,
):
    store, layer = lanes_store(3, 8), LaneLayer(server)
    settings = everything(arrangement="side by side", spacing=0.5)
    draw(layer, store, settings)
    offsets = offsets_of(layer)
    root = server.scene._handle_from_node_name["/lanes/2"]
    assert np.allclose(root.position, [offsets[2], 0, 0])
    boxes = np.array([lane.layout.across for lane in store.snapshot().lanes])
    gap = 0.5 * np.ptp(boxes, axis=1).max()
    assert gap > 0
    boxes += np.array(offsets)[:, None]
    assert np.allclose(boxes[1:, 0] - boxes[:-1, 1], gap)
    far = replace(room_result(8, 16, 12), camera=Camera(translation(500.0), 10.0, 16, 12))
    store.add(far, far, far)
    draw(layer, store, settings)
    assert offsets_of(layer) == offsets
    draw(layer, store, replace(settings, arrangement="overlay"))
    assert np.allclose(root.position, 0)


def test_names_stand_above_lanes_unless_they_lie_on_each_other(server):
    store, layer = lanes_store(2, 5), LaneLayer(server)
    draw(layer, store, everything())
    assert not [n for n in nodes(server, "/lanes/") if "label" in n]
    draw(layer, store, everything(arrangement="side by side"))
    label = server.scene._handle_from_node_name["/lanes/1/label/text"]
    assert label.text == "drifting, rate 0.8"
    above = server.scene._handle_from_node_name["/lanes/1/label"]
    points = np.concatenate([f.points.points_world for f in store.snapshot().lanes[1].frames])
    assert (points[:, 1] > above.position[1]).mean() > 0.95
    draw(layer, store, everything())
    assert not above.visible


def test_line_joins_the_shown_cameras_of_lanes_that_lie_on_each_other(server):
    store, layer = lanes_store(3, 9), LaneLayer(server)
    lanes = store.snapshot().lanes
    points, colors = drift_segments(lanes, (0, 2), 4)
    centers = [lanes[k].frames[4].camera.T_world_camera[:3, 3] for k in (0, 2)]
    assert np.allclose(points, [centers])
    assert np.array_equal(colors, [palette.line_colors([LANE_COLORS[0], LANE_COLORS[2]])])
    settings = everything(live=False, position=4)

    def segments(**fields: Any) -> int:
        draw(layer, store, replace(settings, **fields))
        drift = server.scene._handle_from_node_name.get("/lanes/drift")
        return 0 if drift is None else len(drift.points)

    assert segments() == 2
    assert segments(hidden_lanes=frozenset({0})) == 1
    assert segments(hidden_lanes=frozenset({0, 1})) == 0
    assert segments(show_cameras=False) == segments(arrangement="blink") == 0
    assert segments(arrangement="side by side") == 0


def test_other_number_of_lanes_after_a_restart_leaves_no_old_ones(server):
    store, layer = lanes_store(4, 5), LaneLayer(server)
    draw(layer, store, everything())
    assert nodes(server, "/lanes/3")
    store.clear(2)
    draw(layer, store, everything())
    assert not nodes(server, "/lanes/2") + nodes(server, "/lanes/3") + nodes(server, "/lanes/drift")
    assert offsets_of(layer) == (0, 0)
    store.add(room_result(0, 16, 12), room_result(0, 16, 12))
    assert draw(layer, store, everything(live=False)) == 200


def test_one_lane_keeps_its_own_colours_and_several_take_those_of_their_lanes():
    snapshot = lanes_store(2, 8).snapshot()
    frames, layout = snapshot.frames, snapshot.layout
    _, plain = camera_layer.path_segments(frames, layout)
    _, tinted = camera_layer.path_segments(frames, layout, LANE_COLORS[1])
    assert np.array_equal(plain[-1, 1], palette.PLASMA[-1])
    assert np.array_equal(tinted[-1, 1], palette.line_colors(LANE_COLORS[1]))
    assert tinted[0, 0].sum() < tinted[-1, 1].sum()


def test_tint_is_the_lane_colour_as_bright_as_the_image():
    grays = np.array([[255] * 3, [128] * 3, [0] * 3], np.uint8)
    colors = palette.tint(grays, LANE_COLORS[3])
    assert tuple(colors[0].tolist()) == LANE_COLORS[3]
    assert (np.diff(colors.astype(int), axis=0) < 0).all()
    assert colors[2].sum() > 0


def test_one_lane_has_nothing_that_only_several_can_have():
    several = everything(
        arrangement="blink", hidden_lanes=frozenset({0}), blink_lane=1, color_by="lane"
    )
    assert several.within(1) == everything()
    inspect = InspectSettings(on=True, lane=1, difference=True, token=3)
    alone = InspectSettings(on=True, token=3)
    assert everything(inspect=inspect).within(1) == everything(inspect=alone)
    assert everything(color_by="height").within(1) == everything(color_by="height")
    assert several.within(2) is several
    assert several.within(2).visible_lanes(2) == (1,)
    # The lane that blinks is switched off: the first one that is not takes its place.
    other = replace(several, hidden_lanes=frozenset({1})).within(3)
    assert (other.blink_lane, other.visible_lanes(3)) == (0, (0,))
    assert replace(several, hidden_lanes=frozenset({0, 1})).within(2).visible_lanes(2) == ()


def test_key_flips_between_the_first_two_lanes_that_are_switched_on(viewer):
    panel, controls = viewer.part(ComparePanel), viewer.controls
    before = controls.settings
    panel._flip()
    assert controls.settings == before, "one lane has nothing to flip"
    viewer._store.clear(3)
    wait_for(lambda: panel._lane_count == 3, "three lanes")
    controls.change(hidden_lanes=frozenset({0}))
    shown = []
    for _ in range(3):
        panel._flip()
        shown.append(controls.settings.within(3).visible_lanes(3))
    assert shown == [(1,), (2,), (1,)]
    wait_for(lambda: panel._arrangement.value == "Blink", "the widget to follow")


def test_followed_view_goes_with_the_first_lane_that_is_switched_on(viewer, monkeypatch):
    store = lanes_store(2, 5)
    cameras = ClientCameras(viewer.server)
    targets = []
    monkeypatch.setattr(cameras, "_follow", lambda target, _share: targets.append(target))
    settings = everything(follow_camera=True)
    for hidden, arrangement in ((set(), "overlay"), (set(), "blink"), ({0}, "side by side")):
        chosen = replace(settings, hidden_lanes=frozenset(hidden), arrangement=arrangement)
        tick = tick_of(store, replace(chosen, blink_lane=1, spacing=5.0))
        cameras.update(tick)
    first, blinking, second = (target.look_at for target in targets)
    assert np.allclose(first, blinking)
    assert tick.offsets[1] > 5
    assert (second - first)[0] == pytest.approx(tick.offsets[1], abs=0.5)


def test_status_line_always_says_the_same_facts():
    status = Status("running", "", "miniature", "ttt3r", "cuda", 12, 40, 3.44)
    text = status_html(status, "shown 1,234")
    facts = ("Running", "miniature", "ttt3r", "cuda", "frame 12 of 40", "3.4 frames/s", "1,234")
    assert all(fact in text for fact in facts), text
    unknown = status_html(replace(status, frames_total=None), "")
    assert "frame 12 of ?" in unknown
    assert "skipped" not in unknown
    skipped = status_html(replace(status, skipped=2, last_skipped="a.png: cut off"), "")
    assert "2 frames skipped, last: a.png: cut off" in skipped
    assert "frame 12 of 38" in skipped
    named = status_html(replace(status, source="<b>desk</b>.mp4"), "")
    assert "frame 12 of 40 - <b>&lt;b&gt;desk" in named


def test_points_are_said_in_few_digits():
    store = lanes_store(2, 5)
    assert points_html(tick_of(store, everything()), 31).startswith("shown 31 of ")
    lane = store.snapshot().lanes[0]
    for side, count, text in (
        (0.0, 2_040_000, "shown 1.2 M of 2.0 M points"),
        (0.00912, 999_600, "shown 1.2 M of 1.0 M points, voxel 9.1 mm"),
        (0.0123, 85_400, "shown 1.2 M of 85 k points, voxel 12 mm"),
        (0.25, 9_812, "shown 1.2 M of 9,812 points, voxel 0.25 m"),
    ):
        sized = replace(lane, layout=replace(lane.layout, voxel_side=side), point_count=count)
        snapshot = replace(store.snapshot(), lanes=(sized,))
        assert points_html(replace(tick_of(store), snapshot=snapshot), 1_234_567) == text
        own = replace(snapshot, status=Status(metric=False))
        said = points_html(replace(tick_of(store), snapshot=own), 1_234_567)
        assert said.endswith(f"voxel {side:.2g} units") or not side


def test_no_text_from_outside_becomes_markup():
    evil = '<script>alert(1)</script><img src=x onerror="alert(1)">'
    status = Status("starting", evil, evil, evil, evil, skipped=1, last_skipped=evil)
    texts = [status_html(status, ""), box("error", "0,0,0", evil)]
    texts.append(lane_html(0, evil, visible=True))
    for text in texts:
        assert "&lt;script&gt;" in text
        assert "<script" not in text
        assert "<img" not in text
    assert len(box("error", "0,0,0", "x" * 10**6)) < 2000


def test_lane_is_named_by_its_rule_and_by_its_number_before_that_is_known():
    store = lanes_store(2, 0)
    assert tick_of(store).lane_names == ("steady, rate 1", "drifting, rate 0.8")
    store.set_status(Status())
    assert tick_of(store).lane_names == ("lane 1", "lane 2")
    assert css_color(LANE_COLORS[1]) in lane_html(1, "steady", visible=True)
    assert lane_html(1, "steady", True) != lane_html(1, "steady", False)


def test_values_are_told_again_because_a_browser_may_show_what_it_never_said(used_server):
    gui = used_server.gui
    widgets = [
        gui.add_checkbox("a box", True),
        gui.add_slider("a slider", 0, 5, 1, 3),
        gui.add_dropdown("a list", ("a", "b")),
    ]
    gui.add_button("never")
    buffer = used_server._websock_server._broadcast_buffer
    repeater, tick = Resender(gui), tick_of(SceneStore())

    def told() -> dict[str, object]:
        """What one round repeats, by widget."""
        found = {}
        before = buffer.message_counter
        for _ in range(sum(not one._impl.is_button for one in all_widgets())):
            repeater.update(tick)
        for number in range(before, buffer.message_counter):
            message = buffer.message_from_id.get(number)
            if isinstance(message, GuiUpdateMessage):
                found[message.uuid] = message.updates["value"]
        return {one.label: found[one._impl.uuid] for one in widgets if one._impl.uuid in found}

    def all_widgets():
        return gui._gui_input_handle_from_uuid.values()

    assert told() == {}  # not known yet
    assert told() == {"a box": True, "a slider": 3, "a list": "a"}
    widgets[1].value = 4
    assert told() == {"a box": True, "a list": "a"}  # a hand may still be at the slider
    assert told() == {"a box": True, "a slider": 4, "a list": "a"}


def test_buttons_say_what_is_wanted_and_restart_goes_live():
    mailbox = Mailbox()
    viewer = Viewer(SceneStore(), mailbox, port=0)
    with running(viewer):
        run_panel = viewer.part(RunPanel)
        said = []
        for phase in ("running", "paused", "finished", "failed"):
            viewer._store.set_status(Status(phase=phase))
            wait_for(lambda phase=phase: run_panel._phase == phase, phase)
            run_panel._toggle()
            said.append([type(message).__name__ for message in mailbox.waiting()])
        assert said == [["Pause"], ["Play"], [], []]
        viewer.controls.change(live=False, position=7)
        run_panel._restart(None)
        assert type(mailbox.get()).__name__ == "Restart"
        assert viewer.controls.settings.live


def test_a_running_page_is_sent_a_bounded_stream(server, monkeypatch):
    """Beside the points that are new, 20 frames a second cost what was promised."""
    store, layer = SceneStore(max_points=4_000, points_per_frame=200), LaneLayer(server)
    store.set_status(Status(phase="running"))
    sent: Counter[str] = Counter()
    add = server.scene.add_point_cloud

    def noted(name, points, *args, **options):
        sent["live" if name.endswith("/live") else "chunk"] += len(points)
        return add(name, points, *args, **options)

    monkeypatch.setattr(server.scene, "add_point_cloud", noted)
    seconds, result = 30, room_result(0, 160, 128)
    for tick in range(10 * seconds):
        for number in (2 * tick, 2 * tick + 1):
            store.add(replace(result, sequence=number, index=number))
        layer.update(tick_of(store, now_sec=0.1 * tick))
    assert sent["live"] <= point_layer.PASSING_POINTS * (seconds / point_layer.LIVE_SEC + 1)
    # Every point once as it comes, again whenever chunks are merged or scales found anew.
    generations = store.snapshot().layout.generation
    assert sent["chunk"] <= point_layer.OPEN_CHUNK_RATE * seconds + 4_000 * generations
    draw(layer, store, everything())
    at_rest = layer._lanes[0].points._single.handles["live"]
    assert len(at_rest.points) == 160 * 128  # densely


def test_a_tab_that_the_weights_cannot_fill_does_not_come(server):
    places = [one for one in PANELS if one.tab in ("Export", "Ask")]
    _, ask = build_panels(PageContext(server), places)
    assert isinstance(ask, LatePanel)
    ask.update(status_tick(Status()))
    ask.update(status_tick(Status(cannot_ask="these weights have no such head")))
    assert ask._group._tab_labels == ("Export",)
    assert ask.probe() == {}
    ask.update(status_tick(Status(cannot_ask="")))
    assert ask._group._tab_labels == ("Export", "Ask")
    assert "ask" in ask.probe()
