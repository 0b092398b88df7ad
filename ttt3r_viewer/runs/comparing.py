"""What `compare` writes: comparison.md, comparison.csv, trajectories.png and the poses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.evaluate.plot import plot_trajectories
from ttt3r_viewer.export.formats.poses import tum_text
from ttt3r_viewer.export.results import lane_file_names, write_report
from ttt3r_viewer.metrics.comparison import (
    LaneMeasures,
    comparison_csv,
    comparison_markdown,
    measure_lane,
    true_poses,
)
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.scene.store import SceneSnapshot
from ttt3r_viewer.system.files import write_output
from ttt3r_viewer.system.version import __version__
from ttt3r_viewer.types import FrameFacts, RuleInfo, lane_labels


def comparison_files(rules: Sequence[RuleInfo]) -> tuple[str, ...]:
    """All names that `write_comparison` writes for these lanes."""
    poses = (f"poses_{name}.txt" for name in lane_file_names(rules))
    return ("comparison.md", "comparison.csv", "trajectories.png", *poses, "run.json")


def write_comparison(
    folder: Path,
    scene: SceneSnapshot,
    settings: dict[str, Any],
    timing: dict[str, float],
    *,
    ground_truth: GroundTruth | None,
) -> None:
    """Measure every lane and write it all, each file whole. Raises `OutputError`."""
    names = lane_labels(scene.status.lanes)
    frames = {name: lane.frames for name, lane in zip(names, scene.lanes, strict=True)}
    rows = measures_of(scene, ground_truth)
    for name, lane in zip(lane_file_names(scene.status.lanes), scene.lanes, strict=True):
        write_output(folder / f"poses_{name}.txt", tum_text(lane.frames))
    notes = comparison_notes(scene, settings, ground_truth)
    write_output(folder / "comparison.md", comparison_markdown(rows, notes).encode())
    write_output(folder / "comparison.csv", comparison_csv(rows).encode())
    positions = {
        name: np.array([frame.camera.T_world_camera[:3, 3] for frame in lane])
        for name, lane in frames.items()
    }
    truth = None if ground_truth is None else positions_from_first(frames[names[0]], ground_truth)
    colors = dict(zip(names, LANE_COLORS, strict=False))
    plot_trajectories(folder / "trajectories.png", positions, truth, colors)
    write_report(folder / "run.json", scene, 0, settings, timing)


def measures_of(scene: SceneSnapshot, ground_truth: GroundTruth | None) -> list[LaneMeasures]:
    """Measure every lane."""
    lanes = zip(lane_labels(scene.status.lanes), scene.lanes, strict=True)
    return [measure_lane(name, lane.frames, ground_truth) for name, lane in lanes]


def comparison_notes(
    scene: SceneSnapshot, settings: dict[str, Any], ground_truth: GroundTruth | None
) -> list[str]:
    """What a reader of the table must know."""
    status = scene.status
    truth = "none" if ground_truth is None else f"{ground_truth.path} (by {ground_truth.key})"
    notes = [
        f"input: {settings['input'] or 'demo:loop'}; model: {status.model}, on "
        f"{status.device}; ttt3r-viewer {__version__}",
        f"true poses: {truth}",
        "rules: " + "; ".join(rule.text for rule in status.lanes),
        "time per frame is that of all lanes together: they share the encoder and one batch",
    ]
    if status.reset_every:
        notes.append(f"every lane was reset after every {status.reset_every} frames")
    if status.skipped:
        notes.append(f"{status.skipped} frames were skipped; the last: {status.last_skipped}")
    if status.phase != "finished":
        notes.append(f"the run did not come to its end: {status.phase} {status.message}".rstrip())
    return notes


def positions_from_first(
    frames: Sequence[FrameFacts], ground_truth: GroundTruth
) -> NDArray[np.float64] | None:
    """True camera centres (n, 3) seen from the first true camera, NaN where there is none."""
    poses = true_poses(frames, ground_truth)
    known = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
    if not len(known):
        return None
    return (np.linalg.inv(poses[known[0]]) @ poses)[:, :3, 3]
