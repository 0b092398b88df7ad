"""Every export format by name, and the one function that writes a recording in one of them.

A new format is one file in `export/formats/` and one line in `FORMATS`, to which other packages may
add theirs; the command line, the page's panel, the help and the errors follow.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from ttt3r_viewer.errors import RecordingError, SettingsError
from ttt3r_viewer.export.film.film import Film
from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.formats.colmap import COLMAP
from ttt3r_viewer.export.formats.films import GIF, HTML, MP4, VISER
from ttt3r_viewer.export.formats.glb import GLB, GLB_MESH
from ttt3r_viewer.export.formats.per_frame import DEPTH, NERF
from ttt3r_viewer.export.formats.ply import PLY
from ttt3r_viewer.export.formats.poses import INTRINSICS, KITTI, TUM
from ttt3r_viewer.export.lane_source import OnProgress, Source, StepCount, Thinning
from ttt3r_viewer.export.level_world import WorldUp, make_level
from ttt3r_viewer.export.results import lane_file_names
from ttt3r_viewer.system.files import new_output
from ttt3r_viewer.system.options import flag
from ttt3r_viewer.system.terminal import did_you_mean

FORMATS: dict[str, Format] = {
    "ply": PLY,
    "glb": GLB,
    "glb-mesh": GLB_MESH,
    "colmap": COLMAP,
    "nerf": NERF,
    "tum": TUM,
    "kitti": KITTI,
    "intrinsics": INTRINSICS,
    "depth": DEPTH,
    "viser": VISER,
    "html": HTML,
    "mp4": MP4,
    "gif": GIF,
}
WITHOUT_WORLD = ("intrinsics", "mp4", "gif")
"""Formats in which nothing stands anywhere: a world's axes mean nothing to them."""
EXPORT_FOLDER = "export"
"""In the recording's folder; what is exported without a name goes there."""


@dataclass(frozen=True)
class Exported:
    """What an export did."""

    path: Path
    count: int
    """How many things were written."""
    unit: str
    """Which things: points, frames, images."""
    bytes_written: int
    note: str
    """What is damaged or was left out; empty where all went well."""


def format_named(name: str) -> Format:
    """Raises `SettingsError` that lists the formats."""
    if name not in FORMATS:
        raise SettingsError(
            f"--to {name}: no such format{did_you_mean(name, FORMATS)}; take one of "
            f"{', '.join(FORMATS)}"
        )
    return FORMATS[name]


def export_recording(
    source: Source,
    name: str,
    path: Path,
    on_progress: OnProgress,
    thinning: Thinning | None = None,
    film: Film | None = None,
    *,
    up: WorldUp = "camera",
    overwrite: bool = False,
) -> Exported:
    """Write a recording's lane in the format of this name to `path`: whole, or nothing at all.

    `on_progress` is called after each frame; what it raises ends the export, and nothing is left.
    Raises `SettingsError`, `OutputError` and `RecordingError`.
    """
    chosen = format_named(name)
    if up == "gravity":
        if name in WITHOUT_WORLD:
            raise SettingsError(f"--up gravity means nothing to {name}: leave it out")
        make_level(source)
    choices = _choices_for(name, chosen, Choices(thinning or Thinning(), film or Film()))
    size = chosen.size(source, choices)
    with new_output(path, chosen.own, overwrite=overwrite, size=size) as part:
        count = chosen.write(part, source, choices, StepCount(on_progress))
        if not count:
            raise RecordingError(
                f"{source.recording.path}: nothing to export as {name}: {source.why_nothing()}"
            )
        files = part.rglob("*") if chosen.own else (part,)
        written = sum(one.stat().st_size for one in files if one.is_file())
    return Exported(path, count, chosen.unit, written, "; ".join(source.notes))


def _choices_for(name: str, chosen: Format, choices: Choices) -> Choices:
    """Fill in what the user left open. Raises `SettingsError` for what means nothing here."""
    if choices.thinning != Thinning() and not chosen.thins:
        thinned = ", ".join(known for known, one in FORMATS.items() if one.thins)
        raise SettingsError(f"{name} has no points to be thinned; {thinned} have: leave that out")
    for one in fields(Film):
        if getattr(choices.film, one.name) != one.default and one.name not in chosen.film:
            given = flag(f"no_{one.name}" if one.default is True else one.name)
            using = ", ".join(known for known, other in FORMATS.items() if one.name in other.film)
            raise SettingsError(f"{given} means nothing to {name}, only to {using}: leave it out")
    open_choices = ("max_points", "min_confidence_percentile")
    filled = {
        name: getattr(chosen, name)
        for name in open_choices
        if getattr(choices.thinning, name) is None
    }
    return replace(choices, thinning=replace(choices.thinning, **filled))


def default_target(folder: Path, source: Source, name: str) -> Path:
    """Where an export goes when the user names no place: in the recording's `folder`.

    With several lanes each has a folder of its own, named by its rule where that is known.
    """
    base = folder / EXPORT_FOLDER
    if source.lane_count > 1:
        known = source.recording.manifest.status.lanes
        # A description that was damaged has rules without parameters, in words.
        whole = len(known) == source.lane_count and not any(" " in one.name for one in known)
        base /= lane_file_names(known)[source.lane] if whole else f"lane-{source.lane + 1}"
    return base / format_named(name).target
