"""Ray-casting of procedural rooms in torch: many frames at once, exact depth, any device.

Axis names: `frames` images of one chunk, `rays` pixels of an image. A ray is origin + t *
direction with the direction's camera z equal to 1, so t is the depth along the camera's z axis.
"""

import functools
from collections.abc import Iterator
from itertools import accumulate

import torch
from torch import Tensor

from ttt3r_viewer.synthetic.rooms import KINDS, MAX_SPACES

Axes = tuple[Tensor, Tensor, Tensor]
"""x, y and z, each broadcastable to (frames, rays)."""

*_FIRST, SLOPE = accumulate((MAX_SPACES, *(kind.most for kind in KINDS.values())))
FIRST = dict(zip(KINDS, _FIRST, strict=True))
OBJECTS = SLOPE + 1
"""Objects of a room: spaces, boxes, spheres, cylinders, and last the ceiling plane."""

Solids = dict[str, tuple[Tensor, Tensor]]
"""By kind those that one chunk of rays may meet: numbers as in `rooms.KINDS` (frames, count,
numbers), and their object numbers (frames, count) int32."""
_NEVER = 1e12
"""What a miss adds to a hit's t, per unit by which it missed; see `_or_never`."""
_NUMBER_BITS = 63


class Viewpoint:
    """What cameras can see: five planes (four sides and the camera's own) that face inward."""

    def __init__(self, T_room_camera: Tensor, tan_x: Tensor, tan_y: Tensor) -> None:
        """From poses (frames, 4, 4) and tangents of half the fields of view (frames,)."""
        zero, one = torch.zeros_like(tan_x), torch.ones_like(tan_x)
        sides = [(-one, zero, tan_x), (one, zero, tan_x), (zero, -one, tan_y), (zero, one, tan_y)]
        planes = torch.stack([torch.stack(side, -1) for side in [*sides, (zero, zero, one)]], 1)
        planes = planes / planes.norm(dim=-1, keepdim=True)
        self.normal = planes @ T_room_camera[:, :3, :3].transpose(1, 2)
        """(frames, 5, 3) unit, room frame."""
        self.offset = -(self.normal @ T_room_camera[:, :3, 3:])[..., 0]
        """(frames, 5) so that normal @ p + offset is the signed distance inside."""

    def depth_inside(self, points: Tensor) -> Tensor:
        """Signed distances of points (frames, points, 3) to the planes: (frames, points, 5)."""
        return points @ self.normal.transpose(1, 2) + self.offset[:, None]

    def sees(self, centre: Tensor, radius: Tensor) -> Tensor:
        """Whether balls (frames, balls, 3) and (frames, balls) may be in view; (frames, balls)."""
        return (self.depth_inside(centre) > -radius[..., None]).all(dim=-1)

    def sees_shadow(self, centre: Tensor, radius: Tensor, lamp: Tensor) -> Tensor:
        """Whether the balls' shadows from lamps (frames, 3) may be in view; (frames, balls).

        A shadow stays outside a plane where the ball is outside and the lamp less far outside.
        """
        inmost = self.depth_inside(centre) + radius[..., None]
        return ((inmost > 0) | (self.depth_inside(lamp[:, None]) < inmost)).all(dim=-1)


def keep(params: Tensor, objects: Tensor, chosen: Tensor, nothing: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of `params` (frames, count, columns) where `chosen`, packed to the front, and numbers.

    Returns as many rows as the fullest frame has; other frames are filled up with `nothing`
    (columns,), a solid that no ray meets.
    """
    most = int(chosen.sum(dim=1).max()) if chosen.numel() else 0
    order = chosen.to(torch.int8).sort(dim=1, descending=True, stable=True).indices[:, :most]
    rows = torch.where(chosen[..., None], params, nothing)
    rows = rows.gather(1, order[..., None].expand(-1, -1, params.shape[2]))
    return rows, objects.gather(1, order)


def _or_never(near: Tensor, miss: Tensor) -> Tensor:
    """`near` where it lies ahead and `miss` is negative, something far away elsewhere.

    Minimum, maximum and products run several times faster on a CPU than comparisons and choices.
    """
    return torch.add(near, torch.maximum(miss, -near).clamp_min_(0.0), alpha=_NEVER)


def _numbered(near: Tensor, number: Tensor) -> Tensor:
    """`near` with its lowest six bits replaced by an object number; 8 parts in a million change."""
    bits = near.view(torch.int32).bitwise_and(~_NUMBER_BITS).bitwise_or_(number)
    return bits.view(torch.float32)


def _no_zero(component: Tensor) -> Tensor:
    """A direction's component that can be divided by; a zero becomes a hair's breadth."""
    return component + 1e-9


def exit_of_spaces(spaces: Tensor, ceiling: Tensor, origin: Axes, direction: Axes) -> Tensor:
    """Where rays that start inside leave the union of the spaces: numbered t, (frames, rays).

    `spaces` (frames, spaces, 6) are lower and upper corners and form a chain, so one sweep up and
    one sweep down the chain pass every doorway. `ceiling` (frames, 4) is the plane above.
    """
    inverse = [_no_zero(axis).reciprocal_() for axis in direction]
    intervals: list[tuple[Tensor, Tensor]] = []
    for index in range(spaces.shape[1]):
        lows, highs = (
            [
                (spaces[:, index, axis + end, None] - origin[axis]) * inverse[axis]
                for axis in (0, 1, 2)
            ]
            for end in (0, 3)
        )
        near = functools.reduce(torch.maximum, map(torch.minimum, lows, highs))
        far = functools.reduce(torch.minimum, map(torch.maximum, lows, highs))
        number = torch.full_like(origin[0], index, dtype=torch.int32)
        intervals.append((near, _numbered(far, number)))
    reach = torch.zeros_like(intervals[0][0])
    order = [*range(len(intervals)), *reversed(range(len(intervals) - 1))]
    for index in order:
        near, far = intervals[index]
        not_yet = (near - reach).clamp_min_(0.0)
        reach = torch.maximum(reach, torch.sub(far, not_yet, alpha=_NEVER))
    px, py, pz, limit = ceiling[:, :, None].unbind(1)
    rise = px * direction[0] + py * direction[1] + pz * direction[2]
    left = limit - (px * origin[0] + py * origin[1] + pz * origin[2])
    slope = left / _no_zero(rise)
    number = torch.full_like(origin[0], SLOPE, dtype=torch.int32)
    return torch.minimum(reach, _numbered(_or_never(slope, -rise), number))


def hits(solids: Solids, origin: Axes, direction: Axes) -> Iterator[tuple[Tensor, Tensor]]:
    """Per solid: t of its near side, very large where a ray misses, and its number (frames, 1)."""
    dx, dy, dz = direction
    inverse_z = _no_zero(dz).reciprocal_()
    steep_z = inverse_z.abs()
    for number, box in each(solids["boxes"]):
        cx, cy, cz, hx, hy, hz, cosine, sine = box
        x, y = origin[0] - cx, origin[1] - cy
        inverse_x = _no_zero((cosine * dx).add_(sine * dy)).reciprocal_()
        inverse_y = _no_zero((cosine * dy).sub_(sine * dx)).reciprocal_()
        middle_x = (cosine * x + sine * y) * inverse_x
        middle_y = (cosine * y - sine * x) * inverse_y
        middle_z = (origin[2] - cz) * inverse_z
        half_x, half_y, half_z = hx * inverse_x.abs_(), hy * inverse_y.abs_(), hz * steep_z
        # The slab along each axis is -middle - half to -middle + half; the signs are turned here.
        near = torch.minimum(middle_x + half_x, middle_y + half_y)
        near = torch.minimum(near, middle_z + half_z).neg_()
        far = torch.maximum(middle_x.sub_(half_x), middle_y.sub_(half_y))
        far = torch.maximum(far, middle_z.sub_(half_z))
        yield _or_never(near, far.add_(near)), number
    flat = dx * dx + dy * dy + 1e-12
    full = flat + dz * dz
    for number, (cx, cy, cz, radius) in each(solids["spheres"]):
        x, y, z = origin[0] - cx, origin[1] - cy, origin[2] - cz
        along = x * dx + y * dy + z * dz
        rest = x * x + y * y + z * z - radius * radius.abs()
        square = along * along - full * rest
        near = (along + square.clamp_min(0.0).sqrt_()).neg_() / full
        yield _or_never(near, square.neg_()), number
    for number, (cx, cy, radius, bottom, top) in each(solids["cylinders"]):
        x, y = origin[0] - cx, origin[1] - cy
        along = x * dx + y * dy
        rest = x * x + y * y - radius * radius.abs()
        square = along * along - flat * rest
        root = square.clamp_min(0.0).sqrt_()
        low, high = (bottom - origin[2]) * inverse_z, (top - origin[2]) * inverse_z
        near = torch.maximum((along + root).neg_() / flat, torch.minimum(low, high))
        far = torch.minimum((root - along) / flat, torch.maximum(low, high))
        miss = torch.maximum(near - far, square.neg_())
        yield _or_never(near, miss), number


def each(kind: tuple[Tensor, Tensor]) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
    """Per solid of a kind: its object number and its numbers, each (frames, 1)."""
    rows, objects = kind
    for index in range(rows.shape[1]):
        yield objects[:, index, None], rows[:, index].unsqueeze(2).unbind(1)


def nearest_surface(
    spaces: Tensor, ceiling: Tensor, solids: Solids, origin: Axes, direction: Axes
) -> tuple[Tensor, Tensor]:
    """The first surface that rays from inside meet: t and object number, each (frames, rays)."""
    nearest = exit_of_spaces(spaces, ceiling, origin, direction)
    for near, number in hits(solids, origin, direction):
        nearest = torch.minimum(nearest, _numbered(near, number))
    return nearest, nearest.view(torch.int32) & _NUMBER_BITS


def blocked(solids: Solids, origin: Axes, direction: Axes) -> Tensor:
    """1 where a solid stands between origin and origin + direction, 0 elsewhere; (frames, rays)."""
    nearest = torch.full_like(direction[0], 1e9)
    for near, _ in hits(solids, origin, direction):
        nearest = torch.minimum(nearest, near)
    return (1 - nearest).sign_().clamp_min_(0.0)
