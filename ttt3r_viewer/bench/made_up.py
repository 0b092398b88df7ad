"""Weights and frames from nothing: only what they cost is looked at, never what they show."""

import imageio.v3 as iio
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.network import ReconstructionNetwork

WEIGHT_SPREAD = 0.02
"""Standard deviation of made-up matrices: what comes out neither fades nor grows without bound."""
LARGER = 1.25
"""A made-up frame's sides as a multiple of the prepared image's, so that there is something to
resize: 640x480 for 512x384."""
JPEG_QUALITY = 90


def made_up_network(
    config: ModelConfig, device: torch.device | str, dtype: torch.dtype
) -> ReconstructionNetwork:
    """A network of these sizes with seeded random weights, ready to run.

    It is built on the meta device and its weights are drawn in their own dtype, so that they are in
    memory once. Scales of norms are 1: with small ones all tokens would come out alike.
    """
    with torch.device("meta"):
        network = ReconstructionNetwork(config).keep_in(dtype)
    generator = torch.Generator(device).manual_seed(0)
    drawn: dict[int, torch.Tensor] = {}
    weights: dict[str, torch.Tensor] = {}
    for name, parameter in network.state_dict(keep_vars=True).items():
        if id(parameter) not in drawn:  # one tensor may have two names
            tensor = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            if tensor.ndim == 1 and name.endswith("weight"):
                drawn[id(parameter)] = tensor.fill_(1.0)
            else:
                drawn[id(parameter)] = tensor.normal_(0.0, WEIGHT_SPREAD, generator=generator)
        weights[name] = drawn[id(parameter)]
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def made_up_frames(config: ModelConfig, count: int) -> list[bytes]:
    """So many JPEG files of a coarse pattern that wanders, each a little larger than the network's
    own size.
    """
    height, width = (round(side * LARGER) for side in config.image_size)
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    pattern = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    wandered = (np.roll(pattern, 3 * number, axis=1) for number in range(count))
    return [iio.imwrite("<bytes>", one, extension=".jpg", quality=JPEG_QUALITY) for one in wandered]


def decode_frame(file: bytes) -> NDArray[np.uint8]:
    """(height, width, 3) RGB."""
    return np.asarray(iio.imread(file, extension=".jpg"), dtype=np.uint8)
