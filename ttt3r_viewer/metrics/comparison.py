"""The table of lanes: each lane's measures, as Markdown and as CSV."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.geometry import umeyama
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.metrics.text_tables import MISSING, csv_text, markdown_table, markdown_text
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES, Trajectory, ate, rpe
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.types import FrameFacts


@dataclass(frozen=True)
class LaneMeasures:
    """One row of the table; None, or NaN, where a number cannot be had."""

    lane: str
    frames: int
    ate_sim3_m: float | None
    """Root mean square position error, in the true poses' unit, after Sim3 alignment."""
    ate_se3_m: float | None
    """The same after SE3 alignment: the lane's own metres."""
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
    poses = np.full((len(frames), 4, 4), np.nan)
    for row, frame in enumerate(frames):
        pose = ground_truth.pose_of(frame.index, frame.time_sec, frame.name)
        if pose is not None:
            poses[row] = pose
    return poses


def measure_lane(
    name: str, frames: Sequence[FrameSummary], ground_truth: GroundTruth | None
) -> LaneMeasures:
    """All measures of one lane. Raises nothing: what cannot be measured is None, with a reason.

    Errors are over the frames that the ground truth has a pose for; RPE over consecutive ones.
    """
    reasons: list[str] = []
    estimate = None
    try:
        estimate = _trajectory(frames)
    except EvaluationError as error:
        reasons.append(str(error))
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
        se3_m = ate(*matched, with_scale=False)
        try:
            sim3_m = ate(*matched, with_scale=True)
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


def lane_separation(a: Sequence[FrameFacts], b: Sequence[FrameFacts]) -> NDArray[np.float64]:
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
    positions_a = _trajectory([by_index_a[index] for index in common]).positions
    positions_b = _trajectory([by_index_b[index] for index in common]).positions
    aligned = umeyama(positions_b, positions_a, with_scale=True).apply(positions_b)
    return np.linalg.norm(aligned - positions_a, axis=1)


def comparison_markdown(rows: Sequence[LaneMeasures], notes: Sequence[str]) -> str:
    """A Markdown table of the lanes, then the notes and why numbers are missing, as a list."""
    shown = {field: heading for field, heading in _COLUMNS.items() if heading}
    cells = ([_cell(getattr(row, field)) for field in shown] for row in rows)
    lines = markdown_table(list(shown.values()), cells, left={0})
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
    if isinstance(value, str):
        return markdown_text(value)
    if isinstance(value, int):
        return str(value)
    return MISSING if value is None or math.isnan(value) else f"{value:.4g}"


def _mean(numbers: Sequence[float]) -> float:
    return float(np.mean(numbers)) if numbers else math.nan
