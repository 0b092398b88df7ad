"""A COLMAP model, as text and binary, with its images: ready for splat training.

`sparse/0/` holds cameras, images and points3D as .bin and .txt (colmap.github.io/format.html),
`images/` the prepared images, which have no distortion, and `image_list.txt` their names.
"""

import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.export.conventions import (
    CORNER_PX,
    Pinhole,
    colmap_pose,
    image_name,
    prepared_pinhole,
    write_png,
)
from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.lane_source import ChosenPoints, Source, StepCount, chosen_points

PARTS = {
    "cameras": "CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY",
    "images": "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, and in the next line X Y POINT3D_ID, "
    "...",
    "points3D": "POINT3D_ID X Y Z R G B ERROR IMAGE_ID POINT2D_INDEX",
}
"""Files of a model, each with the head of its text."""
OWN = (
    *(f"sparse/0/{part}.{kind}" for part in PARTS for kind in ("bin", "txt")),
    "images/*.png",
    "image_list.txt",
)
MAX_POINTS = 500_000
"""Where a training starts; more are taken when asked for."""
PINHOLE_MODEL = 1
"""COLMAP's number of the model PINHOLE, whose parameters are fx, fy, cx, cy."""
OBSERVATION = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<u8")])
POINT = np.dtype(
    [
        ("id", "<u8"),
        ("xyz", "<f8", 3),
        ("rgb", "u1", 3),
        ("error", "<f8"),
        ("track_length", "<u8"),
        ("image", "<u4"),
        ("observation", "<u4"),
    ]
)
"""A point that one image sees."""


def export_colmap(folder: Path, source: Source, choices: Choices, progress: StepCount) -> int:
    """Write model and images, holding one frame at a time; the number of points.

    Every frame has its own PINHOLE camera, because its focal length is its own. Each point is seen
    by its own frame only, at the centre of its pixel; `error` is how far from there it projects, in
    pixels. Points behind their camera and frames without a focal length are left out.
    """
    (folder / "images").mkdir()
    (folder / "sparse" / "0").mkdir(parents=True)
    with ExitStack() as stack:
        model = ModelFiles(folder / "sparse" / "0", stack)
        names = stack.enter_context((folder / "image_list.txt").open("w"))
        for chosen in chosen_points(source, choices.thinning, progress):
            result = chosen.result
            if result.camera.focal_px <= 0:
                source.leave_out(f"frame {result.sequence}: it has no focal length")
                continue
            name = image_name(result.sequence)
            write_png(folder / "images" / name, result.image)
            names.write(f"{name}\n")
            model.add(name, chosen)
        model.finish()
    return model.counts["points3D"]


class ModelFiles:
    """Appends frames to the six files of a model, and at last writes how many there are."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """Open the files of `PARTS`, which `stack` closes. Raises `OSError`."""
        self.counts = dict.fromkeys(PARTS, 0)
        self._files: dict[str, tuple[IO[bytes], IO[str]]] = {}
        for part, head in PARTS.items():
            binary = (folder / f"{part}.bin").open("wb")
            text = (folder / f"{part}.txt").open("w", encoding="ascii", newline="\n")
            self._files[part] = stack.enter_context(binary), stack.enter_context(text)
            self._write(part, 0, struct.pack("<Q", 0), f"# {head}\n")

    def add(self, name: str, chosen: ChosenPoints) -> None:
        """Write a frame's camera, image and points; camera and image have the same number."""
        number = self.counts["images"] + 1
        camera = prepared_pinhole(chosen.result.camera).from_corner()
        size = (camera.width, camera.height)
        lens = (camera.fx, camera.fy, camera.cx, camera.cy)
        binary = struct.pack("<Ii2Q4d", number, PINHOLE_MODEL, *size, *lens)
        self._write("cameras", 1, binary, f"{number} PINHOLE {_text(size)} {_text(lens)}\n")
        points, seen = _points(chosen, camera, self.counts["points3D"] + 1, number)
        pose = colmap_pose(chosen.result.camera.T_world_camera)
        head = struct.pack("<I7dI", number, *pose, number) + name.encode("ascii") + b"\0"
        binary = head + struct.pack("<Q", len(seen)) + seen.tobytes()
        text = " ".join(f"{x:g} {y:g} {point}" for x, y, point in seen.tolist())
        self._write("images", 1, binary, f"{number} {_text(pose)} {number} {name}\n{text}\n")
        self._write("points3D", len(points), points.tobytes(), *_point_lines(points))

    def finish(self) -> None:
        """Put the counts where readers look for them."""
        for part, (file, _) in self._files.items():
            file.seek(0)
            file.write(struct.pack("<Q", self.counts[part]))

    def _write(self, part: str, count: int, binary: bytes, *text: str) -> None:
        self.counts[part] += count
        self._files[part][0].write(binary)
        self._files[part][1].writelines(text)


def colmap_bytes(source: Source, choices: Choices) -> int:
    """Upper bound of the size of an export."""
    text_line = 120
    return (
        3 * source.pixel_count()
        + 8192 * (len(source) + 1)
        + choices.points_at_most(source) * (POINT.itemsize + OBSERVATION.itemsize + 2 * text_line)
    )


def _points(
    chosen: ChosenPoints, camera: Pinhole, first: int, image: int
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Give the points in front of the camera, numbered from `first`, as `POINT` and `OBSERVATION`.

    They are those of the image of this number.
    """
    in_front = chosen.points_camera[:, 2] > 0
    pixels_xy = chosen.pixels_xy[in_front] + CORNER_PX
    offset = camera.project(chosen.points_camera[in_front]) - pixels_xy
    points = np.empty(len(pixels_xy), POINT)
    points["id"] = np.arange(first, first + len(points))
    points["xyz"] = chosen.points_world[in_front]
    points["rgb"] = chosen.colors[in_front]
    points["error"] = np.hypot(offset[:, 0], offset[:, 1])
    points["track_length"] = 1
    points["image"] = image
    points["observation"] = np.arange(len(points))
    seen = np.empty(len(points), OBSERVATION)
    seen["x"], seen["y"] = pixels_xy.T
    seen["point"] = points["id"]
    return points, seen


def _text(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.12g}" for number in numbers)


def _point_lines(points: NDArray[np.void]) -> Iterator[str]:
    for one, (x, y, z), (r, g, b), error, _, image, observation in points.tolist():
        yield f"{one} {x:.9g} {y:.9g} {z:.9g} {r} {g} {b} {error:.6g} {image} {observation}\n"


COLMAP = Format(
    "COLMAP model",
    f"COLMAP model as text and binary (at most {MAX_POINTS:,} points), and its images: for splat "
    "training",
    "colmap",
    export_colmap,
    colmap_bytes,
    unit="points",
    own=OWN,
    thins=True,
    max_points=MAX_POINTS,
)
