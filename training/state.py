"""What learns: the network, its moving average, the read-outs of the auxiliary losses and the
optimizers; how they begin, are kept, and are shipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.auxiliary import Auxiliary
from training.recipe import NETWORKS, Recipe, Stage
from ttt3r_viewer.errors import WeightsError
from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.heads import DptHead
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.system.files import atomic_write
from ttt3r_viewer.weights.weights_file import (
    NOT_TRAINED,
    QUERIES_KEY,
    load_into,
    read_weights,
    save_weights,
)

TRAINED_ON = (
    "Trained from nothing on procedural rooms; it has never seen a photo. "
    "Real footage wants the released weights."
)


_OLD_PATCHES = [8, 10]
"""Rows and columns of patches for which the first miniature's state tokens stand."""


@dataclass(eq=False)
class TrainState:
    """All that a checkpoint holds."""

    network: ReconstructionNetwork
    auxiliary: Auxiliary
    average: ReconstructionNetwork
    """Exponential moving average of the network; what is shipped."""
    optimizers: tuple[torch.optim.Optimizer, ...]
    step: int = 0
    """Steps done, over all stages."""

    def let_learn(self, part: str) -> None:
        """Freeze what a stage does not teach; see `Stage.learns`."""
        self.network.requires_grad_(part == "all")
        self.network.downstream_head.requires_grad_(part != "read-outs")

    _MODULES: ClassVar = ("network", "auxiliary", "average")

    def save(self, path: Path) -> None:
        """Write everything, atomically."""
        parts = {name: getattr(self, name).state_dict() for name in self._MODULES}
        optimizers = [one.state_dict() for one in self.optimizers]
        with atomic_write(path) as file:
            torch.save({**parts, "optimizers": optimizers, "step": self.step}, file)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint that `save` wrote."""
        if not path.is_file():
            raise WeightsError(f"{path}: no checkpoint to resume from; start without --resume")
        parts = torch.load(path, map_location=self.network.device, weights_only=True)
        for name in self._MODULES:
            getattr(self, name).load_state_dict(parts[name])
        if "optimizers" in parts:  # else it went through training.parts
            for optimizer, state in zip(self.optimizers, parts["optimizers"], strict=True):
                optimizer.load_state_dict(state)
        self.step = parts["step"]


def new_train_state(recipe: Recipe, device: torch.device) -> TrainState:
    """Fresh weights, decided by the recipe's seed."""
    torch.manual_seed(recipe.seed)
    config = NETWORKS[recipe.preset]
    network, average = ReconstructionNetwork(config), ReconstructionNetwork(config)
    initialise(network)
    average.load_state_dict(network.state_dict())
    auxiliary = Auxiliary(config)
    for module in (network, average, auxiliary):
        module.to(device)
    return TrainState(network, auxiliary, average, new_optimizers(network, auxiliary, recipe))


def new_optimizers(
    network: ReconstructionNetwork, auxiliary: Auxiliary, recipe: Recipe
) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices inside the transformer blocks, AdamW for all else.

    Muon (steps sized as in arXiv 2502.16982) took the loss of single
    frames from 0.308 to 0.269 in as many steps as AdamW took to 0.279.
    """
    if not hasattr(torch.optim, "Muon"):
        raise WeightsError(
            f"training needs torch 2.9 or later, for its Muon; this is {torch.__version__}"
        )
    inside = {
        id(weight)
        for name, weight in network.named_parameters()
        if "blocks" in name and weight.ndim == 2
    }
    rest = [
        weight
        for module in (network, auxiliary)
        for weight in module.parameters()
        if id(weight) not in inside
    ]
    return (
        torch.optim.Muon(
            [weight for weight in network.parameters() if id(weight) in inside],
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay},
                {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.95),
            fused=True,
        ),
    )


def start_from(state: TrainState, path: Path) -> None:
    """Begin with shipped weights; steps, optimizer and read-outs start again."""
    given = read_weights(path).tensors
    own = state.network.state_dict()
    if "register_tokens.weight" in given:
        given = given | {"register_tokens.weight": _spread_tokens(state.network.config, given)}
    fitting = {name: given[name] for name in own if _fits(given.get(name), own[name])}
    if lacking := sorted({name.split(".")[0] for name in own.keys() - fitting.keys()}):
        print(f"{path}: {', '.join(lacking)} start again, in whole or in part")
    for network in (state.network, state.average):
        load_into(network, own | fitting, str(path))


def _fits(given: Tensor | None, own: Tensor) -> bool:
    return given is not None and given.shape == own.shape


def _spread_tokens(config: ModelConfig, given: Mapping[str, Tensor]) -> Tensor:
    """First state tokens (state, width) for a larger image: those that lie on patches are spread
    over the new patches, the others repeated.
    """
    tokens = given["register_tokens.weight"].float()
    if len(tokens) == config.state_size:
        return tokens
    before, now = _OLD_PATCHES, [side // config.patch_size for side in config.image_size]
    grid = tokens[: math.prod(before)].T.unflatten(1, before)[None]
    spread = F.interpolate(grid, size=now, mode="bilinear", align_corners=True)[0].flatten(1).T
    rest = tokens[math.prod(before) :]
    more = config.state_size - len(spread)
    return torch.cat([spread, rest.repeat(-(-more // len(rest)), 1)[:more]])


def initialise(network: ReconstructionNetwork) -> None:
    """Xavier for every linear map, zero biases; the heads' last layers small, so that points start
    near 1 m.
    """
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
            torch.nn.init.zeros_(module.bias)
            if name.startswith("downstream_head") and name.endswith("fc2"):
                with torch.no_grad():
                    module.weight *= 0.1
    if isinstance(network.downstream_head, DptHead):
        for dense in (network.downstream_head.dpt_self, network.downstream_head.dpt_cross):
            assert dense.last_layer.bias is not None
            with torch.no_grad():
                dense.last_layer.bias[2] = 1.0
    memory = network.pose_retriever
    for tokens in (network.pose_token, memory.masked_token, memory.mem):
        torch.nn.init.normal_(tokens, std=0.2)
    torch.nn.init.normal_(network.register_tokens.weight, std=0.5)


def ship(state: TrainState, path: Path, stage: Stage) -> None:
    """Write the averaged weights as float16 safetensors."""
    weights = {name: value.half().cpu() for name, value in state.average.state_dict().items()}
    save_weights(
        path,
        weights,
        state.average.config,
        {
            "licence": "Apache-2.0",
            "trained_on": TRAINED_ON,
            "steps": str(state.step),
            "stage": stage.name,
            QUERIES_KEY: NOT_TRAINED,  # no loss reaches the ray-map encoder
        },
    )
