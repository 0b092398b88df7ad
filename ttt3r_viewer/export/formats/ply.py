"""Point clouds as binary PLY."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.lane_source import ChosenPoints, Source, StepCount, chosen_points
from ttt3r_viewer.scene.seen import FramePoints
from ttt3r_viewer.system.files import atomic_write, output_errors

VERTEX = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("red", "u1"),
        ("green", "u1"),
        ("blue", "u1"),
        ("confidence", "<f4"),
    ]
)
"""One vertex as it lies in the file that a run leaves."""
FRAME_VERTEX = np.dtype([*VERTEX.descr, ("frame", "<u4")])
"""One vertex of an export: also the number of its frame in the recording."""
_TYPES = {"<f4": "float", "|u1": "uchar", "<u4": "uint"}
"""What PLY calls numpy's."""
_COMMENT = "ttt3r-viewer; world is the first camera's frame, x right, y down, z forward"
_MOST_DIGITS = 20


def write_ply(path: Path, clouds: Sequence[FramePoints]) -> int:
    """Write the points of several frames as one cloud, frame after frame; the number of points.

    Little-endian: x y z in the world (the first camera's frame, OpenCV axes; metres for metric
    weights), red green blue, confidence.
    """
    count = sum(len(cloud) for cloud in clouds)
    with output_errors(path), atomic_write(path) as file:
        file.write(_header(count, VERTEX))
        for cloud in clouds:
            file.write(_vertices(cloud, VERTEX).tobytes())
    return count


def export_ply(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
    """Write a recording's points as `write_ply` does, with `frame`, holding one frame at a time."""
    count = 0
    with path.open("wb") as file:
        file.write(_header(0, FRAME_VERTEX, fixed_length=True))
        for chosen in chosen_points(source, choices.thinning, progress):
            vertices = _vertices(chosen, FRAME_VERTEX)
            vertices["frame"] = chosen.result.sequence
            file.write(vertices.tobytes())
            count += len(chosen)
        # How many there are is known now; the header has the same length for every number.
        file.seek(0)
        file.write(_header(count, FRAME_VERTEX, fixed_length=True))
    return count


def _vertices(cloud: FramePoints | ChosenPoints, kind: np.dtype[np.void]) -> NDArray[np.void]:
    vertices = np.empty(len(cloud), kind)
    vertices["x"], vertices["y"], vertices["z"] = cloud.points_world.T
    vertices["red"], vertices["green"], vertices["blue"] = cloud.colors.T
    vertices["confidence"] = cloud.confidence
    return vertices


def _header(count: int, kind: np.dtype[np.void], *, fixed_length: bool = False) -> bytes:
    """`fixed_length`: a comment takes up the room that the digits of the count leave."""
    filler = "." * (_MOST_DIGITS - len(str(count)) if fixed_length else 0)
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {_COMMENT}{filler}",
        f"element vertex {count}",
        *(f"property {_TYPES[code]} {name}" for name, code, *_ in kind.descr),
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


PLY = Format(
    "Point cloud",
    "all points as one binary PLY: colour, confidence and frame number",
    "points.ply",
    export_ply,
    lambda source, choices: choices.points_at_most(source) * FRAME_VERTEX.itemsize + 1000,
    unit="points",
    thins=True,
)
