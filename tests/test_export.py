"""Results on disk: what is written reads back, and nothing of a user's is touched."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from tests.made_up_run import room_result
from tests.test_worker import Images, Pretended
from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.export import results
from ttt3r_viewer.export.formats.ply import write_ply
from ttt3r_viewer.export.results import OWN_FILES, lane_file_names, write_results
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.scene.seen import FramePoints
from ttt3r_viewer.scene.store import LaneScene, SceneStore
from ttt3r_viewer.system.files import atomic_write, claim_folder
from ttt3r_viewer.types import Crop, Frame, RuleInfo, Status


def cloud(count: int, seed: int) -> FramePoints:
    random = np.random.default_rng(seed)
    return FramePoints(
        random.normal(size=(count, 3)).astype(np.float32),
        random.integers(0, 256, (count, 3), dtype=np.uint8),
        random.uniform(1, 5, count).astype(np.float32),
        np.zeros(count, np.uint8),
        random.uniform(1, 5, count).astype(np.float32),
    )


@pytest.fixture
def scene() -> SceneStore:
    store, session = SceneStore(), Pretended()
    for frame in Images(3):
        assert isinstance(frame, Frame)
        store.add(*session.step(session.encode([session.prepare(frame)])[0]))
    return store


def test_ply_opens_in_trimesh(tmp_path):
    clouds = [cloud(100, 0), cloud(0, 1), cloud(7, 2)]
    assert write_ply(tmp_path / "points.ply", clouds) == 107
    loaded = trimesh.load(tmp_path / "points.ply")
    assert isinstance(loaded, trimesh.PointCloud)
    expected = np.concatenate([one.points_world for one in clouds])
    assert np.array_equal(loaded.vertices.astype(np.float32), expected)
    colors = np.asarray(loaded.colors)[:, :3]
    assert np.array_equal(colors, np.concatenate([one.colors for one in clouds]))
    confidence = np.asarray(loaded.metadata["_ply_raw"]["vertex"]["data"]["confidence"]).ravel()
    assert np.array_equal(confidence, np.concatenate([one.confidence for one in clouds]))


def test_an_empty_cloud_is_a_ply_too(tmp_path):
    assert write_ply(tmp_path / "points.ply", []) == 0
    assert b"element vertex 0\n" in (tmp_path / "points.ply").read_bytes()


def test_results_agree_with_the_scene(tmp_path, scene):
    snapshot = scene.snapshot()
    write_results(tmp_path, snapshot, {"stride": 1}, {"wall_sec": 1.5})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(OWN_FILES)

    rows = np.loadtxt(tmp_path / "poses_tum.txt")
    assert rows.shape == (3, 8)
    for row, frame in zip(rows, snapshot.frames, strict=True):
        assert row[0] == pytest.approx(frame.time_sec, abs=1e-6)
        tum = pose_from_vector([*row[1:4], row[7], *row[4:7]])
        assert np.allclose(tum, frame.camera.T_world_camera, atol=1e-6)

    cameras = json.loads((tmp_path / "intrinsics.json").read_text())
    assert [one["name"] for one in cameras["frames"]] == ["0.png", "1.png", "2.png"]
    assert cameras["frames"][0]["prepared"] == cameras["frames"][0]["original"] | {
        "cx": 8, "cy": 6, "fx": 20.0, "fy": 20.0,
    }  # fmt: skip

    report = json.loads((tmp_path / "run.json").read_text())
    assert report["settings"] == {"stride": 1}
    assert report["frames"] == 3
    off_edges = sum(len(frame.points.off_edges()) for frame in snapshot.frames)
    assert 0 < report["points"] == off_edges < snapshot.point_count
    assert "torch" in report["versions"]
    write_results(tmp_path, snapshot, {"edge_filter": 0.0}, {})
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["points"] == snapshot.point_count


@given(
    scale=st.floats(0.05, 20),
    offset=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    focal=st.floats(10, 2000),
)
def test_original_intrinsics_see_the_same_ray(scale, offset, focal):
    crop = Crop((scale, scale), offset, 640, 480)
    prepared_xy, centre_xy = np.array([[30.0, 40.0]]), np.array([[80.0, 64.0]])
    ray = (prepared_xy - centre_xy) / focal
    original = (crop.to_original(prepared_xy) - crop.to_original(centre_xy)) / (focal / scale)
    assert np.allclose(ray, original, atol=1e-6)


def test_overwrite_replaces_only_our_own_files(tmp_path, scene):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "points.ply").write_text("of yesterday")
    claim_folder(tmp_path, OWN_FILES, overwrite=True)
    assert (tmp_path / "points.ply").read_text() == "of yesterday"
    write_results(tmp_path, scene.snapshot(), {}, {})
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert (tmp_path / "points.ply").read_bytes().startswith(b"ply\n")


def test_a_file_in_the_way_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="name another folder"):
        claim_folder(tmp_path / "file", OWN_FILES, overwrite=False)
    with pytest.raises(OutputError, match="name another folder"):
        claim_folder(tmp_path / "file" / "below", OWN_FILES, overwrite=True)


def test_a_folder_where_a_file_is_to_be_is_refused_at_once(tmp_path):
    (tmp_path / "run.json").mkdir()
    with pytest.raises(OutputError, match="it holds a folder named"):
        claim_folder(tmp_path, OWN_FILES, overwrite=True)


def test_a_file_that_is_cut_off_leaves_the_old_one(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_write(path) as file:
            file.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]


def test_the_folder_is_made_with_its_parents(tmp_path):
    claim_folder(tmp_path / "a" / "b", OWN_FILES, overwrite=False)
    assert (tmp_path / "a" / "b").is_dir()


def rule(label: str) -> RuleInfo:
    return RuleInfo("name", "title", label)


def test_file_names_of_lanes_come_from_their_labels_and_differ():
    labels = ("CUT3R (rate 1)", "constant 0.3", "constant 0.3", "TTT3R (tau q 2)", "ttt3r-TAU-q 2")
    names = (
        "CUT3R-rate-1",
        "constant-0.3",
        "constant-0.3-2",
        "TTT3R-tau-q-2",
        "ttt3r-TAU-q-2-lane-5",
    )
    assert lane_file_names(list(map(rule, labels))) == names
    assert lane_file_names([rule("../..")]) == ("lane-1",)
    assert len(lane_file_names([rule("x" * 999)])[0]) <= 80


def test_several_lanes_get_a_folder_each(tmp_path):
    store, session = SceneStore(), Pretended()
    session.rules = ("one", "two")
    store.clear(2)
    store.set_status(Status(lanes=(rule("constant 1"), rule("ttt3r"))))
    for frame in Images(3):
        assert isinstance(frame, Frame)
        store.add(*session.step(session.encode([session.prepare(frame)])[0]))
    write_results(tmp_path, store.snapshot(), {}, {})
    there = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    per_lane = sorted(set(OWN_FILES) - {"run.json"})
    expected = [f"{lane}/{name}" for lane in ("constant-1", "ttt3r") for name in per_lane]
    assert there == sorted([*expected, "run.json"])
    report = json.loads((tmp_path / "run.json").read_text())
    loaded = trimesh.load(tmp_path / "ttt3r" / "points.ply")
    assert isinstance(loaded, trimesh.PointCloud)
    assert report["points"] == 2 * len(loaded.vertices)


GAINS = st.lists(st.floats(0, 1, width=16), min_size=2, max_size=40)


def lane(count: int, state: int = 16) -> LaneScene:
    store = SceneStore(points_per_frame=20)
    for k in range(count):
        gain = np.random.default_rng(k).random(state).astype(np.float32)
        result = replace(
            room_result(k), gain=gain, state_change=0.1 * k, rule=f"rule {k}, né", segment=k // 2
        )
        store.add(result)
    return store.snapshot().lanes[0]


def test_npz_holds_every_gain_and_needs_no_pickle(tmp_path):
    path, seen = tmp_path / "tokens.npz", lane(5)
    path.write_bytes(results.tokens_npz(seen, state_columns=4))
    with np.load(path, allow_pickle=False) as tokens:
        assert tokens["gain"].dtype == np.float16
        assert np.array_equal(tokens["gain"], np.stack([frame.gain for frame in seen.frames]))
        assert tokens["name"].tolist() == [frame.name for frame in seen.frames]
        assert tokens["rule"].tolist() == [f"rule {k}, né" for k in range(5)]
        assert tokens["segment"].tolist() == [0, 0, 1, 1, 2]
        assert tokens["sequence"].tolist() == tokens["index"].tolist() == list(range(5))
        assert np.allclose(tokens["time_sec"], np.arange(5) / 30)
        assert int(tokens["state_columns"]) == 4
        assert len(tokens.files) == 8


def test_a_run_without_frames_gives_files_without_rows():
    with np.load(io.BytesIO(results.tokens_npz(lane(0), 4))) as tokens:
        assert tokens["gain"].shape == (0, 0)
    assert results.statistics_csv(()).decode() == ",".join(results.COLUMNS) + "\n"


def test_statistics_are_those_of_the_gains():
    seen = lane(4)
    text = results.statistics_csv(seen.frames, threshold=0.25).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == results.COLUMNS
    for row, frame in zip(rows, seen.frames, strict=True):
        gain = frame.gain.astype(np.float64)
        assert row["name"] == frame.name
        assert row["rule"] == frame.rule
        assert float(row["gain_mean"]) == pytest.approx(gain.mean(), rel=1e-3)
        assert float(row["share_above"]) == pytest.approx((gain > 0.25).mean())
        assert float(row["gain_entropy"]) == pytest.approx(results.gain_entropy(gain), rel=1e-5)
        assert float(row["state_change"]) == pytest.approx(frame.state_change)
        assert (row["threshold"], row["segment"]) == ("0.25", str(frame.segment))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match="gone"):
        write_results(tmp_path / "gone", SceneStore().snapshot(), {"inspect": True}, {})


@given(GAINS)
def test_entropy_is_between_0_and_1_whatever_the_gains_scale(gains):
    entropy = results.gain_entropy(gains)
    assert 0 <= entropy <= 1
    assert results.gain_entropy([3 * gain for gain in gains]) == pytest.approx(entropy, abs=1e-9)
    assert results.gain_entropy(gains[::-1]) == pytest.approx(entropy, abs=1e-9)


@given(st.floats(0.01, 1), st.integers(2, 900))
def test_entropy_is_1_for_equal_gains_and_0_where_one_token_has_all(gain, count):
    assert results.gain_entropy(np.full(count, gain)) == pytest.approx(1.0)
    assert results.gain_entropy(np.eye(count)[0]) == pytest.approx(0.0)


def test_entropy_of_two_and_share_by_hand():
    # 3/4 and 1/4: -(0.75 log2 0.75 + 0.25 log2 0.25) bits of at most one.
    assert results.gain_entropy([0.6, 0.2]) == pytest.approx(0.811278, abs=1e-6)
    assert results.gain_entropy([0.0, 0.0]) == 1.0
    assert results.share_above([0.1, 0.5, 0.6, 0.7], 0.5) == 0.5
