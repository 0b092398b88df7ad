"""Transformer parts of encoder, decoder, memory and heads; parameters are named as released."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int

WRITTEN_OUT_BELOW_TOKENS = 256
"""On a CPU, training with fewer keys than this runs faster with softmax(q k) v written out."""


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """One image (or ray map) as the encoder leaves it."""

    tokens: Float[Tensor, "batch patch features"]
    """Of rows * columns patches, row by row."""
    rows: int
    columns: int


class PatchEmbed(nn.Module):
    """A convolution whose stride is its kernel: one token per patch."""

    def __init__(self, channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> ImageTokens:
        """Embed the patches; height and width are multiples of the patch."""
        height, width = x.shape[2:]
        assert height % self.patch_size == 0
        assert width % self.patch_size == 0
        embedded = self.proj(x)
        return ImageTokens(embedded.flatten(2).transpose(1, 2), *embedded.shape[2:])


class LayerNorm(nn.LayerNorm):
    """Normed tokens in the dtype of the products that follow, of sums that may be more exact."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, input: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens width"]:
        """Norm each token, in the dtype of the weights."""
        return super().forward(input.to(self.weight.dtype))


def attend(
    q: Float[Tensor, "batch head query head_dim"],
    k: Float[Tensor, "batch head key head_dim"],
    v: Float[Tensor, "batch head key head_dim"],
) -> Float[Tensor, "batch head query head_dim"]:
    """softmax(q k / sqrt(head_dim)) v.

    Fused, so that no attention map is kept; but written out where a CPU trains on short sequences,
    because the fused backward is slow there.
    """
    if q.requires_grad and q.device.type == "cpu" and k.shape[2] < WRITTEN_OUT_BELOW_TOKENS:
        return ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


def split_heads(
    x: Float[Tensor, "batch token width"], heads: int
) -> Float[Tensor, "batch head token head_dim"]:
    """Give each head its channels; width is head * head_dim."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(
    x: Float[Tensor, "batch head token head_dim"],
) -> Float[Tensor, "batch token width"]:
    """Undo `split_heads`."""
    return x.transpose(1, 2).flatten(2)


@dataclass(frozen=True, eq=False)
class Rotation:
    """Cosines and sines for one set of token positions, in the dtype of every layer's tokens.

    Two-dimensional rotary positions (arXiv 2104.09864, split over the two image axes): of a head's
    H channels the first half turns with y, the second with x. Inside each half, channel d is paired
    with channel d + H/4 and turned by position * base^(-d / (H/4)). Positions may be negative: the
    pose token sits at (-1, -1).
    """

    cos: Float[Tensor, "token head_dim"]
    sin: Float[Tensor, "token head_dim"]
    """Already negated where the pair's first channel takes the second."""

    def __call__(
        self, x: Float[Tensor, "batch head token head_dim"]
    ) -> Float[Tensor, "batch head token head_dim"]:
        """Turn queries or keys; the dtype of x is kept."""
        quarter = x.shape[-1] // 4
        y_first, y_second, x_first, x_second = x.split(quarter, dim=-1)
        partner = torch.cat((y_second, y_first, x_second, x_first), dim=-1)
        return torch.addcmul(x * self.cos.to(x.dtype), partner, self.sin.to(x.dtype))


def rotation(
    positions_yx: Int[Tensor, "token 2"],
    head_dim: int,
    base: float,
    dtype: torch.dtype = torch.float32,
) -> Rotation:
    """The rotation for positions, computed in float32 and kept in `dtype`."""
    quarter = head_dim // 4
    exponent = torch.arange(quarter, device=positions_yx.device, dtype=torch.float32) / quarter
    frequency = base ** (-exponent)
    angle = positions_yx.to(torch.float32)[:, :, None] * frequency  # (token, axis, quarter)
    cos, sin = angle.cos(), angle.sin()
    return Rotation(
        cos=torch.cat((cos, cos), dim=2).flatten(1).to(dtype),
        sin=torch.cat((-sin, sin), dim=2).flatten(1).to(dtype),
    )


@lru_cache(maxsize=32)
def grid_rotation(
    rows: int,
    columns: int,
    *,
    count: int | None = None,
    with_pose_token: bool = False,
    head_dim: int,
    base: float,
    device: torch.device,
    dtype: torch.dtype,
) -> Rotation:
    """The rotation of a grid of tokens, row by row, kept for the next frame of the same size.

    `count` leaves out the grid's last tokens; `with_pose_token` puts one at (-1, -1) before them.
    """
    with torch.inference_mode(False):  # the same table also serves training
        y, x = torch.meshgrid(
            torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
        )
        positions_yx = torch.stack((y, x), dim=-1).flatten(0, 1)[:count]
        if with_pose_token:
            positions_yx = torch.cat((positions_yx.new_full((1, 2), -1), positions_yx))
        return rotation(positions_yx, head_dim, base, dtype)


@lru_cache(maxsize=32)
def joined(first: Rotation, second: Rotation) -> Rotation:
    """The rotation of two sets of tokens, one after the other."""
    with torch.inference_mode(False):
        return Rotation(torch.cat((first.cos, second.cos)), torch.cat((first.sin, second.sin)))


def turn(x: Tensor, rotation: Rotation | None) -> Tensor:
    """Apply rotary positions where there are any."""
    return x if rotation is None else rotation(x)


class Mlp(nn.Module):
    """fc1, exact GELU, fc2."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens out"]:
        """Map each token, in the dtype of the last layer."""
        return self.fc2(F.gelu(self.fc1(x)).to(self.fc2.weight.dtype))


class SelfAttention(nn.Module):
    """Attention of tokens to each other; q, k and v come from one linear map."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch token width"], rotation: Rotation | None
    ) -> Float[Tensor, "batch token width"]:
        """Let every token read all others."""
        qkv = split_heads(self.qkv(x), 3 * self.heads)
        qk, v = qkv.split((2 * self.heads, self.heads), dim=1)
        q, k = turn(qk, rotation).chunk(2, dim=1)
        return self.proj(merge_heads(attend(q, k, v)))


@dataclass(frozen=True, eq=False)
class CrossKeys:
    """Queries and keys of one cross-attention, after their positions: the halves of its logits."""

    q: Float[Tensor, "batch head query head_dim"]
    k: Float[Tensor, "batch head key head_dim"]

    @property
    def scale(self) -> float:
        """1 / sqrt(head_dim)."""
        return self.q.shape[-1] ** -0.5


class CrossAttention(nn.Module):
    """Attention of x to y."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "batch query width"],
        y: Float[Tensor, "batch key width"],
        rotation_x: Rotation | None,
        rotation_y: Rotation | None,
    ) -> tuple[Float[Tensor, "batch query width"], CrossKeys]:
        """Let x read y; gives what was read, and q and k."""
        qk = split_heads(torch.cat((self.projq(x), self.projk(y)), dim=1), self.heads)
        if rotation_x is not None and rotation_y is not None:
            qk = joined(rotation_x, rotation_y)(qk)
        q, k = qk.split((x.shape[1], y.shape[1]), dim=2)
        v = split_heads(self.projv(y), self.heads)
        return self.proj(merge_heads(attend(q, k, v))), CrossKeys(q, k)


class ModulatedNorm(nn.Module):
    """LayerNorm whose scale and shift are read from a condition (arXiv 2212.09748)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(
        self, x: Float[Tensor, "batch token width"], condition: Float[Tensor, "batch 1 width"]
    ) -> Float[Tensor, "batch token width"]:
        """LN(x) (1 + scale) + shift."""
        shift, scale = self.mlp(condition).chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class EncoderBlock(nn.Module):
    """Self-attention and MLP, each behind a norm, which may be modulated by a condition."""

    def __init__(
        self, width: int, heads: int, norm: Callable[[int], nn.Module] = LayerNorm
    ) -> None:
        super().__init__()
        self.norm1 = norm(width)
        self.attn = SelfAttention(width, heads)
        self.norm2 = norm(width)
        self.mlp = Mlp(width, 4 * width, width)

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        rotation: Rotation,
        *condition: Float[Tensor, "batch 1 width"],
    ) -> Float[Tensor, "batch token width"]:
        """Both steps, each added to x."""
        x = x + self.attn(self.norm1(x, *condition), rotation)
        return x + self.mlp(self.norm2(x, *condition))


class DecoderBlock(nn.Module):
    """Pre-norm self-attention of x, cross-attention of x to y, MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.norm_y = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.cross_attn = CrossAttention(width, heads)
        self.norm3 = LayerNorm(width)
        self.mlp = Mlp(width, 4 * width, width)

    def forward(
        self,
        x: Float[Tensor, "batch query width"],
        y: Float[Tensor, "batch key width"],
        rotation_x: Rotation | None = None,
        rotation_y: Rotation | None = None,
    ) -> tuple[Float[Tensor, "batch query width"], CrossKeys]:
        """Let x read y; gives the new x, and its cross-attention's q and k."""
        x = x + self.attn(self.norm1(x), rotation_x)
        read, keys = self.cross_attn(self.norm2(x), self.norm_y(y), rotation_x, rotation_y)
        x = x + read
        return x + self.mlp(self.norm3(x)), keys
