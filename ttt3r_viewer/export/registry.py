"""Every format that a session can be exported to: by name, with what writes it.

Other packages may add theirs to `FORMATS`; the command's list and errors follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from ttt3r_viewer.errors import RecordingError, SettingsError
from ttt3r_viewer.export.film.film import (
    FILM_POINTS,
    GIF_BYTES_PER_PIXEL,
    MP4_BYTES_PER_PIXEL,
    RECORDING_POINTS,
    Film,
    film_bytes,
    recording_bytes,
)
from ttt3r_viewer.export.formats import colmap, glb, nerf
from ttt3r_viewer.export.formats import depth_maps as depth
from ttt3r_viewer.export.formats.ply import export_ply, ply_bytes
from ttt3r_viewer.export.formats.poses import (
    KITTI_FILES,
    intrinsics_json,
    kitti_poses_text,
    kitti_times_text,
    tum_text,
)
from ttt3r_viewer.export.lane_source import CameraOfFrame, Source
from ttt3r_viewer.export.results import lane_names
from ttt3r_viewer.export.thinning import OnProgress, Thinning
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.system.files import new_file, new_folder

EXPORT_FOLDER = "export"
"""In the session's folder; what is exported without a name goes there."""
FRAME_LINE_BYTES = 1024
"""More than any text format takes for a frame."""

FLAGS = {"width": "size", "height": "size", "grow": "no-growth", "point_px": "point-size"}
"""What a field of `Film` is called on the command line, where that is not its own name."""


@dataclass(frozen=True)
class Choices:
    """What a person may choose of an export; each format heeds some of it."""

    thinning: Thinning = field(default_factory=Thinning)
    film: Film = field(default_factory=Film)


Write = Callable[[Path, Source, Choices, OnProgress], int]
"""Writes to a file or into a folder, and gives how many things (`Format.unit`) it wrote."""
Size = Callable[[Source, Choices], int]
"""Gives how many bytes will be written at most."""


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
    film: frozenset[str] = frozenset()
    """Which fields of `Film` mean anything to it."""
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
    on_progress: OnProgress,
    thinning: Thinning | None = None,
    film: Film | None = None,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write a session's lane in the format of this name to `path`: whole, or nothing at all.

    `tell` hears how far it is after each frame; what it raises ends the export, and nothing is
    left. Raises `SettingsError`, `OutputError` and `RecordingError`.
    """
    kind = format_named(name)
    choices = _heeded(name, kind, Choices(thinning or Thinning(), film or Film()))
    size = kind.size(source, choices)
    room = (
        new_folder(path, kind.own, overwrite=overwrite, size=size)
        if kind.own
        else new_file(path, overwrite=overwrite, size=size)
    )
    with room as part:
        count = kind.write(part, source, choices, on_progress)
        if not count:
            why = "; ".join(source.notes) or "no point is finite"
            raise RecordingError(f"{source.archive.path}: nothing to export as {name}: {why}")
        written = _bytes_in(part)
    return Exported(path, count, kind.unit, written, "; ".join(source.notes))


def _heeded(name: str, kind: Format, choices: Choices) -> Choices:
    """Fill in what the person left open. Raises `SettingsError` for what means nothing here."""
    if choices.thinning != Thinning() and not kind.thins:
        thinned = ", ".join(known for known, one in FORMATS.items() if one.thins)
        raise SettingsError(f"{name} has no points to be thinned; {thinned} have: leave that out")
    for one in fields(Film):
        if getattr(choices.film, one.name) != one.default and one.name not in kind.film:
            flag = FLAGS.get(one.name, one.name)
            heeding = ", ".join(known for known, other in FORMATS.items() if one.name in other.film)
            raise SettingsError(
                f"--{flag} means nothing to {name}, only to {heeding}: leave it out"
            )
    if choices.thinning.max_points is None:
        return replace(choices, thinning=replace(choices.thinning, max_points=kind.max_points))
    return choices


def format_named(name: str) -> Format:
    """Raises `SettingsError` that lists the formats."""
    if name not in FORMATS:
        raise SettingsError(f"--to {name}: no such format; take one of {', '.join(FORMATS)}")
    return FORMATS[name]


def default_target(folder: Path, source: Source, name: str) -> Path:
    """Where an export goes when the person names no place: in `folder`, which is the session's.

    With several lanes each has a folder of its own.
    """
    base = folder / EXPORT_FOLDER
    if source.lane_count > 1:
        base /= lane_folder(source.archive, source.lane, source.lane_count)
    return base / format_named(name).target


def lane_folder(archive: Recording, lane: int, lane_count: int) -> str:
    """Name a lane by its rule, where archive.json knows it."""
    known = archive.description.status.lanes
    # A description that was damaged has rules without parameters, in words.
    if len(known) != lane_count or any(" " in one.name for one in known):
        return f"lane-{lane + 1}"
    return lane_names(known)[lane]


def _cameras(source: Source, on_progress: OnProgress) -> list[CameraOfFrame]:
    cameras: list[CameraOfFrame] = []
    for one in source.cameras():
        cameras.append(one)
        on_progress(len(cameras), len(source))
    return cameras


def _write_tum(path: Path, source: Source, _: Choices, on_progress: OnProgress) -> int:
    cameras = _cameras(source, on_progress)
    path.write_bytes(tum_text(cameras))
    return len(cameras)


def _write_kitti(folder: Path, source: Source, _: Choices, on_progress: OnProgress) -> int:
    cameras = _cameras(source, on_progress)
    poses, times = KITTI_FILES
    (folder / poses).write_bytes(kitti_poses_text(cameras))
    (folder / times).write_bytes(kitti_times_text(cameras))
    return len(cameras)


def _write_intrinsics(path: Path, source: Source, _: Choices, on_progress: OnProgress) -> int:
    cameras = _cameras(source, on_progress)
    path.write_bytes(intrinsics_json(cameras))
    return len(cameras)


def _text_size(source: Source, _: Choices) -> int:
    return FRAME_LINE_BYTES * (len(source) + 1)


def _points_at_most(source: Source, choices: Choices) -> int:
    pixels, most = source.pixel_count(), choices.thinning.max_points
    return pixels if most is None else min(pixels, most)


def _bytes_in(path: Path) -> int:
    files = (one for one in path.rglob("*") if one.is_file()) if path.is_dir() else (path,)
    return sum(one.stat().st_size for one in files)


def _points(write: Callable[[Path, Source, Thinning, OnProgress], int]) -> Write:
    """A writer of points heeds the thinning alone."""
    return lambda path, source, choices, on_progress: write(
        path, source, choices.thinning, on_progress
    )


def _maps(write: Callable[[Path, Source, OnProgress], int]) -> Write:
    """A writer of whole frames heeds nothing."""
    return lambda path, source, _, on_progress: write(path, source, on_progress)


def _glb(summary: str, target: str, unit: str, *, mesh: bool) -> Format:
    return Format(
        summary,
        target,
        _points(glb.export_glb_mesh if mesh else glb.export_glb),
        lambda source, choices: glb.glb_bytes(
            _points_at_most(source, choices), len(source), mesh=mesh
        ),
        unit=unit,
        thins=True,
        max_points=glb.MAX_POINTS,
    )


def _recording(summary: str, target: str, *, html: bool) -> Format:
    def write(path: Path, source: Source, choices: Choices, on_progress: OnProgress) -> int:
        # viser is loaded by those who want a recording.
        from ttt3r_viewer.export.film.viser_recording import export_html, export_viser

        export = export_html if html else export_viser
        return export(path, source, choices.thinning, choices.film, on_progress)

    return Format(
        summary,
        target,
        write,
        lambda source, choices: recording_bytes(
            _points_at_most(source, choices), len(source), html=html
        ),
        unit="points",
        thins=True,
        film=frozenset({"seconds"}),
        max_points=RECORDING_POINTS,
    )


def _film(summary: str, target: str, bytes_per_pixel: float) -> Format:
    def write(path: Path, source: Source, choices: Choices, on_progress: OnProgress) -> int:
        # So is the encoder of films.
        from ttt3r_viewer.export.film.encode import export_gif, export_mp4

        export = export_gif if target.endswith(".gif") else export_mp4
        return export(path, source, choices.thinning, choices.film, on_progress)

    return Format(
        summary,
        target,
        write,
        lambda source, choices: film_bytes(choices.film, source, bytes_per_pixel),
        unit="pictures",
        thins=True,
        film=frozenset(one.name for one in fields(Film)),
        max_points=FILM_POINTS,
    )


FORMATS: dict[str, Format] = {
    "ply": Format(
        "all points as one binary PLY: colour, confidence and frame number",
        "points.ply",
        _points(export_ply),
        lambda source, choices: ply_bytes(_points_at_most(source, choices)),
        unit="points",
        thins=True,
    ),
    "glb": _glb(
        f"points (at most {glb.MAX_POINTS:,}) and cameras, for browsers and Blender",
        *("scene.glb", "points"),
        mesh=False,
    ),
    "glb-mesh": _glb(
        f"a mesh from every frame's depth (at most {glb.MAX_POINTS:,} vertices) and cameras",
        *("mesh.glb", "vertices"),
        mesh=True,
    ),
    "colmap": Format(
        f"COLMAP model as text and binary (at most {colmap.MAX_POINTS:,} points), and its "
        "pictures: for splat training",
        "colmap",
        _points(colmap.export_colmap),
        lambda source, choices: colmap.colmap_bytes(
            source.pixel_count(), len(source), _points_at_most(source, choices)
        ),
        unit="points",
        own=colmap.OWN,
        thins=True,
        max_points=colmap.MAX_POINTS,
    ),
    "nerf": Format(
        "transforms.json and its pictures: instant-ngp, nerfstudio",
        "nerf",
        _maps(nerf.export_nerf),
        lambda source, _: nerf.nerf_bytes(source.pixel_count(), len(source)),
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
        _maps(depth.export_depth),
        lambda source, _: depth.depth_bytes(source.pixel_count(), len(source)),
        own=depth.OWN,
    ),
    "viser": _recording(
        f"a recording of the growing cloud (at most {RECORDING_POINTS:,} points) for viser's "
        "player",
        "growth.viser",
        html=False,
    ),
    "html": _recording(
        "the same in a page that opens from disk, without a server or network",
        "growth.html",
        html=True,
    ),
    "mp4": _film(
        f"a film of the cloud (at most {FILM_POINTS:,} points): orbit, follow, or keyframes",
        "film.mp4",
        MP4_BYTES_PER_PIXEL,
    ),
    "gif": _film("the same as GIF", "film.gif", GIF_BYTES_PER_PIXEL),
}
