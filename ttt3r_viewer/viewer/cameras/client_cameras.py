"""Where each browser looks from: a first view of the scene, or one that follows the camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.types import Camera
from ttt3r_viewer.viewer.tick import WORLD_UP, Part, Tick
from ttt3r_viewer.viewer.view_settings import ViewSettings

FOLLOW_SEC = 0.6
"""After this time a followed view has covered 63 % of its way to the camera."""

SPAN_ASIDE = 0.65
"""Lanes that stand side by side are left of the view's middle: the panel hides its right."""
SPAN_BACK = 0.5
"""Lanes that stand side by side are seen from so much farther off, as a share of their span."""


@dataclass(frozen=True, eq=False)
class View:
    """A browser's viewpoint and the point that it looks at and orbits around, each (3,) world."""

    position: NDArray[np.float64]
    look_at: NDArray[np.float64]


def view_behind(camera: Camera, median_depth: float, back: float, up: float) -> View:
    """Give the view from behind and above a camera, in shares of the scene's median depth."""
    forward, center = camera.T_world_camera[:3, 2:].T
    position = center + median_depth * (up * WORLD_UP - back * forward)
    return View(position, center + median_depth * 0.9 * forward)


def moved(view: View, by_world: NDArray[np.float64]) -> View:
    """Give the view that looks the same way from a place moved by (3,)."""
    return View(view.position + by_world, view.look_at + by_world)


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the vector of length 1 in the same direction."""
    return vector / np.linalg.norm(vector)


class ClientCameras(Part):
    """Moves the browsers' viewpoints; called by the publisher only."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._home = View(np.array([0.0, -0.45, -0.75]), np.array([0.0, 0.0, 1.0]))
        self._fitted_to: tuple[int, int] | None = None
        self._first_view = self._home
        """The view of the first lane alone."""
        self._span = 0.0
        self._following: dict[int, View] = {}
        self._last_sec = 0.0
        server.initial_camera.up = tuple(WORLD_UP)
        self._set_home()

    def update(self, tick: Tick) -> None:
        """Fit the first view to the scene's first frames, then follow the camera where asked to."""
        snapshot, settings, position = tick.snapshot, tick.drawn, tick.position
        now_sec, offsets = tick.now_sec, tick.geometry.offsets
        elapsed_sec, self._last_sec = now_sec - self._last_sec, now_sec
        # Only the first few scales: a view that keeps moving by itself is a nuisance.
        fit = (snapshot.epoch, snapshot.layout.frames_scale)
        if position >= 0 and fit != self._fitted_to and snapshot.layout.frames_scale <= 4:
            self._fitted_to = fit
            depth = snapshot.layout.median_depth
            self._first_view = view_behind(snapshot.frames[0].camera, depth, back=0.75, up=0.45)
            self._fit_home(offsets[-1], settings)
        elif offsets[-1] != self._span:
            self._fit_home(offsets[-1], settings)
        if position >= 0 and settings.follow_camera:
            # The same lane while lanes blink, or the view would move and hide what differs.
            k = min(settings.chosen_lanes(len(snapshot.lanes)), default=0)
            lane = snapshot.lanes[k]
            target = view_behind(
                lane.frames[position].camera, lane.layout.median_depth, back=0.5, up=0.25
            )
            target = moved(target, np.array([offsets[k], 0.0, 0.0]))
            self._follow(target, 1.0 - math.exp(-elapsed_sec / FOLLOW_SEC))
        else:
            self._following.clear()

    def _fit_home(self, span: float, settings: ViewSettings) -> None:
        """Show lanes that stand side by side along x over `span` all at once, from farther off."""
        before, first = self._home, self._first_view
        aside = np.array([SPAN_ASIDE * span, 0.0, 0.0])
        back = SPAN_BACK * span * unit(first.position - first.look_at)
        self._span = span
        self._home = moved(View(first.position + back, first.look_at), aside)
        self._set_home()
        if settings.show.motion_clock.going:
            return  # the views are moved elsewhere
        for client in self._server.get_clients().values():
            # Whoever already moved the view keeps it.
            if np.allclose(client.camera.position, before.position, atol=1e-3):
                _move(client, self._home)

    def _set_home(self) -> None:
        self._server.initial_camera.position = self._home.position
        self._server.initial_camera.look_at = self._home.look_at

    def _follow(self, target: View, share: float) -> None:
        clients = self._server.get_clients()
        for client_id, client in clients.items():
            now = self._following.get(client_id)
            if now is None:
                now = View(client.camera.position, client.camera.look_at)
            view = View(
                now.position + share * (target.position - now.position),
                now.look_at + share * (target.look_at - now.look_at),
            )
            self._following[client_id] = view
            _move(client, view)
        for client_id in self._following.keys() - clients.keys():
            del self._following[client_id]


def _move(client: viser.ClientHandle, view: View) -> None:
    with client.atomic():
        client.camera.position = view.position
        client.camera.look_at = view.look_at
        client.camera.up_direction = WORLD_UP
