"""`ttt3r-view export`: a recording, written as what other programs open."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.export.film.film import CameraPath, Film, size_from_text
from ttt3r_viewer.export.known_formats import (
    FORMATS,
    default_target,
    export_recording,
    format_named,
)
from ttt3r_viewer.export.lane_source import Source
from ttt3r_viewer.export.thinning import Thinning
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.system.options import Options, option

_NAME_WIDTH = max(map(len, FORMATS))
EPILOG = "\n".join(
    (
        "formats:",
        *(f"  {name:{_NAME_WIDTH}}  {one.summary}" for name, one in FORMATS.items()),
        "All but glb have the world of the first camera, x right, y down, z forward (OpenCV).",
        "docs/export.md says what is in each, and which axes and pixels it counts in.",
    )
)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """What is written."""

    recording: Path = option(MISSING, "folder of the recording", metavar="DIR", positional=True)
    to: str = option(MISSING, f"one of {', '.join(FORMATS)}", metavar="FORMAT")
    output: Path | None = option(None, "file or folder (default: in DIR/export)", metavar="PATH")
    lane: int = option(1, "which of several rules", metavar="N")
    stride: int = option(1, "take every N-th frame", metavar="N")
    pixel_stride: int = option(1, "every N-th pixel of both sides", metavar="N")
    min_confidence_percentile: float = option(
        0.0, "leave out the P %% of all points that are least sure", metavar="P"
    )
    max_points: int | None = option(None, "at most so many points (see formats)", metavar="N")
    overwrite: bool = option(False, "replace what an earlier export wrote there")


@dataclass(frozen=True)
class FilmOptions(Options):
    """Films (mp4, gif; of these viser and html take --seconds)."""

    path: CameraPath = option(Film.path, "how the camera moves")
    tour: Path | None = option(None, "keyframes (default: DIR/tour.json)", metavar="FILE")
    size: str = option(f"{Film.width}x{Film.height}", "width and height in pixels", metavar="WxH")
    fps: int = option(Film.fps, "images per second", metavar="N")
    seconds: float | None = option(None, "default: the tour's, or 10", metavar="S")
    growth: bool = option(True, "the cloud grows with the frames; else it is whole from the start")
    point_size: int | None = option(None, "default: 2 at 720 rows", metavar="PX")

    def film(self) -> Film:
        """Raises `SettingsError`."""
        width, height = size_from_text(self.size)
        return Film(
            path=self.path,
            width=width,
            height=height,
            fps=self.fps,
            seconds=self.seconds,
            grow=self.growth,
            point_px=self.point_size,
            tour=self.tour,
        )


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Export with a progress bar; `echo` takes the result, `warn` what was left out.

    Raises `SettingsError`, `RecordingError` and `OutputError`; nothing is left then, nor after
    Ctrl-C.
    """
    from ttt3r_viewer.commands.progress import progress_bar

    options = given[ExportOptions]
    format_named(options.to)
    thinning = Thinning(options.pixel_stride, options.min_confidence_percentile, options.max_points)
    film = given[FilmOptions].film()
    source = Source(Recording.open(options.recording), options.lane - 1, options.stride)
    path = options.output or default_target(source.recording.output_folder, source, options.to)
    with progress_bar() as progress:
        task = progress.add_task(f"writing {options.to}", total=None)

        def on_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        done = export_recording(
            source, options.to, path, on_progress, thinning, film, overwrite=options.overwrite
        )
    if done.note:
        warn(done.note)
    size = f"{done.bytes_written / 1e6:.3g} MB"
    echo(f"wrote {done.count} {done.unit}, {size}, to {done.path}")
    return 0


COMMAND = Command(
    "Write a recording, the folder that a run's --output named, as what other programs open. It "
    "needs no weights and no GPU.",
    (ExportOptions, FilmOptions),
    execute,
    EPILOG,
)
