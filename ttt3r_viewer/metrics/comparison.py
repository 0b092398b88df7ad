"""The table of lanes: each lane's measures, as Markdown and as CSV."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.metrics.text_tables import MISSING, csv_text, markdown_table, markdown_text
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES, Trajectory, aligned_distances, ate, rpe
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.types import FrameFacts


@dataclass(frozen=True)
class LaneMeasures:
    """One row of the table; None, or NaN, where a number cannot be had."""

    lane: str
    frames: int
    mean_confidence: float
    mean_gain: float
    sec_per_frame: float
    path_length_m: float | None = None
    """Length of the lane's own path, in its own unit: metres for metric weights."""
    frames_with_truth: int = 0
    """Frames that the ground truth has a pose for: all errors are over these."""
    true_length_m: float | None = None
    """Length of the true path over these frames."""
    ate_se3_m: float | None = None
    """Root mean square position error, in the true poses' unit, after SE3 alignment: with the
    lane's own metres."""
    ate_sim3_m: float | None = None
    """The same after Sim3 alignment."""
    rpe_translation_m: float | None = None
    """Root mean square error of the motion between consecutive frames, after Sim3 scale."""
    rpe_rotation_deg: float | None = None
    reason: str = ""
    """Why numbers are missing; empty where none is."""


_COLUMNS = {
    "lane": "lane",
    "frames": "frames",
    "frames_with_truth": "",
    "ate_sim3_m": "ATE Sim3 (m)",
    "ate_se3_m": "ATE SE3 (m)",
    "rpe_translation_m": "RPE t (m)",
    "rpe_rotation_deg": "RPE r (deg)",
    "path_length_m": "path (m)",
    "true_length_m": "true path (m)",
    "mean_confidence": "confidence",
    "mean_gain": "gain",
    "sec_per_frame": "time per frame (s)",
    "reason": "",
}
"""Fields of `LaneMeasures` as columns, with their headings in Markdown; empty: in CSV alone."""


def true_poses(frames: Sequence[FrameFacts], ground_truth: GroundTruth) -> NDArray[np.float64]:
    """The true `T_world_camera` (n, 4, 4) of each frame; NaN where the ground truth has none."""
    unknown = np.full((4, 4), np.nan)
    poses = (ground_truth.pose_of(one.index, one.time_sec, one.name) for one in frames)
    return np.array([unknown if pose is None else pose for pose in poses]).reshape(-1, 4, 4)


def measure_lane(
    name: str, frames: Sequence[FrameSummary], ground_truth: GroundTruth | None
) -> LaneMeasures:
    """All measures of one lane. Raises nothing: what cannot be measured is None, with a reason.

    Errors are over the frames that the ground truth has a pose for; RPE over consecutive ones.
    """
    numbers: dict[str, Any] = {}
    reasons: list[str] = []
    try:
        estimate = _trajectory(frames)
        numbers["path_length_m"] = estimate.length_m
        if ground_truth is not None:
            # One by one: what came before an error is kept.
            for field, number in _errors(frames, estimate, ground_truth):
                numbers[field] = number
    except EvaluationError as error:
        reasons.append(str(error))
    if ground_truth is None:
        reasons.append("no ground truth was found or given")
    return LaneMeasures(
        lane=name,
        frames=len(frames),
        mean_confidence=_mean([frame.confidence_mean for frame in frames]),
        mean_gain=_mean([frame.gain_mean for frame in frames]),
        sec_per_frame=_mean([frame.compute_sec for frame in frames]),
        reason="; ".join(reasons),
        **numbers,
    )


def _errors(
    frames: Sequence[FrameFacts], estimate: Trajectory, ground_truth: GroundTruth
) -> Iterator[tuple[str, float]]:
    """Fields of `LaneMeasures` with their numbers; `EvaluationError` where the next has none."""
    poses = true_poses(frames, ground_truth)
    rows = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
    yield "frames_with_truth", len(rows)
    if len(rows) < FEWEST_POSES:
        raise EvaluationError(
            f"{ground_truth.path.name} has a pose for {len(rows)} of {len(frames)} frames,"
            f" looked up by {ground_truth.key}; wanted at least {FEWEST_POSES}"
        )
    here = estimate.take(rows)
    truth = Trajectory(here.times_sec, poses[rows])
    yield "true_length_m", truth.length_m
    yield "ate_se3_m", ate(truth, here, with_scale=False)
    yield "ate_sim3_m", ate(truth, here, with_scale=True)
    relative = rpe(truth, here)
    yield "rpe_translation_m", relative.translation_rmse_m
    yield "rpe_rotation_deg", relative.rotation_rmse_deg


def lane_separation(a: Sequence[FrameFacts], b: Sequence[FrameFacts]) -> NDArray[np.float64]:
    """Distance (n,) between two lanes' cameras per frame, after Sim3 alignment of `b` to `a`.

    In lane `a`'s unit; both have the same frames. Raises `EvaluationError` for fewer than three,
    poses that are not finite, and a lane that stands still.
    """
    if len(a) < FEWEST_POSES:
        raise EvaluationError(
            f"the lanes have {len(a)} frames in common; wanted at least {FEWEST_POSES}:"
            " measure more frames"
        )
    return aligned_distances(_trajectory(a), _trajectory(b), with_scale=True)


def comparison_cells(rows: Sequence[LaneMeasures]) -> list[list[str]]:
    """The headings, then a line of cells for each lane."""
    shown = {field: heading for field, heading in _COLUMNS.items() if heading}
    return [
        list(shown.values()),
        *([_cell(getattr(row, field)) for field in shown] for row in rows),
    ]


def comparison_markdown(rows: Sequence[LaneMeasures], notes: Sequence[str]) -> str:
    """A Markdown table of the lanes, then the notes and why numbers are missing, as a list."""
    headings, *cells = comparison_cells(rows)
    lines = markdown_table(
        headings, ([markdown_text(name), *rest] for name, *rest in cells), left={0}
    )
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
    bullets = [f"* {markdown_text(item)}" for item in items]
    return "\n".join([*lines, *([""] if bullets else []), *bullets]) + "\n"


def comparison_csv(rows: Sequence[LaneMeasures]) -> str:
    """The same in full precision; a cell is empty where there is no number, `reason` says why."""
    return csv_text(list(_COLUMNS), ([getattr(row, field) for field in _COLUMNS] for row in rows))


def _trajectory(frames: Sequence[FrameFacts]) -> Trajectory:
    """The lane's poses. Raises `EvaluationError` where they cannot be measured."""
    if not frames:
        raise EvaluationError("the lane has no frames")
    return Trajectory(
        np.array([frame.time_sec for frame in frames], dtype=np.float64),
        np.array([frame.camera.T_world_camera for frame in frames], dtype=np.float64),
    )


def _cell(value: str | float | None) -> str:
    if isinstance(value, str | int):
        return str(value)
    return MISSING if value is None or math.isnan(value) else f"{value:.4g}"


def _mean(numbers: Sequence[float]) -> float:
    return float(np.mean(numbers)) if numbers else math.nan
