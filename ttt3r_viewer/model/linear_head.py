"""The linear head: one MLP per map, from the last token map alone."""

from __future__ import annotations

from torch import Tensor, nn

from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.heads import PoseHead, colours, points_and_confidence
from ttt3r_viewer.model.layers import Mlp, ModulatedBlock, unpatchify


class LinearHead(nn.Module):
    """Pose, self view, world view and colours, each patch on its own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.patch_size = config.patch_size
        self.proj = Mlp(width, 4 * width, 4 * config.patch_size**2)
        self.rgb_proj = Mlp(width, 4 * width, 3 * config.patch_size**2)
        self.pose_head = PoseHead(width)
        self.final_transform = nn.ModuleList(
            ModulatedBlock(width, config.decoder_heads) for _ in range(2)
        )
        self.cross_proj = Mlp(width, 4 * width, 4 * config.patch_size**2)

    def last_layers(self) -> list[nn.Module]:
        """What writes the numbers that people see."""
        return [self.proj.fc2, self.cross_proj.fc2, self.rgb_proj.fc2, self.pose_head]

    def self_view(self, maps: list[Tensor], rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Points in the camera's frame, and their confidence."""
        raw = unpatchify(self.proj(maps[-1]), rows, columns, self.patch_size)
        return points_and_confidence(raw, in_front=True)

    def world_view(self, maps: list[Tensor], rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Points in the first camera's frame, and their confidence; the last map is already
        transformed.
        """
        raw = unpatchify(self.cross_proj(maps[-1]), rows, columns, self.patch_size)
        return points_and_confidence(raw)

    def rgb(self, maps: list[Tensor], rows: int, columns: int) -> Tensor:
        """The picture as the network remembers it."""
        return colours(unpatchify(self.rgb_proj(maps[-1]), rows, columns, self.patch_size))
