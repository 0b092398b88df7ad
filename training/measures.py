"""What rules make of unseen rooms: one record per room, rule and length, and their summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from training.losses import targets_of
from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.metrics.statistics import median_interval
from ttt3r_viewer.metrics.trajectory import (
    FEWEST_POSES,
    Trajectory,
    ate,
    rpe,
)
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import text_of
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.synthetic.scenes import Clip, render_clips

PIXEL_STEP = 4
"""Every fourth pixel of every fourth row tells the medians."""
REFERENCE = "constant"
"""The rule that all others are divided by: the constant rate 1, which is CUT3R."""


@dataclass(frozen=True)
class Record:
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
"""What is told of the truth, which no rule changes."""
MEASURES = tuple(one.name for one in fields(Record) if one.name not in ("room", "rule", "frames"))


@dataclass(frozen=True, eq=False)
class _Seen:
    """One rule's account of one room, frame by frame."""

    T_world_camera: NDArray[np.float64]
    """(frames, 4, 4)"""
    depth_error: NDArray[np.float64]
    world_point_error: NDArray[np.float64]
    gain: NDArray[np.float64]


def records(
    network: ReconstructionNetwork,
    rules: Sequence[UpdateRule],
    seeds: Iterable[int],
    lengths: Sequence[int],
    on_progress: Callable[[int], object],
    stride: int = 1,
    pace: float = 1.0,
) -> list[Record]:
    """Run all rules over each room once, at most four at a time, and measure every length.

    Frames are every `stride`-th of the room's path, on which the camera is `pace` times as fast;
    `tell` is called with each room that is done.
    """
    height, width = network.config.image_size
    found: list[Record] = []
    for seed in seeds:
        clip = render_clips(
            [seed],
            max(lengths),
            height,
            width,
            device=network.device,
            stride=stride,
            step_scale=pace,
        )
        truth = clip.T_world_camera[0].double().cpu().numpy()
        for first in range(0, len(rules), 4):
            some = rules[first : first + 4]
            for rule, seen in zip(some, _watch(network, some, clip), strict=True):
                found += [_record(seed, rule, seen, truth, length) for length in lengths]
        on_progress(seed)
    return found


def _watch(network: ReconstructionNetwork, rules: Sequence[UpdateRule], clip: Clip) -> list[_Seen]:
    lanes = Lanes(network, rules)
    targets = targets_of(clip)
    step = (slice(PIXEL_STEP // 2, None, PIXEL_STEP),) * 2
    images = (clip.images[0] * 255).round().byte().cpu().numpy()
    own = targets.points_self[0][:, *step].double().cpu().numpy()
    world = targets.points_world[0][:, *step].double().cpu().numpy()
    rows: list[list[tuple[NDArray[np.float64], float, float, float]]] = [[] for _ in rules]
    for image, points_true, world_true in zip(images, own, world, strict=True):
        for lane, result in zip(rows, lanes.process(image), strict=True):
            points = result.points_camera[step].astype(np.float64)
            T = result.camera.T_world_camera
            far = np.linalg.norm(points_true, axis=-1)
            off = np.linalg.norm(points @ T[:3, :3].T + T[:3, 3] - world_true, axis=-1)
            depth = np.abs(points[..., 2] - points_true[..., 2]) / points_true[..., 2]
            row = (T, float(np.median(depth)), float(np.median(off / far)), result.gain.mean())
            lane.append(row)
    return [_Seen(*(np.array(column) for column in zip(*lane, strict=True))) for lane in rows]


def _record(
    seed: int, rule: UpdateRule, seen: _Seen, truth: NDArray[np.float64], length: int
) -> Record:
    poses: dict[str, float | None] = {}
    if length >= FEWEST_POSES:
        times_sec = np.arange(length, dtype=np.float64)
        poses = pose_measures(
            Trajectory(times_sec, truth[:length]),
            Trajectory(times_sec, seen.T_world_camera[:length]),
        )
    return Record(
        room=seed,
        rule=text_of(rule),
        frames=length,
        depth_error=float(np.median(seen.depth_error[:length])),
        world_point_error=float(np.median(seen.world_point_error[:length])),
        mean_gain=float(seen.gain[:length].mean()),
        **poses,
    )


def pose_measures(truth: Trajectory, estimate: Trajectory) -> dict[str, float | None]:
    """The measures of `Record` that compare cameras, by name."""
    path_m = truth.length_m
    se3_m = ate(truth, estimate, with_scale=False).rmse_m
    relative = rpe(truth, estimate, with_scale=False)
    try:
        sim3_m = ate(truth, estimate, with_scale=True).rmse_m
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


def summaries(found: Sequence[Record]) -> list[Summary]:
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
