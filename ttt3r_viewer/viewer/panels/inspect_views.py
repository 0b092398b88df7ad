"""What the tab "Inspect" shows: the numbers of its maps, its texts and tables, what it asks for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ttt3r_viewer.export.results import gain_entropy, share_above
from ttt3r_viewer.reconstruct.messages import Inspect
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.scene.store import SceneSnapshot
from ttt3r_viewer.types import Inspection
from ttt3r_viewer.viewer.html import block, counted, explained, muted, square, table
from ttt3r_viewer.viewer.layers.inspect_layer import (
    Shown,
    gain_support,
    key_of,
    largest,
    patch_means,
    patches_of_points,
    token_over_patches,
    tokens_of_patch,
)
from ttt3r_viewer.viewer.layers.maps import (
    PATCH_COLOR,
    TOKEN_COLOR,
    Floats,
    frames_per_column,
    frames_since_above,
)
from ttt3r_viewer.viewer.view_settings import NOT_PICKED, InspectSettings

LISTED_TOKENS = 8
MOST_MOVED = 8

ASK_SEC = 1 / 3
PATIENCE_SEC = 2.0
"""After so long without an answer the next frame is asked about."""


@dataclass(frozen=True)
class InspectMap:
    """One way to colour the state tokens, or the patches over the image or on the points."""

    label: str
    unit: str
    values: Callable[[Shown], Floats | None]
    """Returns numbers (state,), (patch,) or those of every pixel; None colours nothing."""
    of_gains: bool = False
    """Of two lanes, their difference."""


def _confidence(shown: Shown) -> Floats:
    """Return every pixel's confidence of the newest frame; of others that of the kept points."""
    found, lane = shown.found, shown.lane
    if lane.latest is not None and lane.latest.sequence == found.sequence:
        return lane.latest.confidence
    points, shape = lane.frames[found.sequence].points, (found.rows, found.columns)
    patches = patches_of_points(points.points_world, shown.camera, *shape)
    return patch_means(points.confidence, patches, *shape)


def _token(shown: Shown) -> Floats:
    return token_over_patches(shown.found, shown.chosen.token, shown.chosen.layer)


def _gain(shown: Shown) -> Floats:
    return shown.gains[-1].astype(np.float32)


STATE_MAPS: dict[str, InspectMap] = {
    "gain": InspectMap("Gain now", "gain", _gain, of_gains=True),
    "mean gain": InspectMap(
        "Mean gain so far",
        "mean gain",
        lambda shown: shown.gains.mean(axis=0, dtype=np.float32),
        of_gains=True,
    ),
    "gain change": InspectMap(
        "Change of gain",
        "gain - gain before",
        lambda shown: _gain(shown) - shown.gains[-2:][0],
        of_gains=True,
    ),
    "age": InspectMap(
        "Age",
        "frames",
        lambda shown: frames_since_above(shown.gains, shown.chosen.threshold),
        of_gains=True,
    ),
    "state change": InspectMap(
        "Moved in this frame", "length of the step", lambda shown: shown.found.state_change
    ),
    "from start": InspectMap(
        "Moved since the start", "distance from the start", lambda shown: shown.found.from_start
    ),
}
PATCH_MAPS: dict[str, InspectMap] = {
    "alignment": InspectMap("Patch alignment", "mean logit", lambda shown: shown.found.patch_logit),
    "confidence": InspectMap("Pixel confidence", "confidence", _confidence),
    "token": InspectMap("Token's attention", "attention", _token),
    "support": InspectMap("Gain-weighted support", "gain", lambda one: gain_support(one.found)),
    "none": InspectMap("Nothing", "", lambda _: None),
}
STATE_LABELS = {one.label: name for name, one in STATE_MAPS.items()}
IMAGE_LABELS = {one.label: name for name, one in PATCH_MAPS.items()}
POINT_LABELS = {"As in Look": "none"} | {
    PATCH_MAPS[name].label: name for name in ("alignment", "support")
}


class InspectionSchedule:
    """Decides when the run is asked to inspect the shown frame, never twice in a row."""

    def __init__(self) -> None:
        self._asked: tuple[int, int, int] | None = None
        self._asked_at_sec = -math.inf

    def due(
        self, snapshot: SceneSnapshot, lane: int, position: int, now_sec: float
    ) -> Inspect | None:
        """Return the message that is due, if one is."""
        shown = (snapshot.epoch, lane, position)
        if position < 0 or shown == self._asked:
            return None
        found = snapshot.inspection
        answered = found is not None and key_of(found) == self._asked
        waited_sec = now_sec - self._asked_at_sec
        if waited_sec < (ASK_SEC if answered or self._asked is None else PATIENCE_SEC):
            return None
        self._asked, self._asked_at_sec = shown, now_sec
        return Inspect(lane, position)


def picked_within(
    settings: InspectSettings, found: Inspection, first: Inspection
) -> InspectSettings:
    """Keep what is picked within what there is.

    Where nothing is picked yet, that is the middle patch, and the token that moved most in `first`.
    """
    token, row, column = settings.token, settings.row, settings.column
    return replace(
        settings,
        token=min(max(token, 0), len(found.gain) - 1)
        if token != NOT_PICKED
        else int(first.state_change.argmax()),
        layer=min(max(settings.layer, 0), len(found.writes)),
        row=min(max(row, 0), found.rows - 1) if row != NOT_PICKED else found.rows // 2,
        column=min(max(column, 0), found.columns - 1)
        if column != NOT_PICKED
        else found.columns // 2,
    )


def most_moved(frames: Sequence[FrameSummary]) -> dict[str, int]:
    """Name the frames in which the state moved most, the farthest first, with their places."""
    change = np.array([frame.state_change for frame in frames])
    return {
        f"Frame {k + 1}: state changed by {100 * change[k]:.3g} %": k
        for k in largest(change, MOST_MOVED)
    }


def listed_tokens(shown: Shown) -> tuple[tuple[Floats, tuple[int, ...]], ...]:
    """Return attention (state,) and the tokens listed by it: those read, and those written to."""
    both = tokens_of_patch(shown.found, shown.patch, shown.chosen.layer)
    return tuple((values, largest(values, LISTED_TOKENS)) for values in both)


def tokens_html(shown: Shown) -> str:
    """List the tokens that the picked patch reads from most, and those that take most from it."""
    hints = {
        "reads from": "State tokens that this patch attends to most: share of its attention",
        "written to": "State tokens that attend to this patch most: share of their attention",
    }
    columns = [
        [
            (str(token), f"{100 * values[token]:.1f} %", muted(f"g {shown.found.gain[token]:.2f}"))
            for token in tokens
        ]
        for values, tokens in listed_tokens(shown)
    ]
    body = ((*left, *right) for left, right in zip(*columns, strict=True))
    at = f"row {shown.chosen.row}, column {shown.chosen.column}"
    title = f"{square(PATCH_COLOR)} Patch at {at}: tokens, g their gain"
    return block("tokens", title + table(hints, body, span=3))


def token_html(shown: Shown) -> str:
    """Say in words what is known of the picked token; the numbers explain them."""
    found, token = shown.found, shown.chosen.token
    gain, moved, away = found.gain[token], found.state_change[token], found.from_start[token]
    below = (
        100 * float(np.mean(values < values[token]))
        for values in (found.state_change, found.from_start)
    )
    moved_more, away_more = (f"more than {share:.0f} % of all tokens" for share in below)
    channels = "over the channels of the network, which have no unit"
    pieces = (
        (
            f"accepted {100 * gain:.0f} % of what was proposed",
            f"Gain {gain:.3f}: 0 keeps the token as it was, 1 takes the proposal.",
        ),
        (
            f"moved {moved_more} in this frame",
            f"{moved:.3g}: length of its step in this frame, {channels}.",
        ),
        (
            f"has moved {away_more} since the start",
            f"{away:.3g}: its distance from where it was before the first frame, {channels}.",
        ),
    )
    return block("token", f"{square(TOKEN_COLOR)} Token {token} " + explained(pieces, ", "))


def statistics_html(gain: Floats, threshold: float, change: float) -> str:
    """Say how the gains of the shown frame lie."""
    mean, spread = float(np.mean(gain, dtype=np.float64)), float(np.std(gain, dtype=np.float64))
    pieces = (
        (
            f"Gain {mean:.3f} ± {spread:.3f}",
            "Mean and standard deviation over the tokens, of the share that each accepted.",
        ),
        (
            f"entropy {gain_entropy(gain):.4f} of 1",
            "Of the gains, as shares of their sum: 1 where all tokens accept alike.",
        ),
        (
            f"{100 * share_above(gain, threshold):.0f} % above {threshold:.2f}",
            "Share of the tokens whose gain is above the slider.",
        ),
        (
            f"state changed by {100 * change:.3g} %",
            "Length of the whole state's step, as a share of the state's own length.",
        ),
    )
    return block("statistics", explained(pieces, " · "))


def note_text(snapshot: SceneSnapshot, found: Inspection | None, position: int) -> str:
    """Say what the maps belong to, what is awaited, and why something cannot be."""
    if position < 0:
        return "No frame yet."
    parts = []
    if found is not None:
        parts.append(f"Looked into frame {found.sequence + 1}")
        if found.frames_replayed:
            parts[0] += f", after {counted(found.frames_replayed, 'replayed frame')}"
    if found is None or found.sequence != position:
        parts.append(snapshot.inspection_note or f"frame {position + 1} is being looked into")
    return "; ".join(parts) + "."


def history_html(frames: int, tokens: int, by_mean: bool) -> str:
    """Say how to read the history."""
    order = "highest mean gain at the top" if by_mean else "token 0 at the top"
    stretch = frames_per_column(frames)
    each = f", {stretch} per column (what lies farthest from the mean)" if stretch > 1 else ""
    return block(
        "history",
        muted(f"{tokens} tokens, {order}; frames 1 to {frames} from left to right{each}."),
    )
