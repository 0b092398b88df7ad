"""Four training losses beside the published ones; the finished network has none of their
read-outs.

Three start the circuit from state to relative pose. The state must store what is where, and the
image tokens must find it there; each half alone earns nothing from the published losses, so each
half is taught: `match` (encoder tokens of two frames that see the same place are alike), `store`
and `store_point` (after the first frame, state token i tells patch i's content and place), `locate`
(a later frame's decoded tokens tell where in the first frame each patch was, which can be known
only through the state). `keep` and `keep_point` ask every later state for what `store` asks the
first: else what comes to stand at a token's place of the image soon replaces it.

The fourth, `lens`, asks each frame's decoded tokens for the focal length: most of what a small
network gets wrong in one view is the scale, and half of that is a wide lens taken for a far wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from training.losses import Step, Targets, clip_losses, targets_of, unroll
from ttt3r_viewer.model.config import ModelConfig
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.state import TokenState
from ttt3r_viewer.synthetic.scenes import Clip

MATCH_WIDTH = 64
TEMPERATURE = 0.07
SAME_SURFACE = 0.05
"""Two views see the same place where depths agree to this share."""


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Where in the first frame each patch of a later frame was."""

    patch: Tensor
    """(batch, patches) index in the first frame, 0 where not visible."""
    visible: Tensor
    """(batch, patches) bool."""


def patch_centres(maps: Tensor, patch_size: int) -> Tensor:
    """(batch, height, width, channels) -> (batch, patches, channels), the pixel in each patch's
    middle.
    """
    half = patch_size // 2
    return maps[:, half::patch_size, half::patch_size].flatten(1, 2)


@torch.no_grad()
def correspondence(truth: Targets, frame: int, focal_px: Tensor, patch_size: int) -> Correspondence:
    """Project each patch centre of `frame` into the first, leaving out what is hidden there."""
    height, width = truth.points_self.shape[2:4]
    points = patch_centres(truth.points_world[:, frame], patch_size)
    z = points[..., 2]
    ahead = z > 0.05
    uv = points[..., :2] / z.clamp(min=0.05)[..., None] * focal_px[:, None, None]
    x, y = (uv[..., 0] + width // 2).round(), (uv[..., 1] + height // 2).round()
    inside = ahead & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
    first_depth = truth.points_self[:, 0, ..., 2].flatten(1).gather(1, y * width + x)
    visible = inside & ((first_depth - z).abs() < SAME_SURFACE * z)
    patch = (y // patch_size) * (width // patch_size) + x // patch_size
    return Correspondence(patch.where(visible, torch.zeros_like(patch)), visible)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


class Auxiliary(nn.Module):
    """Small read-outs that exist in training only."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        height, width = config.image_size
        self.patches = (height // config.patch_size) * (width // config.patch_size)
        self.match = nn.Linear(config.encoder_width, MATCH_WIDTH)
        self.store = nn.Linear(config.decoder_width, MATCH_WIDTH)
        self.store_point = nn.Linear(config.decoder_width, 3)
        self.locate = nn.Linear(config.decoder_width, self.patches)
        self.width_px = width
        self.lens = nn.Linear(config.decoder_width, 1)

    def losses(
        self, steps: list[Step], truth: Targets, focal_px: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses by name, and the share of right answers by name, over all later frames."""
        keys = F.normalize(self.match(steps[0].image.tokens).float(), dim=-1)
        first = patch_centres(truth.points_self[:, 0], self.patch_size)
        held = [self._held(step.after, keys.detach(), first, truth.distance) for step in steps]
        looks = torch.stack([step.decoded.mean(dim=1) for step in steps], dim=1)
        lens_error = self.lens(looks).float()[..., 0] - (focal_px / self.width_px).log()[:, None]
        losses = {
            "lens": lens_error.abs().mean(),
            "store": held[0][0],
            "store_point": held[0][1],
        }
        right = {"store": held[0][2]}
        if len(steps) > 1:
            kept = [torch.stack(part).mean() for part in zip(*held[1:], strict=True)]
            losses["keep"], losses["keep_point"], right["keep"] = kept
        later = [
            self._later(step, keys, correspondence(truth, number, focal_px, self.patch_size))
            for number, step in enumerate(steps[1:], start=1)
        ]
        for name in ("match", "locate"):
            if later:
                losses[name] = torch.stack([loss[name] for loss, _ in later]).mean()
                right[name] = torch.stack([share[name] for _, share in later]).mean()
        return losses, right

    def _held(
        self, state: TokenState, keys: Tensor, first: Tensor, distance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """How well a state tells what the first frame's patches were and where: both losses, and
        the share of patches told apart from all others.

        keys (batch, patch, MATCH_WIDTH), first (batch, patch, 3) metres, distance (batch,).
        """
        tokens = state.tokens[:, : self.patches]
        logits = F.normalize(self.store(tokens).float(), dim=-1) @ keys.mT / TEMPERATURE
        identity = torch.arange(self.patches, device=keys.device).expand(len(keys), -1)
        error = (self.store_point(tokens).float() - first).norm(dim=-1) / distance[:, None]
        return (
            F.cross_entropy(logits.flatten(0, 1), identity.flatten()),
            error.mean(),
            (logits.argmax(-1) == identity).float().mean(),
        )

    def _later(
        self, step: Step, keys: Tensor, truth: Correspondence
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        queries = F.normalize(self.match(step.image.tokens).float(), dim=-1)
        logits = {
            "match": queries @ keys.mT / TEMPERATURE,
            "locate": self.locate(step.decoded).float(),
        }
        mask = truth.visible.float()
        losses = {
            name: _masked_mean(F.cross_entropy(value.mT, truth.patch, reduction="none"), mask)
            for name, value in logits.items()
        }
        right = {
            name: _masked_mean((value.argmax(-1) == truth.patch).float(), mask)
            for name, value in logits.items()
        }
        return losses, right


def alone_losses(
    network: ReconstructionNetwork, auxiliary: Auxiliary, singles: Clip
) -> dict[str, Tensor]:
    """Losses of single images (batch, 1 frame) that are seen without a past: `alone` of the points,
    `alone_rays` of their directions, `alone_edges` and `alone_lens`.

    Of a long clip one frame in many is a first one, and the view of single frames would fade; and
    of a dozen rooms, each with one lens, a step learns less about lenses than of four dozen.
    """
    truth = targets_of(singles)
    steps = unroll(network, singles.images, outputs=frozenset(("self",)), keep_gradient_frames=1)
    losses = clip_losses(steps, truth) | auxiliary.losses(steps, truth, singles.focal_px)[0]
    return {
        "alone": losses["self"],
        **{f"alone_{name}": losses[name] for name in ("rays", "lens", "edges")},
    }
