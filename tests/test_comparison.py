"""The table of lanes and the picture of their paths."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.made_up_run import room_result
from ttt3r_viewer.errors import EvaluationError, OutputError
from ttt3r_viewer.evaluate.plot import plot_trajectories
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.metrics.comparison import (
    LaneMeasures,
    comparison_csv,
    comparison_markdown,
    lane_separation,
    measure_lane,
    true_poses,
)
from ttt3r_viewer.metrics.ground_truth import CountedPoses
from ttt3r_viewer.scene.seen import FrameSummary, summarize_frame

COLORS = {"ttt3r": (230, 30, 30), "constant:1.0": (30, 30, 230), "$a$ | b": (0, 160, 0)}


def poses_of(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    poses = np.array([pose_from_vector([0, 0, 0, *rng.normal(size=4)]) for _ in range(count)])
    poses[:, :3, 3] = np.cumsum(rng.normal(size=(count, 3)), axis=0)
    return poses


FRAME = replace(
    summarize_frame(room_result(0, 8, 6), max_points=1, image_width=8),
    gain_mean=0.25,
    compute_sec=0.5,
)


def at(pose: np.ndarray, frame: FrameSummary = FRAME) -> FrameSummary:
    return replace(frame, camera=replace(frame.camera, T_world_camera=pose))


def lane_of(poses: np.ndarray) -> list[FrameSummary]:
    frames = (
        replace(FRAME, index=k, time_sec=k / 30, name=f"{k:04}.png", confidence_mean=2.0 + k)
        for k in range(len(poses))
    )
    return [at(pose, frame) for pose, frame in zip(poses, frames, strict=True)]


def elsewhere(poses: np.ndarray, scale: float) -> np.ndarray:
    T = pose_from_vector([4, 5, 6, 0.1, 0.7, -0.4, 0.2])
    moved = T @ poses
    moved[:, :3, 3] = scale * moved[:, :3, 3]
    return moved


def test_a_lane_that_is_right_but_for_its_scale():
    poses = poses_of(12)
    row = measure_lane("ttt3r", lane_of(elsewhere(poses, 0.5)), CountedPoses(Path("p"), poses))
    assert (row.lane, row.frames, row.frames_with_truth, row.reason) == ("ttt3r", 12, 12, "")
    assert row.ate_sim3_m == pytest.approx(0, abs=1e-9)
    spread = np.sqrt(np.sum(poses[:, :3, 3].var(axis=0)))
    assert row.ate_se3_m == pytest.approx(0.5 * spread)
    assert row.rpe_translation_m == pytest.approx(0, abs=1e-9)
    assert row.rpe_rotation_deg == pytest.approx(0, abs=1e-6)
    length = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    assert row.true_length_m == pytest.approx(length)
    assert row.path_length_m == pytest.approx(0.5 * length)
    assert (row.mean_confidence, row.mean_gain, row.sec_per_frame) == (7.5, 0.25, 0.5)


def test_errors_are_over_the_frames_that_have_a_true_pose():
    poses = poses_of(12)
    wrong = elsewhere(poses, 2.0)
    wrong[8:] = elsewhere(poses_of(12, seed=1), 1.0)[8:]
    row = measure_lane("a", lane_of(wrong), CountedPoses(Path("p"), poses[:8]))
    assert row.frames_with_truth == 8
    assert row.ate_sim3_m == pytest.approx(0, abs=1e-9)
    assert row.reason == ""
    assert "errors are over the 8 of 12 frames" in comparison_markdown([row], [])
    assert np.isnan(true_poses(lane_of(wrong), CountedPoses(Path("p"), poses[:8]))[8:]).all()


STILL = np.tile(np.eye(4), (5, 1, 1))


def broken(poses: np.ndarray) -> np.ndarray:
    poses = poses.copy()
    poses[3, 0, 3] = np.nan
    return poses


@pytest.mark.parametrize(
    ("poses", "truth", "reason"),
    [
        (poses_of(5), None, "no ground truth was found or given"),
        (poses_of(5), poses_of(2), "gt.txt has a pose for 2 of 5 frames, looked up by the frame's"),
        (poses_of(2), poses_of(2), "gt.txt has a pose for 2 of 2 frames"),
        (STILL, poses_of(5), "the positions to be aligned are all the same"),
        (poses_of(5), STILL, "the positions to align with are all the same"),
        (broken(poses_of(5)), poses_of(5), "pose 3 of 5 is not a finite"),
        (poses_of(5)[:0], poses_of(5), "the lane has no frames"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_cannot_be_measured_is_a_dash_with_its_reason(poses, truth, reason):
    ground_truth = None if truth is None else CountedPoses(Path("far/gt.txt"), truth)
    row = measure_lane("a", lane_of(poses), ground_truth)
    assert row.ate_sim3_m is None
    assert row.rpe_rotation_deg is None
    assert reason in row.reason
    text = comparison_markdown([row], ["made on a Tuesday"])
    cells = [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]]
    assert cells[:3] == ["a", str(len(poses)), "–"]  # noqa: RUF001 - the dash of the table
    assert "* made on a Tuesday" in text.splitlines()
    assert f"* a: – because {row.reason}" in text.splitlines()  # noqa: RUF001
    record = next(csv.DictReader(io.StringIO(comparison_csv([row]))))
    assert record["ate_sim3_m"] == ""
    assert record["reason"] == row.reason


def test_a_lane_that_stands_still_keeps_its_rigid_error():
    truth = CountedPoses(Path("p"), poses_of(5))
    row = measure_lane("a", lane_of(STILL), truth)
    assert row.ate_se3_m == pytest.approx(np.sqrt(np.sum(poses_of(5)[:, :3, 3].var(axis=0))))


def measures(lane: str) -> LaneMeasures:
    return LaneMeasures(
        lane, 300, 3.5, 0.125, 0.0625, 12.5, 300, None, 1 / 3, 0.0123456, 0.001, 0.25
    )


def test_markdown_and_csv_hold_the_same_lanes():
    rows = [measures("ttt3r"), measures("constant:1.0, |x|")]
    lines = comparison_markdown(rows, []).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("| lane | frames | ATE Sim3 (m) | ATE SE3 (m) |")
    assert lines[2].startswith("| ttt3r | 300 | 0.01235 | 0.3333 |")
    assert lines[3].startswith(r"| constant:1.0, \|x\| | 300 |")
    assert {line.replace(r"\|", "").count("|") for line in lines} == {lines[0].count("|")}
    records = list(csv.DictReader(io.StringIO(comparison_csv(rows))))
    assert [record["lane"] for record in records] == ["ttt3r", "constant:1.0, |x|"]
    assert float(records[1]["ate_se3_m"]) == 1 / 3
    assert float(records[0]["path_length_m"]) == 12.5
    assert records[0]["reason"] == ""
    for column, value in records[0].items():
        shown = getattr(rows[0], column)
        assert value == ("" if shown is None else str(shown)), column


def test_lane_separation_is_the_distance_after_alignment():
    poses = poses_of(10)
    a, b = lane_of(poses), lane_of(elsewhere(poses, 3.0))
    assert lane_separation(a, b) == pytest.approx(np.zeros(10), abs=1e-9)
    apart = poses.copy()
    apart[4, :3, 3] += [3, 0, 0]
    separation = lane_separation(a, lane_of(elsewhere(apart, 3.0)))
    assert separation.argmax() == 4
    assert 1 < separation[4] < 3
    for others, told in (
        ([at(np.eye(4), frame) for frame in b], "are all the same"),
        ([at(np.full((4, 4), np.nan), frame) for frame in b], "not a finite"),
    ):
        with pytest.raises(EvaluationError, match=told):
            lane_separation(a, others)
    with pytest.raises(EvaluationError, match="2 frames in common; wanted at least 3"):
        lane_separation(a[:2], b[:2])


def colored(path: Path, rgb: tuple[int, int, int]) -> int:
    """How many pixels of a picture have just this colour."""
    with Image.open(path) as image:
        return int((np.asarray(image.convert("RGB")) == rgb).all(axis=-1).sum())


def test_the_image_shows_every_lane_in_its_colour(tmp_path):
    path = tmp_path / "trajectories.png"
    positions = poses_of(30)[:, :3, 3]
    truth = positions.copy()
    truth[10:14] = np.nan
    rng = np.random.default_rng(1)
    lanes = {name: 5 * positions + rng.normal(size=(30, 3)) for name in COLORS}
    plot_trajectories(path, lanes, truth, COLORS)
    assert all(colored(path, rgb) > 50 for rgb in COLORS.values())
    plot_trajectories(path, {"ttt3r": positions}, None, COLORS)
    assert colored(path, COLORS["ttt3r"]) > 50
    assert colored(path, COLORS["constant:1.0"]) == 0
    assert list(tmp_path.iterdir()) == [path]


def test_lanes_are_drawn_aligned(tmp_path):
    positions = poses_of(30)[:, :3, 3]
    turned = elsewhere(poses_of(30), 7.0)[:, :3, 3]
    for name, second in (("same", positions), ("moved", turned)):
        lanes = {"ttt3r": positions, "constant:1.0": second}
        plot_trajectories(tmp_path / f"{name}.png", lanes, None, COLORS)
    with Image.open(tmp_path / "same.png") as same, Image.open(tmp_path / "moved.png") as moved:
        off = np.abs(np.asarray(same, dtype=int) - np.asarray(moved, dtype=int))
    assert (off > 8).mean() < 1e-3


@pytest.mark.filterwarnings("error")
def test_lanes_that_cannot_be_aligned_are_drawn_all_the_same(tmp_path):
    moving, standing = poses_of(6)[:, :3, 3], np.ones((6, 3))
    few = np.full((6, 3), np.nan)
    for number, (lane, truth) in enumerate(
        [(standing, moving), (moving, standing), (moving, few), (moving[:1], None), (few, None)]
    ):
        path = tmp_path / f"{number}.png"
        plot_trajectories(path, {"ttt3r": lane, "constant:1.0": lane}, truth, COLORS)
        assert path.is_file()
    plot_trajectories(tmp_path / "empty.png", {}, None, {})
    assert (tmp_path / "empty.png").is_file()


def test_an_image_that_cannot_be_written_is_said_so_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "trajectories.png"
    path.mkdir()
    with pytest.raises(OutputError, match=r"trajectories\.png: .*name another folder"):
        plot_trajectories(path, {}, None, {})
    assert list(tmp_path.iterdir()) == [path]


def test_names_in_the_markdown_table_are_neither_links_nor_html():
    text = comparison_markdown((), ("model: [a](javascript:x) <img src=x> `b`",))
    assert r"model: \[a\](javascript:x) \<img src=x> \`b\`" in text
