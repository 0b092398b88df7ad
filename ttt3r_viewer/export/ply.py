"""Point clouds as binary PLY."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ttt3r_viewer.export.folder import whole_file
from ttt3r_viewer.scene.store import FramePoints

_FIELDS = {
    "x": "float",
    "y": "float",
    "z": "float",
    "red": "uchar",
    "green": "uchar",
    "blue": "uchar",
    "confidence": "float",
}
_NUMPY_TYPES = {"float": "<f4", "uchar": "u1"}
VERTEX = np.dtype([(name, _NUMPY_TYPES[kind]) for name, kind in _FIELDS.items()])
"""One vertex as it lies in the file."""


def write_ply(path: Path, clouds: Sequence[FramePoints]) -> int:
    """Write the points of several frames as one cloud, frame after frame; the number of points.

    Little-endian: x y z in the world (the first camera's frame, OpenCV axes; metres for metric
    weights), red green blue, confidence.
    """
    count = sum(len(cloud) for cloud in clouds)
    properties = [f"property {kind} {name}" for name, kind in _FIELDS.items()]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment ttt3r-viewer; world is the first camera's frame, x right, y down, z forward",
        f"element vertex {count}",
        *properties,
        "end_header",
    ]
    with whole_file(path) as file:
        file.write(("\n".join(header) + "\n").encode("ascii"))
        for cloud in clouds:
            vertices = np.empty(len(cloud), VERTEX)
            vertices["x"], vertices["y"], vertices["z"] = cloud.points_world.T
            vertices["red"], vertices["green"], vertices["blue"] = cloud.colors.T
            vertices["confidence"] = cloud.confidence
            file.write(vertices.tobytes())
    return count
