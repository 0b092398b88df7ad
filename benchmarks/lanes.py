"""What two and four lanes cost beside one: seconds per frame, interleaved in one run.

    python -m benchmarks.lanes [--preset cut3r-512] [--device cpu] [--rounds 3]

The weights are made up (a network of the preset's size, drawn at random), because only time is
looked at. Ratios are of medians over rounds; in each round every lane count has its turn.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time

import numpy as np
import torch

from ttt3r_viewer.bench.made_up import made_up_network
from ttt3r_viewer.model.config import PRESETS
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import rules_from_text

RULES = ("ttt3r", "constant:1.0", "constant:0.3", "constant:0.6")


def seconds_per_frame(lanes: Lanes, images: np.ndarray) -> float:
    """Mean over the pictures, after none of warming up."""
    started = time.perf_counter()
    for image in images:
        lanes.process(image)
    return (time.perf_counter() - started) / len(images)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="cut3r-512")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=1, help="of each round and lane count")
    given = parser.parse_args()
    network = made_up_network(PRESETS[given.preset], given.device, getattr(torch, given.dtype))
    network = network.for_inference()
    height, width = PRESETS[given.preset].image_size
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (given.frames, height, width, 3), dtype=np.uint8)
    runs = {
        count: Lanes(network, rules_from_text(",".join(RULES[:count]))) for count in given.lanes
    }
    for lanes in runs.values():
        lanes.process(images[0])
    seconds: dict[int, list[float]] = {count: [] for count in runs}
    for _ in range(given.rounds):
        for count, lanes in runs.items():
            seconds[count].append(seconds_per_frame(lanes, images))
    name = torch.cuda.get_device_name() if given.device == "cuda" else platform.processor()
    print(f"{given.preset}, {given.dtype}, {name or given.device}, torch {torch.__version__}")
    one = statistics.median(next(iter(seconds.values())))
    for count, times in seconds.items():
        median = statistics.median(times)
        print(f"{count} lanes: {median:.3f} s a frame, {median / one:.2f} times one lane")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
