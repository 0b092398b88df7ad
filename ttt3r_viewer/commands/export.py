"""`ttt3r-view export`: a recording, written as what other programs open."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.export.film.film import Film
from ttt3r_viewer.export.known_formats import (
    FORMATS,
    default_target,
    export_recording,
    format_named,
)
from ttt3r_viewer.export.lane_source import Source, Thinning
from ttt3r_viewer.export.level_world import WorldUp
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.system.options import Options, option

REMARK = (
    "All but glb have the world of the first camera, x right, y down, z forward (OpenCV), or with "
    "--up gravity that world made level. A file that is named without a suffix gets the format's. "
    "docs/export.md says what is in each, and which axes and pixels it counts in."
)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """What is written."""

    recording: Path = option(MISSING, "folder of the recording", metavar="DIR", positional=True)
    to: str = option(MISSING, f"one of {', '.join(FORMATS)}", metavar="FORMAT")
    output: Path | None = option(None, "file or folder (default: in DIR/export)", metavar="PATH")
    lane: int = option(1, "which of several rules", metavar="N")
    stride: int = option(1, "take every N-th frame", metavar="N")
    up: WorldUp = option("camera", "gravity: turn the world until it is level, y down")
    overwrite: bool = option(False, "replace what an earlier export wrote there")


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Export with a progress bar; `echo` takes the result, `warn` what was left out.

    Raises `SettingsError`, `RecordingError` and `OutputError`; nothing is left then, nor after
    Ctrl-C.
    """
    from ttt3r_viewer.commands.progress import progress_bar

    options = given[ExportOptions]
    chosen = format_named(options.to)
    source = Source(Recording.open(options.recording), options.lane - 1, options.stride)
    path = default_target(source.recording.output_folder, source, options.to)
    if options.output is not None:
        path = chosen.named(options.output)
    with progress_bar() as progress:
        task = progress.add_task(f"writing {chosen.label}", total=None)

        def on_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        choices = given[Thinning], given[Film]
        done = export_recording(
            source,
            options.to,
            path,
            on_progress,
            *choices,
            up=options.up,
            overwrite=options.overwrite,
        )
    if done.note:
        warn(done.note)
    size = f"{done.bytes_written / 1e6:.3g} MB"
    echo(f"wrote {chosen.label}: {done.count} {done.unit}, {size}, to {done.path}")
    return 0


COMMAND = Command(
    "Write a recording, the folder that a run's --output named, as what other programs open. It "
    "needs no weights and no GPU.",
    (ExportOptions, Thinning, Film),
    execute,
    {name: f"{one.label}: {one.summary}" for name, one in FORMATS.items()},
    "formats",
    REMARK,
)
