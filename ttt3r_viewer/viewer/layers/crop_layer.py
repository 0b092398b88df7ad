"""The crop box in the scene: its edges, and handles at two corners that move them."""

import numpy as np
import viser

from ttt3r_viewer.geometry import quaternion_wxyz_from_matrix
from ttt3r_viewer.scene.crop_box import CropBox
from ttt3r_viewer.viewer.layers.colors import line_colors
from ttt3r_viewer.viewer.layers.nodes import Nodes, add_lines
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ViewControls

ROOT = "/crop"
EDGE_COLOR = (120, 190, 255)
HANDLE_SHARE = 0.2
"""Size of the handles as a share of the median depth."""
ENDS = ("low", "high")


class CropLayer(Part):
    """Keeps the box's nodes equal to the settings; called by the publisher only.

    Points are sent again when a handle is let go; while it is dragged the edges follow.
    """

    def __init__(self, server: viser.ViserServer, controls: ViewControls) -> None:
        self._server = server
        self._controls = controls
        self._nodes = Nodes()
        self._dragged: CropBox | None = None
        """The box while a handle is dragged; a callback replaces it."""

    def update(self, tick: Tick) -> None:
        """Show the box where points are cropped."""
        crop = tick.settings.crop
        shown = self._dragged if crop is not None and self._dragged is not None else crop
        if self._nodes.outdated("edges", shown) and shown is not None:
            ends = shown.edges()
            colors = np.broadcast_to(line_colors(EDGE_COLOR), ends.shape)
            lines = add_lines(self._server.scene, f"{ROOT}/edges", ends, colors, 1.5)
            self._nodes.put("edges", lines, shown)
        for end in ENDS:
            if self._nodes.outdated(end, crop) and crop is not None:
                size = HANDLE_SHARE * tick.snapshot.layout.median_depth
                self._nodes.put(end, self._handle(end, crop, size), crop)

    def _handle(self, end: str, crop: CropBox, size: float) -> viser.TransformControlsHandle:
        handle = self._server.scene.add_transform_controls(
            f"{ROOT}/{end}",
            scale=size,
            disable_rotations=True,
            depth_test=False,
            wxyz=quaternion_wxyz_from_matrix(crop.axes.T),
            position=crop.world(crop.low if end == "low" else crop.high),
        )

        @handle.on_update
        async def _(event: viser.TransformControlsEvent) -> None:
            box = crop.moved(end, np.array(event.target.position))
            if event.phase == "end":
                self._dragged = None
                self._controls.change(crop=box)
            else:
                self._dragged = box
                self._controls.changed.set()

        return handle
