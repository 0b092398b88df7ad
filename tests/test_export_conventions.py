"""Axes, poses and pixels of the formats: laws, and one camera whose numbers are known by heart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.made_up_run import pose_at, room_result
from ttt3r_viewer.export import conventions
from ttt3r_viewer.geometry import pose_from_vector, transform_points
from ttt3r_viewer.types import Camera, Crop

number = st.floats(-50, 50)
poses = st.builds(
    lambda position, rotation: pose_from_vector([*position, *rotation]),
    st.tuples(number, number, number),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
)


@given(T_world_camera=poses)
def test_every_pose_comes_back_from_every_format(T_world_camera):
    for there, back in (
        (conventions.colmap_pose, conventions.pose_from_colmap),
        (conventions.tum_pose, conventions.pose_from_tum),
        (conventions.kitti_pose, conventions.pose_from_kitti),
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


@given(T_world_camera=poses)
def test_opengl_looks_the_same_way_with_its_own_axes(T_world_camera):
    pose = conventions.opengl_pose(T_world_camera)
    assert np.allclose(pose[:3, 3], T_world_camera[:3, 3])
    right, up, backward = pose[:3, :3].T
    assert np.allclose(right, T_world_camera[:3, 0])
    assert np.allclose(up, -T_world_camera[:3, 1])
    assert np.allclose(backward, -T_world_camera[:3, 2])


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
    # An OpenGL camera looks along its own -z.
    ahead = transform_points(conventions.opengl_pose(T_world_camera), [0.0, 0.0, -5.0])
    assert np.allclose(ahead, [6, 0, 0])
    # In glTF's world what was down is down, with y up, and forward is -z.
    assert np.allclose(transform_points(conventions.T_GLTF_WORLD, [1.0, 2.0, 3.0]), [1, -2, -3])


def test_the_first_camera_in_each_format():
    assert np.allclose(conventions.colmap_pose(np.eye(4)), [1, 0, 0, 0, 0, 0, 0])
    assert np.allclose(conventions.tum_pose(np.eye(4)), [0, 0, 0, 0, 0, 0, 1])
    assert np.allclose(conventions.opengl_pose(np.eye(4)), np.diag([1, -1, -1, 1]))
    assert np.allclose(conventions.T_OPENCV_OPENGL @ conventions.T_OPENCV_OPENGL, np.eye(4))


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


def test_the_field_of_view_is_that_of_nerf_programs():
    pinhole = conventions.prepared_pinhole(Camera(np.eye(4), 256.0, 512, 512))
    assert pinhole.fov_x_rad == pytest.approx(np.pi / 2)
    assert pinhole.fov_y_rad == pytest.approx(np.pi / 2)


def test_depth_in_millimetres():
    depth = np.array([0.0, 0.0004, 1.2341, 65.535, 65.536, -1.0, np.nan, np.inf], np.float32)
    assert conventions.depth_mm(depth).tolist() == [0, 0, 1234, conventions.LONGEST_MM, 0, 0, 0, 0]


def test_colours_become_linear_light():
    linear = conventions.linear_from_srgb(np.array([0, 10, 128, 255], np.uint8))
    assert linear == pytest.approx([0, 10 / 255 / 12.92, 0.2158605, 1], abs=1e-6)
    assert (np.diff(conventions.linear_from_srgb(np.arange(256, dtype=np.uint8))) > 0).all()
