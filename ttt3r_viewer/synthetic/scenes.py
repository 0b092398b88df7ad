"""Endless video with exact depth and poses: procedural rooms, rendered in torch on any device.

`render_clips` is `draw_worlds` (numpy, one seed at a time, may run in other processes) followed by
`render_worlds` (torch, all sequences at once). A seed decides everything about its sequence,
whatever else is in the batch; a longer sequence begins with the shorter one of the same seed.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt3r_viewer.synthetic import shading, textures
from ttt3r_viewer.synthetic.homes import draw_room
from ttt3r_viewer.synthetic.materials import draw_lights, draw_materials, draw_skirting
from ttt3r_viewer.synthetic.raycast import FIRST, OBJECTS, SLOPE, Solids, Viewpoint, keep
from ttt3r_viewer.synthetic.rooms import FLAT, KINDS, MAX_SPACES, Room, poses_of
from ttt3r_viewer.synthetic.shading import Shot
from ttt3r_viewer.synthetic.trajectories import draw_path

TEST_SEEDS = range(0, 500_000)
"""Seeds for evaluation, tests and demo sequences; no model is trained or chosen on them."""
VALIDATION_SEEDS = range(500_000, 1_000_000)
"""Seeds for choices made during training."""
TRAIN_SEEDS = range(10_000_000, 2**32)
"""Seeds for training. These rooms also wear other textures than those of all lower seeds."""

OBJECT_COLUMNS = 13
_NOISE_COUNT = 1 << 20
_RAYS_CPU = 40_960
_RAYS_GPU = 1 << 23


@dataclass(frozen=True, eq=False)
class Clip:
    """A batch of rendered sequences."""

    images: Tensor
    """(batch, frames, height, width, 3) float32 RGB in [0, 1]."""
    depth: Tensor
    """(batch, frames, height, width) metres along the camera's z axis, above 0 everywhere."""
    T_world_camera: Tensor
    """(batch, frames, 4, 4) OpenCV axes; the world is each sequence's first camera."""
    focal_px: Tensor
    """(batch,); square pixels, principal point at (width // 2, height // 2)."""

    def to(self, device: torch.device) -> "Clip":
        """The same on a device."""
        return Clip(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Worlds:
    """Sequences drawn but not rendered: plain arrays that can be sent between processes."""

    spaces: NDArray[np.float32]
    """(batch, MAX_SPACES, 6)"""
    ceiling: NDArray[np.float32]
    """(batch, 4)"""
    boxes: NDArray[np.float32]
    """(batch, most, numbers) as spheres and cylinders are; see `rooms.KINDS`."""
    spheres: NDArray[np.float32]
    cylinders: NDArray[np.float32]
    objects: NDArray[np.float32]
    """(batch, OBJECTS, OBJECT_COLUMNS) pose and kind of every object: centre (3), half extents (3),
    below 0 where it is padding, cosine and sine of the turn, -1 where it is seen from inside and 1
    elsewhere, 1 for a sphere, for a cylinder, and for the ceiling plane, and 1 for a space where
    walls, floor and ceiling meet all round.
    """
    casts_shadow: NDArray[np.bool_]
    """(batch, OBJECTS)"""
    materials: NDArray[np.float32]
    """(batch, OBJECTS, 6, MATERIAL_COLUMNS)"""
    skirting: NDArray[np.float32]
    """(batch, 4) height in metres and RGB of the board along the foot of the walls."""
    lights: NDArray[np.float32]
    """(batch, LIGHTS, LIGHT_COLUMNS)"""
    ambience: NDArray[np.float32]
    """(batch, 8) ambient light RGB, depth of shadows, strength of vignetting, blur, darkness of
    corners, and how much the camera's response is an S.
    """
    half_width_tangent: NDArray[np.float32]
    """(batch,) tangent of half the horizontal field of view."""
    T_room_camera: NDArray[np.float64]
    """(batch, frames, 4, 4)"""
    sensor: NDArray[np.float32]
    """(batch, frames, 8) target brightness, white balance RGB, deviation of the noise, blur by
    motion along x and y, and brightness gained from the middle to the bottom.
    """
    noise_start: NDArray[np.int64]
    """(batch, frames) where the frame's noise begins in the common table."""


def render_clips(
    seeds: Sequence[int],
    frames: int,
    height: int,
    width: int,
    *,
    device: torch.device | str,
    motion: str | None = None,
    step_scale: float = 1.0,
    stride: int = 1,
) -> Clip:
    """Render one sequence per seed.

    `motion` is one of `trajectories.MOTIONS`, or None to let the seed choose. `step_scale`
    multiplies translation and rotation per frame; frame k is the path's place k * stride. Raises
    SettingsError for an unknown motion.
    """
    worlds = draw_worlds(seeds, frames, motion=motion, step_scale=step_scale, stride=stride)
    return render_worlds(worlds, height, width, device=device)


def draw_worlds(
    seeds: Sequence[int],
    frames: int,
    *,
    motion: str | None = None,
    step_scale: float = 1.0,
    stride: int = 1,
) -> Worlds:
    """Draw rooms, materials, lights and paths for some seeds, on the CPU, without rendering."""
    indices = np.arange(frames) * stride
    rows = []
    for seed in seeds:
        room = room_of(seed)
        paint, path, sensor = (_stream(seed, part) for part in (1, 2, 3))
        own = textures.TRAINED if seed >= TRAIN_SEEDS.start else textures.HELD_OUT
        T_room_camera = draw_path(path, room, indices, motion, step_scale)
        row: dict[str, Any] = _pack_room(room)
        row["materials"] = draw_materials(paint, room, own)
        row["lights"] = draw_lights(paint, room)
        row["skirting"] = draw_skirting(paint)
        ambient = paint.uniform(0.35, 0.8) * (1 + paint.uniform(-0.06, 0.06, 3))
        lens = paint.uniform([0.2, 0.0, 0.0, 0.3, -0.3], [0.9, 0.35, 0.22, 0.6, 0.7])
        row["ambience"] = np.append(ambient, lens).astype(np.float32)
        wide_deg = 45 + 45 * paint.beta(3, 3)
        row["half_width_tangent"] = np.float32(math.tan(math.radians(wide_deg) / 2))
        row["T_room_camera"] = T_room_camera
        row["sensor"], row["noise_start"] = _draw_sensor(sensor, indices, T_room_camera)
        rows.append(row)
    return Worlds(**{name: np.stack([row[name] for row in rows]) for name in rows[0]})


def room_of(seed: int) -> Room:
    """The room of a seed, without its colours."""
    return draw_room(_stream(seed, 0))


def _stream(seed: int, part: int) -> np.random.Generator:
    """Random numbers for one part of a sequence: a change to one part leaves the others alone."""
    return np.random.Generator(np.random.PCG64([int(seed), part]))


def _pack_room(room: Room) -> dict[str, np.ndarray]:
    """The room's lists as float32 arrays, padded with things that no ray meets."""
    spaces = np.full((MAX_SPACES, 6), 1e6, np.float32)
    spaces[: len(room.spaces)] = [[*space.low, *space.high] for space in room.spaces]
    low, high = spaces[:, :3], spaces[:, 3:]
    chambers = np.array([space.door_axis is None for space in room.spaces])
    objects = np.zeros((OBJECTS, OBJECT_COLUMNS), np.float32)
    objects[:, 3:7] = 1.0
    objects[:, 8] = np.where(np.arange(OBJECTS) < MAX_SPACES, -1.0, 1.0)
    objects[:MAX_SPACES, :3] = (low + high) / 2
    objects[:MAX_SPACES, 3:6] = np.maximum((high - low) / 2, 1e-3)
    # The two boxes of an L meet openly.
    objects[: len(chambers), 12] = chambers & (len(chambers) < 2 or not chambers[:2].all())
    objects[FIRST["spheres"] : FIRST["cylinders"], 9] = 1.0
    objects[FIRST["cylinders"] : SLOPE, 10] = 1.0
    objects[SLOPE, 11] = 1.0
    casts = np.zeros(OBJECTS, bool)
    packed: dict[str, np.ndarray] = {"spaces": spaces, "ceiling": room.ceiling.astype(np.float32)}
    for name, kind in KINDS.items():
        rows = [*room.solids[name], *[kind.nothing] * kind.most][: kind.most]
        packed[name] = np.array(rows, np.float32)
        part, styles = FIRST[name], room.styles[name]
        objects[part : part + kind.most, :8] = poses_of(name, packed[name])
        casts[part : part + len(styles)] = [style not in FLAT for style in styles]
    return {**packed, "objects": objects, "casts_shadow": casts}


def _draw_sensor(
    rng: np.random.Generator, indices: NDArray[np.int64], T_room_camera: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Exposure target, white balance and noise of every frame, and where its noise begins."""
    target, deviation = rng.uniform(0.3, 0.55), rng.uniform(0.0, 0.02)
    balance = rng.uniform(-0.1, 0.1, 3)
    phase, rate = rng.uniform(0, 2 * math.pi, (2, 4)), rng.uniform(0.005, 0.05, (2, 4))
    waves = np.sin(indices[:, None, None] * rate + phase).sum(axis=1) / 2
    sensor = np.empty((len(indices), 8), np.float32)
    sensor[:, 0] = target * (1 + 0.08 * waves[:, 0])
    sensor[:, 1:4] = 1 + balance + 0.02 * waves[:, 1:] * np.array([1.0, 0.0, -1.0])
    sensor[:, 4] = deviation
    # A turn by a degree during the exposure moves the image by some three pixels.
    R = T_room_camera[:, :3, :3]
    turn_rad = rng.uniform(0, 0.01, 2) * np.ones((len(R), 1))
    ahead = np.diff(R[:, :, 2], axis=0) / np.diff(indices)[:, None]
    turn_rad[1:] = np.abs(np.einsum("nik,ni->nk", R[1:, :, :2], ahead))
    sensor[:, 5:7] = rng.uniform(0, 1) * np.minimum(10 * turn_rad, 0.3)
    sensor[:, 7] = rng.uniform(-0.06, 0.06)
    steps = rng.integers(0, _NOISE_COUNT, 2) | 1
    return sensor, (steps[0] + steps[1] * indices * 7919) % _NOISE_COUNT


def render_worlds(worlds: Worlds, height: int, width: int, *, device: torch.device | str) -> Clip:
    """Render drawn sequences on a device."""
    where = torch.device(device)
    batch, frames = worlds.T_room_camera.shape[:2]
    focal = width / (2 * worlds.half_width_tangent)
    first_inverse = np.linalg.inv(worlds.T_room_camera[:, :1])
    T_world_camera = first_inverse @ worlds.T_room_camera
    T_world_camera[:, 0] = np.eye(4)
    arrays = {one.name: getattr(worlds, one.name) for one in fields(Worlds)}
    arrays["T_room_camera"] = worlds.T_room_camera.astype(np.float32)  # not all devices have more
    tensors = {name: torch.from_numpy(array).to(where) for name, array in arrays.items()}
    tensors["object_columns"] = tensors["objects"].flatten(0, 1).t().contiguous()
    tensors["material_columns"] = tensors["materials"].flatten(0, 2).t().contiguous()
    tensors["bank"] = textures.bank_for(worlds.materials[..., :2], where)
    tensors["focal_px"] = torch.from_numpy(focal).float().to(where)
    images = torch.empty(batch * frames, height, width, 3, device=where)
    depth = torch.empty(batch * frames, height, width, device=where)
    rays = _RAYS_CPU if where.type == "cpu" else _RAYS_GPU
    chunk = max(rays // (height * width), 1)
    # A caller's autocast would round the tests of what is in view.
    with torch.no_grad(), torch.autocast(where.type, enabled=False):
        for start in range(0, batch * frames, chunk):
            flat = torch.arange(start, min(start + chunk, batch * frames), device=where)
            shot = _shot(tensors, flat, frames, height, width)
            part = slice(start, start + len(flat))
            images[part], depth[part] = shading.render_shot(shot, height, width)
    return Clip(
        images=images.view(batch, frames, height, width, 3),
        depth=depth.view(batch, frames, height, width),
        T_world_camera=torch.from_numpy(T_world_camera).float().to(where),
        focal_px=tensors["focal_px"],
    )


def _shot(tensors: dict[str, Tensor], flat: Tensor, frames: int, height: int, width: int) -> Shot:
    """Gather what some frames need; `flat` (chunk,) counts through all frames of all sequences."""
    world, frame = flat // frames, flat % frames
    own = {name: tensors[name][world] for name in ("spaces", "ceiling", "skirting", "lights")}
    own |= {name: tensors[name][world] for name in ("ambience", "focal_px")}
    own |= {name: tensors[name][world, frame] for name in ("T_room_camera", "sensor")}
    used = int((own["spaces"][..., 0] < 1e5).sum(dim=1).max())
    focal = own["focal_px"]
    # One pixel more on each side than the image has, so that rounding loses nothing.
    view = Viewpoint(own["T_room_camera"], (width / 2 + 1) / focal, (height / 2 + 1) / focal)
    seen: Solids = {}
    casting: Solids = {}
    for name, kind in KINDS.items():
        rows = tensors[name][world]
        part = slice(FIRST[name], FIRST[name] + kind.most)
        numbers = torch.arange(part.start, part.stop, device=rows.device, dtype=torch.int32)
        numbers = numbers.expand(len(rows), -1)
        centre, half = tensors["objects"][world, part, :6].split(3, dim=-1)
        radius = half.norm(dim=-1)
        in_view = (half[..., 0] > 0) & view.sees(centre, radius)
        # What is just out of view still darkens what it stands on.
        lit = view.sees(centre, radius + 0.4)
        lit |= view.sees_shadow(centre, radius, own["lights"][:, 0, :3])
        lit = tensors["casts_shadow"][world, part] & lit
        nothing = torch.tensor(kind.nothing, device=rows.device)
        seen[name] = keep(rows, numbers, in_view, nothing)
        casting[name] = keep(rows, numbers, lit, nothing)
    starts = tensors["noise_start"][world, frame].tolist()
    noise = noise_table(flat.device, height * width * 3)
    return Shot(
        **own | {"spaces": own["spaces"][:, :used]},
        seen=seen,
        casting=casting,
        objects=tensors["object_columns"],
        materials=tensors["material_columns"],
        bank=tensors["bank"],
        world=world,
        noise=torch.stack([noise[s : s + height * width * 3] for s in starts]),
    )


@functools.lru_cache(maxsize=4)
def noise_table(device: torch.device, room_left: int) -> Tensor:
    """Unit normal numbers, of which every frame reads `room_left` from a place of its own."""
    rng = np.random.Generator(np.random.PCG64(97))
    table = rng.standard_normal(_NOISE_COUNT, dtype=np.float32)
    return torch.from_numpy(np.resize(table, _NOISE_COUNT + room_left)).to(device)
