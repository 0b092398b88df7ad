"""Two-dimensional rotary positions (arXiv 2104.09864, split over the two image axes).

Of a head's H channels the first half turns with y, the second with x. Inside each half, channel d
is paired with channel d + H/4 and turned by position * base^(-d / (H/4)). Positions may be
negative: the pose token sits at (-1, -1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Rotation:
    """Cosines and sines for one set of token positions, ready for every layer."""

    cos: Float[Tensor, "token head_dim"]
    """In float32."""
    sin: Float[Tensor, "token head_dim"]
    """In float32; already negated where the pair's first channel takes the second."""

    def __call__(
        self, x: Float[Tensor, "batch head token head_dim"]
    ) -> Float[Tensor, "batch head token head_dim"]:
        """Turn queries or keys; the dtype of x is kept."""
        quarter = x.shape[-1] // 4
        y_first, y_second, x_first, x_second = x.split(quarter, dim=-1)
        partner = torch.cat((y_second, y_first, x_second, x_first), dim=-1)
        return torch.addcmul(x * self.cos.to(x.dtype), partner, self.sin.to(x.dtype))


def rotation(positions_yx: Int[Tensor, "token 2"], head_dim: int, base: float) -> Rotation:
    """The rotation for positions, computed in float32 whatever the network's dtype."""
    quarter = head_dim // 4
    exponent = torch.arange(quarter, device=positions_yx.device, dtype=torch.float32) / quarter
    frequency = base ** (-exponent)
    angle = positions_yx.to(torch.float32)[:, :, None] * frequency  # (token, axis, quarter)
    cos, sin = angle.cos(), angle.sin()
    return Rotation(
        cos=torch.cat((cos, cos), dim=2).flatten(1),
        sin=torch.cat((-sin, sin), dim=2).flatten(1),
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
        return rotation(positions_yx, head_dim, base)
