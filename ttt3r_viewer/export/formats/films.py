"""Films and recordings of the growing cloud; what draws and encodes them is loaded when needed."""

import math
from dataclasses import fields
from pathlib import Path

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.export.film.film import MOST_STEPS, Film, find_tour, image_count
from ttt3r_viewer.export.formats import Choices, Format
from ttt3r_viewer.export.lane_source import Source, StepCount
from ttt3r_viewer.scene.budget import HIDDEN_BINS, SURE_BINS

LEAST_SURE = 100.0 * HIDDEN_BINS / SURE_BINS
"""Percent of the points that films and recordings leave out, as the page hides them at first."""
FILM_POINTS = 1_000_000
"""16 MB in memory, and a tenth of a second for an image."""
RECORDING_POINTS = 500_000
"""A page of about 6 MB, which a browser without a GPU still turns."""
MP4_BYTES_PER_PIXEL, GIF_BYTES_PER_PIXEL = 0.75, 1.6
"""Upper bounds: H.264 of noise as we encode it; LZW with codes of twelve bits."""
CONTAINER_BYTES = 100_000
GIF_FPS = 50
"""GIF counts time in hundredths of a second, and browsers slow down what is faster than this."""
POINT_BYTES = 9
"""Of a recording: three coordinates of 16 bits, and a colour."""
STEP_BYTES = 40_000
"""More than the lines and the rest of a step take."""
PLAYER_BYTES = 2_000_000
"""More than viser's page takes."""


def _film(words: str, summary: str, target: str, bytes_per_pixel: float) -> Format:
    def write(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
        from ttt3r_viewer.export.film.encode import export_film
        from ttt3r_viewer.export.film.footage import read_growth

        film, gif = choices.film, target.endswith(".gif")
        if gif and film.fps > GIF_FPS:
            raise SettingsError(f"--fps {film.fps}: a GIF shows at most {GIF_FPS}; take fewer")
        tour = find_tour(film, source.recording.output_folder)
        progress.expect(image_count(film, tour))
        inside = film.path == "follow"
        growth = read_growth(source, choices.thinning, progress, cut_ceiling=not inside)
        return export_film(path, growth, film, tour, progress, gif=gif)

    def size(source: Source, choices: Choices) -> int:
        film = choices.film
        images = image_count(film, find_tour(film, source.recording.output_folder))
        return round(images * math.prod(film.size_px) * bytes_per_pixel) + CONTAINER_BYTES

    return Format(
        words,
        summary,
        target,
        write,
        size,
        unit="images",
        thins=True,
        film=frozenset(one.name for one in fields(Film)),
        max_points=FILM_POINTS,
        min_confidence_percentile=LEAST_SURE,
    )


def _recording(words: str, summary: str, target: str, *, html: bool) -> Format:
    def write(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
        from ttt3r_viewer.export.film.footage import read_growth
        from ttt3r_viewer.export.film.viser_recording import export_viser

        steps = min(len(source), MOST_STEPS)
        progress.expect(steps + 1)
        growth = read_growth(source, choices.thinning, progress)
        return export_viser(path, growth, choices.film, steps, progress, html=html)

    def size(source: Source, choices: Choices) -> int:
        steps = min(len(source), MOST_STEPS)
        recording = POINT_BYTES * choices.points_at_most(source) + STEP_BYTES * steps
        page = PLAYER_BYTES if html else 0
        return (recording + CONTAINER_BYTES) * (4 if html else 3) // 3 + page

    return Format(
        words,
        summary,
        target,
        write,
        size,
        unit="points",
        thins=True,
        film=frozenset({"seconds"}),
        max_points=RECORDING_POINTS,
        min_confidence_percentile=LEAST_SURE,
    )


VISER = _recording(
    "Recording for viser's player",
    f"a recording of the growing cloud (at most {RECORDING_POINTS:,} points) for viser's player",
    "growth.viser",
    html=False,
)
HTML = _recording(
    "Web page",
    "the growing cloud in one page that opens from disk, without a server or network",
    "growth.html",
    html=True,
)
MP4 = _film(
    "Film",
    f"a film of the cloud (at most {FILM_POINTS:,} points): orbit, follow, or keyframes",
    "film.mp4",
    MP4_BYTES_PER_PIXEL,
)
GIF = _film(
    "Film as moving image",
    "the same as GIF, larger and with fewer colours",
    "film.gif",
    GIF_BYTES_PER_PIXEL,
)
