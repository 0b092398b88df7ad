"""The local memory that a frame's pose token is read from (`pose_retriever`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.layers import DecoderBlock

if TYPE_CHECKING:
    from jaxtyping import Float


class PoseMemory(nn.Module):
    """Slots of 2 width, (a frame's look, its pose token); read before decoding, written after."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.decoder_width

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                DecoderBlock(2 * width, config.decoder_heads) for _ in range(config.memory_depth)
            )

        self.proj_q = nn.Linear(config.encoder_width, width)
        self.masked_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mem = nn.Parameter(torch.zeros(1, config.memory_size, 2 * width))
        self.write_blocks = blocks()
        self.read_blocks = blocks()

    def read(
        self,
        memory: Float[Tensor, "batch slot look_and_pose"],
        summary: Float[Tensor, "batch 1 features"],
    ) -> Float[Tensor, "batch 1 width"]:
        """The pose token that a frame with this summary begins with."""
        key = self.proj_q(summary)
        x = torch.cat((key, self.masked_token.expand_as(key)), dim=-1)
        for block in self.read_blocks:
            x, _ = block(x, memory)
        return x[..., key.shape[-1] :]

    def write(
        self,
        memory: Float[Tensor, "batch slot look_and_pose"],
        summary: Float[Tensor, "batch 1 features"],
        pose_token: Float[Tensor, "batch 1 width"],
    ) -> Float[Tensor, "batch slot look_and_pose"]:
        """The memory after this frame's summary and final pose token."""
        y = torch.cat((self.proj_q(summary), pose_token), dim=-1)
        for block in self.write_blocks:
            memory, _ = block(memory, y)
        return memory
