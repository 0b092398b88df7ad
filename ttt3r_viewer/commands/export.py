"""`ttt3r-view export`: a session on disk, written as what other programs open."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttt3r_viewer.commands.parser import Echo
from ttt3r_viewer.export.film.film import Film, size_from_text
from ttt3r_viewer.export.lane_source import Source
from ttt3r_viewer.export.registry import FORMATS, default_target, export_recording, format_named
from ttt3r_viewer.export.thinning import Thinning
from ttt3r_viewer.recording.reader import Recording

DESCRIPTION = (
    "Write a session, the folder that a run's --output named, as what other programs open. It "
    "needs no weights and no GPU."
)
_NAME_WIDTH = max(map(len, FORMATS))
EPILOG = "\n".join(
    (
        "formats:",
        *(f"  {name:{_NAME_WIDTH}}  {one.summary}" for name, one in FORMATS.items()),
        "All but glb have the world of the first camera, x right, y down, z forward (OpenCV).",
        "docs/export.md says what is in each, and which axes and pixels it counts in.",
    )
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `export`."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("session", type=Path, metavar="DIR", help="folder of the session")
    add("--to", required=True, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    add("--output", type=Path, metavar="PATH", help="file or folder (default: in DIR/export)")
    add("--lane", type=int, default=1, metavar="N", help="which of several rules (default 1)")
    add("--stride", type=int, default=1, metavar="N", help="take every N-th frame (default 1)")
    add("--pixel-stride", type=int, default=1, metavar="N", help="every N-th pixel of both sides")
    add(
        "--min-confidence-percentile",
        type=float,
        default=0.0,
        metavar="P",
        help="leave out the P %% of all points that are least sure (default 0)",
    )
    add("--max-points", type=int, metavar="N", help="at most so many points (see formats)")
    add("--overwrite", action="store_true", help="replace what an earlier export wrote there")
    film = Film()
    group = parser.add_argument_group("films (mp4, gif; of these viser and html take --seconds)")
    add = group.add_argument
    add("--path", default=film.path, help="orbit, follow or keyframes (default orbit)")
    add("--tour", type=Path, metavar="FILE", help="keyframes (default: DIR/tour.json)")
    add("--size", default=f"{film.width}x{film.height}", metavar="WxH", help="default %(default)s")
    add("--fps", type=int, default=film.fps, metavar="N", help="default %(default)s")
    add("--seconds", type=float, metavar="S", help="default: the tour's, or 10")
    add("--no-growth", action="store_true", help="the whole cloud from the start")
    add("--point-size", type=int, metavar="PX", help="default: 2 at 720 rows")


def execute(given: argparse.Namespace, echo: Echo, warn: Echo) -> int:
    """Export with a progress bar; `echo` takes the result, `warn` what was left out.

    Raises `SettingsError`, `RecordingError` and `OutputError`; nothing is left then, nor after
    Ctrl-C.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    format_named(given.to)
    thinning = Thinning(given.pixel_stride, given.min_confidence_percentile, given.max_points)
    width, height = size_from_text(given.size)
    film = Film(
        path=given.path,
        width=width,
        height=height,
        fps=given.fps,
        seconds=given.seconds,
        grow=not given.no_growth,
        point_px=given.point_size,
        tour=given.tour,
    )
    source = Source(Recording.open(given.session), given.lane - 1, given.stride)
    path = given.output or default_target(source.recording.session_folder, source, given.to)
    text = TextColumn("{task.description}", markup=False)
    with Progress(text, BarColumn(), MofNCompleteColumn(), TimeLeft()) as progress:
        task = progress.add_task(f"writing {given.to}", total=None)

        def on_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        done = export_recording(
            *(source, given.to, path, on_progress, thinning, film), overwrite=given.overwrite
        )
    if done.note:
        warn(done.note)
    size = f"{done.bytes_written / 1e6:.3g} MB"
    echo(f"wrote {done.count} {done.unit}, {size}, to {done.path}")
    return 0
