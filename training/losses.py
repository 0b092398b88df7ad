"""What the miniature is taught: points and cameras of a clip, as CUT3R was (arXiv 2501.12387,
section 3.3).

All lengths are divided by the clip's mean distance, so that near and far rooms weigh alike; targets
and predictions stay metric. Axis names: `batch`, `frames`, `height`, `width`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ttt3r_viewer.model.heads import OutputKind
from ttt3r_viewer.model.layers import ImageTokens
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.state import Prediction, TokenState, Update
from ttt3r_viewer.synthetic.scenes import Clip

RAY_EVERY = 4
"""Directions are compared at every so many pixels, each way."""
EDGE_STEPS = (1, 2, 4)
CONFIDENCE_REWARD = 1.0
"""alpha of confidence * error - alpha * log(confidence).

The best confidence is alpha / error but at least 1: with a small network's errors of about 0.25 the
published 0.2 would leave it at 1 nearly everywhere, and it would say nothing.
"""


@dataclass(frozen=True, eq=False)
class Targets:
    """The truth about a clip."""

    points_self: Tensor
    """(batch, frames, height, width, 3) metres, in each camera's own frame."""
    points_world: Tensor
    """(batch, frames, height, width, 3) metres, in the first camera's frame."""
    translation: Tensor
    """(batch, frames, 3) metres."""
    quaternion: Tensor
    """(batch, frames, 4) w x y z, w >= 0."""
    distance: Tensor
    """(batch,) mean distance of a point from its camera."""


@dataclass(frozen=True, eq=False)
class Step:
    """One frame of an unrolled clip."""

    image: ImageTokens
    before: TokenState
    after: TokenState
    prediction: Prediction
    decoded: Tensor
    """(batch, patches, decoder width) the image stream's final tokens."""


def quaternion_from_rotation(R: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 4) w x y z with w >= 0, by the largest of the four components."""
    m = R.flatten(-2).unbind(-1)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = m
    candidates = torch.stack(
        (
            torch.stack((1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01), -1),
            torch.stack((m21 - m12, 1 + m00 - m11 - m22, m01 + m10, m02 + m20), -1),
            torch.stack((m02 - m20, m01 + m10, 1 - m00 + m11 - m22, m12 + m21), -1),
            torch.stack((m10 - m01, m02 + m20, m12 + m21, 1 - m00 - m11 + m22), -1),
        ),
        -2,
    )
    best = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(-1)
    chosen = candidates.take_along_dim(best[..., None, None], dim=-2)[..., 0, :]
    quaternion = torch.nn.functional.normalize(chosen, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def targets_of(clip: Clip) -> Targets:
    """Points and poses from depth, focal length and camera."""
    height, width = clip.depth.shape[2:]
    device = clip.depth.device
    x = torch.arange(width, device=device, dtype=torch.float32) - width // 2
    y = torch.arange(height, device=device, dtype=torch.float32) - height // 2
    focal = clip.focal_px[:, None, None, None].float()
    depth = clip.depth.float()
    # Channels first in memory, as the network's points are.
    points_self = torch.stack((x * depth / focal, y[:, None] * depth / focal, depth), dim=2)
    R, t = clip.T_world_camera[..., :3, :3].float(), clip.T_world_camera[..., :3, 3].float()
    points_world = (R @ points_self.flatten(3) + t[..., None]).unflatten(3, (height, width))
    return Targets(
        points_self=points_self.permute(0, 1, 3, 4, 2),
        points_world=points_world.permute(0, 1, 3, 4, 2),
        translation=t,
        quaternion=quaternion_from_rotation(R),
        distance=points_self.square().sum(dim=2).sqrt().mean(dim=(1, 2, 3)),
    )


def unroll(
    network: ReconstructionNetwork,
    images: Tensor,
    *,
    outputs: Set[OutputKind],
    keep_gradient_frames: int,
    dense_every: int = 1,
) -> list[Step]:
    """Run a clip (batch, frames, height, width, 3) in [0, 1] with the constant rate 1.

    The state's gradient is cut every `keep_gradient_frames` frames (truncated back-propagation);
    dense maps are made for the last of every `dense_every` frames.
    """
    batch, frames = images.shape[:2]
    flat = images.flatten(0, 1).permute(0, 3, 1, 2) * 2 - 1
    tokens = network.encode(flat)
    per_frame = tokens.tokens.unflatten(0, (batch, frames)).unbind(1)
    state = network.initial_state(batch)
    steps: list[Step] = []
    final_tokens: list[Tensor] = []
    # The final tokens are nobody's output in use; training alone looks at them.

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        final_tokens.append(output)

    hook = network.dec_norm.register_forward_hook(keep)
    for number, frame_tokens in enumerate(per_frame):
        image = ImageTokens(frame_tokens, tokens.rows, tokens.columns)
        if number and number % keep_gradient_frames == 0:
            state = TokenState(state.tokens.detach(), state.memory.detach(), state.fresh)
        dense = (number + 1) % dense_every == 0
        proposal = network.propose(state, image, outputs=outputs if dense else frozenset())
        after = state.accept(proposal, Update(torch.ones_like(state.tokens[..., 0])))
        decoded = final_tokens.pop()[:, 1:]
        steps.append(Step(image, state, after, proposal.prediction, decoded))
        state = after
    hook.remove()
    return steps


def confidence_loss(points: Tensor, confidence: Tensor, truth: Tensor, distance: Tensor) -> Tensor:
    """mean of confidence * |points - truth| / distance - alpha log(confidence)."""
    error = (points - truth).norm(dim=-1) / distance[:, None, None, None]
    return (confidence * error - CONFIDENCE_REWARD * confidence.log()).mean()


def ray_errors(points: list[Tensor], truth: Tensor) -> Tensor:
    """Predicted less true direction of points from the origin, as unit vectors, at every
    `RAY_EVERY`-th pixel: per frame (batch, height, width, 3), against (batch, frames, height,
    width, 3) -> (batch, frames, rows, columns, 3), radians where small.

    What one eye can see without knowing how far things are. In the loss of points an error of
    depth hides it: there the gradient across a ray is the weaker the larger the error along it.
    """
    middle = slice(RAY_EVERY // 2, None, RAY_EVERY)
    predicted = torch.stack([one[:, middle, middle] for one in points], dim=1)
    return F.normalize(predicted, dim=-1) - F.normalize(truth[:, :, middle, middle], dim=-1)


def edge_loss(points: list[Tensor], truth: Tensor) -> Tensor:
    """L1 of differences of log-depth between neighbours 1, 2 and 4 pixels apart, each way: smooth
    surfaces and sharp edges, whatever the scale. Shapes as in `ray_errors`.
    """
    predicted = torch.stack([one[..., 2] for one in points], dim=1).clamp(min=1e-2).log()
    error = predicted - truth[..., 2].log()
    total = error.new_zeros(())
    for step in EDGE_STEPS:
        some = error[..., ::step, ::step]
        total = total + some.diff(dim=-1).abs().mean() + some.diff(dim=-2).abs().mean()
    return total


def ray_losses(
    predictions: list[Prediction], true_self: Tensor, true_world: Tensor
) -> dict[str, Tensor]:
    """Errors of `edge_loss` as `edges`, and mean errors of directions: `rays` in each frame's own
    view, which are the lens; and where computed `world_rays` in the first camera's view;
    `ray_shift` of the way from one to the other.

    The last is the motion, near things against far ones, which tells a turn from a step aside; a
    lens taken for a wider one bends both views alike and would drown it in `world_rays`.
    """
    own = [one.points_self for one in predictions if one.points_self is not None]
    errors = ray_errors(own, true_self)
    losses = {"rays": errors.norm(dim=-1).mean(), "edges": edge_loss(own, true_self)}
    if world := [one.points_world for one in predictions if one.points_world is not None]:
        world_errors = ray_errors(world, true_world)
        losses["world_rays"] = world_errors.norm(dim=-1).mean()
        losses["ray_shift"] = (world_errors - errors).norm(dim=-1).mean()
    return losses


def steps_of(translation: Tensor, quaternion: Tensor) -> tuple[Tensor, Tensor]:
    """Each camera seen from the one before: (..., frames, 3) and (..., frames, 4), w x y z, give
    (..., frames - 1, 3) and (..., frames - 1, 4). It does not depend on the world's frame.
    """
    before, after = quaternion[..., :-1, :], quaternion[..., 1:, :]
    w1, w2 = before[..., :1], after[..., :1]
    v1, v2 = before[..., 1:], after[..., 1:]
    w = w1 * w2 + (v1 * v2).sum(dim=-1, keepdim=True)
    turn = torch.cat((w, w1 * v2 - w2 * v1 - torch.linalg.cross(v1, v2)), dim=-1)
    offset = translation[..., 1:, :] - translation[..., :-1, :]
    across = torch.linalg.cross(-v1, offset)
    return offset + 2 * w1 * across + 2 * torch.linalg.cross(-v1, across), turn


def clip_losses(steps: list[Step], truth: Targets) -> dict[str, Tensor]:
    """Each loss by name: `self`, `translation`, `quaternion`, where computed `world`, those of
    `ray_losses`, and where there are frames enough `step_translation` and `step_quaternion`, which
    ask for the camera's steps from frame to frame whatever its place. Losses of points are those of
    the frames that have any.
    """
    dense = [k for k, step in enumerate(steps) if step.prediction.points_self is not None]
    predictions = [steps[k].prediction for k in dense]
    true_self, true_world = truth.points_self[:, dense], truth.points_world[:, dense]

    def view(points: str, confidence: str, target: Tensor) -> Tensor:
        predicted = [getattr(one, points).movedim(-1, 1) for one in predictions]
        trusted = [getattr(one, confidence) for one in predictions]
        return confidence_loss(
            torch.stack(predicted, dim=1).movedim(2, -1),
            torch.stack(trusted, dim=1),
            target,
            truth.distance,
        )

    pose = torch.stack([step.prediction.pose for step in steps], dim=1)
    translation_error = (pose[..., :3] - truth.translation).norm(dim=-1)
    losses = {
        "self": view("points_self", "confidence_self", true_self),
        "translation": (translation_error / truth.distance[:, None]).mean(),
        "quaternion": (pose[..., 3:] - truth.quaternion).norm(dim=-1).mean(),
    }
    if len(steps) > 1:
        offset, turn = steps_of(pose[..., :3], pose[..., 3:])
        offset_true, turn_true = steps_of(truth.translation, truth.quaternion)
        # Two quaternions of opposite signs are one rotation.
        same = torch.where((turn * turn_true).sum(dim=-1, keepdim=True) < 0, -1.0, 1.0)
        step_error = (offset - offset_true).norm(dim=-1)
        losses["step_translation"] = (step_error / truth.distance[:, None]).mean()
        losses["step_quaternion"] = (turn - same * turn_true).norm(dim=-1).mean()
    if predictions[0].points_world is not None:
        losses["world"] = view("points_world", "confidence_world", true_world)
    return losses | ray_losses(predictions, true_self, true_world)


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The sum that is minimised; a loss that has no weight is only reported."""
    terms = [weights[name] * value for name, value in losses.items() if weights.get(name, 0) > 0]
    return torch.stack(terms).sum()


@torch.no_grad()
def relative_depth_error(points_self: Tensor, truth: Tensor) -> Tensor:
    """Median over pixels of |z - z_true| / z_true for each image: (..., height, width, 3) ->
    (...).
    """
    z, z_true = points_self[..., 2], truth[..., 2]
    return ((z - z_true).abs() / z_true).flatten(-2).median(dim=-1).values
