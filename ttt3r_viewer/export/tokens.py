"""The gains of every frame and token as an npz file, and a table of numbers per frame."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ttt3r_viewer.metrics.text_tables import csv_text
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.scene.store import LaneScene

COLUMNS = (
    *("sequence", "index", "time_sec", "name", "rule", "segment"),
    *("gain_mean", "gain_p10", "gain_p90", "gain_entropy", "threshold", "share_above"),
    *("state_change", "confidence_mean"),
)
"""Of the table of statistics."""


def gain_entropy(gain: ArrayLike) -> float:
    """How evenly the tokens (state,) share a frame's gain, from 0 (one has all) to 1 (all equal).

    Shannon entropy of gain / sum, divided by log of the number of tokens; 1 where no token has any.
    """
    share = np.asarray(gain, dtype=np.float64)
    total = share.sum()
    if total <= 0 or len(share) < 2:
        return 1.0
    share = share[share > 0] / total
    return float(np.clip(-(share * np.log(share)).sum() / np.log(np.size(gain)), 0.0, 1.0))


def share_above(gain: ArrayLike, threshold: float) -> float:
    """Share of the tokens (state,) whose gain is above the threshold."""
    return float(np.mean(np.asarray(gain, dtype=np.float64) > threshold))


def tokens_npz(lane: LaneScene, state_columns: int) -> bytes:
    """Give the content of tokens.npz: one row per frame, no pickled objects.

    `gain` (frame, state) float16; `sequence`, `index`, `segment` (frame,) int64; `time_sec`
    (frame,) float64; `name`, `rule` (frame,) text; `state_columns` () the width of the grid on
    which the tokens sit, row by row.
    """
    frames = lane.frames
    gain = np.stack([frame.gain for frame in frames]) if frames else np.zeros((0, 0))
    file = io.BytesIO()
    np.savez_compressed(
        file,
        gain=gain.astype(np.float16),
        sequence=np.array([frame.sequence for frame in frames], np.int64),
        index=np.array([frame.index for frame in frames], np.int64),
        time_sec=np.array([frame.time_sec for frame in frames], np.float64),
        name=np.array([frame.name for frame in frames], np.str_),
        rule=np.array([frame.rule for frame in frames], np.str_),
        segment=np.array([frame.segment for frame in frames], np.int64),
        state_columns=np.int64(state_columns),
    )
    return file.getvalue()


def statistics_csv(frames: Sequence[FrameSummary], threshold: float = 0.5) -> bytes:
    """Give the content of the table: one line per frame, with the columns of `COLUMNS`."""
    rows: list[list[object]] = []
    for frame in frames:
        numbers = (
            frame.gain_mean,
            *frame.gain_range,
            gain_entropy(frame.gain),
            threshold,
            share_above(frame.gain, threshold),
            frame.state_change,
            frame.confidence_mean,
        )
        place = [frame.sequence, frame.index, f"{frame.time_sec:.6f}"]
        names = [frame.name, frame.rule, frame.segment]
        rows.append([*place, *names, *(f"{number:.6g}" for number in numbers)])
    return csv_text(COLUMNS, rows).encode("utf-8", "backslashreplace")
