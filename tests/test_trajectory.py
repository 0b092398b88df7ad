"""Trajectory measures: recorded numbers, laws of alignment, the running twin, degenerate paths."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import PairMoments, pose_from_vector, umeyama
from ttt3r_viewer.metrics.ground_truth import TimedPoses, read_ground_truth
from ttt3r_viewer.metrics.trajectory import (
    RunningAlignment,
    Trajectory,
    ate,
    faulty_poses,
    rotation_angles_rad,
    rpe,
)

RECORDED = Path(__file__).parents[2] / "shared" / "data" / "trajectory" / "expected.json"
SEEDS = st.integers(0, 2**32 - 1)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    return pose_from_vector([0, 0, 0, *rng.normal(size=4)])[:3, :3]


def walk(rng: np.random.Generator, count: int, dimensions: int = 3) -> Trajectory:
    """A random path in the first `dimensions` axes, one pose a second, freely turning."""
    poses = np.empty((count, 4, 4))
    for row in range(count):
        poses[row] = pose_from_vector([0, 0, 0, *rng.normal(size=4)])
    poses[:, :dimensions, 3] = np.cumsum(rng.normal(size=(count, dimensions)), axis=0)
    return Trajectory(np.arange(count, dtype=np.float64), poses)


def moved(path: Trajectory, scale: float, rng: np.random.Generator, far: float = 10) -> Trajectory:
    """The same cameras seen from another world: its axes, its origin, its unit."""
    R, t = random_rotation(rng), far * rng.normal(size=3)
    poses = path.T_world_camera.copy()
    poses[:, :3, :3] = R @ poses[:, :3, :3]
    poses[:, :3, 3] = scale * path.positions @ R.T + t
    return Trajectory(path.times_sec, poses)


def shaken(path: Trajectory, rng: np.random.Generator, size: float = 0.3) -> Trajectory:
    """The path with noise in position and rotation."""
    poses = path.T_world_camera.copy()
    poses[:, :3, 3] += size * rng.normal(size=(len(path), 3))
    for pose in poses:
        turn = pose_from_vector([0, 0, 0, 1, *(size * rng.normal(size=3))])
        pose[:3, :3] = pose[:3, :3] @ turn[:3, :3]
    return Trajectory(path.times_sec, poses)


def still(count: int, at: float = 3.3) -> Trajectory:
    poses = np.broadcast_to(np.eye(4), (count, 4, 4)).copy()
    poses[:, :3, 3] = at
    return Trajectory(np.arange(count, dtype=np.float64), poses)


@pytest.mark.skipif(not RECORDED.is_file(), reason="the recorded trajectories are not here")
@pytest.mark.parametrize("case", [0, 1], ids=["rgbdslam", "orb-keyframes"])
def test_real_trajectories_measure_as_recorded(case):
    expected = json.loads(RECORDED.read_text())["cases"][case]
    truth, poses = (read_ground_truth(RECORDED.parent / expected[side]) for side in ("ref", "est"))
    assert isinstance(truth, TimedPoses)
    assert isinstance(poses, TimedPoses)
    assert len(truth.times_sec) == expected["n_ref"]
    assert len(poses.times_sec) == expected["n_est"]
    found = [truth.pose_of(row, time, "") for row, time in enumerate(poses.times_sec)]
    rows = np.array([row for row, pose in enumerate(found) if pose is not None])
    assert len(rows) == expected["n_matched"]
    estimate = Trajectory(poses.times_sec, poses.T_world_camera).take(rows)
    true_poses = np.array([pose for pose in found if pose is not None])
    reference = Trajectory(estimate.times_sec, true_poses)
    relative = rpe(reference, estimate)
    measured = {
        "ape_trans_se3": ate(reference, estimate, with_scale=False),
        "ape_trans_sim3": ate(reference, estimate, with_scale=True),
        "rpe1_trans_sim3": relative.translation_rmse_m,
        "rpe1_rot_deg_sim3": relative.rotation_rmse_deg,
    }
    for name, value in measured.items():
        assert value == pytest.approx(expected[name]["rmse"], rel=1e-6), name
    scale = umeyama(estimate.positions, reference.positions, with_scale=True).scale
    assert scale == pytest.approx(expected["sim3_scale"], rel=1e-6)


@given(SEEDS, st.integers(3, 20), st.integers(1, 3), st.floats(0.01, 100))
@settings(max_examples=60)
def test_a_moved_scaled_copy_has_no_error(seed, count, dimensions, scale):
    rng = np.random.default_rng(seed)
    reference = walk(rng, count, dimensions)
    estimate = moved(reference, scale, rng)
    absolute_m, relative = ate(reference, estimate, with_scale=True), rpe(reference, estimate)
    assert absolute_m < 1e-9 * max(1, 10 / scale) * reference.length_m
    found = umeyama(estimate.positions, reference.positions, with_scale=True)
    assert found.scale == pytest.approx(1 / scale, rel=1e-6)
    assert relative.translation_rmse_m < 1e-6
    assert relative.rotation_rmse_deg < 1e-6


@given(SEEDS, st.integers(4, 20))
@settings(max_examples=40)
def test_errors_do_not_depend_on_the_estimates_world(seed, count):
    rng = np.random.default_rng(seed)
    reference = walk(rng, count)
    estimate = shaken(reference, rng)
    elsewhere = moved(estimate, 1.0, rng)
    larger = moved(estimate, 7.0, rng)
    for with_scale, other in ((False, elsewhere), (True, elsewhere), (True, larger)):
        here = ate(reference, estimate, with_scale=with_scale)
        there = ate(reference, other, with_scale=with_scale)
        assert there == pytest.approx(here, rel=1e-6, abs=1e-9)
    one, other = rpe(reference, estimate), rpe(reference, larger)
    assert other.translation_rmse_m == pytest.approx(one.translation_rmse_m, rel=1e-6)
    assert other.rotation_rmse_deg == pytest.approx(one.rotation_rmse_deg, rel=1e-6)
    se3_m = ate(reference, estimate, with_scale=False)
    assert ate(reference, estimate, with_scale=True) <= se3_m + 1e-12


@given(SEEDS, st.integers(1, 3), st.booleans())
@settings(max_examples=60)
def test_umeyama_is_a_rotation_and_no_small_change_of_it_is_better(seed, dimensions, with_scale):
    rng = np.random.default_rng(seed)
    source = walk(rng, 9, dimensions).positions
    mirrored = source * [1, 1, -1] if seed % 2 else source[::-1]
    target = mirrored @ random_rotation(rng).T + 0.1 * rng.normal(size=(9, 3))
    found = umeyama(source, target, with_scale)
    R = found.R_target_source
    assert np.abs(R @ R.T - np.eye(3)).max() < 1e-12
    assert np.linalg.det(R) == pytest.approx(1)
    residual = np.sqrt(np.mean(np.sum((found.apply(source) - target) ** 2, axis=1)))
    assert found.rms == pytest.approx(residual, rel=1e-6, abs=1e-7)
    for _ in range(8):
        nudge = pose_from_vector([*(0.01 * rng.normal(size=3)), 1, *(0.01 * rng.normal(size=3))])
        scale = found.scale * (1 + 0.01 * rng.normal()) if with_scale else 1.0
        other = scale * source @ (nudge[:3, :3] @ R).T + found.t_target_source + nudge[:3, 3]
        assert np.sqrt(np.mean(np.sum((other - target) ** 2, axis=1))) >= residual - 1e-12


def test_a_mirrored_path_is_not_fitted_by_a_mirror():
    rng = np.random.default_rng(1)
    source = walk(rng, 12).positions
    assert umeyama(source, source * [-1, 1, 1], with_scale=True).rms > 0.1


@given(SEEDS, st.sampled_from([0.0, 1e4]))
@settings(max_examples=25)
def test_running_error_is_that_of_each_prefix(seed, far):
    rng = np.random.default_rng(seed)
    reference = walk(rng, 15)
    estimate = moved(shaken(reference, rng), 0.2, rng, far)
    running = RunningAlignment()
    angles_deg: list[float] = []
    first_true, first = reference.T_world_camera[0, :3, :3], estimate.T_world_camera[0, :3, :3]
    for count in range(1, 16):
        true, pose = reference.T_world_camera[count - 1], estimate.T_world_camera[count - 1]
        running.add(true, pose)
        assert running.count == count
        if count > 1:
            off = (first_true.T @ true[:3, :3]).T @ (first.T @ pose[:3, :3])
            angles_deg.append(math.degrees(math.acos(np.clip((np.trace(off) - 1) / 2, -1, 1))))
            assert running.rotation_error_deg == pytest.approx(np.mean(angles_deg), abs=1e-5)
        else:
            assert math.isnan(running.rotation_error_deg)
        if count < 3:
            assert math.isnan(running.ate_sim3_m)
            continue
        rows = np.arange(count)
        batch_m = ate(reference.take(rows), estimate.take(rows), with_scale=True)
        assert running.ate_sim3_m == pytest.approx(batch_m, rel=1e-5, abs=1e-6)


def test_running_error_waits_for_both_cameras_to_move():
    rng = np.random.default_rng(2)
    path = walk(rng, 6)
    for pair in ((still(6), path), (path, still(6))):
        running = RunningAlignment()
        for row in range(6):
            running.add(pair[0].T_world_camera[row], pair[1].T_world_camera[row])
            assert math.isnan(running.ate_sim3_m)
    running = RunningAlignment()
    for row in range(8):
        at = min(row, 3)
        running.add(path.T_world_camera[at], moved(path, 1, rng, 0).T_world_camera[at])
    assert math.isfinite(running.ate_sim3_m)


def test_running_alignment_refuses_a_broken_pose_and_goes_on():
    running = RunningAlignment()
    broken = np.eye(4)
    broken[0, 3] = np.nan
    with pytest.raises(EvaluationError, match="pair 0 holds a pose that is not a finite rotation"):
        running.add(np.eye(4), broken)
    running.add(np.eye(4), np.eye(4))
    assert running.count == 1


def test_rotation_angles_are_exact_near_nothing_and_near_half_a_turn():
    for angle_rad in (0.0, 1e-9, 1e-4, 1.0, math.pi - 1e-6, math.pi):
        half = angle_rad / 2
        R = pose_from_vector(
            [0, 0, 0, math.cos(half), 0, 0.6 * math.sin(half), 0.8 * math.sin(half)]
        )
        measured = rotation_angles_rad(R[None, :3, :3])[0]
        assert measured == pytest.approx(angle_rad, rel=1e-9, abs=1e-14)


def test_an_estimate_that_hardly_moves_is_as_bad_as_not_moving():
    rng = np.random.default_rng(4)
    reference = walk(rng, 40)
    noise = still(40).T_world_camera.copy()
    noise[:, :3, 3] += 0.01 * rng.normal(size=(40, 3))
    relative = rpe(reference, Trajectory(reference.times_sec, noise))
    assert relative.rotation_over_still == pytest.approx(1)
    assert relative.translation_over_still == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_poses_are_said_so(count):
    path = walk(np.random.default_rng(5), count)
    for measure in (
        lambda: ate(path, path, with_scale=False),
        lambda: ate(path, path, with_scale=True),
        lambda: rpe(path, path),
    ):
        with pytest.raises(EvaluationError, match=f"^{count} matched poses; wanted at least 3"):
            measure()


def test_standing_still_has_no_scale_but_a_rigid_error():
    path = walk(np.random.default_rng(6), 8)
    for reference, estimate, which in (
        (still(8), path, "to align with"),
        (path, still(8), "to be aligned"),
        (still(8), still(8), "to be aligned"),
    ):
        with pytest.raises(EvaluationError, match=f"positions {which} are all the same"):
            ate(reference, estimate, with_scale=True)
        with pytest.raises(EvaluationError, match=f"positions {which} are all the same"):
            rpe(reference, estimate)
        rigid_m = ate(reference, estimate, with_scale=False)
        spread = [np.sum(one.positions.var(axis=0)) for one in (reference, estimate)]
        assert rigid_m == pytest.approx(np.sqrt(sum(spread)))


def test_a_straight_line_far_out_has_a_position_error():
    rng = np.random.default_rng(7)
    reference = walk(rng, 20, dimensions=1)
    assert ate(reference, moved(reference, 0.5, rng, far=1000), with_scale=True) < 1e-9


def test_numbers_that_are_no_poses_are_refused():
    path = walk(np.random.default_rng(8), 5)
    mirrored = np.diag([1.0, 1.0, -1.0])
    for value in (np.nan, np.inf, 1e200):
        poses = path.T_world_camera.copy()
        poses[3, 1, 3] = value
        with pytest.raises(EvaluationError, match="pose 3 of 5 is not a finite time, a rotation"):
            Trajectory(path.times_sec, poses)
    for wrong in (mirrored, np.zeros((3, 3)), 2 * np.eye(3), np.full((3, 3), np.nan)):
        poses = path.T_world_camera.copy()
        poses[2, :3, :3] = wrong
        with pytest.raises(EvaluationError, match="pose 2 of 5"):
            Trajectory(path.times_sec, poses)
    with pytest.raises(EvaluationError, match="pose 0 of 5"):
        Trajectory(np.array([np.nan, 1, 2, 3, 4]), path.T_world_camera)
    with pytest.raises(EvaluationError, match="earlier than the one before"):
        Trajectory(path.times_sec[::-1], path.T_world_camera)


def test_moments_of_pairs_added_one_by_one_are_those_of_all():
    rng = np.random.default_rng(9)
    source, target = 1e5 + rng.normal(size=(2, 30, 3))
    moments = PairMoments()
    for pair in zip(source, target, strict=True):
        moments = moments.with_pair(*pair)
    batch, added = umeyama(source, target, with_scale=True), moments.similarity(with_scale=True)
    assert added.scale == pytest.approx(batch.scale, rel=1e-6)
    assert added.R_target_source == pytest.approx(batch.R_target_source, abs=1e-6)
    assert added.rms == pytest.approx(batch.rms, rel=1e-6)


@pytest.mark.filterwarnings("error")
def test_a_matrix_next_to_none_is_faulty_and_nothing_else_is_said():
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, :3, :3] = [[0, 1, 0], [0, 0, 1], [1e-320, 0, 0]]
    assert faulty_poses(poses).tolist() == [False, True]
