"""Recordings of viser: the cloud as it grew, for its player, or as a page that needs no server.

The one file outside `viewer/` that imports viser.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rich
import viser

from ttt3r_viewer.export.film.camera_path import FOV_Y_RAD
from ttt3r_viewer.export.film.film import SECONDS, Film
from ttt3r_viewer.export.film.opening import ELEVATION_RAD, TURN_RAD, Window, fitted_view
from ttt3r_viewer.export.film.render import Lines
from ttt3r_viewer.export.lane_source import StepCount

if TYPE_CHECKING:
    from ttt3r_viewer.export.film.footage import Growth

REST_SEC = 2.0
"""The whole cloud is seen so long before the recording begins again."""
ASPECT = 4 / 3
"""Width / height of the window that the first view is made for; nobody knows it before."""


@contextlib.contextmanager
def quiet_console() -> Iterator[None]:
    """Keep viser's banner and farewell to itself, which it prints even where it is not verbose."""
    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def export_viser(
    path: Path, footage: Growth, film: Film, steps: int, progress: StepCount, *, html: bool
) -> int:
    """Write a `.viser` recording, or (`html`) a page with it in, which opens from disk.

    It grows in `steps` steps at most. Gives the number of points.
    """
    last = np.unique(np.linspace(0, len(footage.cameras), steps + 1).round().astype(int))[1:]
    progress.expect(len(last) - steps)
    with _scene() as server:
        _set_out(server, footage)
        serializer = server.get_scene_serializer()
        pause_sec = (film.seconds or SECONDS) / len(last)
        for number, shown in enumerate(last):
            first = int(last[number - 1]) if number else 0
            _add_step(server, footage, number, first, int(shown))
            serializer.insert_sleep(pause_sec)
            progress.step()
        serializer.insert_sleep(REST_SEC)
        content = (
            serializer.as_html(dark_mode=True).encode("utf-8") if html else serializer.serialize()
        )
    path.write_bytes(content)
    progress.step()
    return len(footage.points.colors)


@contextlib.contextmanager
def _scene() -> Iterator[viser.ViserServer]:
    """Give a server for its scene alone: viser makes recordings of nothing else.

    It is bound to this machine and any free port, and shown to nobody.
    """
    with quiet_console():
        server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        yield server
    finally:
        with quiet_console():
            server.stop()


def _set_out(server: viser.ViserServer, footage: Growth) -> None:
    """Set what is up, and begin with the view that a page opens with."""
    view = fitted_view(footage.box, TURN_RAD, ELEVATION_RAD, FOV_Y_RAD, Window(ASPECT))
    server.scene.set_up_direction(tuple(view.up))
    server.scene.world_axes.visible = False
    server.initial_camera.position = tuple(view.position)
    server.initial_camera.look_at = tuple(view.look_at)
    server.initial_camera.up = tuple(view.up)
    server.initial_camera.fov = FOV_Y_RAD


def _add_step(
    server: viser.ViserServer, footage: Growth, number: int, first: int, shown: int
) -> None:
    """Add the points of the frames `first` to `shown`, and draw the cameras again."""
    points = footage.points_of(first, shown)
    positions, diameters = points.positions_world, points.diameters
    if diameters is not None and len(positions):
        # Numbers of 16 bits are fine near their own origin, and coarse far from it.
        origin = positions.mean(axis=0)
        server.scene.add_point_cloud(
            f"/points/{number:04d}",
            positions - origin,
            points.colors,
            point_size=float(np.median(diameters)),
            point_shape="circle",
            point_shading="flat",
            precision="float16",
            position=tuple(origin),
        )
    _add_lines(server, f"/cameras/{number:04d}", footage.past_cameras(first, shown), 1.5)
    _add_lines(server, "/cameras/newest", footage.newest_camera(shown), 3)


def _add_lines(server: viser.ViserServer, name: str, lines: Lines, thickness_px: float) -> None:
    if len(lines.ends_world):
        colors = np.repeat(lines.colors[:, None], 2, axis=1)
        server.scene.add_line_segments(
            name, lines.ends_world, colors, thickness=thickness_px, thickness_units="screen"
        )
