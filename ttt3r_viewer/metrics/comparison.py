"""The table of lanes: each lane's measures, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import umeyama
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES, Trajectory, ate, rpe
from ttt3r_viewer.scene.store import FrameSummary

MISSING = "–"  # noqa: RUF001 - a dash as wide as a digit, as tables have it


@dataclass(frozen=True, eq=False, slots=True)
class LaneFrame:
    """What one lane said about one frame, as far as it is measured."""

    index: int
    """Position in the whole input, from 0."""
    time_sec: float
    name: str
    T_world_camera: NDArray[np.float64]
    """(4, 4); the world is the lane's own."""
    confidence_mean: float
    gain_mean: float
    compute_sec: float

    @classmethod
    def of(cls, frame: FrameSummary) -> LaneFrame:
        """What is measured of a frame of the scene."""
        return cls(
            index=frame.index,
            time_sec=frame.time_sec,
            name=frame.name,
            T_world_camera=frame.camera.T_world_camera,
            confidence_mean=frame.confidence_mean,
            gain_mean=frame.gain_mean,
            compute_sec=frame.compute_sec,
        )


@dataclass(frozen=True)
class LaneMeasures:
    """One row of the table; None, or NaN, where a number cannot be had."""

    lane: str
    frames: int
    ate_sim3_m: float | None
    """Root mean square position error, in the true poses' unit, after Sim3 alignment."""
    ate_se3_m: float | None
    """The same after SE3 alignment: the lane's metres are taken at their word."""
    path_length_m: float | None
    """Length of the lane's own path, in its own unit: metres for metric weights."""
    rpe_translation_m: float | None
    """Root mean square error of the motion between consecutive frames, after Sim3 scale."""
    rpe_rotation_deg: float | None
    mean_confidence: float
    mean_gain: float
    sec_per_frame: float
    frames_with_truth: int = 0
    """Frames that the ground truth has a pose for: all errors are over these."""
    true_length_m: float | None = None
    """Length of the true path over these frames."""
    reason: str = ""
    """Why numbers are missing; empty where none is."""


_HEADINGS = (
    "lane",
    "frames",
    "ATE Sim3 (m)",
    "ATE SE3 (m)",
    "RPE t (m)",
    "RPE r (deg)",
    "path (m)",
    "true path (m)",
    "confidence",
    "gain",
    "time per frame (s)",
)
_CSV_COLUMNS = (
    "lane",
    "frames",
    "frames_with_truth",
    "ate_sim3_m",
    "ate_se3_m",
    "rpe_translation_m",
    "rpe_rotation_deg",
    "path_length_m",
    "true_length_m",
    "mean_confidence",
    "mean_gain",
    "sec_per_frame",
    "reason",
)


def true_poses(frames: Sequence[LaneFrame], ground_truth: GroundTruth) -> NDArray[np.float64]:
    """The true `T_world_camera` (n, 4, 4) of each frame; NaN where the ground truth has none."""
    poses = np.full((len(frames), 4, 4), np.nan)
    for row, frame in enumerate(frames):
        pose = ground_truth.pose_of(frame.index, frame.time_sec, frame.name)
        if pose is not None:
            poses[row] = pose
    return poses


def measure_lane(
    name: str, frames: Sequence[LaneFrame], ground_truth: GroundTruth | None
) -> LaneMeasures:
    """All measures of one lane. Raises nothing: what cannot be measured is None, with a reason.

    Errors are over the frames that the ground truth has a pose for; RPE over consecutive ones.
    """
    reasons: list[str] = []
    estimate = _trajectory(frames, reasons)
    matched: tuple[Trajectory, Trajectory] | None = None
    rows = np.empty(0, dtype=np.intp)
    if ground_truth is None:
        reasons.append("no ground truth was found or given")
    elif estimate is not None:
        poses = true_poses(frames, ground_truth)
        rows = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
        if rows.size >= FEWEST_POSES:
            here = estimate.take(rows)
            matched = Trajectory(here.times_sec, poses[rows]), here
        else:
            reasons.append(
                f"{ground_truth.path.name} has a pose for {rows.size} of {len(frames)} frames,"
                f" looked up by {ground_truth.key}; wanted at least {FEWEST_POSES}"
            )
    sim3_m = se3_m = shift_m = turn_deg = None
    if matched is not None:
        se3_m = ate(*matched, with_scale=False).rmse_m
        try:
            sim3_m = ate(*matched, with_scale=True).rmse_m
            relative = rpe(*matched)
            shift_m, turn_deg = relative.translation_rmse_m, relative.rotation_rmse_deg
        except EvaluationError as error:
            reasons.append(str(error))
    return LaneMeasures(
        lane=name,
        frames=len(frames),
        ate_sim3_m=sim3_m,
        ate_se3_m=se3_m,
        path_length_m=estimate.length_m if estimate is not None else None,
        rpe_translation_m=shift_m,
        rpe_rotation_deg=turn_deg,
        mean_confidence=_mean([frame.confidence_mean for frame in frames]),
        mean_gain=_mean([frame.gain_mean for frame in frames]),
        sec_per_frame=_mean([frame.compute_sec for frame in frames]),
        frames_with_truth=int(rows.size),
        true_length_m=matched[0].length_m if matched is not None else None,
        reason="; ".join(reasons),
    )


def lane_separation(a: Sequence[LaneFrame], b: Sequence[LaneFrame]) -> NDArray[np.float64]:
    """Distance (n,) between two lanes' cameras per frame, after Sim3 alignment of `b` to `a`.

    In lane `a`'s unit, for the frames that both lanes have, in order of their index. Raises
    `EvaluationError` for fewer than three such frames, poses that are not finite, and a lane that
    stands still.
    """
    by_index_a = {frame.index: frame for frame in a}
    by_index_b = {frame.index: frame for frame in b}
    common = sorted(by_index_a.keys() & by_index_b.keys())
    if len(common) < FEWEST_POSES:
        raise EvaluationError(
            f"the lanes have {len(common)} frames in common; wanted at least {FEWEST_POSES}:"
            " measure more frames"
        )
    positions_a = _as_trajectory([by_index_a[index] for index in common]).positions
    positions_b = _as_trajectory([by_index_b[index] for index in common]).positions
    aligned = umeyama(positions_b, positions_a, with_scale=True).apply(positions_b)
    return np.linalg.norm(aligned - positions_a, axis=1)


def comparison_markdown(rows: Sequence[LaneMeasures], notes: Sequence[str]) -> str:
    """A Markdown table of the lanes, then the notes and why numbers are missing, as a list."""
    lines = [
        _markdown_row(_HEADINGS),
        "| --- |" + " ---: |" * (len(_HEADINGS) - 1),
        *(_markdown_row(_cells(row)) for row in rows),
    ]
    items = [*notes]
    for row in rows:
        if row.frames_with_truth not in (0, row.frames):
            items.append(
                f"{row.lane}: errors are over the {row.frames_with_truth} of {row.frames} frames"
                " that have a true pose"
            )
        if row.reason:
            items.append(f"{row.lane}: {MISSING} because {row.reason}")
    # A note stays one item whatever text it quotes.
    bullets = [f"* {_markdown_text(item)}" for item in items]
    return "\n".join([*lines, *([""] if bullets else []), *bullets]) + "\n"


def comparison_csv(rows: Sequence[LaneMeasures]) -> str:
    """The same in full precision; a cell is empty where there is no number, `reason` says why."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in rows:
        cells = [getattr(row, column) for column in _CSV_COLUMNS]
        writer.writerow(["" if _is_missing(cell) else cell for cell in cells])
    return text.getvalue()


def _trajectory(frames: Sequence[LaneFrame], reasons: list[str]) -> Trajectory | None:
    """The lane's poses; None, with a reason, where they cannot be measured."""
    if not frames:
        reasons.append("the lane has no frames")
        return None
    try:
        return _as_trajectory(frames)
    except EvaluationError as error:
        reasons.append(str(error))
        return None


def _as_trajectory(frames: Sequence[LaneFrame]) -> Trajectory:
    return Trajectory(
        np.array([frame.time_sec for frame in frames], dtype=np.float64),
        np.array([frame.T_world_camera for frame in frames], dtype=np.float64),
    )


def _cells(row: LaneMeasures) -> tuple[str, ...]:
    numbers = (
        row.ate_sim3_m,
        row.ate_se3_m,
        row.rpe_translation_m,
        row.rpe_rotation_deg,
        row.path_length_m,
        row.true_length_m,
        row.mean_confidence,
        row.mean_gain,
        row.sec_per_frame,
    )
    shown = (
        MISSING if number is None or math.isnan(number) else f"{number:.4g}" for number in numbers
    )
    return (row.lane, str(row.frames), *shown)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_markdown_text(cell).replace("|", "\\|") for cell in cells) + " |"


def _markdown_text(text: str) -> str:
    """Put text of unknown origin on one line in which nothing is HTML or a link."""
    return re.sub(r"[\\`<\[\]]", r"\\\g<0>", " ".join(text.split()))


def _is_missing(cell: object) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _mean(numbers: Sequence[float]) -> float:
    return float(np.mean(numbers)) if numbers else math.nan
