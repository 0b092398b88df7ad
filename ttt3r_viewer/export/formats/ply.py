"""Point clouds as binary PLY."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.lane_source import Source, StepCount
from ttt3r_viewer.export.thinning import chosen_points
from ttt3r_viewer.scene.seen import FramePoints
from ttt3r_viewer.system.files import atomic_write, output_errors

_FIELDS = {
    "x": "float",
    "y": "float",
    "z": "float",
    "red": "uchar",
    "green": "uchar",
    "blue": "uchar",
    "confidence": "float",
}
_FRAME_FIELDS = {**_FIELDS, "frame": "uint"}
_NUMPY_TYPES = {"float": "<f4", "uchar": "u1", "uint": "<u4"}
VERTEX = np.dtype([(name, _NUMPY_TYPES[kind]) for name, kind in _FIELDS.items()])
"""One vertex as it lies in the file that a run leaves."""
FRAME_VERTEX = np.dtype([(name, _NUMPY_TYPES[kind]) for name, kind in _FRAME_FIELDS.items()])
"""One vertex of an export: also the number of its frame in the recording."""
_COMMENT = "ttt3r-viewer; world is the first camera's frame, x right, y down, z forward"
_MOST_DIGITS = 20


def write_ply(path: Path, clouds: Sequence[FramePoints]) -> int:
    """Write the points of several frames as one cloud, frame after frame; the number of points.

    Little-endian: x y z in the world (the first camera's frame, OpenCV axes; metres for metric
    weights), red green blue, confidence.
    """
    count = sum(len(cloud) for cloud in clouds)
    with output_errors(path), atomic_write(path) as file:
        file.write(_header(count, _FIELDS))
        for cloud in clouds:
            vertices = np.empty(len(cloud), VERTEX)
            vertices["x"], vertices["y"], vertices["z"] = cloud.points_world.T
            vertices["red"], vertices["green"], vertices["blue"] = cloud.colors.T
            vertices["confidence"] = cloud.confidence
            file.write(vertices.tobytes())
    return count


def export_ply(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
    """Write a recording's points as `write_ply` does, with `frame`, holding one frame at a time."""
    count = 0
    with path.open("wb") as file:
        file.write(_header(0, _FRAME_FIELDS, fixed_length=True))
        for chosen in chosen_points(source, choices.thinning, progress):
            vertices = np.empty(len(chosen), FRAME_VERTEX)
            vertices["x"], vertices["y"], vertices["z"] = chosen.points_world.T
            vertices["red"], vertices["green"], vertices["blue"] = chosen.colors.T
            vertices["confidence"] = chosen.confidence
            vertices["frame"] = chosen.result.sequence
            file.write(vertices.tobytes())
            count += len(chosen)
        # How many there are is known now; the header has the same length for every number.
        file.seek(0)
        file.write(_header(count, _FRAME_FIELDS, fixed_length=True))
    return count


def _header(count: int, fields: Mapping[str, str], *, fixed_length: bool = False) -> bytes:
    """`fixed_length`: a comment takes up the room that the digits of the count leave."""
    filler = "." * (_MOST_DIGITS - len(str(count)) if fixed_length else 0)
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {_COMMENT}{filler}",
        f"element vertex {count}",
        *(f"property {kind} {name}" for name, kind in fields.items()),
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


PLY = Format(
    "all points as one binary PLY: colour, confidence and frame number",
    "points.ply",
    export_ply,
    lambda source, choices: choices.points_at_most(source) * FRAME_VERTEX.itemsize + 1000,
    unit="points",
    thins=True,
)
