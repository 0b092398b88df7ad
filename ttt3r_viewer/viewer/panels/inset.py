"""The inset: the shown frame's image and its depth, in a corner of the scene."""

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.metrics.palette import css_color
from ttt3r_viewer.scene.budget import robust_range
from ttt3r_viewer.types import FrameResult
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers.colors import PLASMA, apply_color_map
from ttt3r_viewer.viewer.layers.maps import JPEG_PX, NO_VALUE, Scale, jpeg_url
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import FieldWidgets, assign_changed

SHOWN_SEC = 0.25
"""While frames come, one is shown so often at most."""
RANGE_SHARE = 0.2
"""How far the range of depths follows each new frame's: colours would flicker with all of it."""
NEAR_TO_FAR = PLASMA[::-1]

logger = logging.getLogger(__name__)


class InsetPanel(Part):
    """The switch of the inset, and what is in it."""

    def __init__(self, page: PageContext) -> None:
        self._overlay = page.overlay
        self._controls = page.controls
        self._key: object = None
        """Of what is shown."""
        self._due_sec = 0.0
        self._range: Scale | None = None
        self._range_of: object = None
        fields = FieldWidgets(page.server.gui, page.controls.settings, page.controls.change)
        hint = "The shown frame's image and depth, in a corner. Key: I"
        self._box = fields.add(
            page.server.gui.add_checkbox, "Input and depth", "show_inset", hint=hint
        )
        fields.key("Input and depth", "I", lambda _: self._flip())

    def _flip(self) -> None:
        self._controls.change(show_inset=not self._controls.settings.show_inset)

    def update(self, tick: Tick) -> None:
        """Show the frame that the page stands at, at most every `SHOWN_SEC`."""
        settings, position = tick.settings, tick.position
        assign_changed(self._box, value=settings.show_inset)
        lane = next(iter(tick.visible_lanes), 0)
        shown = settings.show_inset and position >= 0
        key = shown and (tick.snapshot.epoch, lane, position, settings.show.presenting)
        if key == self._key or (shown and tick.now_sec < self._due_sec):
            return
        self._key, self._due_sec = key, tick.now_sec + SHOWN_SEC
        self._overlay.show("inset", self._content(tick, lane) if shown else None)

    def _content(self, tick: Tick, lane: int) -> Mapping[str, object]:
        frame = tick.snapshot.lanes[lane].frames[tick.position]
        result = full_result(tick, lane)
        image = frame.image if result is None else result.image
        figures: list[Mapping[str, object]] = [
            {"text": f"frame {tick.position + 1:,}", "image": jpeg_url(image)}
        ]
        if result is not None:
            figures.append(self._depth(tick, lane, result))
        return {"talk": tick.settings.show.presenting, "figures": figures}

    def _depth(self, tick: Tick, lane: int, result: FrameResult) -> dict[str, object]:
        depth = thinned(result.points_camera[..., 2])
        run = (tick.snapshot.epoch, lane)
        before = self._range if run == self._range_of else None
        self._range, self._range_of = depth_range(depth, before), run
        low, high = self._range
        return {
            "text": "depth" if tick.lane_count == 1 else f"depth, {tick.lane_names[lane]}",
            "image": jpeg_url(depth_image(depth, self._range)),
            "range": (f"{low:.1f} {tick.unit}", f"{high:.1f} {tick.unit}"),
            "colors": [css_color((r, g, b)) for r, g, b in NEAR_TO_FAR.astype(int).tolist()],
        }


def full_result(tick: Tick, lane: int) -> FrameResult | None:
    """Return what a lane made of the shown frame in full; None where it is not kept."""
    scene, recording = tick.snapshot.lanes[lane], tick.snapshot.recording
    sequence = scene.frames[tick.position].sequence
    if scene.latest is not None and scene.latest.sequence == sequence:
        return scene.latest
    if recording is None or sequence not in recording:
        return None
    try:
        return recording.lane(sequence, lane)
    except RecordingError as error:
        logger.warning("%s", error)
        return None


def thinned(values: NDArray) -> NDArray:
    """Leave out rows and columns of (height, width, ...) until it is at most `JPEG_PX` wide."""
    step = -(-values.shape[1] // JPEG_PX)
    return values[::step, ::step]


def depth_range(depth: NDArray[np.float32], before: Scale | None) -> Scale:
    """Return the range of depths (height, width) in front of the camera, near the one before."""
    seen = depth[np.isfinite(depth) & (depth > 0)]
    if not len(seen):
        return before or (0.0, 1.0)
    low, high = robust_range(seen)
    if before is None:
        return low, high
    old_low, old_high = before
    return old_low + RANGE_SHARE * (low - old_low), old_high + RANGE_SHARE * (high - old_high)


def depth_image(depth: NDArray[np.float32], scale: Scale) -> NDArray[np.uint8]:
    """Colour depths (height, width), near ones bright; gives (height, width, 3) RGB."""
    low, high = scale
    known = np.isfinite(depth) & (depth > 0)
    colors = np.full((*depth.shape, 3), NO_VALUE, np.uint8)
    colors[known] = apply_color_map((depth[known] - low) / max(high - low, 1e-12), NEAR_TO_FAR)
    return colors
