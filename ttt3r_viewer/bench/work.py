"""How much there is to compute, and how fast the device can compute at best."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from ttt3r_viewer.bench.plain import attention_written_out, propose_plainly
from ttt3r_viewer.bench.variant import Way
from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.state import EvidenceKind

MATMUL_SIDE = {"cpu": 2048, "cuda": 8192, "mps": 4096}
MATMULS = 5
"""The fastest of so many is taken for the device's peak."""


def flop_per_frame(
    config: ModelConfig,
    way: Way,
    needs: frozenset[EvidenceKind],
    lanes: int,
    image_size: tuple[int, int],
) -> float:
    """Floating-point operations of one frame's encoder, decoder, memory, heads and evidence.

    A multiplication with its addition counts as two; only matrix products and convolutions count.
    They are counted on the meta device, which computes nothing.
    """
    with torch.device("meta"):
        network = ReconstructionNetwork(config).requires_grad_(False)
        image = torch.empty(1, 3, *image_size)
    with torch.inference_mode(), attention_written_out(), FlopCounterMode(display=False) as counter:
        # The state before the first frame is made once, and later frames read the pose memory.
        state = replace(network.initial_state(1 if way == "plain" else lanes), fresh=False)
        once = counter.get_total_flops()
        tokens = network.encode(image)
        if way == "plain":  # one lane after the other
            propose_plainly(network, state, tokens, needs)
        else:
            network.propose(state, tokens, evidence=needs)
    return float((counter.get_total_flops() - once) * (lanes if way == "plain" else 1))


def peak_flop_per_sec(device: torch.device, dtype: torch.dtype, wait: Callable[[], None]) -> float:
    """What a large square matrix product reaches on the device, at its fastest of a few."""
    side = MATMUL_SIDE[device.type]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = a @ b
    fastest = float("inf")
    for _ in range(MATMULS):
        wait()
        started = time.perf_counter()
        torch.matmul(a, b, out=product)
        wait()
        fastest = min(fastest, time.perf_counter() - started)
    return 2.0 * side**3 / fastest
