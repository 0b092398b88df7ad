"""A faint grid on the floor, with a bar that says how long one of its cells is."""

import math

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.export.film.opening import SceneBox, box_of_lanes
from ttt3r_viewer.geometry import quaternion_wxyz_from_matrix
from ttt3r_viewer.viewer.layers.colors import line_colors
from ttt3r_viewer.viewer.layers.nodes import Nodes, add_lines
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import assign_changed

ROOT = "/grid"
GRID_COLOR, BAR_COLOR = (62, 64, 70), (190, 192, 200)
CELLS = 8
"""About so many cells lie along the longer side of the scene."""
AXES_CELLS = 0.7
"""Length of the axes, in cells."""
MARGIN = 1.15
"""The grid reaches so much farther than the box of the scene."""


class GridLayer(Part):
    """Keeps the grid below the lowest of nearly all points; called by the publisher only."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server, self._scene = server, server.scene
        server.scene.add_frame(ROOT, show_axes=False)
        self._nodes = Nodes()

    def update(self, tick: Tick) -> None:
        """Send the grid again where the scene has got another size or another floor."""
        lanes, settings, seen = tick.snapshot.lanes, tick.drawn, bool(tick.snapshot.frames)
        shown = seen and (settings.show_grid or settings.show_axes)
        for name, node in self._nodes.handles.items():
            wanted = settings.show_axes if name == "axes" else settings.show_grid
            assign_changed(node, visible=seen and wanted)
        key = (tick.snapshot.epoch, tick.snapshot.layout.generation, tick.offsets, tick.unit)
        if not shown or not self._nodes.outdated("grid", key):
            return
        box = box_of_lanes(lanes, tick.offsets, tick.up, settings.hidden_bins)
        floor = min(lane.layout.height_range[0] for lane in lanes)
        step = grid_step(2 * float(max(box.half[0], box.half[2])))
        lines, bar = grid_lines(box, floor, step)
        with self._server.atomic():
            for name, ends, color, thickness_px in (
                ("grid", lines, GRID_COLOR, 1.0),
                ("bar", bar, BAR_COLOR, 4.0),
            ):
                colors = np.broadcast_to(line_colors(color), ends.shape)
                node = add_lines(self._scene, f"{ROOT}/{name}", ends, colors, thickness_px)
                node.visible = settings.show_grid
                self._nodes.put(name, node, key)
            text = self._scene.add_label(
                f"{ROOT}/length",
                f"{step:g} {tick.unit}",
                position=bar.mean(axis=(0, 1)),
                anchor="top-center",
            )
            text.visible = settings.show_grid
            self._nodes.put("length", text)
            axes = self._scene.add_frame(
                f"{ROOT}/axes",
                axes_length=AXES_CELLS * step,
                axes_radius=AXES_CELLS * step / 30,
                origin_radius=0.0,
                wxyz=quaternion_wxyz_from_matrix((box.axes * [[1], [1], [-1]]).T),
                position=bar[0, 0],
                visible=settings.show_axes,
            )
            self._nodes.put("axes", axes)


def grid_step(length: float) -> float:
    """Return 1, 2 or 5 times a power of ten, so that about `CELLS` such cells are that long."""
    wanted = length / CELLS
    power = 10.0 ** math.floor(math.log10(wanted))
    return power * next(one for one in (1, 2, 5, 10) if one * power >= wanted * 0.999)


def grid_lines(
    box: SceneBox, floor: float, step: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lines (n, 2, 3) of a grid at this height along up, and (1, 2, 3) of the bar.

    The lines lie at whole multiples of the step from the world's origin; the bar is one cell long,
    at the grid's near edge.
    """
    middle, half = (box.axes @ box.centre)[[0, 2]], MARGIN * box.half[[0, 2]]
    low, high = np.floor((middle - half) / step), np.ceil((middle + half) / step)
    across, along = (step * np.arange(a, b + 1) for a, b in zip(low, high, strict=True))
    ends = [[(x, along[0]), (x, along[-1])] for x in across]
    ends += [[(across[0], z), (across[-1], z)] for z in along]
    near = int(len(across) // 2)
    bar = [[(across[near - 1], along[0]), (across[near], along[0])]]

    def on_floor(flat: list[list[tuple[float, float]]]) -> NDArray[np.float32]:
        right, ahead = np.moveaxis(np.array(flat, np.float64), -1, 0)
        world = np.stack((right, np.full_like(right, floor), ahead), axis=-1) @ box.axes
        return world.astype(np.float32)

    return on_floor(ends), on_floor(bar)
