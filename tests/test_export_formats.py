"""Exports of a recording: every format, read back by readers that are not ours; axes and pixels."""

import json
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from PIL import Image

from tests.made_up_run import drifted, pose_at, room_result, rule_info
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.export import conventions
from ttt3r_viewer.export.conventions import linear_from_srgb
from ttt3r_viewer.export.film.film import Film
from ttt3r_viewer.export.known_formats import FORMATS, default_target, export_recording
from ttt3r_viewer.export.lane_source import ChosenPoints, Source, StepCount, Thinning, chosen_points
from ttt3r_viewer.export.level_world import make_level
from ttt3r_viewer.geometry import invert_pose, pose_from_vector, transform_points
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.types import Camera, Crop, FrameResult, Status

FRAMES = 4
EVERYTHING = Thinning(edge_filter=0.0)
"""Every pixel, so that a test can count them."""
UNIT = np.array([0.6, 0.48, 0.64])
"""An axis between all others."""
RULES = (rule_info("steady", 1.0), rule_info("drifting", 0.8))


def lanes_of(result: FrameResult) -> tuple[FrameResult, FrameResult]:
    """The room as it is, and as a lane has it that drifts."""
    pose = drifted(result.camera.T_world_camera, 0.1 * result.sequence)
    return result, replace(result, camera=replace(result.camera, T_world_camera=pose))


def make_session(folder: Path, frames: int = FRAMES, width: int = 64, height: int = 48) -> Path:
    """A session of two lanes in `folder`, as a run leaves it."""
    writer = RecordingWriter(folder / "archive", source="room", settings={})
    status = Status(phase="finished", model="made-up", lanes=RULES)
    writer.begin(status)
    for sequence in range(frames):
        writer.add(*lanes_of(room_result(sequence, width, height)))
    writer.finish(status)
    writer.close()
    return folder


def silent(_done: int, _total: int) -> None:
    """Hears how far an export is."""


def small_film(name: str) -> Film | None:
    """A film that is soon taken, for formats that are films."""
    return Film(size="64x48", fps=5, seconds=1) if "size" in FORMATS[name].film else None


def world_points(source: Source) -> np.ndarray:
    """All points, as the archive has them."""
    frames = source.frames()
    parts = [transform_points(one.camera.T_world_camera, one.points_camera) for one in frames]
    return np.concatenate(parts).reshape(-1, 3)


def test_ply_in_trimesh(tmp_path, source):
    done = export_recording(source, "ply", tmp_path / "a.ply", silent, EVERYTHING)
    assert (done.count, done.unit) == (FRAMES * 64 * 48, "points")
    assert done.bytes_written == (tmp_path / "a.ply").stat().st_size
    loaded = trimesh.load(tmp_path / "a.ply")
    assert isinstance(loaded, trimesh.PointCloud)
    assert np.allclose(loaded.vertices, world_points(source), atol=1e-5)
    colors = np.concatenate([one.image.reshape(-1, 3) for one in source.frames()])
    assert np.array_equal(np.asarray(loaded.colors)[:, :3], colors)
    values = loaded.metadata["_ply_raw"]["vertex"]["data"]
    frames = np.repeat(np.arange(FRAMES), 64 * 48)
    assert np.array_equal(np.asarray(values["frame"]).ravel(), frames)
    confidence = np.concatenate([one.confidence.ravel() for one in source.frames()])
    assert np.array_equal(np.asarray(values["confidence"]).ravel(), confidence)


def test_ply_in_meshio(tmp_path, source):
    meshio = pytest.importorskip("meshio")
    export_recording(source, "ply", tmp_path / "a.ply", silent, EVERYTHING)
    loaded = meshio.read(tmp_path / "a.ply")
    assert np.allclose(loaded.points, world_points(source), atol=1e-5)
    assert set(loaded.point_data) == {"red", "green", "blue", "confidence", "frame"}
    assert loaded.point_data["frame"][-1] == FRAMES - 1


def test_ply_takes_no_more_memory_for_more_frames(tmp_path):
    def peak(frames: int) -> int:
        archive = Recording.open(make_session(tmp_path / str(frames), frames, 160, 120))
        tracemalloc.start()
        export_recording(Source(archive), "ply", tmp_path / f"{frames}.ply", silent, EVERYTHING)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    few, many = peak(3), peak(24)
    assert (tmp_path / "24.ply").stat().st_size > 24 * 160 * 120 * 20
    assert many < few + 160 * 120 * 12


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_colmap_in_pycolmap(tmp_path, source, kind):
    pycolmap = pytest.importorskip("pycolmap")
    export_recording(source, "colmap", tmp_path / "c", silent, EVERYTHING)
    other = {"bin": "txt", "txt": "bin"}[kind]
    for name in ("cameras", "images", "points3D"):
        (tmp_path / "c" / "sparse" / "0" / f"{name}.{other}").unlink()
    model = pycolmap.Reconstruction(tmp_path / "c" / "sparse" / "0")
    assert (model.num_images(), model.num_cameras()) == (FRAMES, FRAMES)
    assert model.num_points3D() == FRAMES * 64 * 48
    frames = {f"{one.sequence:06d}.png": one for one in source.frames()}
    names = (tmp_path / "c" / "image_list.txt").read_text().split()
    assert names == sorted(frames)
    for image in model.images.values():
        frame, camera = frames[image.name], image.camera
        assert camera.model == pycolmap.CameraModelId.PINHOLE
        assert camera.params == pytest.approx([51.2, 51.2, 32.5, 24.5])
        world_to_camera = image.cam_from_world().matrix()
        assert np.allclose(world_to_camera @ frame.camera.T_world_camera, np.eye(4)[:3], atol=1e-7)
        picture = np.asarray(Image.open(tmp_path / "c" / "images" / image.name))
        assert np.array_equal(picture, frame.image)
        for seen in image.points2D[::97]:
            point = model.points3D[seen.point3D_id]
            assert np.abs(image.project_point(point.xyz) - seen.xy).max() < 0.06
            column, row = np.floor(seen.xy).astype(int)
            assert np.array_equal(point.color, picture[row, column])
            (view,) = point.track.elements
            assert image.points2D[view.point2D_idx] == seen
            assert view.image_id == image.image_id
    assert model.compute_mean_reprojection_error() < 0.05


def test_nerf_field_by_field(tmp_path, source):
    done = export_recording(source, "nerf", tmp_path / "n", silent)
    assert (done.count, done.unit) == (FRAMES, "frames")
    document = json.loads((tmp_path / "n" / "transforms.json").read_text())
    frames = document.pop("frames")
    shared = {
        "camera_angle_x": 2 * np.arctan(0.5 / 0.8),
        "camera_angle_y": 2 * np.arctan(0.5 * 48 / 64 / 0.8),
        **{"fl_x": 51.2, "fl_y": 51.2, "cx": 32.5, "cy": 24.5, "w": 64, "h": 48},
    }
    assert document == pytest.approx(
        {**shared, "k1": 0, "k2": 0, "p1": 0, "p2": 0, "aabb_scale": 16}
    )
    for one, frame in zip(frames, source.frames(), strict=True):
        matrix = np.array(one.pop("transform_matrix"))
        image = np.asarray(Image.open(tmp_path / "n" / one.pop("file_path")))
        assert np.array_equal(image, frame.image)
        assert one == pytest.approx(shared)
        # As those programs see a pixel: along -z, y up, counted from the picture's corner.
        row, column = 10, 50
        x, y = column + 0.5 - one["cx"], row + 0.5 - one["cy"]
        ray = np.array([x / one["fl_x"], -y / one["fl_y"], -1.0])
        depth = frame.points_camera[row, column, 2]
        point = transform_points(frame.camera.T_world_camera, frame.points_camera[row, column])
        assert np.allclose(transform_points(matrix, ray * depth), point, atol=5e-3)


def test_a_world_by_gravity_is_level_and_keeps_relative_poses(tmp_path):
    """A camera that was held askew: the room's up is turned, its poses and points with it."""
    askew = pose_from_vector([0.3, -0.2, 0.1, np.cos(0.2), *(np.sin(0.2) * UNIT)])
    writer = RecordingWriter(tmp_path / "archive", source="room", settings={})
    status = Status(phase="finished", model="made-up", lanes=RULES[:1])
    writer.begin(status)
    for sequence in range(8):
        room = room_result(4 * sequence, 64, 48)
        first = np.linalg.inv(pose_at(0) @ askew)  # the world is the first camera's frame
        pose = first @ room.camera.T_world_camera @ askew
        points = transform_points(invert_pose(askew), room.points_camera).astype(np.float32)
        camera = replace(room.camera, T_world_camera=pose)
        writer.add(replace(room, sequence=sequence, camera=camera, points_camera=points))
    writer.finish(status)
    writer.close()
    archive = Recording.open(tmp_path)
    sources = Source(archive), Source(archive)
    make_level(sources[1])
    kept, level = ([one.camera.T_world_camera for one in source.cameras()] for source in sources)
    for a, b in zip(kept, level, strict=True):
        same = invert_pose(kept[0]) @ a, invert_pose(level[0]) @ b
        assert np.allclose(*same, atol=1e-9)
    assert np.allclose(level[0][:3, 3], 0, atol=1e-9), "the first camera's place is the origin"
    room_up = invert_pose(askew)[:3, :3] @ [0.0, -1.0, 0.0]  # in the first camera's frame
    assert np.degrees(np.arccos((level[0][:3, :3] @ room_up) @ [0.0, -1.0, 0.0])) < 1.0
    assert level[0][0, 2] == pytest.approx(0, abs=1e-9), "the first camera looks along z"
    assert np.degrees(np.arccos(room_up @ [0.0, -1.0, 0.0])) > 10
    # What formats write lies in that world: poses by TUM, and points by PLY.
    export_recording(sources[1], "tum", tmp_path / "t.txt", silent)
    tum = np.loadtxt(tmp_path / "t.txt")
    for row, pose in zip(tum, level, strict=True):
        assert np.allclose(pose_from_vector([*row[1:4], row[7], *row[4:7]]), pose, atol=1e-6)
    export_recording(sources[1], "ply", tmp_path / "a.ply", silent, EVERYTHING)
    points = trimesh.load(tmp_path / "a.ply")
    turn = level[0] @ invert_pose(kept[0])
    assert isinstance(points, trimesh.PointCloud)
    wanted = transform_points(turn, world_points(sources[0]))
    assert np.allclose(points.vertices, wanted, atol=1e-5)
    with pytest.raises(SettingsError, match="--up gravity means nothing to intrinsics"):
        export_recording(sources[0], "intrinsics", tmp_path / "i.json", silent, up="gravity")


def test_trajectories_keep_poses_and_times(tmp_path, source):
    export_recording(source, "tum", tmp_path / "t.txt", silent)
    export_recording(source, "kitti", tmp_path / "k", silent)
    tum, kitti = np.loadtxt(tmp_path / "t.txt"), np.loadtxt(tmp_path / "k" / "poses.txt")
    times = np.loadtxt(tmp_path / "k" / "times.txt")
    for row, matrix, time, one in zip(tum, kitti, times, source.cameras(), strict=True):
        assert row[0] == pytest.approx(one.time_sec, abs=1e-6)
        assert time == pytest.approx(one.time_sec, abs=1e-6)
        pose = pose_from_vector([*row[1:4], row[7], *row[4:7]])
        assert np.allclose(pose, one.camera.T_world_camera, atol=1e-7)
        assert np.allclose(matrix.reshape(3, 4), one.camera.T_world_camera[:3], atol=1e-7)


def test_intrinsics_of_every_frame(tmp_path, source):
    export_recording(source, "intrinsics", tmp_path / "i.json", silent)
    document = json.loads((tmp_path / "i.json").read_text())
    assert document["median_focal_px"] == pytest.approx(51.2)
    assert [one["name"] for one in document["frames"]] == [one.name for one in source.cameras()]


def test_maps_have_the_published_names_and_shapes(tmp_path, source):
    export_recording(source, "depth", tmp_path / "d", silent)
    names = sorted(path.relative_to(tmp_path / "d").as_posix() for path in tmp_path.rglob("*.*"))
    kinds = ("camera/{}.npz", "color/{}.png", "conf/{}.npy", "depth/{}.npy", "depth/{}.png")
    assert names == sorted(kind.format(f"{k:06d}") for kind in kinds for k in range(FRAMES))
    for frame in source.frames():
        stem = f"{frame.sequence:06d}"
        depth = np.load(tmp_path / "d" / "depth" / f"{stem}.npy")
        assert depth.dtype == np.float32
        assert np.array_equal(depth, frame.points_camera[..., 2])
        image = Image.open(tmp_path / "d" / "depth" / f"{stem}.png")
        assert image.mode.startswith("I")
        assert np.abs(np.asarray(image) / 1000 - depth).max() <= 0.0005 + 1e-6
        confidence = np.load(tmp_path / "d" / "conf" / f"{stem}.npy")
        assert np.array_equal(confidence, frame.confidence)
        color = np.asarray(Image.open(tmp_path / "d" / "color" / f"{stem}.png"))
        assert np.array_equal(color, frame.image)
        camera = np.load(tmp_path / "d" / "camera" / f"{stem}.npz")
        assert np.array_equal(camera["pose"], frame.camera.T_world_camera)
        pixel = camera["intrinsics"] @ frame.points_camera[5, 7]
        assert np.allclose(pixel[:2] / pixel[2], [7, 5], atol=0.06)


def test_thinning(tmp_path, source):
    everything = np.concatenate([one.confidence.ravel() for one in source.frames()])

    def chosen(**thinning) -> list[ChosenPoints]:
        return list(chosen_points(source, replace(EVERYTHING, **thinning), StepCount(silent)))

    sure = np.concatenate([one.confidence for one in chosen(min_confidence_percentile=60.0)])
    threshold = np.percentile(everything, 60.0, method="higher")
    assert np.array_equal(sure, everything[everything >= threshold])
    assert sum(map(len, chosen(pixel_stride=4))) == FRAMES * 16 * 12
    thinned = [one.pixels for one in chosen(max_points=103)]
    assert [len(one) for one in thinned] == [25, 26, 26, 26]
    assert all(map(np.array_equal, thinned, [one.pixels for one in chosen(max_points=103)]))
    with pytest.raises(SettingsError, match=r"tum has no points to be thinned; ply, glb"):
        export_recording(source, "tum", tmp_path / "t", silent, Thinning(pixel_stride=2))


@pytest.fixture
def stepped(tmp_path) -> Source:
    """One frame, whose right half stands far behind the left one."""
    step = room_result(0, 64, 48)
    points = step.points_camera.copy()
    points[:, 32:] *= 3
    writer = RecordingWriter(tmp_path / "step", source="", settings={})
    writer.begin(Status())
    writer.add(replace(step, points_camera=points))
    writer.close()
    return Source(Recording.open(tmp_path / "step"))


def points_in(path: Path) -> np.ndarray:
    """The points (n, 3) of an export, as readers that are not ours give them."""
    if path.suffix == ".ply":
        loaded = trimesh.load(path)
        assert isinstance(loaded, trimesh.PointCloud)
        return np.asarray(loaded.vertices)
    if path.suffix == ".glb":
        cloud = trimesh.load_scene(path).geometry["points"]
        assert isinstance(cloud, trimesh.PointCloud)
        return np.asarray(cloud.vertices)
    lines = (path / "sparse" / "0" / "points3D.txt").read_text().splitlines()
    rows = (line.split() for line in lines if not line.startswith("#"))
    return np.array([row[1:4] for row in rows], np.float64)


@pytest.mark.parametrize(("name", "target"), [("ply", "a.ply"), ("glb", "a.glb"), ("colmap", "c")])
def test_points_at_depth_edges_are_left_out_and_no_others(tmp_path, stepped, name, target):
    (result,) = stepped.frames()
    depth = np.pad(result.points_camera[..., 2], 1, mode="edge")
    around = np.stack([depth[y : y + 48, x : x + 64] for y in range(3) for x in range(3)])
    wanted = around.max(axis=0) < np.exp(0.125) * around.min(axis=0)  # to a hundredth: 0.12
    assert not wanted[2:-2, 31:33].any()
    wanted[:2] = wanted[-2:] = wanted[:, :2] = wanted[:, -2:] = False
    done = export_recording(stepped, name, tmp_path / target, silent)
    expected = transform_points(result.camera.T_world_camera, result.points_camera[wanted])
    found = points_in(tmp_path / target)
    assert done.count == len(found) == wanted.sum() > 2000
    order, wanted_order = np.lexsort(found.round(3).T), np.lexsort(expected.round(3).T)
    assert np.allclose(found[order], expected[wanted_order], atol=2e-3)
    everything = export_recording(stepped, name, tmp_path / f"all_{target}", silent, EVERYTHING)
    assert everything.count == 64 * 48


@pytest.mark.parametrize("name", FORMATS)
def test_another_lane_every_second_frame(tmp_path, session, name):
    archive = Recording.open(session)
    source = Source(archive, lane=1, stride=2)
    assert source.sequences == (0, 2)
    assert Recording.open(session / "archive").output_folder == archive.output_folder == session
    target = default_target(session, source, name)
    assert target == session / "export" / "drifting-rate-0.8" / FORMATS[name].target
    heard: list[tuple[int, int]] = []
    done = export_recording(
        *(source, name, tmp_path / "x", lambda *one: heard.append(one)),
        EVERYTHING if FORMATS[name].thins else None,
        small_film(name),
    )
    if FORMATS[name].min_confidence_percentile:  # films of the best points of voxels
        assert done.count == 5 or 0 < done.count < 2 * 64 * 48
    else:
        assert done.count in (2, 2 * 64 * 48)
    assert heard[-1][0] == heard[-1][1] >= 2
    assert heard == sorted(heard)
    if name == "tum":
        pose = np.loadtxt(tmp_path / "x")[1]
        wanted = lanes_of(room_result(2))[1].camera.T_world_camera
        assert np.allclose(pose[1:4], wanted[:3, 3], atol=1e-7)


number = st.floats(-50, 50)
poses = st.builds(
    lambda position, rotation: pose_from_vector([*position, *rotation]),
    st.tuples(number, number, number),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
)


def pose_from_colmap(pose: ArrayLike) -> np.ndarray:
    return invert_pose(pose_from_vector(np.roll(pose, 3)))


def pose_from_tum(pose: np.ndarray) -> np.ndarray:
    return pose_from_vector(pose[[0, 1, 2, 6, 3, 4, 5]])


def pose_from_kitti(pose: np.ndarray) -> np.ndarray:
    return np.vstack((pose.reshape(3, 4), [0.0, 0.0, 0.0, 1.0]))


@given(T_world_camera=poses)
def test_every_pose_comes_back_from_every_format(T_world_camera):
    for there, back in (
        (conventions.colmap_pose, pose_from_colmap),
        (conventions.tum_pose, pose_from_tum),
        (conventions.kitti_pose, pose_from_kitti),
        (conventions.opengl_pose, conventions.opengl_pose),
    ):
        assert np.allclose(back(there(T_world_camera)), T_world_camera, atol=1e-9)


@given(T_world_camera=poses)
def test_no_format_mirrors_the_camera(T_world_camera):
    for pose in (
        conventions.opengl_pose(T_world_camera),
        conventions.T_GLTF_WORLD @ conventions.opengl_pose(T_world_camera),
    ):
        rotation = pose[:3, :3]
        assert np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_a_camera_known_by_heart():
    # It stands one unit to the right of the first one, and looks to the right.
    T_world_camera = np.array([[0, 0, 1, 1], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]])
    half = np.sqrt(0.5)
    assert np.allclose(conventions.tum_pose(T_world_camera), [1, 0, 0, 0, half, 0, half])
    assert np.allclose(
        conventions.kitti_pose(T_world_camera), [0, 0, 1, 1, 0, 1, 0, 0, -1, 0, 0, 0]
    )
    # For COLMAP the world is one unit behind it, and turned the other way.
    assert np.allclose(conventions.colmap_pose(T_world_camera), [half, 0, -half, 0, 0, 0, -1])
    # An OpenGL camera looks along its own -z, and its y is up.
    ahead = transform_points(conventions.opengl_pose(T_world_camera), [1.0, 2.0, -5.0])
    assert np.allclose(ahead, [6, -2, -1])
    # In glTF's world what was down is down, with y up, and forward is -z.
    assert np.allclose(transform_points(conventions.T_GLTF_WORLD, [1.0, 2.0, 3.0]), [1, -2, -3])


def test_points_project_to_the_pixels_they_came_from():
    result = room_result(7)
    y, x = np.mgrid[:48, :64]
    pixels = np.stack([x, y], -1)
    pinhole = conventions.prepared_pinhole(result.camera)
    assert np.allclose(pinhole.project(result.points_camera), pixels, atol=1e-3)
    assert np.allclose(pinhole.from_corner().project(result.points_camera), pixels + 0.5, atol=1e-3)
    homogeneous = result.points_camera @ pinhole.matrix.T
    assert np.allclose(homogeneous[..., :2] / homogeneous[..., 2:], pixels, atol=1e-3)


@given(scale=st.floats(0.1, 8), offset=st.tuples(st.integers(0, 90), st.integers(0, 90)), x=number)
def test_the_original_image_sees_the_same_ray(scale, offset, x):
    crop, camera = Crop((scale, scale), offset, 1920, 1080), Camera(pose_at(0), 300.0, 512, 384)
    ray = np.array([x / 10, -x / 20, 2.0])
    prepared = conventions.prepared_pinhole(camera).project(ray)[None]
    assert np.allclose(
        crop.to_original(prepared)[0], conventions.original_pinhole(camera, crop).project(ray)
    )


def test_depth_in_millimetres():
    depth = np.array([0.0, 0.0004, 1.2341, 65.535, 65.536, -1.0, np.nan, np.inf], np.float32)
    assert conventions.depth_mm(depth).tolist() == [0, 0, 1234, conventions.LONGEST_MM, 0, 0, 0, 0]


def test_colours_become_linear_light():
    linear = conventions.linear_from_srgb(np.array([0, 10, 128, 255], np.uint8))
    assert linear == pytest.approx([0, 10 / 255 / 12.92, 0.2158605, 1], abs=1e-6)
    assert (np.diff(conventions.linear_from_srgb(np.arange(256, dtype=np.uint8))) > 0).all()


def gltf_of(path: Path) -> tuple[dict, bytes]:
    """Read a GLB's two chunks, strictly as the standard's section 4.4 has them."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    json_length, json_type = struct.unpack_from("<I4s", data, 12)
    assert json_type == b"JSON"
    assert json_length % 4 == 0
    document = json.loads(data[20 : 20 + json_length])
    start = 20 + json_length
    body_length, body_type = struct.unpack_from("<I4s", data, start)
    assert body_type == b"BIN\0"
    assert body_length % 4 == 0
    assert start + 8 + body_length == len(data)
    return document, data[start + 8 :]


def check_gltf(document: dict, body: bytes) -> None:
    """Numbers that name something that is there, ranges that hold, and nothing unknown."""
    assert document["asset"]["version"] == "2.0"
    assert set(document["extensionsUsed"]) == {"KHR_materials_unlit"}
    assert document["buffers"] == [{"byteLength": len(body)}]
    ends = [view["byteOffset"] + view["byteLength"] for view in document["bufferViews"]]
    starts = [view["byteOffset"] for view in document["bufferViews"]]
    assert starts == [0, *ends[:-1]]
    assert ends[-1] == len(body)
    sizes = {"SCALAR": 1, "VEC3": 3}
    types = {5125: "<u4", 5126: "<f4"}
    arrays = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        columns = sizes[accessor["type"]]
        assert accessor["count"] > 0
        assert accessor["count"] * columns * 4 == view["byteLength"]
        data = body[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        array = np.frombuffer(data, types[accessor["componentType"]]).reshape(-1, columns)
        if "min" in accessor:
            assert np.array_equal(np.float32(accessor["min"]), array.min(0))
            assert np.array_equal(np.float32(accessor["max"]), array.max(0))
        arrays.append(array)
    for mesh in document["meshes"]:
        (primitive,) = mesh["primitives"]
        assert primitive["mode"] in (0, 1, 4)
        assert 0 <= primitive["material"] < len(document["materials"])
        positions = document["accessors"][primitive["attributes"]["POSITION"]]
        assert {"min", "max"} <= set(positions)
        for attribute in primitive["attributes"].values():
            assert document["accessors"][attribute]["count"] == positions["count"]
            assert document["bufferViews"][attribute]["target"] == 34962
        if "COLOR_0" in primitive["attributes"]:
            colors = arrays[primitive["attributes"]["COLOR_0"]]
            assert colors.min() >= 0
            assert colors.max() <= 1
        if "indices" in primitive:
            indices = arrays[primitive["indices"]]
            assert indices.max() < positions["count"]
            assert len(indices) % {1: 2, 4: 3}[primitive["mode"]] == 0
    seen = [child for node in document["nodes"] for child in node.get("children", [])]
    assert sorted([*seen, *document["scenes"][0]["nodes"]]) == list(range(len(document["nodes"])))
    for node in document["nodes"]:
        assert node.get("mesh", 0) < len(document["meshes"])
        assert node.get("camera", 0) < len(document["cameras"])
        assert len(node.get("matrix", range(16))) == 16
    for camera in document["cameras"]:
        assert 0 < camera["perspective"]["yfov"] < np.pi
        assert camera["perspective"]["znear"] > 0


@pytest.mark.parametrize("name", ["glb", "glb-mesh"])
def test_glb_is_strictly_gltf(tmp_path, source, name):
    export_recording(source, name, tmp_path / "a.glb", silent)
    document, body = gltf_of(tmp_path / "a.glb")
    check_gltf(document, body)
    assert len(document["cameras"]) == FRAMES


def test_glb_in_trimesh(tmp_path, source):
    export_recording(source, "glb", tmp_path / "a.glb", silent, EVERYTHING)
    scene = trimesh.load_scene(tmp_path / "a.glb")
    turn = np.diag([1.0, -1.0, -1.0, 1.0])
    points = scene.geometry["points"]
    assert isinstance(points, trimesh.PointCloud)
    assert np.allclose(points.vertices, world_points(source), atol=1e-5)
    assert np.allclose(scene.graph["points"][0], turn)
    colors = linear_from_srgb(np.concatenate([o.image.reshape(-1, 3) for o in source.frames()]))
    assert np.allclose(np.asarray(points.colors)[:, :3] / 255, colors, atol=0.5 / 255 + 1e-6)
    frusta = scene.geometry["frusta"]
    centres = np.stack([one.camera.T_world_camera[:3, 3] for one in source.cameras()])
    apart = np.linalg.norm(np.asarray(frusta.vertices)[None] - centres[:, None], axis=-1)
    assert (apart.min(axis=1) < 1e-5).all()
    nodes = {node["name"]: node for node in gltf_of(tmp_path / "a.glb")[0]["nodes"]}
    assert np.array_equal(nodes["reconstruction"]["matrix"], turn.ravel())
    for one in source.cameras():
        by_column = nodes[f"camera_{one.sequence:06d}"]["matrix"]
        pose = np.reshape(by_column, (4, 4)).T
        assert np.allclose(pose, one.camera.T_world_camera @ turn, atol=1e-12)


def test_glb_mesh_covers_the_walls_and_no_gaps(tmp_path, source, stepped):
    export_recording(source, "glb-mesh", tmp_path / "a.glb", silent, EVERYTHING)
    mesh = trimesh.load_scene(tmp_path / "a.glb").geometry["mesh"]
    assert isinstance(mesh, trimesh.Trimesh)
    possible = FRAMES * 2 * 63 * 47
    assert 0.9 * possible < len(mesh.faces) <= possible
    # From inside the room every wall is seen from its front.
    assert (np.einsum("ij,ij->i", mesh.face_normals, [0, 0, 1] - mesh.triangles_center) > 0).all()

    export_recording(stepped, "glb-mesh", tmp_path / "b.glb", silent, EVERYTHING)
    torn = trimesh.load_scene(tmp_path / "b.glb").geometry["mesh"]
    assert isinstance(torn, trimesh.Trimesh)
    left = np.isclose(torn.triangles[:, :, 2], 4.0, atol=0.01).any(axis=1)
    assert torn.edges_unique_length.max() < 1.5, "an edge spans the gap"
    assert left.any()


def test_glb_mesh_takes_fewer_pixels_where_there_are_too_many(tmp_path, source):
    few = export_recording(
        source, "glb-mesh", tmp_path / "a.glb", silent, Thinning(max_points=1000)
    )
    assert 500 < few.count <= 1000
