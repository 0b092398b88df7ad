"""Transformer parts of encoder, decoder, memory and heads; parameters are named as released."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ttt3r_viewer.model.rope import Rotation

if TYPE_CHECKING:
    from jaxtyping import Float

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


layer_norm = partial(nn.LayerNorm, eps=1e-6)
"""Of a width; the same epsilon everywhere."""


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
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(merge_heads(attend(turn(q, rotation), turn(k, rotation), v)))


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
        q = turn(split_heads(self.projq(x), self.heads), rotation_x)
        k = turn(split_heads(self.projk(y), self.heads), rotation_y)
        v = split_heads(self.projv(y), self.heads)
        return self.proj(merge_heads(attend(q, k, v))), CrossKeys(q, k)


class ModulatedNorm(nn.Module):
    """LayerNorm whose scale and shift are read from a condition (arXiv 2212.09748)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = layer_norm(width)
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
        self, width: int, heads: int, norm: Callable[[int], nn.Module] = layer_norm
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
        self.norm1 = layer_norm(width)
        self.attn = SelfAttention(width, heads)
        self.norm_y = layer_norm(width)
        self.norm2 = layer_norm(width)
        self.cross_attn = CrossAttention(width, heads)
        self.norm3 = layer_norm(width)
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


def unpatchify(
    x: Float[Tensor, "batch patch pixels"], rows: int, columns: int, side: int
) -> Float[Tensor, "batch channels {rows}*{side} {columns}*{side}"]:
    """Lay patches, row by row, out as an image; pixels are channels * side^2."""
    batch, tokens, _ = x.shape
    assert tokens == rows * columns
    return F.pixel_shuffle(x.transpose(1, 2).reshape(batch, -1, rows, columns), side)
