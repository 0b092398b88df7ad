"""GLB exports: strictly glTF, and what trimesh finds in them."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from tests.made_up_run import room_result
from tests.test_export_formats import FRAMES, silent, world_points
from ttt3r_viewer.export.conventions import linear_from_srgb
from ttt3r_viewer.export.lane_source import Source
from ttt3r_viewer.export.registry import export_recording
from ttt3r_viewer.export.thinning import Thinning
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.types import Status


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
    export_recording(source, "glb", tmp_path / "a.glb", silent)
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


def test_glb_mesh_covers_the_walls_and_no_gaps(tmp_path, source):
    export_recording(source, "glb-mesh", tmp_path / "a.glb", silent)
    mesh = trimesh.load_scene(tmp_path / "a.glb").geometry["mesh"]
    assert isinstance(mesh, trimesh.Trimesh)
    possible = FRAMES * 2 * 63 * 47
    assert 0.9 * possible < len(mesh.faces) <= possible
    # From inside the room every wall is seen from its front.
    assert (np.einsum("ij,ij->i", mesh.face_normals, [0, 0, 1] - mesh.triangles_center) > 0).all()

    step = room_result(0)
    points = step.points_camera.copy()
    points[:, 32:] *= 3  # the right half of the room stands far behind the left one
    writer = RecordingWriter(tmp_path / "step", source="", settings={})
    writer.begin(Status())
    writer.add([replace(step, points_camera=points)])
    writer.close()
    export_recording(
        Source(Recording.open(tmp_path / "step")), "glb-mesh", tmp_path / "b.glb", silent
    )
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
