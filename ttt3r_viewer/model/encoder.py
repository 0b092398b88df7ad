"""From pixels (or rays) to tokens: patch embedding and the encoder's blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """One picture (or ray map) as the encoder leaves it."""

    tokens: Tensor
    """(batch, rows * columns, encoder width), row by row."""
    rows: int
    columns: int


class PatchEmbed(nn.Module):
    """A convolution whose stride is its kernel: one token per patch."""

    def __init__(self, channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> ImageTokens:
        """(batch, channels, height, width) -> tokens; both sides are multiples of the patch."""
        height, width = x.shape[2:]
        assert height % self.patch_size == 0
        assert width % self.patch_size == 0
        embedded = self.proj(x)
        return ImageTokens(embedded.flatten(2).transpose(1, 2), *embedded.shape[2:])
