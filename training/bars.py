"""Measure weights by what the miniature is held to: `python -m training.bars [--weights FILE]
[--rooms 96] [--seed 500000] [--frames 30] [--device cpu] [--json FILE]`.

Needs torch, numpy and safetensors alone, and runs many rooms at once, at the constant rate 1.
Medians over rooms with their 95 % interval: relative depth of one frame; the error of log-depth in
a band of 5 pixels around true depth edges, at 256x192 whatever the network's size; rotation over 16
frames, 1 = not moving; the ATE (Sim3) over the path; and the share of the true offset from the
first camera that is found at the last frame.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from training import exit_code
from training.losses import relative_depth_error, targets_of, unroll
from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.metrics.text_tables import median_interval
from ttt3r_viewer.metrics.trajectory import Trajectory, ate, rpe
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.synthetic.scenes import VALIDATION_SEEDS, render_clips
from ttt3r_viewer.weights.weights_file import load_into, read_weights

ROOMS_AT_ONCE = 8
EDGE_SIZE = (192, 256)
"""(height, width) at which edges are found."""
EDGE_STEP = 0.1
"""Difference of log-depth between neighbours that makes an edge."""
EDGE_BAND = 5
ROTATION_FRAMES = 16


def network_from(path: Path, device: torch.device) -> ReconstructionNetwork:
    """The network of a weights file, in float32."""
    weights = read_weights(path)
    network = ReconstructionNetwork(weights.config())
    load_into(network, weights.tensors, str(path))
    return network.for_inference().to(device)


def edge_band(depth: Tensor) -> Tensor:
    """Pixels within `EDGE_BAND` // 2 of a depth edge: (rooms, height, width) -> the same, bool."""
    log = depth.log()
    across, down = log.diff(dim=2).abs() > EDGE_STEP, log.diff(dim=1).abs() > EDGE_STEP
    edge = F.pad(across, (0, 1)) | F.pad(across, (1, 0))
    edge |= F.pad(down, (0, 0, 0, 1)) | F.pad(down, (0, 0, 1, 0))
    return F.max_pool2d(edge.float(), EDGE_BAND, 1, EDGE_BAND // 2) > 0


@torch.no_grad()
def first_frames(network: ReconstructionNetwork, seeds: Sequence[int]) -> list[dict[str, float]]:
    """`depth` and `edges` of each room's first frame; no edges, no number."""
    height, width = network.config.image_size
    clip = render_clips(seeds, 1, height, width, device=network.device)
    (step,) = unroll(network, clip.images, outputs=frozenset(("self",)), keep_gradient_frames=1)
    points = step.prediction.points_self
    assert points is not None
    depth = relative_depth_error(points, targets_of(clip).points_self[:, 0])
    truth = render_clips(seeds, 1, *EDGE_SIZE, device=network.device).depth[:, 0]
    found = F.interpolate(points[:, None, ..., 2].float(), EDGE_SIZE, mode="bilinear")[:, 0]
    error, band = (found.clamp(min=1e-2).log() - truth.log()).abs(), edge_band(truth)
    rows = []
    for room in range(len(seeds)):
        row = {"depth": float(depth[room])}
        if band[room].any():
            row["edges"] = float(error[room][band[room]].mean())
        rows.append(row)
    return rows


@torch.no_grad()
def cameras(
    network: ReconstructionNetwork, seeds: Sequence[int], frames: int, pace: float
) -> list[dict[str, float]]:
    """`rotation_16`, `ate` and `offset` of each room's cameras."""
    height, width = network.config.image_size
    clip = render_clips(seeds, frames, height, width, device=network.device, step_scale=pace)
    steps = unroll(network, clip.images, outputs=frozenset(), keep_gradient_frames=1)
    pose = torch.stack([step.prediction.pose for step in steps], dim=1).double().cpu()
    truth = clip.T_world_camera.double().cpu().numpy()
    found = np.tile(np.eye(4), (*pose.shape[:2], 1, 1))
    found[..., :3, :3] = rotation_of(pose[..., 3:]).numpy()
    found[..., :3, 3] = pose[..., :3].numpy()
    return [_camera(one, other) for one, other in zip(truth, found, strict=True)]


def rotation_of(quaternion: Tensor) -> Tensor:
    """Unit quaternions (..., 4) w x y z -> rotation matrices (..., 3, 3)."""
    w, x, y, z = quaternion.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _camera(truth: NDArray[np.float64], found: NDArray[np.float64]) -> dict[str, float]:
    times_sec = np.arange(len(truth), dtype=np.float64)
    reference, estimate = Trajectory(times_sec, truth), Trajectory(times_sec, found)
    row: dict[str, float] = {}
    try:
        row["ate"] = ate(reference, estimate, with_scale=True) / reference.length_m
        some = np.arange(min(ROTATION_FRAMES, len(truth)))
        turn = rpe(reference.take(some), estimate.take(some), with_scale=False)
        if turn.rotation_over_still is not None:
            row["rotation_16"] = turn.rotation_over_still
    except EvaluationError:  # one of the two stands still
        pass
    offset = truth[-1, :3, 3]
    if np.linalg.norm(offset) > 0.05:
        row["offset"] = float(found[-1, :3, 3] @ offset / (offset @ offset))
    return row


def measure(
    network: ReconstructionNetwork, seeds: Sequence[int], frames: int, pace: float = 1.0
) -> dict[str, tuple[float, float, float]]:
    """Median over rooms and its interval, by name."""
    values: dict[str, list[float]] = {}
    for first in range(0, len(seeds), ROOMS_AT_ONCE):
        some = seeds[first : first + ROOMS_AT_ONCE]
        rows = first_frames(network, some)
        if frames > 2:
            rows += cameras(network, some, frames, pace)
        for row in rows:
            for name, value in row.items():
                values.setdefault(name, []).append(value)
    return {name: median_interval(each) for name, each in values.items()}


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.bars", description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("assets/miniature.safetensors"))
    parser.add_argument("--rooms", type=int, default=96)
    parser.add_argument("--seed", type=int, default=VALIDATION_SEEDS.start)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--pace", type=float, default=1.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)

    def work() -> None:
        network = network_from(given.weights, torch.device(given.device))
        seeds = range(given.seed, given.seed + given.rooms)
        found = measure(network, seeds, given.frames, given.pace)
        for name, (middle, low, high) in found.items():
            print(f"{name:12} {middle:8.4f}  [{low:.4f}, {high:.4f}]")
        if given.json:
            given.json.write_text(json.dumps(found, indent=1))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
