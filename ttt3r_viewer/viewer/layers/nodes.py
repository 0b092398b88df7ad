"""Scene nodes of a layer: points, lines, and each sent again only where its content has changed."""

from typing import Any, Literal

import numpy as np
import viser
from numpy.typing import NDArray

LIVE_POINTS = 40_000
"""Limit of points of the frame that is drawn densely, in all lanes together."""


def add_points(
    scene: viser.SceneApi,
    name: str,
    points: NDArray[np.float16] | NDArray[np.float32],
    colors: NDArray[np.uint8],
    point_size: float,
    shape: Literal["square", "circle"] = "square",
) -> viser.PointCloudHandle | None:
    """Draw points (N, 3) as precise as they come, with their colours (N, 3); None where N is 0."""
    if not len(points):
        return None
    return scene.add_point_cloud(
        name,
        points,
        colors,
        point_size=point_size,
        point_shape=shape,
        point_shading="flat",
        precision="float16" if points.dtype == np.float16 else "float32",
    )


def add_lines(
    scene: viser.SceneApi,
    name: str,
    points: NDArray[np.float32],
    colors: NDArray[np.uint8],
    thickness_px: float,
) -> viser.LineSegmentsHandle:
    """Draw lines between points (lines, 2, 3), with the colours (lines, 2, 3) of their ends."""
    return scene.add_line_segments(
        name, points, colors, thickness=thickness_px, thickness_units="screen"
    )


class Nodes:
    """Handles of viser's nodes by name, each with the key of what it shows."""

    def __init__(self) -> None:
        self.handles: dict[str, Any] = {}
        """The nodes that are in the page."""
        self._keys: dict[str, object] = {}
        self._scene: object = None

    def outdated(self, name: str, key: object) -> bool:
        """Whether a node must be sent to show this key; a key of None removes it."""
        if key is None:
            self.remove(name)
        return key is not None and self._keys.get(name) != key

    def put(self, name: str, handle: Any, key: object = None) -> None:
        """Keep a node that was sent in place of the one of this name; None where it is empty."""
        before = self.handles.pop(name, None)
        if before is not None and (handle is None or before.name != handle.name):
            before.remove()
        if handle is not None:
            self.handles[name] = handle
        self._keys[name] = key

    def remove(self, name: str) -> None:
        """Take a node out of the page, where it is there."""
        self.put(name, None)
        del self._keys[name]

    def clear(self) -> None:
        """Take all nodes out of the page."""
        for name in tuple(self._keys):
            self.remove(name)

    def begin(self, scene: object) -> None:
        """Name the lanes above; where they are new, all nodes were removed with the old ones."""
        if scene != self._scene:
            self._scene, self.handles, self._keys = scene, {}, {}
