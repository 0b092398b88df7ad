"""Every format that a session can be exported to: by name, with what writes it.

Other packages may add theirs to `FORMATS`; the command's list and errors follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ttt3r_viewer.errors import ArchiveError, SettingsError
from ttt3r_viewer.export import colmap, depth, glb, nerf
from ttt3r_viewer.export.ply import export_ply, ply_bytes
from ttt3r_viewer.export.points import Tell, Thinning
from ttt3r_viewer.export.results import lane_names
from ttt3r_viewer.export.source import CameraOfFrame, Source
from ttt3r_viewer.export.target import new_file, new_folder
from ttt3r_viewer.export.trajectory import (
    KITTI_FILES,
    intrinsics_json,
    kitti_poses_text,
    kitti_times_text,
    tum_text,
)
from ttt3r_viewer.scene.archive import FOLDER as ARCHIVE_FOLDER
from ttt3r_viewer.scene.archive import Archive

EXPORT_FOLDER = "export"
"""In the session's folder; what is exported without a name goes there."""
FRAME_LINE_BYTES = 1024
"""More than any text format takes for a frame."""

Write = Callable[[Path, Source, Thinning, Tell], int]
"""Writes to a file or into a folder, and gives how many things (`Format.unit`) it wrote."""
Size = Callable[[int, int, Thinning], int]
"""Takes how many pixels and frames there are; gives how many bytes will be written at most."""


@dataclass(frozen=True)
class Format:
    """One format."""

    summary: str
    """What it holds, for a person."""
    target: str
    """What its file or folder is called where no name is given."""
    write: Write
    size: Size
    unit: str = "frames"
    own: tuple[str, ...] = ()
    """Patterns of what a folder holds; empty where the format is a file."""
    thins: bool = False
    """Whether `Thinning` means anything to it."""
    max_points: int | None = None
    """How many points are taken where the person names no number."""


@dataclass(frozen=True)
class Exported:
    """What an export did."""

    path: Path
    count: int
    """How many things were written, and which: points or frames."""
    unit: str
    bytes_written: int
    note: str
    """What is damaged or was left out; empty where all went well."""


def export_session(
    source: Source,
    name: str,
    path: Path,
    tell: Tell,
    thinning: Thinning | None = None,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write a session's lane in the format of this name to `path`: whole, or nothing at all.

    `tell` hears how far it is after each frame; what it raises ends the export, and nothing is
    left. Raises `SettingsError`, `OutputError` and `ArchiveError`.
    """
    kind = format_named(name)
    thinning = thinning or Thinning()
    if thinning != Thinning() and not kind.thins:
        thinned = ", ".join(known for known, one in FORMATS.items() if one.thins)
        raise SettingsError(f"{name} has no points to be thinned; {thinned} have: leave that out")
    if thinning.max_points is None:
        thinning = replace(thinning, max_points=kind.max_points)
    size = kind.size(source.pixel_count(), len(source), thinning)
    room = (
        new_folder(path, kind.own, overwrite=overwrite, size=size)
        if kind.own
        else new_file(path, overwrite=overwrite, size=size)
    )
    with room as part:
        count = kind.write(part, source, thinning, tell)
        if not count:
            why = "; ".join(source.notes) or "no point is finite"
            raise ArchiveError(f"{source.archive.path}: nothing to export as {name}: {why}")
        written = _bytes_in(part)
    return Exported(path, count, kind.unit, written, "; ".join(source.notes))


def format_named(name: str) -> Format:
    """Raises `SettingsError` that lists the formats."""
    if name not in FORMATS:
        raise SettingsError(f"--to {name}: no such format; take one of {', '.join(FORMATS)}")
    return FORMATS[name]


def default_target(folder: Path, source: Source, name: str) -> Path:
    """Where an export goes when the person names no place: in the session's folder.

    With several lanes each has a folder of its own.
    """
    archive_path = source.archive.path
    inside = archive_path.name == ARCHIVE_FOLDER and archive_path.parent.exists()
    base = (archive_path.parent if inside else folder) / EXPORT_FOLDER
    if source.lane_count > 1:
        base /= lane_folder(source.archive, source.lane, source.lane_count)
    return base / format_named(name).target


def lane_folder(archive: Archive, lane: int, lane_count: int) -> str:
    """Name a lane by its rule, where archive.json knows it."""
    known = archive.description.status.lanes
    # A description that was damaged has rules without parameters, in words.
    if len(known) != lane_count or any(" " in one.name for one in known):
        return f"lane-{lane + 1}"
    return lane_names(known)[lane]


def _cameras(source: Source, tell: Tell) -> list[CameraOfFrame]:
    cameras: list[CameraOfFrame] = []
    for one in source.cameras():
        cameras.append(one)
        tell(len(cameras), len(source))
    return cameras


def _write_tum(path: Path, source: Source, _thinning: Thinning, tell: Tell) -> int:
    cameras = _cameras(source, tell)
    path.write_bytes(tum_text(cameras))
    return len(cameras)


def _write_kitti(folder: Path, source: Source, _thinning: Thinning, tell: Tell) -> int:
    cameras = _cameras(source, tell)
    poses, times = KITTI_FILES
    (folder / poses).write_bytes(kitti_poses_text(cameras))
    (folder / times).write_bytes(kitti_times_text(cameras))
    return len(cameras)


def _write_intrinsics(path: Path, source: Source, _thinning: Thinning, tell: Tell) -> int:
    cameras = _cameras(source, tell)
    path.write_bytes(intrinsics_json(cameras))
    return len(cameras)


def _write_depth(folder: Path, source: Source, _thinning: Thinning, tell: Tell) -> int:
    return depth.export_depth(folder, source, tell)


def _write_nerf(folder: Path, source: Source, _thinning: Thinning, tell: Tell) -> int:
    return nerf.export_nerf(folder, source, tell)


def _text_size(_pixels: int, frames: int, _thinning: Thinning) -> int:
    return FRAME_LINE_BYTES * (frames + 1)


def _points_at_most(pixels: int, thinning: Thinning) -> int:
    return pixels if thinning.max_points is None else min(pixels, thinning.max_points)


def _bytes_in(path: Path) -> int:
    files = (one for one in path.rglob("*") if one.is_file()) if path.is_dir() else (path,)
    return sum(one.stat().st_size for one in files)


FORMATS: dict[str, Format] = {
    "ply": Format(
        "all points as one binary PLY: colour, confidence and frame number",
        "points.ply",
        export_ply,
        lambda pixels, _, thinning: ply_bytes(_points_at_most(pixels, thinning)),
        unit="points",
        thins=True,
    ),
    "glb": Format(
        f"points (at most {glb.MAX_POINTS:,}) and cameras, for browsers and Blender",
        "scene.glb",
        glb.export_glb,
        lambda pixels, frames, thinning: glb.glb_bytes(
            _points_at_most(pixels, thinning), frames, mesh=False
        ),
        unit="points",
        thins=True,
        max_points=glb.MAX_POINTS,
    ),
    "glb-mesh": Format(
        f"a mesh from every frame's depth (at most {glb.MAX_POINTS:,} vertices) and cameras",
        "mesh.glb",
        glb.export_glb_mesh,
        lambda pixels, frames, thinning: glb.glb_bytes(
            _points_at_most(pixels, thinning), frames, mesh=True
        ),
        unit="vertices",
        thins=True,
        max_points=glb.MAX_POINTS,
    ),
    "colmap": Format(
        f"COLMAP model as text and binary (at most {colmap.MAX_POINTS:,} points), and its "
        "pictures: for splat training",
        "colmap",
        colmap.export_colmap,
        lambda pixels, frames, thinning: colmap.colmap_bytes(
            pixels, frames, _points_at_most(pixels, thinning)
        ),
        unit="points",
        own=colmap.OWN,
        thins=True,
        max_points=colmap.MAX_POINTS,
    ),
    "nerf": Format(
        "transforms.json and its pictures: instant-ngp, nerfstudio",
        "nerf",
        _write_nerf,
        lambda pixels, frames, _: nerf.nerf_bytes(pixels, frames),
        own=nerf.OWN,
    ),
    "tum": Format(
        "trajectory: time, position, quaternion", "poses_tum.txt", _write_tum, _text_size
    ),
    "kitti": Format(
        "trajectory: poses.txt (3x4 matrices) and times.txt",
        "kitti",
        _write_kitti,
        _text_size,
        own=KITTI_FILES,
    ),
    "intrinsics": Format(
        "every frame's focal length and centre, for the prepared and the original picture",
        "intrinsics.json",
        _write_intrinsics,
        _text_size,
    ),
    "depth": Format(
        "maps per frame: depth (npy, 16-bit PNG in mm), conf, color, camera (npz)",
        "maps",
        _write_depth,
        lambda pixels, frames, _: depth.depth_bytes(pixels, frames),
        own=depth.OWN,
    ),
}
