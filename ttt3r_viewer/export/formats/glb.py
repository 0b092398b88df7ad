"""A scene as GLB: points or a mesh from depth, and the cameras, as frusta and as glTF cameras."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.export.conventions import (
    FRUSTUM_SHARE,
    T_GLTF_WORLD,
    frustum_lines,
    linear_from_srgb,
    opengl_pose,
)
from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.formats.gltf import LINES, POINTS, TRIANGLES, Gltf
from ttt3r_viewer.export.lane_source import Source, StepCount
from ttt3r_viewer.export.thinning import ChosenPoints, chosen_points
from ttt3r_viewer.types import Camera

MAX_POINTS = 2_000_000
"""What a browser or Blender shows with ease; more are taken when asked for."""
DEEPEST_RATIO = 1.1
"""A triangle whose corners' depths differ by more spans a gap between surfaces."""
FRUSTUM_COLOR = (0.05, 0.3, 0.8, 1.0)


@dataclass(eq=False)
class _Parts:
    """What the frames gave, until the file is written."""

    positions: list[NDArray[np.float32]] = field(default_factory=list)
    colors: list[NDArray[np.float32]] = field(default_factory=list)
    triangles: list[NDArray[np.uint32]] = field(default_factory=list)
    cameras: list[tuple[int, Camera]] = field(default_factory=list)
    """With the frame's number."""
    depths: list[float] = field(default_factory=list)
    """Median of each frame."""
    vertices: int = 0


def export_glb(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
    """Write the chosen points; how many. The root node turns our world to glTF's, whose y is up."""
    return _write(path, chosen_points(source, choices.thinning, progress), lambda _: None)


def export_glb_mesh(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
    """Write a mesh of every frame's depth, without triangles over gaps; the number of vertices.

    Where its vertices were too many, fewer pixels are taken.
    """
    stride, most = choices.thinning.pixel_stride, choices.thinning.max_points
    if most is not None:
        stride = max(stride, math.ceil(math.sqrt(source.pixel_count() / most)))
    whole = replace(choices.thinning, pixel_stride=stride, max_points=None)
    return _write(
        path, chosen_points(source, whole, progress), lambda one: triangles_of(one, stride)
    )


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


def _write(
    path: Path,
    frames: Iterable[ChosenPoints],
    triangles_of_frame: Callable[[ChosenPoints], NDArray[np.uint32] | None],
) -> int:
    parts = _Parts()
    for chosen in frames:
        camera = chosen.result.camera
        if camera.focal_px > 0:
            parts.cameras.append((chosen.result.sequence, camera))
        if not len(chosen):
            continue
        triangles = triangles_of_frame(chosen)
        if triangles is not None:
            parts.triangles.append(triangles + np.uint32(parts.vertices))
        parts.positions.append(chosen.points_world.astype(np.float32))
        parts.colors.append(linear_from_srgb(chosen.colors))
        parts.depths.append(float(np.median(np.abs(chosen.points_camera[:, 2]))))
        parts.vertices += len(chosen)
    path.write_bytes(_scene(parts))
    return parts.vertices


def _scene(parts: _Parts) -> bytes:
    gltf = Gltf()
    children: list[int] = []
    triangles = np.concatenate([*parts.triangles, np.zeros((0, 3), np.uint32)]).reshape(-1)
    if parts.triangles and len(triangles):
        mode, name, indices = TRIANGLES, "mesh", triangles
    else:
        mode, name, indices = POINTS, "points", None
    if parts.vertices:
        positions, colors = np.concatenate(parts.positions), np.concatenate(parts.colors)
        mesh = gltf.add_mesh(name, mode, positions, colors, indices)
        children.append(gltf.add_node(name=name, mesh=mesh))
    if parts.cameras:
        depth = FRUSTUM_SHARE * float(np.median(parts.depths)) if parts.depths else FRUSTUM_SHARE
        lines = np.concatenate([frustum_lines(camera, depth) for _, camera in parts.cameras])
        mesh = gltf.add_mesh("frusta", LINES, lines, base_color=FRUSTUM_COLOR)
        children.append(gltf.add_node(name="frusta", mesh=mesh))
        children += [_add_camera(gltf, *one, depth) for one in parts.cameras]
    # The standard has matrices column by column. A node called "world" is trimesh's own, whose
    # matrix versions before 5 leave out.
    turn = T_GLTF_WORLD.T.reshape(-1).tolist()
    return gltf.to_bytes(
        gltf.add_node(name="reconstruction", matrix=turn, children=children or None)
    )


def _add_camera(gltf: Gltf, sequence: int, camera: Camera, depth: float) -> int:
    name = f"camera_{sequence:06d}"
    perspective = {
        "yfov": camera.fov_y_rad,
        "aspectRatio": camera.aspect,
        "znear": max(0.01 * depth, 1e-6),
    }
    gltf.cameras.append({"name": name, "type": "perspective", "perspective": perspective})
    matrix = opengl_pose(camera.T_world_camera).T.reshape(-1).tolist()
    return gltf.add_node(name=name, camera=len(gltf.cameras) - 1, matrix=matrix)


GLB = Format(
    f"points (at most {MAX_POINTS:,}) and cameras, for browsers and Blender",
    "scene.glb",
    export_glb,
    lambda source, choices: 24 * choices.points_at_most(source) + 2000 * (len(source) + 1),
    unit="points",
    thins=True,
    max_points=MAX_POINTS,
)
GLB_MESH = Format(
    f"a mesh from every frame's depth (at most {MAX_POINTS:,} vertices) and cameras",
    "mesh.glb",
    export_glb_mesh,
    lambda source, choices: 48 * choices.points_at_most(source) + 2000 * (len(source) + 1),
    unit="vertices",
    thins=True,
    max_points=MAX_POINTS,
)
