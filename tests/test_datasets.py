"""Data sets read where they lie: tiny trees in each one's real layout, written here by hand."""

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike
from PIL import Image

from ttt3r_viewer.errors import EvaluationError, FrameError, InputError, SettingsError
from ttt3r_viewer.evaluate.datasets import DATASETS
from ttt3r_viewer.evaluate.datasets.base import Dataset, TrueFrame
from ttt3r_viewer.geometry import invert_pose, pose_from_vector
from ttt3r_viewer.runs.known_truth import find_truth
from ttt3r_viewer.settings import InputOptions

POSE = pose_from_vector([1.0, 2.0, 3.0, 0.5, 0.5, -0.5, 0.5])
"""Camera to world, with a rotation that is not its own inverse."""
MOVED = pose_from_vector([1.5, 2.0, 3.0, 1.0, 0.0, 0.0, 0.0])


def write_image(path: Path, shade: int = 100, size: tuple[int, int] = (32, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(path)


def write_depth(path: Path, values: list[list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype=np.uint16)).save(path)


def floats(values: list[list[float]]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def matrix_text(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(f"{one:.9e}" for one in row) for row in matrix) + "\n"


def assert_pose(frame: TrueFrame, expected: np.ndarray, tolerance: float) -> None:
    assert frame.T_world_camera is not None
    np.testing.assert_allclose(frame.T_world_camera, expected, atol=tolerance)


def assert_found_beside(images: Path, frames: Sequence[TrueFrame]) -> None:
    """A run on a data set's images has the poses and the depth that the evaluation has."""
    truth, note = find_truth(InputOptions(str(images)))
    assert truth is not None
    assert truth.depth_of is not None
    assert note == ""
    for index, frame in enumerate(frames):
        pose = truth.pose_of(index, frame.time_sec, frame.name)
        assert (pose is None) == (frame.T_world_camera is None)
        if pose is not None:
            np.testing.assert_array_equal(pose, frame.T_world_camera)
            found = truth.depth_of(f"somewhere/{frame.name}")
            assert found is not None
            assert frame.depth is not None
            assert frame.depth.intrinsics is not None
            assert found.intrinsics is not None
            np.testing.assert_array_equal(found.read(), frame.depth.read())
            np.testing.assert_array_equal(found.intrinsics, frame.depth.intrinsics)


def assert_depth(frame: TrueFrame, expected: ArrayLike) -> None:
    assert frame.depth is not None
    np.testing.assert_array_equal(frame.depth.read(), expected)


def opened(name: str, root: Path, *sequences: str) -> tuple[Dataset, Sequence[TrueFrame]]:
    """A data set that holds these sequences and no others, and the frames of the first."""
    dataset = DATASETS[name].make(root)
    assert dataset.sequences(None) == list(sequences)
    return dataset, dataset.open(sequences[0], 1, None)


def tum_tree(root: Path, sequence: str) -> None:
    folder = root / sequence
    times = ("10.000000", "10.033000", "10.066000")
    lines = ["# color images", "# timestamp filename", *(f"{t} rgb/{t}.png" for t in times), ""]
    write_text(folder / "rgb.txt", "\n".join(lines))
    # The depth camera's clock is 12 ms late; the second picture's depth is missing.
    maps = "# depth maps\n10.012000 depth/10.012000.png\n10.078000 depth/10.078000.png\n"
    write_text(folder / "depth.txt", maps)
    rows = "10.002 1 2 3 0.5 -0.5 0.5 0.5\n10.030 1.5 2 3 0 0 0 1\n10.200 9 9 9 0 0 0 1\n"
    write_text(folder / "groundtruth.txt", "# timestamp tx ty tz qx qy qz qw\n" + rows)
    for shade, time in enumerate(times):
        write_image(folder / "rgb" / f"{time}.png", shade)
    write_depth(folder / "depth" / "10.012000.png", [[5000, 0], [2500, 10000]])
    write_depth(folder / "depth" / "10.078000.png", [[1, 1], [1, 1]])


@pytest.mark.parametrize("name", ["tum", "bonn"])
def test_tum_and_bonn_pair_images_depth_and_poses_by_time(tmp_path, name):
    tum_tree(tmp_path, "rgbd_dataset_freiburg3_walking_xyz")
    (tmp_path / "not_a_sequence").mkdir()
    _, frames = opened(name, tmp_path, "rgbd_dataset_freiburg3_walking_xyz")
    assert [frame.time_sec for frame in frames] == [10.0, 10.033, 10.066]
    assert_pose(frames[0], POSE, 1e-12)
    assert_pose(frames[1], MOVED, 1e-12)
    assert frames[2].T_world_camera is None
    assert_depth(frames[0], floats([[1, np.nan], [0.5, 2]]))
    assert frames[1].depth is None
    assert [frame.read_image()[0, 0, 0] for frame in frames] == [0, 1, 2]


def test_stride_and_most_choose_frames(tmp_path):
    tum_tree(tmp_path, "walk")
    dataset = DATASETS["tum"].make(tmp_path)
    assert [one.time_sec for one in dataset.open("walk", 2, None)] == [10.0, 10.066]
    assert [one.time_sec for one in dataset.open("walk", 1, 2)] == [10.0, 10.033]


def test_scannet_skips_lost_poses(tmp_path):
    scan = tmp_path / "scans_test" / "scene0707_00"
    intrinsic = np.eye(4)
    intrinsic[[0, 1, 0, 1], [0, 1, 2, 2]] = [577.9, 578.7, 319.5, 239.5]
    write_text(scan / "intrinsic" / "intrinsic_depth.txt", matrix_text(intrinsic))
    # Ten before two: numbers, not texts.
    for number, pose in ((2, POSE), (10, np.full((4, 4), -np.inf)), (11, MOVED)):
        write_image(scan / "color" / f"{number}.jpg", size=(40, 30))
        write_depth(scan / "depth" / f"{number}.png", [[1000, 0], [65535, 1500]])
        write_text(scan / "pose" / f"{number}.txt", matrix_text(pose))
    dataset, frames = opened("scannet", tmp_path, "scans_test/scene0707_00")
    assert dataset.sequences(["scene0707_00"]) == ["scans_test/scene0707_00"]
    assert [frame.name for frame in frames] == ["2.jpg", "10.jpg", "11.jpg"]
    assert_pose(frames[0], POSE, 1e-8)
    assert frames[1].T_world_camera is None
    assert frames[0].depth is not None
    assert frames[0].depth.intrinsics is not None
    assert frames[0].depth.intrinsics[0].tolist() == [577.9, 0, 319.5]
    assert_depth(frames[0], floats([[1, np.nan], [65.535, 1.5]]))
    assert_found_beside(scan / "color", frames)


@pytest.mark.parametrize("inside", ["training", "."])
def test_sintel_turns_world_to_camera_around(tmp_path, inside):
    part = tmp_path / inside
    write_image(part / "final" / "alley_2" / "frame_0001.png")
    intrinsic = np.array([[1120.0, 0, 511.5], [0, 1120.0, 217.5], [0, 0, 1]])
    cam = part / "camdata_left" / "alley_2" / "frame_0001.cam"
    cam.parent.mkdir(parents=True)
    numbers = [*intrinsic.ravel(), *invert_pose(POSE)[:3].ravel()]
    cam.write_bytes(struct.pack("<f21d", 202021.25, *numbers))
    dpt = part / "depth" / "alley_2" / "frame_0001.dpt"
    dpt.parent.mkdir(parents=True)
    dpt.write_bytes(struct.pack("<fii6f", 202021.25, 3, 2, 1, 2, 3, 4, 5, 6))
    dataset, (frame,) = opened("sintel", tmp_path, "alley_2")
    assert_pose(frame, POSE, 1e-12)
    assert frame.depth is not None
    np.testing.assert_array_equal(frame.depth.intrinsics, intrinsic)
    assert_depth(frame, [[1, 2, 3], [4, 5, 6]])
    assert_found_beside(part / "final" / "alley_2", [frame])
    cam.write_bytes(b"\0" * 172)
    with pytest.raises(EvaluationError, match=r"frame_0001\.cam: not a \.cam file"):
        dataset.open("alley_2", 1, None)
    dpt.write_bytes(dpt.read_bytes()[:-1])
    assert frame.depth is not None
    with pytest.raises(FrameError, match=r"frame_0001\.dpt: not a \.dpt file"):
        frame.depth.read()


DRIVE = "2011_09_26_drive_0002_sync"


@pytest.mark.parametrize("above", ["", "val_selection_cropped", "depth_selection/*"])
def test_kitti_depth_groups_the_selection_by_drive(tmp_path, above):
    root = tmp_path / above.replace("*", "val_selection_cropped")
    for number in ("0000000008", "0000000005"):
        write_image(root / "image" / f"{DRIVE}_image_{number}_image_02.png")
        depth = f"{DRIVE}_groundtruth_depth_{number}_image_02.png"
        write_depth(root / "groundtruth_depth" / depth, [[256, 0], [int(number) * 256, 65535]])
    write_image(root / "image" / f"{DRIVE}_image_0000000005_image_03.png")
    dataset, frames = opened("kitti", tmp_path, f"{DRIVE}_image_02", f"{DRIVE}_image_03")
    assert [frame.time_sec for frame in frames] == [0.5, 0.8]
    assert_depth(frames[1], floats([[1, np.nan], [8, 65535 / 256]]))
    assert dataset.open(f"{DRIVE}_image_03", 1, None)[0].depth is None


def test_kitti_depth_reads_the_gathered_copy(tmp_path):
    other = "2011_09_28_drive_0037_sync"
    for drive in (DRIVE, other):
        name = f"{drive}_image_0000000005_image_02.png"
        write_image(tmp_path / "image_gathered" / f"{drive}_02" / name)
        write_depth(tmp_path / "groundtruth_depth_gathered" / f"{drive}_02" / name, [[512]])
    _, (frame,) = opened("kitti", tmp_path, f"{DRIVE}_image_02", f"{other}_image_02")
    assert_depth(frame, [[2.0]])


def test_kitti_odometry_has_a_pose_for_each_line(tmp_path):
    for number in range(3):
        write_image(tmp_path / "sequences" / "00" / "image_2" / f"{number:06d}.png")
    write_image(tmp_path / "sequences" / "11" / "image_2" / "000000.png")  # has no poses
    write_text(tmp_path / "sequences" / "00" / "times.txt", "0.0\n1.0e-01\n2.1e-01\n")
    rows = [np.eye(4), POSE, MOVED]
    text = "".join(" ".join(f"{one:.9e}" for one in row[:3].ravel()) + "\n" for row in rows)
    write_text(tmp_path / "poses" / "00.txt", text)
    dataset, frames = opened("kitti", tmp_path, "00")
    assert [frame.time_sec for frame in frames] == [0.0, 0.1, 0.21]
    assert_pose(frames[1], POSE, 1e-8)
    assert [frame.name for frame in dataset.open("00", 2, None)] == ["000000.png", "000002.png"]
    write_text(tmp_path / "sequences" / "00" / "times.txt", "0.0\n")
    with pytest.raises(EvaluationError, match="1 times for 3 images"):
        dataset.open("00", 1, None)


def test_7_scenes_takes_the_test_split(tmp_path):
    write_text(tmp_path / "chess" / "TestSplit.txt", "sequence3\r\nsequence5\n")
    for sequence in ("seq-01", "seq-03", "seq-05"):
        for number, pose in ((0, POSE), (1, MOVED)):
            stem = tmp_path / "chess" / sequence / f"frame-{number:06d}"
            write_image(stem.with_name(stem.name + ".color.png"))
            write_depth(stem.with_name(stem.name + ".depth.png"), [[1000, 65535], [0, 2500]])
            write_text(stem.with_name(stem.name + ".pose.txt"), matrix_text(pose))
    dataset, frames = opened("7scenes", tmp_path, "chess/seq-03", "chess/seq-05")
    assert dataset.sequences(["seq-05"]) == ["chess/seq-05"]
    assert [frame.name for frame in frames] == ["frame-000000.color.png", "frame-000001.color.png"]
    assert_pose(frames[0], POSE, 1e-8)
    assert_depth(frames[0], floats([[1, np.nan], [np.nan, 2.5]]))
    assert frames[0].depth is not None
    assert frames[0].depth.intrinsics is not None
    assert frames[0].depth.intrinsics[:2].tolist() == [[585, 0, 320], [0, 585, 240]]
    assert_found_beside(tmp_path / "chess" / "seq-03" / "*.color.png", frames)


ON_DISK = sorted(name for name, entry in DATASETS.items() if not entry.generated)


@pytest.mark.parametrize("name", ON_DISK)
def test_a_root_without_the_data_set_says_what_was_wanted(tmp_path, name):
    (tmp_path / "something_else").mkdir()
    with pytest.raises(InputError, match=r"--root holds no sequence of .*; wanted "):
        DATASETS[name].make(tmp_path).sequences(None)


@pytest.mark.parametrize("name", ["tum", "7scenes"])
def test_a_folder_that_may_not_be_looked_into_holds_nothing(tmp_path, name, monkeypatch):
    (tmp_path / "lost+found").mkdir()
    tum_tree(tmp_path, "walking_xyz")
    scene = tmp_path / "chess"
    (scene / "seq-01").mkdir(parents=True)
    (scene / "TestSplit.txt").write_text("sequence1\n")
    scandir, exists = os.scandir, Path.exists

    def refuse(path: Path) -> None:
        if "lost+found" in str(path):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) or scandir(path))
    monkeypatch.setattr(Path, "exists", lambda path: refuse(path) or exists(path))
    expected = {"tum": ["walking_xyz"], "7scenes": ["chess/seq-01"]}
    assert DATASETS[name].make(tmp_path).sequences(None) == expected[name]


def test_a_root_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: No such file"):
        DATASETS["tum"].make(tmp_path / "nowhere").sequences(None)


def test_an_unknown_sequence_lists_a_near_one(tmp_path):
    tum_tree(tmp_path, "walking_xyz")
    with pytest.raises(SettingsError, match="walking_xzy is not there; did you mean walking_xyz"):
        DATASETS["tum"].make(tmp_path).sequences(["walking_xzy"])


def test_depth_that_is_no_16_bit_image_is_refused_by_name(tmp_path):
    tum_tree(tmp_path, "walk")
    write_image(tmp_path / "walk" / "depth" / "10.012000.png")
    frame = DATASETS["tum"].make(tmp_path).open("walk", 1, 1)[0]
    assert frame.depth is not None
    with pytest.raises(FrameError, match=r"10\.012000\.png: an image of mode RGB; wanted depth"):
        frame.depth.read()
