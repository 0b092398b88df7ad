"""How raw channels become poses, points, confidences and colours (CUT3R, arXiv 2501.12387).

Two heads give them: the linear one has an MLP per map, from the last token map alone; the DPT one
(arXiv 2103.13413) fuses four token maps from coarse to fine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.layers import EncoderBlock, Mlp, ModulatedNorm

if TYPE_CHECKING:
    from jaxtyping import Float

OutputKind = Literal["self", "world", "rgb"]
"""Dense maps that can be asked for; the pose always comes."""
STRIPS = 4
"""Parts in which the last layer of a DPT is computed."""


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
        quaternion = F.normalize(raw[:, 3:], dim=-1)
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
        patches = project[kind](maps[-1]).transpose(1, 2).unflatten(2, (rows, columns))
        return F.pixel_shuffle(patches, self.patch_size)


def doubling() -> nn.Upsample:
    """Twice the height and the width, bilinear, corners aligned."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """x + conv2(relu(conv1(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Refine a map."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x)), inplace=True))


class FusionBlock(nn.Module):
    """Adds the next finer map, refines, and doubles the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        self.resConfUnit1 = ResidualUnit(channels)  # in refinenet4 a parameter that nothing uses
        self.resConfUnit2 = ResidualUnit(channels)
        self.upsample = doubling()

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        skip: Float[Tensor, "_ channels height width"] | None = None,
    ) -> Float[Tensor, "batch channels 2*height 2*width"]:
        """Fuse a map with the next finer one, if there is one."""
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        return self.out_conv(self.upsample(self.resConfUnit2(x)))


class Scratch(nn.Module):
    """The convolutions between the maps; `layerK_rn` and `layer_rn.(K-1)` are one tensor."""

    def __init__(self, channels: tuple[int, ...], fused: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(own, fused, 3, padding=1, bias=False) for own in channels]
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = convolutions
        self.layer_rn = nn.ModuleList(convolutions)
        self.refinenet1 = FusionBlock(fused)
        self.refinenet2 = FusionBlock(fused)
        self.refinenet3 = FusionBlock(fused)
        self.refinenet4 = FusionBlock(fused)


class DptMap(nn.Module):
    """One dense map from four token maps."""

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        encoder, decoder = config.encoder_width, config.decoder_width
        c0, c1, c2, c3 = config.dpt_channels
        fused, last = config.dpt_fused, config.dpt_last
        self.scratch = Scratch(config.dpt_channels, fused)
        self.head = nn.Sequential(
            nn.Conv2d(fused, fused // 2, 3, padding=1),
            doubling(),
            nn.Conv2d(fused // 2, last, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(last, channels, 1),
        )
        self.act_postprocess = nn.ModuleList(
            (
                nn.Sequential(nn.Conv2d(encoder, c0, 1), nn.ConvTranspose2d(c0, c0, 4, stride=4)),
                nn.Sequential(nn.Conv2d(decoder, c1, 1), nn.ConvTranspose2d(c1, c1, 2, stride=2)),
                nn.Sequential(nn.Conv2d(decoder, c2, 1)),
                nn.Sequential(nn.Conv2d(decoder, c3, 1), nn.Conv2d(c3, c3, 3, 2, padding=1)),
            )
        )

    def forward(
        self, maps: list[Float[Tensor, "_ patch _"]], rows: int, columns: int
    ) -> Float[Tensor, "batch channels 16*{rows} 16*{columns}"]:
        """Raw channels from four token maps; the first, the encoder's, may serve a whole batch."""
        # Tokens, row by row, become an image with the width as its channels.
        fine_to_coarse = [
            convolve(process(tokens.transpose(1, 2).unflatten(2, (rows, columns))))
            for tokens, process, convolve in zip(
                maps, self.act_postprocess, self.scratch.layer_rn, strict=True
            )
        ]
        x = self.scratch.refinenet4(fine_to_coarse[3])
        x = x[:, :, : fine_to_coarse[2].shape[2], : fine_to_coarse[2].shape[3]]
        x = self.scratch.refinenet3(x, fine_to_coarse[2])
        x = self.scratch.refinenet2(x, fine_to_coarse[1])
        x = self.scratch.refinenet1(x, fine_to_coarse[0])
        x = self.head[:-1](x)
        # Strip by strip: the whole of it in float32 would be the largest array of all.
        dtype = self.last_layer.weight.dtype
        strips = x.split(-(-x.shape[2] // STRIPS), dim=2)
        return torch.cat([self.last_layer(strip.to(dtype)) for strip in strips], dim=2)

    @property
    def last_layer(self) -> nn.Conv2d:
        """What writes the map's channels."""
        layer = self.head[-1]
        assert isinstance(layer, nn.Conv2d)
        return layer


class DptHead(nn.Module):
    """Pose, self view, world view and colours, each dense map with a DPT of its own."""

    mirrors_self_view = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dpt_self = DptMap(config, 4)
        self.final_transform = world_transform(config)
        self.dpt_cross = DptMap(config, 4)
        self.dpt_rgb = DptMap(config, 3)
        self.pose_head = PoseHead(config.decoder_width)

    def last_layers(self) -> list[nn.Module]:
        """What writes the numbers that users see."""
        dense = (self.dpt_self, self.dpt_cross, self.dpt_rgb)
        return [*(one.last_layer for one in dense), self.pose_head]

    def raw(self, kind: OutputKind, maps: list[Tensor], rows: int, columns: int) -> Tensor:
        """Raw channels (batch, channels, height, width), as `LinearHead.raw` has them."""
        dense = {"self": self.dpt_self, "world": self.dpt_cross, "rgb": self.dpt_rgb}
        return dense[kind](maps, rows, columns)
