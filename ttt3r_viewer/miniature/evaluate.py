"""How good the miniature is on rooms it has never seen:
`python -m ttt3r_viewer.miniature.evaluate --rooms 64 --seed 1000 [--weights FILE] [--json FILE]`.

One number per room: the median over pixels of |z - z_true| / z_true for a single frame, with no
alignment of any kind. The JSON holds `weights`, `seed`, `rooms`, `median`, `mean`, and `errors`,
one per room.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ttt3r_viewer.errors import ViewerError
from ttt3r_viewer.miniature.losses import relative_depth_error, targets_of
from ttt3r_viewer.miniature.scenes import render_clips
from ttt3r_viewer.model.network import ReconstructionNetwork

ROOMS_AT_ONCE = 16


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


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    from ttt3r_viewer.model.load import load_network

    parser = argparse.ArgumentParser(
        prog="python -m ttt3r_viewer.miniature.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", default="miniature", help="a file, or a known name")
    parser.add_argument("--rooms", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1000, help="of the first room")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    try:
        network = load_network(given.weights)
    except ViewerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    errors = single_frame_depth_errors(network, range(given.seed, given.seed + given.rooms))
    summary = {
        "weights": given.weights,
        "seed": given.seed,
        "rooms": given.rooms,
        "median": float(errors.median()),
        "mean": float(errors.mean()),
        "errors": [round(float(error), 5) for error in errors],
    }
    print(
        f"{given.rooms} unseen rooms from seed {given.seed}, one frame each: relative depth error "
        f"median {summary['median']:.4f}, mean {summary['mean']:.4f}, no alignment"
    )
    if given.json:
        given.json.write_text(json.dumps(summary, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
