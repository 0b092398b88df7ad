"""A lane's label: its name above it, and its error so far under the name, in words and as a bar."""

import math

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.geometry import upright_axes
from ttt3r_viewer.metrics.lane_errors import LaneError
from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.scene.store import LaneScene
from ttt3r_viewer.viewer.layers.colors import line_colors
from ttt3r_viewer.viewer.layers.nodes import Nodes, add_lines
from ttt3r_viewer.viewer.tick import Tick
from ttt3r_viewer.viewer.widgets import Page, assign_changed

LABEL_HEIGHT = 0.12
"""Distance between a lane and its name, as a share of the scene's median depth."""
BAR_DROP = 0.05
"""How far the bar lies below the text, likewise."""
BAR_WIDTH = 0.6
"""Width of the whole bar under a lane's name, as a share of the median depth."""
REST_STRENGTH = 0.25
"""Of the lane's colour, in the part of the bar that the error does not fill."""
REFRESH_SEC = 0.5
"""Error and bar are sent again at most this often."""


class LaneLabel:
    """Keeps one lane's label in the page; called by the publisher only."""

    def __init__(self, page: Page, root: str, lane: int) -> None:
        """`root` is the prefix of all node names."""
        self._page = page
        self._name = f"{root}/label"
        self._lane = lane
        self._nodes = Nodes()
        self._error: LaneError | None = None
        self._due_sec = -math.inf

    def update(self, tick: Tick, error: LaneError | None) -> None:
        """Write the name and the error; in an overlay, labels would lie on each other."""
        lane, text = tick.snapshot.lanes[self._lane], tick.lane_names[self._lane]
        nodes, key = self._nodes, (lane.layout.generation, text)
        shown = bool(lane.frames) and tick.drawn.arrangement != "overlay"
        if shown and nodes.outdated("root", key):
            self._put(lane, text, error)
            nodes.put("root", nodes.handles["root"], key)
        elif shown and error != self._error and tick.now_sec >= self._due_sec:
            nodes.handles["text"].text = label_text(text, error)
            nodes.handles["bar"].points = bar_segments(lane, error)
            self._error, self._due_sec = error, tick.now_sec + REFRESH_SEC
        if "root" in nodes.handles:
            assign_changed(nodes.handles["root"], visible=shown)

    def _put(self, lane: LaneScene, text: str, error: LaneError | None) -> None:
        name, scene, nodes = self._name, self._page.scene, self._nodes
        color = np.array(LANE_COLORS[self._lane])
        ends = np.stack([color, REST_STRENGTH * color])[:, None]
        with self._page.atomic():
            root = scene.add_frame(name, show_axes=False, position=label_position(lane))
            nodes.put("root", root)
            label = scene.add_label(
                f"{name}/text",
                label_text(text, error),
                anchor="bottom-center",
                font_screen_scale=1.2,
            )
            nodes.put("text", label)
            points = bar_segments(lane, error)
            colors = line_colors(np.broadcast_to(ends, points.shape))
            nodes.put("bar", add_lines(scene, f"{name}/bar", points, colors, 6.0))
        self._error = error


def label_text(name: str, error: LaneError | None) -> str:
    """Name a lane, and say its error in a second line where the truth is known."""
    return name if error is None else f"{name}\n{error.text}"


def bar_segments(lane: LaneScene, error: LaneError | None) -> NDArray[np.float32]:
    """Return the filled part of a bar and its rest (2, 2, 3), below the label's origin: level, to
    the right of where the first camera looked.

    It is full for the largest error of all lanes, and where the truth is not known.
    """
    right, up, _ = upright_axes(lane.layout.up, lane.frames[0].camera.T_world_camera[:3, 2])
    half, drop = BAR_WIDTH / 2, BAR_DROP * up
    end = half * (2 * (1.0 if error is None else error.share) - 1)
    along = np.array([[-half, end], [end, half]])[..., None] * right
    return (lane.layout.median_depth * (along - drop)).astype(np.float32)


def label_position(lane: LaneScene) -> NDArray[np.float64]:
    """Return a point (3,) above the middle of a lane's cameras and above nearly all its points."""
    poses = np.stack([frame.camera.T_world_camera[:3] for frame in lane.frames])
    layout = lane.layout
    # The cameras look at things in front of them, above which a name is seen best.
    ahead = np.median(poses[..., 3], axis=0) + layout.median_depth / 2 * poses[0, :, 2]
    height = layout.height_range[1] + LABEL_HEIGHT * layout.median_depth
    return ahead + (height - ahead @ layout.up) * layout.up
