"""Files of true poses: found beside the input, read in each form, and refused with the line."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.refusals import refusal
from ttt3r_viewer.errors import EvaluationError, ViewerError
from ttt3r_viewer.frames.times import image_times
from ttt3r_viewer.geometry import pose_from_vector, quaternion_wxyz_from_matrix
from ttt3r_viewer.metrics.ground_truth import (
    CountedPoses,
    NamedPoses,
    TimedPoses,
    find_ground_truth,
    read_ground_truth,
)

DEMO = Path(__file__).parents[1] / "assets" / "demo" / "loop"
OPENGL_FROM_OPENCV = np.diag([1.0, -1, -1, 1])
IDENTITY = "0 0 0 0 0 0 1"


def random_poses(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    return np.array([pose_from_vector(rng.normal(size=7)) for _ in range(count)])


def tum_line(time_sec: float, pose: np.ndarray) -> str:
    w, x, y, z = quaternion_wxyz_from_matrix(pose[:3, :3])
    return " ".join(f"{number:.9g}" for number in (time_sec, *pose[:3, 3], x, y, z, w))


def written(folder: Path, text: str, name: str = "groundtruth.txt") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def transforms(names: list[str], poses: np.ndarray) -> str:
    frames = [
        {"file_path": name, "transform_matrix": (pose @ OPENGL_FROM_OPENCV).tolist()}
        for name, pose in zip(names, poses, strict=True)
    ]
    return json.dumps({"camera_angle_x": 0.7, "frames": frames})


def test_a_tum_file_gives_poses_by_time(tmp_path):
    poses = random_poses(5)
    lines = [tum_line(10 + row / 30, pose) for row, pose in enumerate(poses)]
    # Out of order, with a comment, an empty line and another system's line ends.
    text = "# time tx ty tz qx qy qz qw\r\n\r\n" + "\r\n".join([*lines[2:], *lines[:2]])
    truth = read_ground_truth(written(tmp_path, "\ufeff" + text))
    assert isinstance(truth, TimedPoses)
    for row, pose in enumerate(poses):
        for shift_sec in (-0.009, 0.0, 0.009):
            found = truth.pose_of(99, 10 + row / 30 + shift_sec, "any.png")
            assert found == pytest.approx(pose, abs=1e-7)
    for time_sec in (0.0, 9.98, 10 + 1 / 60, 10.15, 1e9):
        assert truth.pose_of(0, time_sec, "any.png") is None, time_sec


def test_a_kitti_file_gives_poses_by_frame_number(tmp_path):
    poses = random_poses(4)
    lines = [" ".join(f"{number:.6e}" for number in pose[:3].ravel()) for pose in poses]
    truth = read_ground_truth(written(tmp_path, "\n".join(lines) + "\n", "poses.txt"))
    assert isinstance(truth, CountedPoses)
    for row, pose in enumerate(poses):
        assert truth.pose_of(row, -5.0, "x") == pytest.approx(pose, abs=1e-5)
    assert truth.pose_of(4, 0.0, "x") is None
    assert truth.pose_of(-1, 0.0, "x") is None


def test_a_transforms_file_gives_poses_by_file_name_in_opencv_axes(tmp_path):
    poses = random_poses(5)
    names = ["./images/0001.png", "train/r_2", "images\\0003.JPG", "a/walk.v2.png", "b/17.250.png"]
    truth = read_ground_truth(written(tmp_path, transforms(names, poses), "transforms.json"))
    assert isinstance(truth, NamedPoses)
    wanted = {
        **{"0001.png": 0, "0001.jpg": 0, "r_2.png": 1, "r_2": 1, "sub/0003.JPG": 2},
        **{"walk.v2.png": 3, "walk.v2.webp": 3, "17.250.jpg": 4},
        **dict.fromkeys(("walk.png", "17.png", "0002.png", "")),
    }
    for name, row in wanted.items():
        found = truth.pose_of(3, 0.0, name)
        assert (found is None) == (row is None), name
        if row is not None:
            assert found == pytest.approx(poses[row], abs=1e-12), name


def test_the_camera_of_a_transforms_file_looks_along_minus_z_and_ours_along_z(tmp_path):
    text = transforms(["a.png"], np.eye(4)[None])
    matrix = json.loads(text)["frames"][0]["transform_matrix"]
    assert [row[2] for row in matrix][:3] == [0, 0, -1]
    found = read_ground_truth(written(tmp_path, text, "t.json")).pose_of(0, 0.0, "a.png")
    assert found is not None
    assert found[:3, 2].tolist() == [0, 0, 1]
    assert found[:3, 1].tolist() == [0, 1, 0]


def test_a_stem_that_two_images_share_is_not_guessed(tmp_path):
    names = ["a.png", "a.jpg", "b.png"]
    truth = read_ground_truth(written(tmp_path, transforms(names, random_poses(3)), "t.json"))
    assert truth.pose_of(0, 0.0, "a.webp") is None
    assert truth.pose_of(0, 0.0, "a.jpg") is not None
    assert truth.pose_of(0, 0.0, "b.webp") is not None
    # A frame of a video is named after the video, which is no picture of this file.
    assert truth.pose_of(0, 0.0, "b.mp4#12") is None


def test_every_frame_of_the_demo_has_a_true_pose():
    images = sorted(DEMO.glob("*.jpg"))
    assert find_ground_truth(DEMO) == DEMO / "poses_tum.txt"
    truth = read_ground_truth(DEMO / "poses_tum.txt")
    assert len(images) > 100
    assert len(images) == len(truth.T_world_camera)
    times_sec = image_times(DEMO, [image.name for image in images], fps=30.0)
    for row, (image, time_sec) in enumerate(zip(images, times_sec, strict=True)):
        found = truth.pose_of(row, time_sec, image.name)
        assert found is not None, image.name
        assert (found == truth.T_world_camera[row]).all(), image.name


def test_a_rounded_rotation_is_made_exact(tmp_path):
    truth = read_ground_truth(written(tmp_path, "0 1 2 3 0.6132 0.5962 -0.3311 -0.3986\n"))
    pose = truth.pose_of(0, 0.0, "")
    assert pose is not None
    assert pose[:3, :3] @ pose[:3, :3].T == pytest.approx(np.eye(3), abs=1e-14)
    rounded = [" ".join(f"{number:.3f}" for number in random_poses(1)[0, :3].ravel())]
    pose = read_ground_truth(written(tmp_path, rounded[0], "poses.txt")).pose_of(0, 0.0, "")
    assert pose is not None
    assert pose[:3, :3] @ pose[:3, :3].T == pytest.approx(np.eye(3), abs=1e-14)
    assert pose == pytest.approx(random_poses(1)[0], abs=2e-3)


def one_frame(**changes: object) -> str:
    frame = {"file_path": "a.png", "transform_matrix": np.eye(4).tolist()} | changes
    return json.dumps({"frames": [frame]})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1 holds 0 fields; wanted 8"),
        ("# nothing\n", "line 1 holds 0 fields; wanted 8"),
        ("# head\n1 2 3\n", "line 2 holds 3 fields; wanted 8 .* or 12"),
        (f"0 {IDENTITY}\n1 0 0 0\n", "line 2 is '1 0 0 0'; wanted 8 finite numbers"),
        (f"0 {IDENTITY}\n1 0 0 0 0 0 0 one\n", "line 2 is .*; wanted 8 finite numbers"),
        (f"0 {IDENTITY}\n1 nan 0 0 0 0 0 1\n", "line 2 is .*; wanted 8 finite numbers"),
        (f"0 {IDENTITY}\n1 1e999 0 0 0 0 0 1\n", "line 2: wanted a finite position"),
        (f"0 {IDENTITY}\n1 1e300 0 0 0 0 0 1\n", "line 2: wanted a finite position"),
        (f"0 {IDENTITY}\n1e999 {IDENTITY}\n", "line 2: wanted a finite time"),
        (f"0 {IDENTITY}\n1 0 0 0 0 0 0 0\n", "line 2: wanted a quaternion .* of length 1"),
        (f"0 {IDENTITY}\n1 0 0 0 0 0 0 1e999\n", "line 2: wanted a quaternion"),
        (f"0 {IDENTITY}\n1 0 0 0 0 0 0 1.1\n", "line 2: wanted a quaternion"),
        (f"2 {IDENTITY}\n0 {IDENTITY}\n\n2 {IDENTITY}\n", "line 4 has the time of line 1"),
        ("1 0 0 0 0 1 0 0 0 0 1 0\n2 0 0 0 0 2 0 0 0 0 2 0\n", "line 2: wanted a rotation matrix"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0\n", "line 1: wanted a rotation matrix, without .* mirroring"),
        ("1e200 0 0 0 0 1 0 0 0 0 1 0\n", "line 1: wanted a rotation matrix"),
    ],
)
def test_a_text_file_that_does_not_fit_is_refused_with_its_line(tmp_path, text, told):
    path = written(tmp_path, text)
    assert refusal(EvaluationError, read_ground_truth, path, match=told).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"frames":\n [1,\n', "line 3 is no JSON"),
        ("[" * 100_000, "is no JSON that can be read"),
        ("9" * 5000, "is no JSON that can be read"),
        ("[]", 'has no list "frames"'),
        ('{"frames": {}}', 'has no list "frames"'),
        ('{"frames": []}', 'has no list "frames"'),
        ('{"frames": [7]}', 'frame 0 has no "file_path"'),
        (one_frame(file_path=3), 'frame 0 has no "file_path"'),
        (one_frame(file_path="a/"), 'frame 0 has no "file_path"'),
        (one_frame(transform_matrix=None), 'frame 0: wanted a "transform_matrix"'),
        (one_frame(transform_matrix=[[1, 0, 0, 0]] * 4), 'frame 0: wanted a "transform_matrix"'),
        *(
            (one_frame(transform_matrix=[[bad] * 4] * 3), 'frame 0: wanted a "transform_matrix"')
            for bad in (10**400, True, "1")
        ),
        (one_frame(transform_matrix=[[np.nan] * 4] * 3), "frame 0: wanted a finite position"),
        (one_frame(transform_matrix=[[1] * 4] * 3), "frame 0: wanted a rotation"),
        (
            transforms(["a/x.png", "b/x.png"], random_poses(2)),
            "frame 1 is named x.png like frame 0",
        ),
    ],
)
def test_a_transforms_file_that_does_not_fit_is_refused(tmp_path, text, told):
    path = written(tmp_path, text, "transforms.json")
    assert refusal(EvaluationError, read_ground_truth, path, match=told).startswith(str(path))


def test_a_file_that_cannot_be_opened_is_said_so(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(EvaluationError, match="cannot be read"):
            read_ground_truth(path)


NUMBERS = st.sampled_from(["0", "1", "-1", "0.5", "1e9", "1e-320", "1e308", "nan", "inf", "x", "#"])
LINES = st.one_of(
    st.lists(NUMBERS, min_size=7, max_size=13).map(" ".join),
    st.lists(st.sampled_from(["0", "1", "-1", "0.5"]), min_size=8, max_size=8).map(" ".join),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["frames", "file_path", "transform_matrix"]), inner)
    ),
    max_leaves=20,
)


@given(
    st.one_of(
        st.binary(max_size=200).map(lambda data: ("g.txt", data)),
        st.lists(LINES, max_size=5).map(lambda lines: ("g.txt", "\n".join(lines).encode())),
        JSON.map(lambda value: ("g.json", json.dumps(value).encode())),
        JSON.map(lambda value: ("g.json", json.dumps({"frames": [value]}).encode())),
        st.lists(st.lists(st.floats(), min_size=4, max_size=4), min_size=3, max_size=3).map(
            lambda rows: ("g.json", one_frame(transform_matrix=rows).encode())
        ),
    )
)
@example(("g.txt", b"0 1 0 0 0 0 1 0 1e-320 0 0 0"))
@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.filterwarnings("error")
def test_no_file_ends_in_another_error_than_ours(tmp_path, name_and_data):
    name, data = name_and_data
    path = tmp_path / name
    path.write_bytes(data)
    try:
        truth = read_ground_truth(path)
    except ViewerError:
        return
    assert np.isfinite(truth.T_world_camera).all()
    R = truth.T_world_camera[:, :3, :3]
    assert R @ R.transpose(0, 2, 1) == pytest.approx(np.broadcast_to(np.eye(3), R.shape))
    for time_sec in (0.0, 1e9, -1e300):
        truth.pose_of(0, time_sec, "a.png")


def test_ground_truth_is_found_beside_and_inside_the_input(tmp_path):
    sequence = tmp_path / "walk"
    images = sequence / "rgb"
    images.mkdir(parents=True)
    video, image = sequence / "walk.mp4", images / "0.png"
    video.touch()
    image.touch()
    inputs = [images, sequence, video, image, images / "*.png"]
    assert [find_ground_truth(one) for one in inputs] == [None] * 5
    above = written(sequence, "", "transforms.json")
    assert [find_ground_truth(one) for one in inputs] == [above, above, above, None, above]
    inside = written(images, "", "poses.txt")
    assert [find_ground_truth(one) for one in inputs] == [inside, above, above, inside, inside]
    first = written(images, "", "groundtruth.txt")
    assert find_ground_truth(images) == first
    (tmp_path / "poses.txt").mkdir()
    assert find_ground_truth(sequence) == above


def test_an_input_that_is_no_path_has_no_ground_truth(tmp_path, monkeypatch):
    for odd in ("nowhere/at/all/*.png", "x" * 5000, "a\0b/c", "camera:0"):
        assert find_ground_truth(tmp_path / odd) is None
    written(tmp_path, "", "poses_tum.txt")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert find_ground_truth(Path()) == tmp_path / "poses_tum.txt"
    # What is near by chance is not the truth about a camera, nor about what is no longer there.
    for other in ("camera:0", "rtsp://host/live", "frames", "gone.mp4"):
        assert find_ground_truth(Path(other)) is None
    assert find_ground_truth(Path("*.png")) == tmp_path / "poses_tum.txt"
