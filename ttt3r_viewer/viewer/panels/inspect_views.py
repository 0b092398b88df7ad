"""What the tab "Inspect" shows: the numbers of its maps, its texts and tables, its questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.export.tokens import gain_entropy, share_above
from ttt3r_viewer.reconstruct.messages import Inspect
from ttt3r_viewer.scene.store import FrameSummary, LaneScene, SceneSnapshot
from ttt3r_viewer.types import Inspection
from ttt3r_viewer.viewer.html import block, escape, header, muted, row, square, table
from ttt3r_viewer.viewer.layers.inspect_layer import (
    gain_support,
    largest,
    patch_means,
    patches_of_points,
    token_over_patches,
    tokens_of_patch,
)
from ttt3r_viewer.viewer.layers.maps import PATCH_COLOR, TOKEN_COLOR, Floats, frames_since_above
from ttt3r_viewer.viewer.view_settings import ImageMode, InspectSettings, PointMap, StateMode

STATE_MODES: dict[str, StateMode] = {
    "Gain now": "gain",
    "Mean gain so far": "mean gain",
    "Change of gain": "gain change",
    "Age": "age",
    "|dS| per token": "state change",
    "Distance from start": "from start",
}
GAIN_MODES: frozenset[StateMode] = frozenset(("gain", "mean gain", "gain change", "age"))
"""Known without a look inside; of two lanes, their difference."""
STATE_UNITS: dict[StateMode, str] = {
    "gain": "gain",
    "mean gain": "mean gain",
    "gain change": "gain - gain before",
    "age": "frames",
    "state change": "|S - S before|",
    "from start": "|S - S at start|",
}
IMAGE_MODES: dict[str, ImageMode] = {
    "Patch alignment": "alignment",
    "Pixel confidence": "confidence",
    "Token's attention": "token",
    "Gain-weighted support": "support",
    "Nothing": "none",
}
IMAGE_UNITS: dict[ImageMode, str] = {
    "alignment": "mean logit",
    "confidence": "confidence",
    "token": "attention",
    "support": "gain",
    "none": "",
}
POINT_MAPS: dict[str, PointMap] = {
    "As in Look": "none",
    "Patch alignment": "alignment",
    "Gain-weighted support": "support",
}
LISTED_TOKENS = 8
MOST_MOVED = 8

ASK_SEC = 1 / 3
PATIENCE_SEC = 2.0
"""After so long without an answer the next question is asked."""


class Questions:
    """Decides when the run is asked to look into the shown frame, never twice in a row."""

    def __init__(self) -> None:
        self._asked: tuple[int, int, int] | None = None
        self._asked_at_sec = -math.inf

    def forget(self) -> None:
        """Ask anew whatever was asked before."""
        self._asked, self._asked_at_sec = None, -math.inf

    def ask(
        self, snapshot: SceneSnapshot, lane: int, position: int, now_sec: float
    ) -> Inspect | None:
        """Give the question that is due, if one is."""
        wanted = (snapshot.epoch, lane, position)
        if position < 0 or wanted == self._asked:
            return None
        found = snapshot.inspection
        answered = found is not None and key_of(found) == self._asked
        waited_sec = now_sec - self._asked_at_sec
        if waited_sec < (ASK_SEC if answered or self._asked is None else PATIENCE_SEC):
            return None
        self._asked, self._asked_at_sec = wanted, now_sec
        return Inspect(lane, position)


def key_of(found: Inspection) -> tuple[int, int, int]:
    """Say which step of which lane and run was looked into."""
    return found.epoch, found.lane, found.sequence


def state_values(
    mode: StateMode,
    rows: NDArray[np.float16],
    position: int,
    threshold: float,
    found: Inspection,
) -> Floats:
    """Give the numbers (state,) of the state map at a frame.

    `rows` (frame, state) are the gains of all frames.
    """
    match mode:
        case "gain":
            return rows[position].astype(np.float32)
        case "mean gain":
            return rows[: position + 1].mean(axis=0, dtype=np.float32)
        case "gain change":
            before = rows[max(position - 1, 0)].astype(np.float32)
            return rows[position].astype(np.float32) - before
        case "age":
            return frames_since_above(rows[: position + 1], threshold)
        case "state change":
            return found.state_change
        case "from start":
            return found.from_start
        case _:
            assert_never(mode)


def image_values(
    mode: ImageMode, found: Inspection, lane: LaneScene, token: int, layer: int
) -> Floats | None:
    """Give the map (rows, columns) over the picture of the frame that was looked into.

    The confidence is that of every pixel for the newest frame; of the others only the kept points
    have one, and each patch shows their mean.
    """
    shape = found.rows, found.columns
    match mode:
        case "alignment":
            return found.patch_logit.reshape(shape)
        case "support":
            return gain_support(found).reshape(shape)
        case "token":
            return token_over_patches(found, token, layer).reshape(shape)
        case "confidence":
            if lane.latest is not None and lane.latest.sequence == found.sequence:
                return lane.latest.confidence
            frame = lane.frames[found.sequence]
            patches = patches_of_points(frame.points.points_world, frame.camera, *shape)
            return patch_means(frame.points.confidence, patches, *shape)
        case "none":
            return None
        case _:
            assert_never(mode)


def point_values(points: PointMap, found: Inspection) -> Floats | None:
    """Give the numbers (patch,) that the shown frame's points are coloured by."""
    match points:
        case "none":
            return None
        case "alignment":
            return found.patch_logit
        case "support":
            return gain_support(found)
        case _:
            assert_never(points)


def picked_within(settings: InspectSettings, found: Inspection) -> InspectSettings:
    """Keep what is picked within what there is."""
    return replace(
        settings,
        token=min(max(settings.token, 0), len(found.gain) - 1),
        layer=min(max(settings.layer, 0), len(found.writes)),
        row=min(max(settings.row, 0), found.rows - 1),
        column=min(max(settings.column, 0), found.columns - 1),
    )


def most_moved(frames: Sequence[FrameSummary]) -> dict[str, int]:
    """Name the frames in which the state moved most, the farthest first, and give their places."""
    change = np.array([frame.state_change for frame in frames])
    return {f"Frame {k + 1}: moved {change[k]:.3g}": k for k in largest(change, MOST_MOVED)}


def lit_tokens(found: Inspection, patch: int, layer: int) -> tuple[int, ...]:
    """Give the tokens that are listed for a patch, each once."""
    reads, writes = tokens_of_patch(found, patch, layer)
    both = (*largest(reads, LISTED_TOKENS), *largest(writes, LISTED_TOKENS))
    return tuple(dict.fromkeys(both))


def tokens_html(found: Inspection, patch: int, layer: int) -> str:
    """List the tokens that a patch reads from most, and those that take most from it."""
    hints = {
        "reads from": "State tokens that this patch attends to most: share of its attention",
        "written to": "State tokens that attend to this patch most: share of their attention",
    }
    columns = tokens_of_patch(found, patch, layer)
    best = [largest(values, LISTED_TOKENS) for values in columns]
    body = []
    for tokens in zip(*best, strict=True):
        cells: list[str] = []
        for values, token in zip(columns, tokens, strict=True):
            gain = muted(f"g {found.gain[token]:.2f}")
            cells += (str(token), f"{100 * values[token]:.1f} %", gain)
        body.append(row(cells))
    y, x = divmod(patch, found.columns)
    title = f"{square(PATCH_COLOR)} Patch at row {y}, column {x}: tokens, g their gain"
    return block("tokens", title + table(header(hints, span=3), body))


def token_html(found: Inspection, token: int) -> str:
    """Say what is known of the picked token."""
    return block(
        "token",
        f"{square(TOKEN_COLOR)} Token {token}: gain {found.gain[token]:.3f}, moved "
        f"{found.state_change[token]:.3g}, {found.from_start[token]:.3g} from the start",
    )


def statistics_html(gain: Floats, threshold: float, change: float) -> str:
    """Say how the gains of the shown frame lie."""
    mean, spread = float(np.mean(gain, dtype=np.float64)), float(np.std(gain, dtype=np.float64))
    return block(
        "statistics",
        f"Gain {mean:.3f} ± {spread:.3f} · entropy {gain_entropy(gain):.4f} of 1 · "
        f"{100 * share_above(gain, threshold):.0f} % above {threshold:.2f} · "
        f"state moved {change:.3g}",
    )


def note_text(snapshot: SceneSnapshot, found: Inspection | None, position: int) -> str:
    """Say what the maps belong to, what is being found, and why something cannot be."""
    if position < 0:
        return "No frame yet."
    parts = []
    if found is not None:
        parts.append(f"Looked into frame {found.sequence + 1}")
        if found.frames_replayed:
            plural = "s" if found.frames_replayed > 1 else ""
            parts[0] += f", after {found.frames_replayed} replayed frame{plural}"
    if found is None or found.sequence != position:
        parts.append(snapshot.inspection_note or f"frame {position + 1} is being looked into")
    return "; ".join(parts) + "."


def note_html(text: str) -> str:
    """Show the note."""
    return block("inspect-note", muted(escape(text)))


def history_html(frames: int, stretch: int, tokens: int, by_mean: bool) -> str:
    """Say how to read the history."""
    order = "highest mean gain at the top" if by_mean else "token 0 at the top"
    each = f", {stretch} per column (what lies farthest from the mean)" if stretch > 1 else ""
    return block(
        "history",
        muted(f"{tokens} tokens, {order}; frames 1 to {frames} from left to right{each}."),
    )
