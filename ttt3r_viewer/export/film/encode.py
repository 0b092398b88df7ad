"""Films of a recording: H.264 as mp4, or GIF; drawn here, without a browser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from ttt3r_viewer.export.film import camera_path
from ttt3r_viewer.export.film.film import Film, image_count
from ttt3r_viewer.export.film.opening import orbit_view
from ttt3r_viewer.export.film.render import Renderer
from ttt3r_viewer.export.lane_source import StepCount
from ttt3r_viewer.recording.tour import Tour, View

if TYPE_CHECKING:
    from ttt3r_viewer.export.film.footage import Footage, Growth

GROWTH_SHARE = 0.85
"""The cloud is whole after this share of the film; then there is time to look at it."""
GIF_COLORS = 256
MOST_LINE_COLORS = 32
"""Of a GIF's colours, so many at most are those of the cameras."""


def export_film(
    path: Path, footage: Growth, film: Film, tour: Tour | None, progress: StepCount, *, gif: bool
) -> int:
    """Write H.264 (yuv420p, so that all players take it); the number of images.

    `gif`: write a GIF that runs for ever, with one palette for all images.
    """
    views = views_of(footage, film, tour)
    images = _images(footage, film, views, progress)
    if gif:
        _encode(path, film, "gif", "gif", "pal8", {}, _gif_frames(images, footage))
    else:
        frames = (av.VideoFrame.from_ndarray(one, format="rgb24") for one in images)
        options = {"crf": "23", "preset": "veryfast"}
        _encode(path, film, "mp4", "libx264", "yuv420p", options, frames)
    return len(views)


def views_of(footage: Growth, film: Film, tour: Tour | None) -> list[View]:
    """Where each image is taken from."""
    count = image_count(film, tour)
    if tour is not None:
        return camera_path.along(tour, count)
    if film.path == "follow":
        return camera_path.follow(footage.cameras, footage.depth, count)
    width, height = film.size_px
    return [orbit_view(footage.box, number / count, width / height) for number in range(count)]


def shown_at(footage: Footage, film: Film, image: int, count: int) -> int:
    """How many frames an image shows."""
    if not film.growth or count == 1:
        return len(footage.cameras)
    # The follower is where its frame is; the others have time to look at the whole.
    share = image / (count - 1) / (1 if film.path == "follow" else GROWTH_SHARE)
    return min(1 + int(share * (len(footage.cameras) - 1) + 1e-9), len(footage.cameras))


def _images(
    footage: Footage, film: Film, views: list[View], progress: StepCount
) -> Iterator[NDArray[np.uint8]]:
    width, height = film.size_px
    renderer = Renderer(width, height, film.point_size or 1, line_px=max(1, round(height / 480)))
    for number, view in enumerate(views):
        shown = shown_at(footage, film, number, len(views))
        lines = footage.past_cameras(0, shown), footage.newest_camera(shown)
        points = footage.points_of(0, shown)
        if film.point_size is not None:
            points = replace(points, diameters=None)
        yield renderer.draw(view, points, *lines)
        progress.step()


def _encode(
    path: Path,
    film: Film,
    container: str,
    codec: str,
    pixels: str,
    options: dict[str, str],
    frames: Iterable[av.VideoFrame],
) -> None:
    with av.open(str(path), "w", format=container) as file:
        video = file.add_stream(codec, rate=film.fps, options=options)
        assert isinstance(video, VideoStream)
        (video.width, video.height), video.pix_fmt = film.size_px, pixels
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, film.fps)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))


def _gif_frames(images: Iterable[NDArray[np.uint8]], footage: Footage) -> Iterator[av.VideoFrame]:
    shown = len(footage.cameras)
    lines = footage.past_cameras(0, shown), footage.newest_camera(shown)
    own = np.unique(np.concatenate([one.colors for one in lines]), axis=0)[:MOST_LINE_COLORS]
    palette = _palette(footage.points.colors, np.concatenate([[Renderer.background], own]))
    # PyAV has a palette as alpha, red, green, blue.
    table = np.full((GIF_COLORS, 4), 255, np.uint8)
    table[:, 1:] = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    for image in images:
        index = Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE)
        # Its annotation knows no palette.
        pair: Any = (np.asarray(index), table)
        yield av.VideoFrame.from_ndarray(pair, format="pal8")


def _palette(colors: NDArray[np.uint8], own: NDArray[np.uint8]) -> Image.Image:
    """Choose 256 colours for what will be drawn: the cloud's, and `own` (n, 3) of the rest."""
    side = 256
    random = np.random.default_rng(0)
    sample = colors[random.integers(0, len(colors), (side, side))]
    clouds = Image.fromarray(sample).quantize(GIF_COLORS - len(own)).getpalette() or []
    values = [*own.ravel().tolist(), *clouds[: 3 * (GIF_COLORS - len(own))]]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*values, *values[:3] * (GIF_COLORS - len(values) // 3)])
    return palette
