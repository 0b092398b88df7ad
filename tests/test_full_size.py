"""The released networks at their full size, on torch's meta device, which computes nothing."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

from ttt3r_viewer.bench.work import flop_per_frame
from ttt3r_viewer.model.config import PRESETS
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.rules.registry import catalogue, rule_from_text
from ttt3r_viewer.state import TokenState

FULL = PRESETS["cut3r-512"]
SIZE = (384, 512)
VIEWS = frozenset(
    f"aten::{name}"
    for name in (
        *("view", "_unsafe_view", "expand", "transpose", "permute", "t", "split", "slice"),
        *("split_with_sizes", "select", "unsqueeze", "squeeze", "detach", "alias", "as_strided"),
        *("empty", "unbind"),
    )
)
"""What launches nothing on a GPU."""


class Launches(TorchDispatchMode):
    """Counts the calls that a GPU would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, call, _types, args=(), kwargs=None):
        name = call._schema.name
        self.calls[name] += name not in VIEWS
        return call(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def network() -> ReconstructionNetwork:
    with torch.device("meta"):
        return ReconstructionNetwork(FULL).keep_in(torch.bfloat16).for_inference()


@torch.no_grad()
@pytest.mark.parametrize("name", [one.name for one in catalogue()])
def test_a_step_launches_few_kernels(name, network, monkeypatch):
    """Fused attention is one; on the meta device torch would write it out."""

    def fused(q, _k, _v):
        return q.transpose(1, 2).sign().transpose(1, 2)

    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    rule, fresh = rule_from_text(name), network.initial_state()
    state = TokenState(fresh.tokens, fresh.memory, fresh=False)
    image = network.encode(torch.zeros(1, 3, *SIZE, device="meta"))
    network.propose(state, image, evidence=rule.needs)  # makes the tables of positions
    with Launches() as seen:
        network.propose(state, image, evidence=rule.needs)
    assert 700 < seen.calls.total() <= (1000 if name == "recal3r" else 800)


@pytest.mark.parametrize(("lanes", "most"), [(1, 1.186), (2, 1.815), (4, 3.07)])
def test_lanes_share_what_they_can(lanes, most):
    """In TFLOP a frame: the encoder, and of the heads what the encoder's map alone decides."""
    assert flop_per_frame(FULL, "fast", frozenset(("state_logits",)), lanes, SIZE) <= most * 1e12
