"""The golden numbers: made-up weights drawn from their names, and what the published network gave
with them.
"""

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.types import Frame, SkippedFrame

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 2e-4
"""Of each array's largest magnitude, frame by frame."""
SPECIAL = {
    *("pose_token", "masked_img_token", "masked_ray_map_token"),
    *("pose_retriever.mem", "pose_retriever.masked_token"),
}


def made_up_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor that the golden cases draw for a name (tests/golden/README.md)."""
    canonical = re.sub(
        r"scratch\.layer(\d)_rn\.", lambda m: f"scratch.layer_rn.{int(m[1]) - 1}.", name
    )
    generator = np.random.Generator(np.random.Philox(key=zlib.crc32(canonical.encode())))
    x = generator.standard_normal(shape, dtype=np.float32)
    if name in SPECIAL:
        x *= np.float32(0.2)
    elif len(shape) == 1:
        x = np.float32(0.02) * x + np.float32(1.0 if name.endswith("weight") else 0.0)
    elif name != "register_tokens.weight":
        gain = 3.0 if "projq" in name or "projk" in name else 1.0
        x = np.float32(gain) * x / np.float32(np.sqrt(np.prod(shape[1:])))
    return torch.from_numpy(x)


def made_up_state_dict(network: torch.nn.Module) -> dict[str, Tensor]:
    """Golden weights for every name of a network of any size."""
    return {
        name: made_up_tensor(name, tuple(tensor.shape))
        for name, tensor in network.state_dict().items()
    }


@dataclass(frozen=True, eq=False)
class GoldenCase:
    """One small network, its names, and its recorded numbers."""

    config: ModelConfig
    keys: dict[str, list[int]]
    arrays: dict[str, np.ndarray]

    def network(self) -> ReconstructionNetwork:
        """The network with its made-up weights."""
        network = ReconstructionNetwork(self.config).eval()
        network.load_state_dict(made_up_state_dict(network), strict=True)
        return network

    @property
    def images(self) -> Tensor:
        """(frame, 3, height, width) in [-1, 1]."""
        frames = torch.from_numpy(self.arrays["frames"])
        return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def golden_case(name: str) -> GoldenCase:
    """Read `dpt-small`, `linear-small` or `dpt-odd`."""
    description = json.loads((GOLDEN / f"{name}.json").read_text())
    sizes = description["config"]
    config = ModelConfig(
        image_size=tuple(sizes["img_size"]),
        patch_size=16,
        encoder_width=sizes["enc_embed_dim"],
        encoder_depth=sizes["enc_depth"],
        encoder_heads=sizes["enc_num_heads"],
        decoder_width=sizes["dec_embed_dim"],
        decoder_depth=sizes["dec_depth"],
        decoder_heads=sizes["dec_num_heads"],
        state_heads=16,
        state_size=sizes["state_size"],
        memory_size=sizes["local_mem_size"],
        head=sizes["head_type"],
    )
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return GoldenCase(config, description["keys"], dict(arrays))


class Repeated:
    """A source of so many frames, of images that come again and again; some are left out."""

    name = "recorded"

    def __init__(self, images: np.ndarray, left_out: Sequence[int] = (), count: int = 0) -> None:
        self.images, self.left_out, self.count = images, left_out, count or len(images)
        self.total: int | None = self.count - len(left_out)

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        for index in range(self.count):
            if index not in self.left_out:
                image = self.images[index % len(self.images)]
                yield Frame(index, index / 30, f"{index}.png", image)

    def close(self) -> None:
        """Nothing to close."""


def relative_error(ours: Tensor | np.ndarray, golden: np.ndarray) -> float:
    """Largest difference as a share of the golden array's largest magnitude."""
    return float(np.abs(np.asarray(ours) - golden).max() / np.abs(golden).max())
