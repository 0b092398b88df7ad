"""Where a rule's drift begins, frame by frame, and how much of it the ATE can tell.

    python -m benchmarks.drift [--rooms 24] [--frames 300] [--seed 1000] [--picture FILE]

Runs rules side by side over unseen procedural rooms. Prints medians over rooms at some frames:
the camera's rotation error beside the true turn since the first frame, its position error beside
the true distance from there, how much of the true offset is found (1: all; 0: nothing, as of a
camera that did not move), the mean gain, and the state's change. Then the ATE (Sim3) as a share of
the true path's spread about its centre: an estimate that tells nothing about the path has 1, for a
similarity may shrink it to a point. Beside it that of a straight line walked at an even pace, whose
direction and length a similarity finds by itself.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.metrics.trajectory import Trajectory, ate, rotation_angles_rad
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.synthetic.scenes import render_clips
from ttt3r_viewer.weights.load import load_network, share_cpu

RULES = "constant:1.0,constant:0.3,ttt3r"
SHOWN = (1, 2, 4, 8, 15, 30, 60, 100, 150, 200, 299)
LENGTHS = (16, 30, 60, 100, 200, 300)
COLUMNS = ("rotation_deg", "turn_deg", "position_m", "distance_m", "found", "gain", "change")
FAR_M = 0.2
"""Nearer to the first camera than this, no share of the offset is told."""


def watch(
    network: ReconstructionNetwork, rules: str, room: int, frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(rule, frame, column) of `COLUMNS`, and (rule, length) ATE over spread of one room, the last
    row that of a straight line.
    """
    height, width = network.config.image_size
    clip = render_clips([room], frames, height, width, device=network.device)
    truth = clip.T_world_camera[0].double().numpy()
    images = (clip.images[0] * 255).round().byte().numpy()
    lanes = Lanes(network, rules_from_text(rules))
    seen = [lanes.process(image) for image in images]
    lengths = [n for n in LENGTHS if n <= frames]
    straight = np.tile(np.eye(4), (frames, 1, 1))
    straight[:, 0, 3] = np.arange(frames)
    table, paths = [], []
    for lane in zip(*seen, strict=True):
        poses = np.stack([result.camera.T_world_camera for result in lane])
        paths.append(poses)
        R, t = truth[:, :3, :3], truth[:, :3, 3]
        far = np.linalg.norm(t, axis=1)
        along = (poses[:, :3, 3] * t).sum(axis=1) / np.maximum(far, 1e-9) ** 2
        columns = (
            np.degrees(rotation_angles_rad(np.swapaxes(poses[:, :3, :3], 1, 2) @ R)),
            np.degrees(rotation_angles_rad(R)),
            np.linalg.norm(poses[:, :3, 3] - t, axis=1),
            far,
            np.where(far > FAR_M, along, np.nan),
            [result.gain.mean() for result in lane],
            [result.state_change for result in lane],
        )
        table.append(np.stack([np.asarray(one, float) for one in columns], axis=1))
    shares = [
        [share_of_spread(truth[:n], path[:n]) for n in lengths] for path in (*paths, straight)
    ]
    return np.stack(table), np.array(shares)


def share_of_spread(truth: NDArray[np.float64], poses: NDArray[np.float64]) -> float:
    """ATE (Sim3) / root mean square distance of the true positions from their centre."""
    times_sec = np.arange(len(truth), dtype=np.float64)
    positions = truth[:, :3, 3]
    spread = np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum(axis=1).mean())
    error_m = ate(Trajectory(times_sec, truth), Trajectory(times_sec, poses), with_scale=True)
    return float(error_m / spread)


def draw(path: Path, rules: Sequence[str], medians: NDArray[np.float64]) -> None:
    """Curves of all columns over the frames."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    titles = (
        *("rotation error (deg)", "position error (m)", "share of the true offset found"),
        *("mean gain", "change of the state"),
    )
    frames = np.arange(medians.shape[1])
    axes = figure.subplots(2, 3).reshape(-1)
    for axis, title, column in zip(axes, titles, (0, 2, 4, 5, 6), strict=False):
        for rule, lines in zip(rules, medians, strict=True):
            axis.plot(frames[1:], lines[1:, column], label=rule, linewidth=1)
        if column in (0, 2):
            axis.plot(frames[1:], medians[0, 1:, column + 1], "k:", label="of not moving")
        axis.set_title(title)
        axis.set_xlabel("frame")
        axis.set_xscale("log")
    axes[0].legend()
    axes[-1].set_visible(False)
    figure.savefig(path, dpi=80)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=int, default=24)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--rules", default=RULES, help="one to four")
    parser.add_argument("--weights", default="miniature")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    network = load_network(given.weights, device="cpu", dtype="float32")
    share_cpu(network)
    rules = given.rules.split(",")
    found = []
    for room in range(given.seed, given.seed + given.rooms):
        found.append(watch(network, given.rules, room, given.frames))
        print(f"room {room}", end="\r", file=sys.stderr, flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # near the first camera no share is told
        medians = np.nanmedian(np.stack([table for table, _ in found]), axis=0)
    shares = np.median(np.stack([share for _, share in found]), axis=0)
    print(f"{'rule':14} frame " + " ".join(f"{name:>12}" for name in COLUMNS))
    for rule, lines in zip(rules, medians, strict=True):
        for frame in (one for one in SHOWN if one < given.frames):
            print(f"{rule:14} {frame:5} " + " ".join(f"{one:12.3f}" for one in lines[frame]))
    print("ATE (Sim3) / spread of the true path, median over rooms")
    lengths = [n for n in LENGTHS if n <= given.frames]
    print(f"{'rule':14} " + " ".join(f"{n:>6}" for n in lengths))
    for rule, row in zip((*rules, "straight line"), shares, strict=True):
        print(f"{rule:14} " + " ".join(f"{one:6.3f}" for one in row))
    if given.picture:
        draw(given.picture, rules, medians)
    return 0


if __name__ == "__main__":
    sys.exit(main())
