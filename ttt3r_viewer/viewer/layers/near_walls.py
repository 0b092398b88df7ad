"""Near walls: what only cameras that looked towards the eye have seen hides the room from outside.

A point is seen from behind where the eye stands on the other side of it than its camera. Points of
a chunk of frames have nearly the same camera: they lie below a node of the sector in which it
looked, and each browser hides the sectors that face it, without points being sent again.
"""

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.export.film.opening import SceneBox
from ttt3r_viewer.viewer.cameras.guided_cameras import GuidedCameras
from ttt3r_viewer.viewer.layers.lane_layer import SHARED_LANES
from ttt3r_viewer.viewer.layers.looks import level_looks, level_parts, sector_looks
from ttt3r_viewer.viewer.server.clients import show_to
from ttt3r_viewer.viewer.tick import Part, Tick

FACING = -0.5
"""Cosine between a sector's look and the eye's, both level, below which the sector is hidden."""
FAR, LEAST_FAR = 0.3, 0.1
"""The share of cameras that must have looked away from the eye, at a cosine above `FAR`: else
nothing stands behind the near walls, and what was seen from one side would be gone from behind."""
OUTSIDE = 1.1
"""The eye is outside beyond this multiple of the box of nearly all points."""
LEAST_LEVEL = 0.3
"""From steeper above, with a smaller level part of the look, no wall is in the way."""
LOOKS = 200
"""Cameras that are asked where they looked."""


class NearWalls(Part):
    """Hides near walls in each browser; called by the publisher only, after the lanes."""

    def __init__(self, server: viser.ViserServer, guided: GuidedCameras) -> None:
        """`guided` knows the box of what a browser shows."""
        self._server = server
        self._guided = guided
        self._hidden: dict[int, frozenset[str]] = {}
        """The nodes that are hidden in each browser, by client."""
        self._scene: object = None

    def probe(self) -> dict[str, object]:
        """Return how many sectors of all lanes are hidden in each browser."""
        return {"near_walls": sorted(map(len, self._hidden.values()))}

    def update(self, tick: Tick) -> None:
        """Hide what faces each browser's eye now, and show what does so no more."""
        scene, clients = (tick.snapshot.epoch, tick.lane_count), self._server.get_clients()
        if scene != self._scene:
            self._hidden.clear()  # the nodes are new, and visible
            self._scene = scene
            return
        for client_id in self._hidden.keys() - clients.keys():
            del self._hidden[client_id]
        frames = tick.snapshot.frames
        cuts = tick.drawn.cuts_near_walls and bool(frames)
        looks = level_looks(frames[:: -(-len(frames) // LOOKS)], tick.up) if cuts else None
        for client_id, client in clients.items():
            faced: tuple[int, ...] = ()
            box = self._guided.box_in(client_id)
            if box is not None and looks is not None:
                faced = facing_sectors(box, looks, client.camera.position)
            lanes = range(tick.lane_count)
            hidden = frozenset(f"{SHARED_LANES}/{k}/sector_{one}" for k in lanes for one in faced)
            before = self._hidden.get(client_id, frozenset())
            for name in hidden ^ before:
                show_to(client, name, name in before)
            self._hidden[client_id] = hidden


def facing_sectors(
    box: SceneBox, looks: NDArray[np.float64], eye: NDArray[np.float64]
) -> tuple[int, ...]:
    """Return the sectors whose cameras looked towards an eye (3,) outside the box.

    `looks` are the level looks (n, 2) of some cameras.
    """
    look = box.centre - eye
    if (np.abs(box.axes @ look) <= OUTSIDE * box.half).all():
        return ()
    level = level_parts(look, box.up)
    length = float(np.linalg.norm(level))
    if length < LEAST_LEVEL * float(np.linalg.norm(look)):
        return ()
    if np.mean(looks @ level / length > FAR) < LEAST_FAR:
        return ()
    return tuple(np.flatnonzero(sector_looks() @ level / length < FACING).tolist())
