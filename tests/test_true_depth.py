"""True depth: read beside images, errors of points against it, and what the page shows of it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.made_up_run import ROOM_HIGH, ROOM_LOW, drifted, pose_at, room_result
from tests.ticks import tick_of
from training.evaluate import room_measures
from ttt3r_viewer.errors import EvaluationError, FrameError
from ttt3r_viewer.evaluate.evaluation import Accumulator
from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.metrics.dense import sample_truth
from ttt3r_viewer.metrics.ground_truth import CountedPoses, GroundTruth, NamedPoses
from ttt3r_viewer.metrics.point_errors import PointErrors
from ttt3r_viewer.metrics.true_depth import TrueDepth, find_depth
from ttt3r_viewer.metrics.true_surface import SurfaceDistance, TrueSurface
from ttt3r_viewer.runs.known_truth import find_truth
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import InputOptions
from ttt3r_viewer.system.assets import DEMOS
from ttt3r_viewer.types import Camera, Status
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers import truth_layer
from ttt3r_viewer.viewer.layers.colors import BLUE_RED, MOST_ERROR_M, color_modes_for
from ttt3r_viewer.viewer.layers.lane_layer import LaneLayer
from ttt3r_viewer.viewer.layers.point_layer import PointLayer
from ttt3r_viewer.viewer.panels import chart_series
from ttt3r_viewer.viewer.panels.chart_series import ChartSeries
from ttt3r_viewer.viewer.panels.look import LookPanel
from ttt3r_viewer.viewer.view_settings import ViewSettings

WIDTH, HEIGHT = 64, 48
PINHOLE = np.array([[0.8 * WIDTH, 0, WIDTH // 2], [0, 0.8 * WIDTH, HEIGHT // 2], [0, 0, 1.0]])
ELSEWHERE = drifted(pose_at(17), 0.4)
"""From the made-up room's world to that of the true poses."""


def true_room(frames: int, *, unknown: int = -1) -> CountedPoses:
    """All that is true of the room, but for the depth of one frame."""

    def depth_of(name: str) -> TrueDepth | None:
        sequence = int(name.removesuffix(".png")[-4:])
        depth = room_result(sequence, WIDTH, HEIGHT).points_camera[..., 2]
        return None if sequence == unknown else TrueDepth(lambda: depth, PINHOLE)

    poses = np.array([ELSEWHERE @ pose_at(i) for i in range(frames)])
    return CountedPoses(Path("poses.txt"), poses, depth_of=depth_of)


def results_of(sequence: int, drift: float = 0.01):
    """An exact lane, and one that drifts."""
    exact = room_result(sequence, WIDTH, HEIGHT)
    pose = drifted(exact.camera.T_world_camera, drift * sequence)
    return exact, replace(exact, camera=Camera(pose, 0.8 * WIDTH, WIDTH, HEIGHT))


def store_of(frames: int, truth: GroundTruth) -> SceneStore:
    store = SceneStore(points_per_frame=500, measure=PointErrors(truth))
    store.clear(2, Status(phase="running"))
    for sequence in range(frames):
        store.add(*results_of(sequence))
    return store


def write_depth(folder: Path, depth_mm: np.ndarray, camera: object) -> None:
    (folder / "depth").mkdir()
    Image.fromarray(depth_mm).save(folder / "depth" / "0007.png")
    (folder / "depth" / "camera.json").write_text(json.dumps(camera))


def test_depth_beside_images_is_found_by_their_names(tmp_path):
    assert find_depth(tmp_path) is None
    depth_mm = np.array([[0, 1500], [2000, 65535]], np.uint16)
    write_depth(tmp_path, depth_mm, {"focal_px": 1.5, "center_px": [0.75, 0.5]})
    for images in (tmp_path, tmp_path / "*.jpg"):
        folder = find_depth(images)
        assert folder is not None
        assert folder("0008.jpg") is None
        found = folder("some/0007.jpg")
        assert found is not None
        assert found.intrinsics is not None
        assert found.intrinsics.tolist() == [[1.5, 0, 0.75], [0, 1.5, 0.5], [0, 0, 1]]
        np.testing.assert_allclose(found.read(), [[np.nan, 1.5], [2, 65.535]])


@pytest.mark.parametrize(
    "camera",
    [
        {},
        {"focal_px": 0, "center_px": [1, 1]},
        {"focal_px": 9, "center_px": [1]},
        {"focal_px": math.nan, "center_px": [1, 1]},
        {"focal_px": "x", "center_px": [1, 1]},
    ],
)
def test_a_pinhole_that_cannot_be_used_is_an_error_that_names_its_file(tmp_path, camera):
    write_depth(tmp_path, np.ones((2, 2), np.uint16), camera)
    with pytest.raises(EvaluationError, match=r"camera\.json: .*wanted"):
        find_depth(tmp_path)
    (tmp_path / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    truth, note = find_truth(InputOptions(str(tmp_path)))
    assert truth is not None
    assert truth.depth_of is None
    assert note.startswith("no true depth: ")


@pytest.mark.parametrize("demo", DEMOS)
def test_a_demos_depth_and_poses_belong_together(demo):
    """Each frame's points lie on the surface that its neighbours saw."""
    truth, note = find_truth(InputOptions(f"demo:{demo}"))
    assert truth is not None
    assert note == ""
    surface = TrueSurface(truth)
    frames = [room_result(k) for k in range(40)]
    frames = [replace(one, name=f"{one.sequence:04d}.jpg") for one in frames]
    for frame in frames:
        surface.add(frame)
    others = TrueSurface(truth)
    others.add(replace(frames[0], index=0))
    for frame in frames[1:22:7]:
        others.add(frame)
    near = SurfaceDistance(surface.points(40), 1.0, 0.005)(others.points(9))
    assert np.median(near) < 0.05


def test_an_exact_lane_has_no_error_and_larger_points_have_theirs():
    errors = PointErrors(true_room(5))
    exact = [room_result(k, WIDTH, HEIGHT) for k in range(5)]
    larger = replace(exact[0], points_camera=1.1 * exact[0].points_camera)
    assert errors((exact[0], larger)) == (pytest.approx(0, abs=1e-6), pytest.approx(0.1))
    for result in exact[1:]:
        assert errors((result,))[0] == pytest.approx(0, abs=1e-6)
    assert math.isnan(PointErrors(true_room(5))((exact[3],))[0]), "the first camera is not known"
    assert math.isnan(PointErrors(true_room(0))((exact[0],))[0])
    assert math.isnan(PointErrors(true_room(5, unknown=0))((exact[0],))[0])


def test_the_chart_plots_what_training_measures():
    truth, frames = true_room(12), 12
    series = ChartSeries(truth)
    series.update(store_of(frames, truth).snapshot())
    for lane in (0, 1):
        account = Accumulator()
        for sequence in range(frames):
            result = results_of(sequence)[lane]
            sample = sample_truth(
                result.points_camera[..., 2],
                result.crop,
                (HEIGHT, WIDTH),
                sequence,
                intrinsics=PINHOLE,
                T_world_camera=pose_at(sequence),
            )
            account.add(result, pose_at(sequence), sample)
        wanted = room_measures(account)["world_point_error"]
        assert series.lanes[lane].point_error[-1] == pytest.approx(wanted, abs=1e-6)
    assert series.lanes[1].point_error[-1] > 0.02
    assert "Point error so far" in series.offered()
    poses_alone = replace(truth, depth_of=None)
    assert "Point error so far" not in ChartSeries(poses_alone).offered()
    unmeasured = ChartSeries(truth)
    unmeasured.update(store_of(3, poses_alone).snapshot())
    assert np.isnan(unmeasured.lanes[0].point_error).all()


def test_the_true_surface_is_the_walls_and_grows_little_where_they_were_seen():
    surface, truth = TrueSurface(true_room(61)), []
    for sequence in range(61):
        surface.add(room_result(sequence, WIDTH, HEIGHT))
        truth.append(len(surface.points(sequence + 1)))
    points = surface.points(61)  # the first camera is the room's origin
    to_walls = np.minimum(np.abs(points - ROOM_LOW), np.abs(points - ROOM_HIGH)).min(axis=1)
    assert to_walls.max() < 1e-4
    assert len(points) < 21 * WIDTH * HEIGHT / 2
    assert truth[0] == truth[1] == truth[2] < truth[3]
    distance = SurfaceDistance(points, MOST_ERROR_M, 0.02)
    assert distance(points).max() < 0.05
    ahead = room_result(0, WIDTH, HEIGHT).points_camera[HEIGHT // 2, WIDTH // 2]
    shifts = np.array([0, 0.1, 0.3, 2.0])
    found = distance((ahead - shifts[:, None] * [0, 0, 1]).astype(np.float32))
    assert found == pytest.approx(np.minimum(shifts, MOST_ERROR_M), abs=0.05)


def test_the_page_shows_the_true_surface_and_colours_by_the_error(server):
    truth = true_room(16)
    store, page = store_of(16, truth), PageContext(server, ground_truth=truth)
    layer, nodes = LaneLayer(server, series=page.series), server.scene._handle_from_node_name
    layer.update(tick_of(store))
    assert not [name for name in nodes if "surface" in name]
    store.set_status(Status(phase="finished"))
    chosen = ViewSettings(show_true_cloud=True, color_by="error", hidden_bins=0, ceiling_cut=False)
    for now_sec in range(8):  # depth is read little by little
        layer.update(tick_of(store, chosen, now_sec))
    surfaces = [nodes[f"/lanes/{k}/truth/surface"].points for k in (0, 1)]
    assert page.series.surface is not None
    assert np.array_equal(surfaces[0], page.series.surface.points(16))
    blue = BLUE_RED[0].astype(np.uint8)
    errors = []
    for k in (0, 1):
        clouds = [
            node for name, node in nodes.items() if f"/lanes/{k}/" in name and "chunk_" in name
        ]
        colors = np.concatenate([one.colors for one in clouds if hasattr(one, "colors")])
        errors.append(float(np.abs(colors.astype(int) - blue).sum(axis=1).mean()))
    assert errors[0] < errors[1] / 3
    layer.update(tick_of(store, ViewSettings(), 20.0))
    assert not [name for name in nodes if "surface" in name]


def test_errors_are_offered_where_depth_is_known():
    assert "error" not in color_modes_for(2)
    assert "error" in color_modes_for(1, has_depth=True)


def test_errors_in_metres_are_offered_for_metric_weights_alone(server):
    truth = true_room(9)
    store, page = store_of(9, truth), PageContext(server, ground_truth=truth)
    panel, layer = LookPanel(page), LaneLayer(server, series=page.series)
    chosen = ViewSettings(show_true_cloud=True, color_by="error")
    for metric in (True, False):
        store.set_status(Status(phase="running", metric=metric))
        tick = tick_of(store, chosen, now_sec=9.0)
        layer.update(tick)
        panel.update(tick)
        assert ("Error" in panel._color.options) is metric
        assert panel._surface.visible is metric
        assert ("Point error so far" in page.series.offered()) is metric
        assert any("/surface" in name for name in server.scene._handle_from_node_name) is metric
        assert tick.drawn.color_by == ("error" if metric else "image")


def test_one_tree_measures_all_lanes_and_no_chunk_is_sent_twice(server, monkeypatch):
    truth, made, sent = true_room(60), [], []
    store, page = store_of(16, truth), PageContext(server, ground_truth=truth)
    layer = LaneLayer(server, series=page.series)
    made_by, send = SurfaceDistance.__init__, PointLayer._send_chunk
    monkeypatch.setattr(
        SurfaceDistance, "__init__", lambda *args: (made.append(1), made_by(*args))[1]
    )
    monkeypatch.setattr(
        PointLayer,
        "_send_chunk",
        lambda self, clouds, chunk, *rest: (
            sent.append((self._lane, chunk.first)),
            send(self, clouds, chunk, *rest),
        ),
    )
    chosen = ViewSettings(color_by="error")
    while page.series.surface is None or len(page.series.surface) < 16:
        layer.update(tick_of(store, chosen))
    assert made == [1]
    layer.update(tick_of(store, chosen))
    sent.clear()
    for sequence in range(16, 32):  # the scene has another generation at the last one
        store.add(*results_of(sequence))
        layer.update(tick_of(store, chosen, now_sec=0.1 * sequence))
    layer.update(tick_of(store, chosen, now_sec=9.0))
    whole = [one for one in sent if one[1] < 16]
    assert len(whole) == len(set(whole)), "a chunk was sent for the generation and for the tree"
    assert len(made) <= 3
    store.set_status(Status(phase="finished"))
    for now_sec in (9.1, 9.2):
        layer.update(tick_of(store, chosen, now_sec=now_sec))
    assert page.series._distance is not None
    assert page.series._distance.frames == 32


def test_the_true_surface_is_sent_again_only_at_rest_while_it_is_read(server, monkeypatch):
    truth = true_room(30)
    store, page = store_of(30, truth), PageContext(server, ground_truth=truth)
    monkeypatch.setattr(chart_series, "SURFACE_SEC", 0.0)  # one frame in each tick
    layer, sent = LaneLayer(server, series=page.series), []
    monkeypatch.setattr(truth_layer, "add_points", lambda *args: sent.append(len(args[2])))
    chosen = ViewSettings(show_true_cloud=True, live=False, position=29, ceiling_cut=False)
    for tick in range(30):
        layer.update(tick_of(store, chosen, now_sec=0.1 * tick))
    assert len(sent) <= 2 * 3
    assert page.series.surface is not None
    assert sent[-1] == len(page.series.surface.points(30))


def test_the_chart_says_why_nothing_is_measured_and_the_log_once(caplog):
    def unreadable() -> np.ndarray:
        raise FrameError("0001.png: cut off")

    known = true_room(9)
    no_first = NamedPoses(Path("p"), {}, np.zeros((0, 4, 4)), depth_of=known.depth_of)
    broken = replace(known, depth_of=lambda _: TrueDepth(unreadable, PINHOLE))
    unread = store_of(3, replace(known, depth_of=None))
    cases = (
        (no_first, store_of(3, no_first), "has no true pose"),
        (broken, store_of(3, broken), "0001.png: cut off"),
        (replace(known, depth_of=lambda _: None), unread, "no true depth of"),
        (known, unread, "read in full"),
        (known, SceneStore(), "no number yet"),
        (known, store_of(3, known), ""),
    )
    for truth, store, said in cases:
        series = ChartSeries(truth)
        series.update(store.snapshot())
        for _ in range(3):
            series.read_surface()
        message = series.chart("Point error so far").message
        assert said in message if said else message == ""
    assert sum("cut off" in one.getMessage() for one in caplog.records) == 1


def test_points_of_the_first_camera_stand_where_the_truth_has_them():
    """The surface needs no alignment: every lane's world is its first camera's."""
    surface = TrueSurface(true_room(4))
    first = room_result(0, WIDTH, HEIGHT)
    surface.add(first)
    own = transform_points(first.camera.T_world_camera, first.points_camera.reshape(-1, 3))
    assert SurfaceDistance(surface.points(1), 1.0, 0.001)(own.astype(np.float32)).max() < 0.06
