"""How good the miniature is on rooms it has never seen.

    python -m training.evaluate [--rooms 24] [--frames 1,16,30,100,300]
        [--rules constant:1.0,constant:0.3,ttt3r] [--seed 1000] [--stride 1] [--pace 1.0]
        [--weights FILE] [--json FILE]

Prints, per rule and length, the median over rooms of each measure with a 95 % bootstrap interval,
and the paired ratio to the constant rate 1. `--frames 1` alone is quick: the depth of single
frames. `--stride N` takes every N-th frame of a path, as if the camera were N times as fast, or
filmed N times as rarely; `--pace 0.4` makes it slower, on a path of its own. The JSON holds
`weights`, `seed`, `rooms`, `stride`, `pace`, `records` (one per room, rule and length: the fields
of `measures.Record`) and `summary` (the fields of `measures.Summary`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from training.command import exit_code
from training.losses import relative_depth_error, targets_of
from training.measures import Summary, records, summaries
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.rules.registry import rule_from_text
from ttt3r_viewer.synthetic.scenes import TEST_SEEDS, VALIDATION_SEEDS, render_clips
from ttt3r_viewer.system.files import write_json

ROOMS_AT_ONCE = 16
FASTEST_PACE = 4.0
"""A camera may not leave the room between two frames; `--stride` is for more."""
SHOWN = (
    "depth_error", "world_point_error", "rpe_rotation_over_still", "rpe_translation_over_still",
    "true_turn_deg", "ate_sim3_share", "ate_se3_share", "ate_sim3_m", "mean_gain",
)  # fmt: skip


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
    """One summary for a person."""
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
    found = records(
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
