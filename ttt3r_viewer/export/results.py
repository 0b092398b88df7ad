"""What `run` leaves: poses_tum.txt, intrinsics.json, points.ply per lane, and run.json; with
`--inspect` also the gains of every frame and token, and a table of numbers per frame.
"""

import io
import json
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.export.formats.ply import write_ply
from ttt3r_viewer.export.formats.poses import intrinsics_json, tum_text
from ttt3r_viewer.metrics.text_tables import csv_text
from ttt3r_viewer.scene.edges import DEFAULT_EDGE_FILTER
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.scene.store import LaneScene, SceneSnapshot
from ttt3r_viewer.system.files import claim_folder, take_name, write_output
from ttt3r_viewer.system.version import PROGRAM
from ttt3r_viewer.types import RuleInfo, lane_labels

OWN_FILES = ("poses_tum.txt", "intrinsics.json", "points.ply", "run.json")
"""What is written or replaced in an output folder, or in the folder of one lane."""
INSPECT_FILES = ("tokens.npz", "frames.csv")
"""What `--inspect` adds."""
COLUMNS = (
    *("sequence", "index", "time_sec", "name", "rule", "segment"),
    *("gain_mean", "gain_p10", "gain_p90", "gain_entropy", "threshold", "share_above"),
    *("state_change", "confidence_mean"),
)
"""Of frames.csv."""


def lane_file_names(rules: Sequence[RuleInfo]) -> tuple[str, ...]:
    """Every lane's label as it may stand in a file name, such as "CUT3R-rate-1"; all differ, also
    where the case of letters does not count.
    """
    names: list[str] = []
    for number, label in enumerate(lane_labels(rules), 1):
        name = re.sub(r"[^A-Za-z0-9.]+", "-", label)[:80].strip("-.") or f"lane-{number}"
        if name.lower() in (other.lower() for other in names):
            name = f"{name}-lane-{number}"
        names.append(name)
    return tuple(names)


def rename_earlier_lanes(folder: Path, rules: Sequence[RuleInfo]) -> None:
    """Give lanes' folders that were named before lanes had labels, such as "constant-1", new names,
    so that a resumed run replaces its results there. Raises `OutputError`.
    """
    earlier: list[str] = []
    for rule in rules:
        shown = (p for p in rule.parameters if p.value != p.default or rule.name == "constant")
        name = "-".join([rule.name, *(f"{one.value:g}" for one in shown)])
        repeated = sum(other == name or other.startswith(f"{name}_") for other in earlier)
        earlier.append(f"{name}_{repeated + 1}" if repeated else name)
    for name, new in zip(earlier, lane_file_names(rules), strict=True):
        take_name(folder / name, folder / new)


def write_lane(
    folder: Path,
    lane: LaneScene,
    failed: list[OutputError],
    *,
    state_columns: int,
    inspect: bool,
    edge_filter: float = DEFAULT_EDGE_FILTER,
) -> int:
    """Write one lane's cameras and points, file by file, each whole; the number of points.

    `failed` takes an error for each file that the disk does not take. `inspect` adds the gains of
    the state tokens, whose grid is `state_columns` wide; `edge_filter` takes points out as
    `FramePoints.off_edges` does.
    """
    with _collected(failed):
        write_output(folder / "poses_tum.txt", tum_text(lane.frames))
    with _collected(failed):
        write_output(folder / "intrinsics.json", intrinsics_json(lane.frames))
    if inspect:
        with _collected(failed):
            write_output(folder / "tokens.npz", tokens_npz(lane, state_columns))
        with _collected(failed):
            write_output(folder / "frames.csv", statistics_csv(lane.frames))
    with _collected(failed):
        points = [frame.points.off_edges(edge_filter) for frame in lane.frames]
        return write_ply(folder / "points.ply", points)
    return 0


@contextmanager
def _collected(failed: list[OutputError]) -> Iterator[None]:
    try:
        yield
    except OutputError as error:
        failed.append(error)


def write_report(
    path: Path,
    scene: SceneSnapshot,
    points: int,
    settings: dict[str, Any],
    timing: dict[str, float],
    missing: Sequence[str] = (),
) -> None:
    """Write run.json: the number of points, `settings` and `timing` (seconds by name) as they are,
    and in `missing` what else could not be written. Raises `OutputError`.
    """
    report = {
        "program": PROGRAM,
        "settings": settings,
        "status": asdict(replace(scene.status, known_rules=())),
        "frames": len(scene.frames),
        "points": points,
        "points_per_frame_at_most": scene.layout.points_per_frame,
        "resets": scene.frames[-1].segment if scene.frames else 0,
        "timing": timing,
        "missing": list(missing),
        "versions": _versions(),
    }
    write_output(path, json.dumps(report, indent=1).encode("ascii"))


def write_results(
    folder: Path, scene: SceneSnapshot, settings: dict[str, Any], timing: dict[str, float]
) -> None:
    """Write what has been reconstructed so far: one lane into the folder, several each into a
    folder of its own. (`folder` has been claimed: what is in there is ours, or may be replaced.)

    Raises `OutputError` where files are missing, once all others are there.
    """
    folders = [folder]
    if len(scene.lanes) > 1:
        folders = [folder / name for name in lane_file_names(scene.status.lanes)]
        for one in folders:
            claim_folder(one, OWN_FILES, overwrite=True)
    columns, inspect = scene.status.state_columns, bool(settings.get("inspect"))
    edge_filter = settings.get("edge_filter", DEFAULT_EDGE_FILTER)
    points = 0
    failed: list[OutputError] = []
    for one, lane in zip(folders, scene.lanes, strict=True):
        points += write_lane(
            one, lane, failed, state_columns=columns, inspect=inspect, edge_filter=edge_filter
        )
    missing = list(map(str, failed))
    with _collected(failed):
        write_report(folder / "run.json", scene, points, settings, timing, missing)
    if failed:
        raise OutputError("; ".join(map(str, failed)))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("torch", "numpy", "viser", "pillow", "av", "safetensors"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # built into the system without metadata
            versions[package] = "unknown"
    return versions


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
