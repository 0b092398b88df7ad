"""How fast a machine renders and learns: `python -m training.speed [--network miniature2]
[--device cuda] [--images 512] [--frames 1] [--peak-tflops 989]`.

Prints images per second of rendering, and of forward and backward passes in bfloat16, with their
operations and, of the peak that is given, the share that they reach.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from training import exit_code
from training.losses import clip_losses, targets_of, unroll, weighted_sum
from training.recipe import NETWORKS
from training.state import initialise
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.synthetic.scenes import TRAIN_SEEDS, Clip, draw_worlds, render_worlds

ROUNDS = 3
WEIGHTS = {"self": 1.0, "world": 1.0, "translation": 1.0, "quaternion": 1.0, "edges": 0.5}


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one of `ROUNDS` rounds, after one that prepares what all others use."""
    work()
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    for _ in range(ROUNDS):
        work()
    wait()
    return (time.perf_counter() - began) / ROUNDS


def learn(network: ReconstructionNetwork, clip: Clip) -> None:
    """One forward and backward pass."""
    with torch.autocast(network.device.type, torch.bfloat16):
        steps = unroll(
            network, clip.images, outputs=frozenset(("self", "world")), keep_gradient_frames=8
        )
    weighted_sum(clip_losses(steps, targets_of(clip)), WEIGHTS).backward()
    network.zero_grad(set_to_none=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.speed", description=__doc__)
    parser.add_argument("--network", default="miniature2", choices=NETWORKS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--frames", type=int, default=1, help="of a clip")
    parser.add_argument("--peak-tflops", type=float, help="the device's, in bfloat16")
    given = parser.parse_args(arguments)

    def work() -> None:
        device = torch.device(given.device)
        network = ReconstructionNetwork(NETWORKS[given.network])
        initialise(network)
        network.to(device)
        size = network.config.image_size
        clips = max(given.images // given.frames, 1)
        images = clips * given.frames
        worlds = draw_worlds(TRAIN_SEEDS[:clips], given.frames)
        rendering = seconds_of(lambda: render_worlds(worlds, *size, device=device), device)
        clip = render_worlds(worlds, *size, device=device)
        with FlopCounterMode(display=False) as counter:
            learn(network, clip)
        learning = seconds_of(lambda: learn(network, clip), device)
        tflops = counter.get_total_flops() / 1e12
        print(f"rendering {images / rendering:.0f} images/s")
        print(f"learning {images / learning:.0f} images/s, {1e3 * tflops / images:.1f} GFLOP each")
        share = f", {tflops / learning / given.peak_tflops:.1%}" if given.peak_tflops else ""
        print(f"{tflops / learning:.2f} TFLOP/s{share}")

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
