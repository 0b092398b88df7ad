"""Films of a recording: H.264 as mp4, or GIF; drawn here, without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.export.film import camera_path
from ttt3r_viewer.export.film.film import Film, find_tour, image_count
from ttt3r_viewer.export.film.footage import (
    FRUSTUM_COLOR,
    NOW_COLOR,
    PATH_COLOR,
    Footage,
    read_footage,
)
from ttt3r_viewer.export.film.render import Renderer
from ttt3r_viewer.recording.tour import Tour, View

if TYPE_CHECKING:
    from ttt3r_viewer.export.formats import Choices
    from ttt3r_viewer.export.lane_source import Source, StepCount

GROWTH_SHARE = 0.85
"""The cloud is whole after this share of the film; then there is time to look at it."""
GIF_FPS = 50
"""GIF counts time in hundredths of a second, and browsers slow down what is faster than this."""
GIF_COLORS = 256


def export_mp4(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
    """Write H.264 (yuv420p, so that all players take it); the number of images."""
    return _export(path, source, choices, progress, _write_mp4)


def export_gif(path: Path, source: Source, choices: Choices, progress: StepCount) -> int:
    """Write a GIF that runs for ever, with one palette for all images; their number.

    Raises `SettingsError` where it is faster than a GIF can be.
    """
    if choices.film.fps > GIF_FPS:
        raise SettingsError(f"--fps {choices.film.fps}: a GIF shows at most {GIF_FPS}; take fewer")
    return _export(path, source, choices, progress, _write_gif)


def views_of(footage: Footage, film: Film, tour: Tour | None) -> list[View]:
    """Where each image is taken from."""
    count = image_count(film, tour)
    if tour is not None:
        return camera_path.along(tour, count)
    if film.path == "follow":
        return camera_path.follow(footage.cameras, footage.depth, count)
    up, forward = camera_path.up_and_forward(footage.cameras)
    orbit = camera_path.Orbit.around(footage.points.positions_world, forward, up)
    return orbit.views(count, film.width / film.height)


def shown_at(footage: Footage, film: Film, image: int, count: int) -> int:
    """How many frames an image shows."""
    if not film.grow or count == 1:
        return len(footage.cameras)
    # The follower is where its frame is; the others have time to look at the whole.
    share = image / (count - 1) / (1 if film.path == "follow" else GROWTH_SHARE)
    return min(1 + int(share * (len(footage.cameras) - 1) + 1e-9), len(footage.cameras))


def _export(
    path: Path,
    source: Source,
    choices: Choices,
    progress: StepCount,
    write: Callable[[Path, Film, Footage, Iterator[NDArray[np.uint8]]], None],
) -> int:
    film = choices.film
    tour = find_tour(film, source)
    count = image_count(film, tour)
    progress.expect(count)
    footage = read_footage(source, choices.thinning, progress)
    views = views_of(footage, film, tour)
    renderer = Renderer(film.width, film.height, film.square_px, film.line_px)

    def images() -> Iterator[NDArray[np.uint8]]:
        for number, view in enumerate(views):
            shown = shown_at(footage, film, number, count)
            lines = footage.past_cameras(0, shown), footage.newest_camera(shown)
            yield renderer.draw(view, footage.points_of(0, shown), *lines)
            progress.step()

    write(path, film, footage, images())
    return count


@contextmanager
def _stream(
    path: Path, kind: str, codec: str, film: Film
) -> Iterator[tuple[VideoStream, Callable[[av.VideoFrame, int], None]]]:
    """Open a film: its stream, and what adds a numbered frame; complete when all went well."""
    with av.open(str(path), "w", format=kind) as container:
        video = container.add_stream(codec, rate=film.fps)
        assert isinstance(video, VideoStream)
        video.width, video.height = film.width, film.height

        def add(frame: av.VideoFrame, number: int) -> None:
            frame.pts, frame.time_base = number, Fraction(1, film.fps)
            container.mux(video.encode(frame))

        yield video, add
        container.mux(video.encode(None))


def _write_mp4(
    path: Path, film: Film, _footage: Footage, images: Iterator[NDArray[np.uint8]]
) -> None:
    with _stream(path, "mp4", "libx264", film) as (video, add):
        video.pix_fmt = "yuv420p"
        video.options = {"crf": "23", "preset": "veryfast"}
        for number, image in enumerate(images):
            add(av.VideoFrame.from_ndarray(image, format="rgb24"), number)


def _write_gif(
    path: Path, film: Film, footage: Footage, images: Iterator[NDArray[np.uint8]]
) -> None:
    palette = _palette(footage.points.colors, Renderer.background)
    table = np.zeros((256, 4), np.uint8)
    # PyAV has a palette as alpha, red, green, blue.
    table[:, 0] = 255
    table[:, 1:] = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    with _stream(path, "gif", "gif", film) as (video, add):
        video.pix_fmt = "pal8"
        for number, image in enumerate(images):
            index = Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE)
            # Its annotation knows no palette.
            pair: Any = (np.asarray(index), table)
            add(av.VideoFrame.from_ndarray(pair, format="pal8"), number)


def _palette(colors: NDArray[np.uint8], background: tuple[int, int, int]) -> Image.Image:
    """Choose 256 colours for what will be drawn: the cloud's own, and those of the rest."""
    side = 256
    random = np.random.default_rng(0)
    sample = colors[random.integers(0, len(colors), (side, side))]
    rest = Image.fromarray(sample).quantize(GIF_COLORS - 4).getpalette() or []
    own = [*background, *PATH_COLOR, *FRUSTUM_COLOR, *NOW_COLOR]
    palette = Image.new("P", (1, 1))
    values = [*own, *rest[: 3 * (GIF_COLORS - 4)]]
    palette.putpalette([*values, *values[:3] * (GIF_COLORS - len(values) // 3)])
    return palette
