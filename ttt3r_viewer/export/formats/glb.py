"""A scene as GLB: points or a mesh from depth, and the cameras, as frusta and as glTF cameras.

The container is that of Khronos, "glTF 2.0 Specification", section 4. It is not written by trimesh,
which keeps colours as bytes, and of linear light a byte tells too few dark ones apart.
"""

import json
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.export.conventions import (
    FRUSTUM_SHARE,
    T_GLTF_WORLD,
    frustum_lines,
    linear_from_srgb,
    opengl_pose,
)
from ttt3r_viewer.export.film.footage import Footage, read_footage
from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.lane_source import ChosenPoints, Source, StepCount
from ttt3r_viewer.system.version import PROGRAM

MAX_POINTS = 2_000_000
"""What a browser or Blender shows with ease; more are taken when asked for."""
DEEPEST_RATIO = 1.1
"""A triangle whose corners' depths differ by more spans a gap between surfaces."""
WHITE, FRUSTUM_COLOR = (1.0, 1.0, 1.0, 1.0), (0.05, 0.3, 0.8, 1.0)
POINTS, LINES, TRIANGLES = 0, 1, 4
"""Modes of a primitive."""


def export_glb(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
    """Write the chosen points; how many. The root node turns our world to glTF's, whose y is up."""
    footage = read_footage(source, choices.thinning, progress)
    return _write(path, footage, np.zeros((0, 3), np.uint32))


def export_glb_mesh(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
    """Write a mesh of every frame's depth, without triangles over gaps; the number of vertices.

    Where its vertices were too many, fewer pixels are taken.
    """
    stride, most = choices.thinning.pixel_stride, choices.thinning.max_points
    if most is not None:
        stride = max(stride, math.ceil(math.sqrt(source.pixel_count() / most)))
    whole = replace(choices.thinning, pixel_stride=stride, max_points=None)
    triangles: list[NDArray[np.uint32]] = []
    footage = read_footage(
        source, whole, progress, lambda one: triangles.append(triangles_of(one, stride))
    )
    starts = np.array([0, *footage.ends[:-1]], np.uint32)
    numbered = [one + start for one, start in zip(triangles, starts, strict=True)]
    return _write(path, footage, np.concatenate(numbered))


def triangles_of(chosen: ChosenPoints, stride: int) -> NDArray[np.uint32]:
    """Give the triangles (n, 3) between neighbours, `stride` pixels apart, all chosen.

    They number the chosen points, and turn left as the camera sees them.
    """
    height, width = chosen.result.confidence.shape
    number = np.full(height * width, -1, np.int64)
    number[chosen.pixels] = np.arange(len(chosen))
    number = number.reshape(height, width)[::stride, ::stride]
    upper_left, upper_right = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
    lower_left, lower_right = number[1:, :-1].ravel(), number[1:, 1:].ravel()
    triangles = np.concatenate(
        (
            np.stack((upper_left, lower_left, upper_right), axis=1),
            np.stack((upper_right, lower_left, lower_right), axis=1),
        )
    )
    triangles = triangles[(triangles >= 0).all(axis=1)]
    depth = chosen.points_camera[:, 2][triangles]
    whole = (depth.min(axis=1) > 0) & (depth.max(axis=1) <= DEEPEST_RATIO * depth.min(axis=1))
    return triangles[whole].astype(np.uint32)


def _write(path: Path, footage: Footage, triangles: NDArray[np.uint32]) -> int:
    """Write the mesh of these triangles (n, 3), or the points where there is none; how many."""
    points, depth = footage.points, FRUSTUM_SHARE * footage.depth
    arrays: list[NDArray[Any]] = [points.positions_world, linear_from_srgb(points.colors)]
    cloud: dict[str, Any] = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "mode": POINTS}
    if len(triangles):
        arrays.append(triangles.reshape(-1))
        cloud |= {"mode": TRIANGLES, "indices": 2}
    shapes = {"mesh" if len(triangles) else "points": cloud}
    frusta = frustum_lines(footage.cameras, depth)
    if len(frusta):
        shapes["frusta"] = {"attributes": {"POSITION": len(arrays)}, "mode": LINES}
        arrays.append(frusta.reshape(-1, 3))
    document = _scene(shapes, footage, max(0.01 * depth, 1e-6)) | _described(arrays)
    head = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")
    head += b" " * (-len(head) % 4)
    length = sum(one.nbytes for one in arrays)
    with path.open("wb") as file:
        file.write(struct.pack("<4s2I", b"glTF", 2, 28 + len(head) + length))
        file.write(struct.pack("<I4s", len(head), b"JSON") + head)
        file.write(struct.pack("<I4s", length, b"BIN\0"))
        for one in arrays:
            file.write(one.astype(one.dtype.newbyteorder("<"), "C", copy=False).data)
    return len(points.colors)


def _scene(shapes: dict[str, dict[str, Any]], footage: Footage, near: float) -> dict[str, Any]:
    """Describe nodes, cameras, and a mesh and a material for each shape, drawn without a light."""
    nodes: list[dict[str, Any]] = [{"name": one, "mesh": k} for k, one in enumerate(shapes)]
    cameras: list[dict[str, Any]] = []
    for sequence, camera in zip(footage.sequences, footage.cameras, strict=True):
        if camera.focal_px > 0:
            name = f"camera_{sequence:06d}"
            nodes.append({"name": name, "camera": len(cameras)})
            nodes[-1]["matrix"] = _by_column(opengl_pose(camera.T_world_camera))
            lens = {"yfov": camera.fov_y_rad, "aspectRatio": camera.aspect, "znear": near}
            cameras.append({"name": name, "type": "perspective", "perspective": lens})
    # A node called "world" is trimesh's own, whose matrix versions before 5 leave out.
    root = {"name": "reconstruction", "matrix": _by_column(T_GLTF_WORLD)}
    root["children"] = list(range(len(nodes)))
    surface = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    return {
        "asset": {"version": "2.0", "generator": PROGRAM},
        "scene": 0,
        "scenes": [{"nodes": [len(nodes)]}],
        "nodes": [*nodes, root],
        "meshes": [
            {"name": name, "primitives": [one | {"material": k}]}
            for k, (name, one) in enumerate(shapes.items())
        ],
        "materials": [
            {
                "name": name,
                "pbrMetallicRoughness": {"baseColorFactor": color, **surface},
                "doubleSided": True,
                "extensions": {"KHR_materials_unlit": {}},
            }
            for name, color in zip(shapes, (WHITE, FRUSTUM_COLOR), strict=False)
        ],
        "extensionsUsed": ["KHR_materials_unlit"],
        # The standard allows no empty lists.
        **({"cameras": cameras} if cameras else {}),
    }


def _by_column(matrix: NDArray[np.float64]) -> list[float]:
    return matrix.T.ravel().tolist()


def _described(arrays: list[NDArray[Any]]) -> dict[str, Any]:
    """Give every array, (n, 3) of vertices or (n,) of indices, an accessor and a view of its own.

    All have elements of 4 bytes, so all are aligned.
    """
    accessors: list[dict[str, Any]] = []
    views: list[dict[str, int]] = []
    length = 0
    for number, one in enumerate(arrays):
        accessor: dict[str, Any] = {"bufferView": number, "count": len(one)}
        if one.ndim == 2:
            target, accessor["componentType"], accessor["type"] = 34962, 5126, "VEC3"
            accessor |= {"min": one.min(axis=0).tolist(), "max": one.max(axis=0).tolist()}
        else:
            target, accessor["componentType"], accessor["type"] = 34963, 5125, "SCALAR"
        accessors.append(accessor)
        span = {"byteOffset": length, "byteLength": one.nbytes}
        views.append({"buffer": 0, "target": target, **span})
        length += one.nbytes
    return {"accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": length}]}


GLB = Format(
    "3D points and cameras",
    f"points (at most {MAX_POINTS:,}) and cameras, for browsers and Blender",
    "scene.glb",
    export_glb,
    lambda source, choices: 24 * choices.points_at_most(source) + 2000 * (len(source) + 1),
    unit="points",
    thins=True,
    max_points=MAX_POINTS,
)
GLB_MESH = Format(
    "3D mesh and cameras",
    f"a mesh from every frame's depth (at most {MAX_POINTS:,} vertices) and cameras",
    "mesh.glb",
    export_glb_mesh,
    lambda source, choices: 48 * choices.points_at_most(source) + 2000 * (len(source) + 1),
    unit="vertices",
    thins=True,
    max_points=MAX_POINTS,
)
