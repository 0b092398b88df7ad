"""From rays to images: surface colours, lamps, shadows, exposure and sensor noise, in torch."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from ttt3r_viewer.synthetic import textures
from ttt3r_viewer.synthetic.raycast import OBJECTS, Axes, Solids, blocked, each, nearest_surface
from ttt3r_viewer.synthetic.rooms import MAX_SPACES


@dataclass(frozen=True, eq=False)
class Shot:
    """Everything that the images of one chunk depend on; first axis `frames` unless said."""

    spaces: Tensor
    """(frames, spaces, 6), and as in `scenes.Worlds` what follows."""
    ceiling: Tensor
    skirting: Tensor
    lights: Tensor
    ambience: Tensor
    T_room_camera: Tensor
    sensor: Tensor
    seen: Solids
    """Solids that may be in view."""
    casting: Solids
    """Solids that may stand in the first lamp's light."""
    objects: Tensor
    """(columns, worlds * OBJECTS) of `scenes.Worlds`. Column by column since one long read of a
    column is several times faster than many reads of a row's parts."""
    materials: Tensor
    """(columns, worlds * OBJECTS * 6)"""
    bank: Tensor
    """(texels, 3) see `textures.bank_for`."""
    world: Tensor
    """(frames,) int64 number of the frame's world."""
    focal_px: Tensor
    """(frames,)"""
    noise: Tensor
    """(frames, height * width * 3) unit normal."""


def render_shot(shot: Shot, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Images (frames, height, width, 3) in [0, 1] and depth (frames, height, width) in metres."""
    origin, direction = pixel_rays(shot.T_room_camera, shot.focal_px, height, width)
    depth, owner = nearest_surface(shot.spaces, shot.ceiling, shot.seen, origin, direction)
    place = _along(origin, direction, depth)
    row = owner + (shot.world[:, None] * OBJECTS).to(torch.int32)
    normal, face, u_m, v_m, dark = _surface(shot, place, row)
    toward_camera = normal[0] * direction[0] + normal[1] * direction[1] + normal[2] * direction[2]
    # Every surface is seen from its outer side; rounding at edges must not turn one away.
    facing = toward_camera.abs_() / _length(direction)
    colour, glow = _colour(shot, row * 6 + face, u_m, v_m, depth, facing)
    colour = _with_skirting(shot, colour, owner, normal, place, depth)
    images = [
        plane * torch.maximum(light, glow)
        for plane, light in zip(colour, _light(shot, place, normal, dark), strict=True)
    ]
    images = _expose(shot, torch.stack(images, dim=1), height, width)
    frames = len(depth)
    images = images.permute(0, 2, 1).reshape(frames, height, width, 3)
    return images, depth.view(frames, height, width)


def pixel_rays(
    T_room_camera: Tensor, focal_px: Tensor, height: int, width: int
) -> tuple[Axes, Axes]:
    """Origins (frames, 1) and directions (frames, height * width) with camera z equal to 1."""
    device = focal_px.device
    x_px = torch.arange(width, device=device, dtype=torch.float32) - width // 2
    y_px = torch.arange(height, device=device, dtype=torch.float32) - height // 2
    x = x_px.repeat(height) / focal_px[:, None]
    y = y_px.repeat_interleave(width) / focal_px[:, None]
    rows = [T_room_camera[:, axis, :, None] for axis in range(3)]
    direction = [torch.addcmul(row[:, 2], row[:, 0], x).addcmul_(row[:, 1], y) for row in rows]
    return (rows[0][:, 3], rows[1][:, 3], rows[2][:, 3]), (direction[0], direction[1], direction[2])


def _along(origin: Axes, direction: Axes, share: Tensor) -> Axes:
    """Places origin + share * direction."""
    x, y, z = (torch.addcmul(o, d, share) for o, d in zip(origin, direction, strict=True))
    return x, y, z


def _length(vector: Axes) -> Tensor:
    """Euclidean length."""
    return (vector[0] * vector[0] + vector[1] * vector[1]).addcmul_(vector[2], vector[2]).sqrt_()


def _step(value: Tensor) -> Tensor:
    """1 where positive, 0 elsewhere, as a number: masks are slow to make and to apply on a CPU."""
    return value.sign().clamp_min_(0.0)


def _surface(shot: Shot, place: Axes, row: Tensor) -> tuple[Axes, Tensor, Tensor, Tensor, Tensor]:
    """Unit normals, faces 0 to 5, coordinates in metres, darkness of corners; (frames, rays)."""
    table = shot.objects.index_select(1, row.flatten()).view(-1, *row.shape)
    cx, cy, cz, hx, hy, hz, cosine, sine, outward, sphere, rod, slope, corner = table
    x, y, z = place[0] - cx, place[1] - cy, place[2] - cz
    along, across = cosine * x + sine * y, cosine * y - sine * x
    qx, qy, qz = along / hx, across / hy, z / hz
    ax, ay, az = qx.abs(), qy.abs(), qz.abs()
    gaps = [half - part * half for half, part in ((hx, ax), (hy, ay), (hz, az))]
    # On a cylinder the larger of radius and height decides, elsewhere the largest coordinate.
    side = torch.maximum(ax, ay).lerp_((ax * ax + ay * ay).sqrt_(), rod)
    level = _step(az.sub_(side).add_(slope, alpha=1e3))
    first = _step(ax.sub_(ay)).mul_(1 - level)
    second = 1 - first - level
    others = (1 - first, 1 - second, 1 - level)
    dark = functools.reduce(
        torch.maximum,
        [_nearness(gap * gap).mul_(other) for gap, other in zip(gaps, others, strict=True)],
    ).mul_(corner)
    sign = (level * qz).addcmul_(first, qx).addcmul_(second, qy).sign_()
    face = (level * 4).add_(second, alpha=2).add_(sign.clamp_min(0.0)).to(torch.int32)
    sign.mul_(outward)
    curved = sphere + rod * (1 - level)
    nx, ny = torch.lerp(sign * first, qx, curved), torch.lerp(sign * second, qy, curved)
    nz = torch.lerp(sign * level, qz, sphere)
    plane = shot.ceiling / shot.ceiling[:, :3].norm(dim=1, keepdim=True).clamp_min(1e-6)
    wx = (cosine * nx - sine * ny).lerp_(-plane[:, 0, None].expand_as(nx), slope)
    wy = (sine * nx + cosine * ny).lerp_(-plane[:, 1, None].expand_as(nx), slope)
    wz = nz.lerp_(-plane[:, 2, None].expand_as(nx), slope)
    u, v = torch.lerp(along, across, first), torch.lerp(z, across, level)
    return (wx, wy, wz), face, u, v, dark


def _nearness(square_m2: Tensor) -> Tensor:
    """1 beside a surface, falling to 0 at 40 cm."""
    return (square_m2 * 25).add_(1).reciprocal_().mul_(1.25).sub_(0.25).clamp_(min=0.0)


def _contact(shot: Shot, place: Axes) -> Tensor:
    """Light that boxes standing near leave: (frames, rays), 1 where none is near."""
    left = torch.ones_like(place[0])
    for _, (cx, cy, cz, hx, hy, hz, cosine, sine) in each(shot.casting["boxes"]):
        x, y = place[0] - cx, place[1] - cy
        out = (cosine * x).addcmul_(sine, y).abs_().sub_(hx).clamp_(min=0.0)
        square = out.mul_(out)
        out = (cosine * y).sub_(sine * x).abs_().sub_(hy).clamp_(min=0.0)
        square.addcmul_(out, out)
        out = (place[2] - cz).abs_().sub_(hz).clamp_(min=0.0)
        square.addcmul_(out, out)
        near = _nearness(square).mul_((square * 1e5).clamp_(max=1.0))  # not on its own surface
        left.mul_(near.mul_(-0.45).add_(1.0))
    return left


def _colour(
    shot: Shot, material: Tensor, u_m: Tensor, v_m: Tensor, depth: Tensor, facing: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Surface colours, three planes (frames, rays), and glow (frames, rays)."""
    column = shot.materials.index_select(1, material.flatten())
    u, v = u_m.flatten(), v_m.flatten()
    # A slanted pixel covers a long, narrow patch: its mean width decides the level.
    pixel_m = depth / (shot.focal_px[:, None] * facing.clamp_min(0.04).sqrt_())
    pixel_m = pixel_m.flatten()
    all_rows, all_weights = [], []
    uu, uv, vu, vv, u_offset, v_offset, cosine, sine = column[2:10]
    for layer, matrix, offset in (
        (0, (uu, uv, vu, vv), (u_offset, v_offset)),
        (1, (cosine, sine, -sine, cosine), column[10:12]),
    ):
        u_texel = torch.addcmul(offset[0], matrix[0], u).addcmul_(matrix[1], v)
        v_texel = torch.addcmul(offset[1], matrix[2], u).addcmul_(matrix[3], v)
        footprint = pixel_m * column[20 + layer]
        rows, weights = textures.taps(column[layer], u_texel, v_texel, footprint)
        all_rows += rows
        all_weights += weights if layer == 0 else [weight * column[18] for weight in weights]
    pattern = textures.blend(shot.bank, all_rows, all_weights)
    colour = pattern.mul_(column[15:18]).add_(1.0).mul_(column[12:15]).clamp_(0.01, 1.0)
    return [plane.view_as(u_m) for plane in colour], column[19].view_as(u_m)


def _with_skirting(
    shot: Shot, colour: list[Tensor], owner: Tensor, normal: Axes, place: Axes, depth: Tensor
) -> list[Tensor]:
    """Lay the board along the foot of every wall; its edge is as soft as a pixel is wide."""
    height_m, *board = shot.skirting[:, :, None].unbind(1)
    upright = 1 - _step(normal[2].abs() - 0.5)
    share = ((height_m - place[2]) * shot.focal_px[:, None] / depth).add_(0.5).clamp_(0.0, 1.0)
    share.mul_(upright).mul_(_step((MAX_SPACES - owner).float()))
    return [
        torch.lerp(plane, wood.expand_as(plane), share)
        for plane, wood in zip(colour, board, strict=True)
    ]


def _light(shot: Shot, place: Axes, normal: Axes, dark: Tensor) -> list[Tensor]:
    """Ambient light, less in corners and beside things, lamps, one shadow: 3 x (frames, rays)."""
    ambience = shot.ambience[:, :, None]
    # Upright surfaces darken toward the floor, level ones are lit from above more than below.
    crease = 1 - 0.35 * torch.exp(-4.0 * place[2].clamp_min(0)) * (1 - normal[2].abs())
    open_share = (1 - shot.ambience[:, 6, None] * dark) * _contact(shot, place)
    sky = crease * (0.85 + 0.15 * normal[2]) * open_share
    half_open = open_share.lerp(torch.ones_like(open_share), 0.5)
    light = [sky * ambience[:, channel] for channel in range(3)]
    lifted = tuple(torch.add(p, n, alpha=0.01) for p, n in zip(place, normal, strict=True))
    for lamp in range(shot.lights.shape[1]):
        x, y, z, red, green, blue, half_m2 = shot.lights[:, lamp, :, None].unbind(1)
        toward = (x - lifted[0], y - lifted[1], z - lifted[2])
        square = (toward[0] * toward[0]).addcmul_(toward[1], toward[1])
        square.addcmul_(toward[2], toward[2])
        slant = normal[0] * toward[0] + normal[1] * toward[1] + normal[2] * toward[2]
        power = slant.clamp_min_(0) * (square + 1e-3).rsqrt_() * (half_m2 / (half_m2 + square))
        power.mul_(half_open)
        if lamp == 0:
            origin = (lifted[0], lifted[1], lifted[2])
            power = power * (1 - ambience[:, 3] * blocked(shot.casting, origin, toward))
        for channel, part in enumerate((red, green, blue)):
            light[channel].addcmul_(power, part)
    return light


def _expose(shot: Shot, images: Tensor, height: int, width: int) -> Tensor:
    """Blur, vignetting, exposure, white balance and noise; (frames, 3, rays) in [0, 1]."""
    device = images.device
    y = torch.linspace(-1, 1, height, device=device)[:, None]
    x = torch.linspace(-1, 1, width, device=device)
    corner = ((x * x + y * y) / 2).flatten()
    lens = torch.addcmul(corner.new_ones(1), shot.ambience[:, 4, None], corner, value=-1)
    still = shot.ambience[:, 5, None]
    images = _blur(images, (still + shot.sensor[:, 5:7]).clamp(max=1 / 3), height, width)
    brightness = images.mean(dim=(1, 2)).clamp_min(1e-3)
    gain = shot.sensor[:, 0] / 0.6 * (0.6 / brightness) ** 0.75
    scale = gain[:, None] * shot.sensor[:, 1:4]
    roll = y.expand(height, width).flatten() * shot.sensor[:, 7, None]
    images = images * (lens * (1 + roll))[:, None] * scale[..., None]
    # The camera's response: more contrast in the middle tones, or less.
    images = images.lerp(images * images * (3 - 2 * images), shot.ambience[:, 7, None, None])
    # A soft shoulder keeps what is brighter than white from becoming a flat patch at once.
    shoulder = images.clamp_min(0.7).sub_(0.4).reciprocal_().mul_(-0.09).add_(1.0)
    images = torch.minimum(images, shoulder)
    noise = shot.noise.view_as(images)
    return images.addcmul_(noise, shot.sensor[:, 4, None, None]).clamp_(0.0, 1.0)


def _blur(images: Tensor, share: Tensor, height: int, width: int) -> Tensor:
    """A lens that gives each pixel's neighbours a share (frames, 2) of it along x, then y."""
    grid = images.view(-1, 3, height, width)
    for axis, side in ((3, share[:, 0, None, None, None]), (2, share[:, 1, None, None, None])):
        size = grid.shape[axis]
        before = torch.cat([grid.narrow(axis, 0, 1), grid.narrow(axis, 0, size - 1)], axis)
        after = torch.cat([grid.narrow(axis, 1, size - 1), grid.narrow(axis, size - 1, 1)], axis)
        grid = torch.lerp(grid, before.add_(after).mul_(0.5), 2 * side)
    return grid.view_as(images)
