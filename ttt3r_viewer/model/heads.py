"""How raw channels become poses, points, confidences and colours (CUT3R, arXiv 2501.12387), and the
linear head: one MLP per map, from the last token map alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.layers import EncoderBlock, Mlp, ModulatedNorm, unpatchify

if TYPE_CHECKING:
    from jaxtyping import Float

OutputKind = Literal["self", "world", "rgb"]
"""Dense maps that can be asked for; the pose always comes."""


def exp_points(xyz: Tensor, *, dim: int = -1) -> Tensor:
    """Raw vectors along `dim` to points: the direction kept, the distance d becoming expm1(d)."""
    distance = xyz.norm(dim=dim, keepdim=True)
    return xyz * (torch.expm1(distance) / distance.clamp(min=1e-8))


def points_and_confidence(
    raw: Float[Tensor, "batch 4 height width"], *, in_front: bool = False
) -> tuple[Float[Tensor, "batch height width 3"], Float[Tensor, "batch height width"]]:
    """Raw channels to points and confidence.

    `in_front` first mirrors points through the origin where z is negative.
    """
    # Channels stay first in memory until the end: a loop over three channels innermost is slow.
    xyz, confidence = raw.float().split((3, 1), dim=1)
    if in_front:
        xyz = xyz * xyz[:, 2:].sign()
    return exp_points(xyz, dim=1).permute(0, 2, 3, 1), 1 + confidence[:, 0].exp()


def colours(
    raw: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch height width 3"]:
    """Raw channels to colours in [-1, 1]."""
    unit = raw.float().permute(0, 2, 3, 1).sigmoid() * (1 - 2e-6) + 1e-6
    return 2 * unit - 1


class PoseHead(nn.Module):
    """The camera from the final pose token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = Mlp(width, 4 * width, 7)

    def forward(self, pose_token: Float[Tensor, "batch width"]) -> Float[Tensor, "batch 7"]:
        """Translation, then unit quaternion w x y z with w >= 0."""
        raw = self.mlp(pose_token.to(self.mlp.fc1.weight.dtype)).float()
        quaternion = nn.functional.normalize(raw[:, 3:], dim=-1)
        quaternion = torch.where(quaternion[:, :1] < 0, -quaternion, quaternion)
        return torch.cat((exp_points(raw[:, :3]), quaternion), dim=-1)


def world_transform(config: ModelConfig) -> nn.ModuleList:
    """What turns tokens of the camera's view into the world's; its norms take the pose token."""
    width, heads = config.decoder_width, config.decoder_heads
    return nn.ModuleList(EncoderBlock(width, heads, ModulatedNorm) for _ in range(2))


class LinearHead(nn.Module):
    """Pose, self view, world view and colours, each patch on its own."""

    mirrors_self_view = True
    """Points of the self view behind the camera stand for those in front of it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.patch_size = config.patch_size
        self.proj = Mlp(width, 4 * width, 4 * config.patch_size**2)
        self.rgb_proj = Mlp(width, 4 * width, 3 * config.patch_size**2)
        self.pose_head = PoseHead(width)
        self.final_transform = world_transform(config)
        self.cross_proj = Mlp(width, 4 * width, 4 * config.patch_size**2)

    def last_layers(self) -> list[nn.Module]:
        """What writes the numbers that users see."""
        return [self.proj.fc2, self.cross_proj.fc2, self.rgb_proj.fc2, self.pose_head]

    def raw(self, kind: OutputKind, maps: list[Tensor], rows: int, columns: int) -> Tensor:
        """Raw channels (batch, channels, height, width) of a dense map; for the world's, the last
        of `maps` is already transformed.
        """
        project = {"self": self.proj, "world": self.cross_proj, "rgb": self.rgb_proj}
        return unpatchify(project[kind](maps[-1]), rows, columns, self.patch_size)
