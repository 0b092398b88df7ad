"""How good the miniature is on rooms it has never seen.

    python -m training.evaluate [--rooms 24] [--frames 1,16,30,100,300]
        [--rules constant:1.0,constant:0.3,ttt3r] [--seed 1000] [--stride 1] [--pace 1.0]
        [--weights FILE] [--json FILE]

Prints, per rule and length, the median over rooms of each measure with a 95 % bootstrap interval,
and the paired ratio to the constant rate 1. `--frames 1` alone is quick: the depth of single
frames. `--stride N` takes every N-th frame of a path, as if the camera were N times as fast, or
filmed N times as rarely; `--pace 0.4` makes it slower, on a path of its own. The JSON holds
`weights`, `seed`, `rooms`, `stride`, `pace`, `records` (one per room, rule and length: the fields
of `RoomRecord`) and `summary` (the fields of `Summary`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from training import exit_code
from training.losses import relative_depth_error, targets_of
from ttt3r_viewer.errors import EvaluationError, SettingsError
from ttt3r_viewer.metrics.dense import world_point_error
from ttt3r_viewer.metrics.text_tables import median_interval
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES, Trajectory, ate, rpe
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.rules.registry import MOST_LANES, rule_from_text, text_of
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.synthetic.scenes import TEST_SEEDS, VALIDATION_SEEDS, render_clips
from ttt3r_viewer.system.files import write_json

if TYPE_CHECKING:
    from ttt3r_viewer.evaluate.datasets.base import TrueFrame
    from ttt3r_viewer.evaluate.evaluation import Accumulator
    from ttt3r_viewer.metrics.dense import TrueSample
    from ttt3r_viewer.types import FrameResult

ROOMS_AT_ONCE = 16
FASTEST_PACE = 4.0
"""A camera may not leave the room between two frames; `--stride` is for more."""
SHOWN = (
    "depth_error", "world_point_error", "rpe_rotation_over_still", "rpe_translation_over_still",
    "true_turn_deg", "ate_sim3_share", "ate_se3_share", "ate_sim3_m", "mean_gain",
)  # fmt: skip
PIXEL_STEP = 4
"""Every fourth pixel of every fourth row is measured."""
REFERENCE = "constant"
"""The rule that all others are divided by: the constant rate 1, which is CUT3R."""


@dataclass(frozen=True)
class RoomRecord:
    """One rule on the first frames of one room. Lengths are metres; None where there is none."""

    room: int
    """Seed."""
    rule: str
    frames: int
    depth_error: float
    """Median over frames of the median over pixels of |z - z_true| / z_true; no alignment."""
    world_point_error: float
    """Median over frames of the median over pixels of the distance between a point and its truth in
    the first camera's frame, divided by the point's true distance from its camera; no alignment.
    """
    mean_gain: float
    path_length_m: float | None = None
    true_turn_deg: float | None = None
    """Mean true rotation from one frame to the next."""
    ate_sim3_m: float | None = None
    ate_sim3_share: float | None = None
    """Of the path's length."""
    ate_se3_m: float | None = None
    ate_se3_share: float | None = None
    rpe_rotation_deg: float | None = None
    rpe_rotation_over_still: float | None = None
    """Mean error of the relative rotation / mean size of the true one: 1 is not moving."""
    rpe_translation_m: float | None = None
    rpe_translation_over_still: float | None = None


TRUE = ("path_length_m", "true_turn_deg")
"""Measures of the truth, which no rule changes."""
MEASURES = tuple(
    one.name for one in fields(RoomRecord) if one.name not in ("room", "rule", "frames")
)


@torch.no_grad()
def single_frame_depth_errors(network: ReconstructionNetwork, seeds: Sequence[int]) -> Tensor:
    """(room,) relative depth error of each room's first frame, at the network's own size."""
    height, width = network.config.image_size
    errors = []
    for first in range(0, len(seeds), ROOMS_AT_ONCE):
        clip = render_clips(
            seeds[first : first + ROOMS_AT_ONCE], 1, height, width, device=network.device
        )
        truth = targets_of(clip)
        images = clip.images[:, 0].permute(0, 3, 1, 2).to(network.device) * 2 - 1
        state = network.initial_state(len(images))
        points = network.propose(state, network.encode(images)).prediction.points_self
        assert points is not None
        errors.append(relative_depth_error(points, truth.points_self[:, 0]))
    return torch.cat(errors).cpu()


def measure_rooms(
    network: ReconstructionNetwork,
    rules: Sequence[UpdateRule],
    seeds: Iterable[int],
    lengths: Sequence[int],
    on_progress: Callable[[int], object],
    stride: int = 1,
    pace: float = 1.0,
) -> list[RoomRecord]:
    """Run all rules over each room once, at most four at a time, and measure every length.

    Frames are every `stride`-th of the room's path, on which the camera is `pace` times as fast;
    `on_progress` is called with each room that is done.
    """
    from ttt3r_viewer.evaluate.datasets.synthetic import SyntheticRooms
    from ttt3r_viewer.evaluate.evaluation import accumulated
    from ttt3r_viewer.reconstruct.session import Lanes

    dataset = SyntheticRooms(*network.config.image_size, pace=pace, device=str(network.device))
    found: list[RoomRecord] = []
    for seed in seeds:
        frames = dataset.open(str(seed), stride, max(lengths))
        for first in range(0, len(rules), MOST_LANES):
            some = rules[first : first + MOST_LANES]
            rows: list[list[RoomRecord]] = [[] for _ in some]
            lanes = Lanes(network, some)
            for done, accounts in enumerate(accumulated(lanes, frames, every_fourth), start=1):
                if done in lengths:
                    for row, rule, account in zip(rows, some, accounts, strict=True):
                        row.append(RoomRecord(seed, text_of(rule), done, **room_measures(account)))
            found += [record for row in rows for record in row]
        on_progress(seed)
    return found


def room_measures(account: Accumulator) -> dict[str, Any]:
    """What `RoomRecord` holds of a run; every frame has a true pose and depth."""
    depth = [np.median(np.abs(z - true) / true) for true, z in account.depth]
    point = [
        world_point_error(true, seen, T[:3, 3])
        for (true, seen), (_, T, _) in zip(account.points, account.poses, strict=True)
    ]
    cameras = {}
    if len(account.poses) >= FEWEST_POSES:
        cameras = pose_measures(*account.trajectories())
    return {
        "depth_error": float(np.median(depth)),
        "world_point_error": float(np.median(point)),
        "mean_gain": float(np.mean(account.gains)),
        **cameras,
    }


def pose_measures(truth: Trajectory, estimate: Trajectory) -> dict[str, float | None]:
    """Errors of cameras, also as shares of the path and of not moving; None where there is none.

    Relative errors keep the estimate's own metres.
    """
    path_m = truth.length_m
    se3_m = ate(truth, estimate, with_scale=False)
    relative = rpe(truth, estimate, with_scale=False)
    try:
        sim3_m = ate(truth, estimate, with_scale=True)
    except EvaluationError:  # one of the two stands still, so there is no scale
        sim3_m = None
    return {
        "path_length_m": path_m,
        "true_turn_deg": relative.true_turn_deg,
        "ate_sim3_m": sim3_m,
        "ate_sim3_share": sim3_m / path_m if sim3_m is not None and path_m > 0 else None,
        "ate_se3_m": se3_m,
        "ate_se3_share": se3_m / path_m if path_m > 0 else None,
        "rpe_rotation_deg": relative.rotation_rmse_deg,
        "rpe_rotation_over_still": relative.rotation_over_still,
        "rpe_translation_m": relative.translation_rmse_m,
        "rpe_translation_over_still": relative.translation_over_still,
    }


def every_fourth(frame: TrueFrame, result: FrameResult) -> TrueSample:
    """Every fourth pixel of every fourth row, from the third on; rooms have no crop."""
    from ttt3r_viewer.metrics.dense import TrueSample

    assert frame.depth is not None
    assert frame.depth.intrinsics is not None
    assert frame.T_world_camera is not None
    height, width = result.image.shape[:2]
    middle = slice(PIXEL_STEP // 2, None, PIXEL_STEP)
    rows, columns = (grid.ravel() for grid in np.mgrid[:height, :width][:, middle, middle])
    depth_m = frame.depth.read()[rows, columns]
    rays = np.linalg.solve(frame.depth.intrinsics, np.stack([columns, rows, np.ones(len(rows))]))
    R, t = frame.T_world_camera[:3, :3], frame.T_world_camera[:3, 3]
    points = (R @ (rays * depth_m)).T + t
    return TrueSample(rows, columns, depth_m, points.astype(np.float32))


@dataclass(frozen=True)
class Summary:
    """The median of one measure over rooms, with a 95 % bootstrap interval."""

    rule: str
    frames: int
    measure: str
    rooms: int
    median: float
    low: float
    high: float
    ratio: float | None = None
    """Median over rooms of this rule / `REFERENCE`; None for the reference itself."""
    ratio_low: float | None = None
    ratio_high: float | None = None


def summaries(found: Sequence[RoomRecord]) -> list[Summary]:
    """One per rule, length and measure, in the order of the records."""
    values: dict[tuple[str, int, str], dict[int, float]] = {}
    for record in found:
        numbers = asdict(record)
        for measure in MEASURES:
            if numbers[measure] is not None:
                key = (record.rule, record.frames, measure)
                values.setdefault(key, {})[record.room] = numbers[measure]
    result: list[Summary] = []
    for (rule, frames, measure), rooms in values.items():
        ratio: tuple[float, float, float] | tuple[None, None, None] = None, None, None
        beside = values.get((REFERENCE, frames, measure), {})
        common = [room for room in rooms if beside.get(room, 0) > 0]
        if rule != REFERENCE and common and measure not in TRUE:
            ratio = median_interval([rooms[room] / beside[room] for room in common])
        middle = median_interval(list(rooms.values()))
        result.append(Summary(rule, frames, measure, len(rooms), *middle, *ratio))
    return result


def lengths_of(text: str) -> list[int]:
    """`1,16,30` as numbers, rising."""
    try:
        lengths = sorted({int(part) for part in text.split(",")})
    except ValueError:
        lengths = [0]
    if lengths[0] < 1:
        raise SettingsError(f"--frames {text}: take numbers above 0, as 1,16,30")
    return lengths


def line_of(summary: Summary) -> str:
    """One summary to read."""
    text = (
        f"{summary.rule:16} {summary.frames:4} frames  {summary.measure:27} {summary.median:8.4f}"
        f"  [{summary.low:.4f}, {summary.high:.4f}]"
    )
    if summary.ratio is None:
        return text
    return (
        f"{text}  {summary.ratio:6.3f} of constant 1 "
        f"[{summary.ratio_low:.3f}, {summary.ratio_high:.3f}]"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", default="miniature", help="a file, or a known name")
    parser.add_argument("--rooms", type=int, default=24)
    parser.add_argument("--frames", default="1,16,30,100,300", help="lengths to measure")
    parser.add_argument("--rules", default="constant:1.0,constant:0.3,ttt3r")
    parser.add_argument("--seed", type=int, default=1000, help="of the first room")
    parser.add_argument("--stride", type=int, default=1, help="every N-th frame of the paths")
    parser.add_argument(
        "--pace", type=float, default=1.0, help="speed of the camera, times its own"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    given = _parser().parse_args(arguments)
    return exit_code(lambda: _evaluate(given))


def _evaluate(given: argparse.Namespace) -> None:
    from ttt3r_viewer.weights.load import load_network

    lengths = lengths_of(given.frames)
    rules = [rule_from_text(text) for text in given.rules.split(",")]
    seeds = range(given.seed, given.seed + given.rooms)
    _refuse_wrong(given, seeds)
    network = load_network(given.weights, device=given.device)
    found = measure_rooms(
        network,
        rules if lengths != [1] else rules[:1],
        seeds,
        lengths,
        lambda room: print(f"room {room}", end="\r", file=sys.stderr, flush=True),
        given.stride,
        given.pace,
    )
    summary = summaries(found)
    every = f", frames {given.stride} apart" if given.stride > 1 else ""
    every += f", {given.pace:g} times as fast" if given.pace != 1 else ""
    print(f"{given.rooms} unseen rooms from seed {given.seed}{every}: median [95 % interval]")
    for one in summary:
        if one.measure in SHOWN:
            print(line_of(one))
    if given.json:
        report = {
            "weights": given.weights,
            "seed": given.seed,
            "rooms": given.rooms,
            "stride": given.stride,
            "pace": given.pace,
            "records": [asdict(one) for one in found],
            "summary": [asdict(one) for one in summary],
        }
        write_json(given.json, report)


def _refuse_wrong(given: argparse.Namespace, seeds: range) -> None:
    """Raise `SettingsError` for rooms, cameras and a report's place that cannot be."""
    unseen = range(TEST_SEEDS.start, VALIDATION_SEEDS.stop)
    if not seeds or seeds[0] not in unseen or seeds[-1] not in unseen:
        raise SettingsError(
            f"--seed {given.seed} --rooms {given.rooms}: rooms that are never trained on have "
            f"seeds from {unseen.start} to {unseen.stop - 1}"
        )
    if given.stride < 1:
        raise SettingsError(f"--stride {given.stride}: take a number above 0")
    if not 0 < given.pace <= FASTEST_PACE:
        raise SettingsError(f"--pace {given.pace}: take a number above 0, at most {FASTEST_PACE}")
    place = given.json
    if place and ((place.exists() and not place.is_file()) or not place.parent.is_dir()):
        raise SettingsError(
            f"--json {place}: name a file, in a folder that is there; nothing was measured"
        )


if __name__ == "__main__":
    sys.exit(main())
