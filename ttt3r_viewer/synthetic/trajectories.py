"""Smooth camera paths through the free space of a procedural room.

Poses are in the room frame (x and y along the walls, z up, metres) with OpenCV camera axes. A path
is a function of its seed and frame index alone: a longer path begins with the shorter one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.synthetic.rooms import Array, Room

MIN_CLEARANCE = 0.25
"""Metres that a camera keeps from every surface."""
_PLAN_CLEARANCE = 0.38
"""Metres that a planned path keeps, so that smoothing and jitter stay within the limit."""
_FASTEST_TURN_RAD = math.radians(4.0)
"""Fastest steady turn per frame, whatever was drawn; wandering and jitter come on top."""
_EYE_M = (1.45, 1.65)
"""Camera heights of a standing person, which make a room's size readable from one view."""
_RUN_UP = range(60, 240, 15)
"""Places of a path that may be a sequence's frame 0; before them every path sets out slowly."""
_OPEN_VIEW_M = 3.0
"""A sequence begins where the view is as deep as this, or the deepest of its possible places."""
_JITTER = 0.02
"""Largest excursion from the planned path by hand jitter, per axis, in metres."""


@dataclass(frozen=True)
class _Draft:
    """What a path is drawn from."""

    rng: np.random.Generator
    room: Room
    eye: Array
    """Free places for a camera, (some, 3)."""
    time: Array
    """Numbers of the path's frames, (frames,)."""
    step_m: float
    """How fast the camera moves and, below, turns, per frame."""
    turn_rad: float

    def waves(self, axes: int, rate: float) -> Array:
        """Smooth noise of a few sines in [-1, 1] whose slope stays near `rate`; (frames, axes)."""
        frequency = rate * np.exp(self.rng.uniform(-1.2, 0.25, (4, axes)))
        phase = self.rng.uniform(0, 2 * math.pi, (4, axes))
        weight = self.rng.uniform(0.3, 1.0, (4, axes))
        weight /= weight.sum(axis=0)
        return (weight * np.sin(self.time[:, None, None] * frequency + phase)).sum(axis=1)


def draw_path(
    rng: np.random.Generator,
    room: Room,
    indices: NDArray[np.int64],
    motion: str | None,
    step_scale: float,
) -> Array:
    """Camera poses at path indices (frames,), rising from 0: T_room_camera (frames, 4, 4).

    Raises SettingsError for an unknown motion, which lists the known ones.
    """
    drawn = str(rng.choice(list(MOTIONS), p=[share for share, _ in MOTIONS.values()]))
    motion = drawn if motion is None else motion
    if motion not in MOTIONS:
        raise SettingsError(f"unknown motion '{motion}'; choose one of: {', '.join(MOTIONS)}")
    step = math.exp(rng.uniform(math.log(0.012), math.log(0.085)))
    turn = math.radians(math.exp(rng.uniform(math.log(0.4), math.log(2.6))))
    eye = _free_points(rng, room, 48)
    time = np.arange(int(indices[-1]) + 1 + _RUN_UP[-1], dtype=np.float64)
    draft = _Draft(rng, room, eye, time, step * step_scale, turn * step_scale)
    position, yaw = MOTIONS[motion][1](draft)
    jitter = rng.uniform(0.1, 0.6) * _JITTER * step_scale
    wobble = draft.waves(3, min(0.5 * draft.step_m / max(jitter, 1e-6), 0.5))
    position = position + min(jitter, _JITTER) * wobble
    nod = min(0.5 * draft.turn_rad / 0.2, 0.2)
    pitch = rng.uniform(-0.4, 0.0) + rng.uniform(0.02, 0.2) * draft.waves(1, nod)[:, 0]
    roll = rng.normal(0, 0.03) + 0.05 * draft.waves(1, min(0.3 * draft.turn_rad / 0.05, 0.2))[:, 0]
    indices = indices + _beginning(room, position, yaw)
    return _poses(position[indices], yaw[indices], pitch[indices], roll[indices])


def _beginning(room: Room, position: Array, yaw: Array) -> int:
    """The place of a path at which its sequence begins: one from which the room can be seen."""
    places = np.array(_RUN_UP)
    side = yaw[places, None] + np.array([-0.35, 0.0, 0.35])
    depth_m = _reach(room, np.repeat(position[places], 3, axis=0), side.ravel())
    middle_m = np.median(depth_m.reshape(-1, 3), axis=1)
    return int(places[_first_deep(middle_m, _OPEN_VIEW_M)])


def _first_deep(depth_m: Array, enough_m: float) -> int:
    """Number of the first view that is deep enough, or of the deepest."""
    deep = np.flatnonzero(depth_m > enough_m)
    return int(deep[0] if len(deep) else np.argmax(depth_m))


def _level(yaw: Array) -> Array:
    """Unit vectors (some, 3) along level directions."""
    return np.stack([np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)], axis=-1)


def _reach(room: Room, place: Array, yaw: Array) -> Array:
    """Metres that one sees, or a little less, from places (some, 3) along yaws (some,); (some,)."""
    heading, reach = _level(yaw), np.zeros(len(yaw))
    for _ in range(6):
        reach = reach + np.maximum(room.clearance(place + heading * reach[:, None]), 0.0)
    return reach


def _poses(position: Array, yaw: Array, pitch: Array, roll: Array) -> Array:
    """Camera poses from places (frames, 3) and angles in radians (frames,): (frames, 4, 4)."""
    ahead = np.stack(
        [np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)], axis=1
    )
    right = np.stack([np.sin(yaw), -np.cos(yaw), np.zeros_like(yaw)], axis=1)
    down = np.cross(ahead, right)
    cosine, sine = np.cos(roll)[:, None], np.sin(roll)[:, None]
    T = np.tile(np.eye(4), (len(yaw), 1, 1))
    T[:, :3, 0] = cosine * right + sine * down
    T[:, :3, 1] = cosine * down - sine * right
    T[:, :3, 2] = ahead
    T[:, :3, 3] = position
    return T


def _free_points(rng: np.random.Generator, room: Room, count: int) -> Array:
    """Places for a camera, far from everything; the freest first half of them; (some, 3)."""
    ends = np.array([[space.low, space.high] for space in room.chambers])
    low, high = ends[rng.choice(len(ends), count * 3)].swapaxes(0, 1)
    points = low + (high - low) * rng.random((count * 3, 3))
    points[:, 2] = rng.uniform(*_EYE_M, count * 3)
    clearance = room.clearance(points)
    order = np.argsort(-clearance)
    enough = order[clearance[order] > 0.45]
    keep = enough if len(enough) >= 4 else order[:4]
    return points[rng.permutation(keep)[:count]]


def _open_yaw(draft: _Draft, place: Array) -> float:
    """A direction in which the view from `place` (3,) is deep; radians."""
    yaw = draft.rng.uniform(0, 2 * math.pi) + np.arange(8) * 2.4
    return float(yaw[_first_deep(_reach(draft.room, place[None], yaw), 2.2)])


def _hand_held(draft: _Draft) -> tuple[Array, Array]:
    """A slow drift around one place while the view wanders."""
    rng, place = draft.rng, draft.eye[0]
    reach = float(draft.room.clearance(place[None])[0]) - MIN_CLEARANCE - 1.8 * _JITTER
    reach = max(min(reach / 1.2, rng.uniform(0.15, 0.8)), 0.01)
    drift = draft.waves(3, min(3.0 * draft.step_m / reach, 0.3)) * [1.0, 1.0, 0.4]
    swing = rng.uniform(0.2, 1.0)
    view = draft.waves(1, min(3.0 * draft.turn_rad / swing, 0.2))[:, 0]
    return place + reach * drift, _open_yaw(draft, place) + swing * (view - view[0])


def _look_around(draft: _Draft) -> tuple[Array, Array]:
    """Turning on the spot with the lever of an arm, now and then back again."""
    rng, place = draft.rng, draft.eye[0]
    sway = rng.uniform(0.03, 0.16)
    drift = draft.waves(3, min(1.5 * draft.step_m / sway, 0.25)) * [0.4, 0.4, 0.2]
    swing = rng.uniform(0.5, 3.0)
    wander = draft.waves(1, min(2.5 * draft.turn_rad / swing, 0.2))[:, 0]
    steady = rng.choice([-1.0, 0.0, 1.0]) * 0.6 * draft.turn_rad * draft.time
    yaw = _open_yaw(draft, place) + steady + swing * (wander - wander[0])
    return place + sway * drift + sway * 0.6 * _level(yaw), yaw


def _orbit(draft: _Draft) -> tuple[Array, Array]:
    """Round an ellipse, looking across its middle or outward; a narrow one where little is free."""
    rng, room = draft.rng, draft.room
    angle = np.linspace(0, 2 * math.pi, 20, endpoint=False)
    centre, radius = draft.eye[0], np.full(2, 0.08)
    low, high = room.spaces[0].low, room.spaces[0].high
    for attempt in range(24):
        shrink = 0.5 * (1 - attempt / 26)
        middle = low + (high - low) * rng.uniform(0.35, 0.65, 3)
        trial = np.append(middle[:2], rng.uniform(*_EYE_M))
        radii = (high - low)[:2] * shrink * rng.uniform(0.45, 0.85, 2)
        ring = trial + _level(angle) * [*radii, 0.0]
        if room.clearance(ring).min() > _PLAN_CLEARANCE:
            centre, radius = trial, radii
            break
    spin = rng.choice([-1.0, 1.0])
    rate = min(draft.step_m / float(radius.mean()), 1.5 * draft.turn_rad, _FASTEST_TURN_RAD)
    around = rng.uniform(0, 2 * math.pi) + spin * rate * draft.time
    position = centre + _level(around) * [*radius, 0.0]
    position[:, 2] += 0.05 * draft.waves(1, min(0.4 * draft.step_m / 0.05, 0.2))[:, 0]
    facing = 0.0 if rng.random() < 0.3 else math.pi
    swing = rng.uniform(0, 0.4)
    wander = swing * draft.waves(1, min(draft.turn_rad / max(swing, 0.05), 0.2))[:, 0]
    return position, around + facing + wander


def _walk(draft: _Draft, corners_of: Callable[..., Array]) -> tuple[Array, Array]:
    """Along straight ways between free places and through doorways, or round and round one loop."""
    rng = draft.rng
    step_m = max(draft.step_m, 1e-6)
    needed_m = step_m * 1.3 * len(draft.time) + 2.0
    # How many corners are drawn depends on the length, so they have a stream of their own.
    stream = np.random.Generator(np.random.PCG64(int(rng.integers(2**62))))
    line = _smooth_line(corners_of(stream, draft.room, draft.eye, needed_m), needed_m)
    speed = 1 + 0.3 * draft.waves(1, 0.08)[:, 0]
    travelled = (np.cumsum(speed) - speed[0]) * step_m
    grid = np.arange(len(line)) * _SPACING
    position, ahead = _along(grid, line, travelled), _along(grid, line, travelled + 0.35)
    heading = np.unwrap(np.arctan2(*(ahead - position).T[1::-1]))
    swing = rng.uniform(0.1, 1.0)
    target = heading + swing * draft.waves(1, min(draft.turn_rad / swing, 0.15))[:, 0]
    aside = np.array([0.0, 0.5, -0.5, 1.0]) * math.pi
    target = target + rng.choice(aside, p=[0.7, 0.1, 0.1, 0.1])
    return position, _follow(target, min(1.6 * draft.turn_rad, _FASTEST_TURN_RAD))


def _follow(target: Array, fastest_rad: float) -> Array:
    """A yaw that goes after the target with limited speed and soft starts; radians (frames,)."""
    yaw = np.empty_like(target)
    here, rate = float(target[0]), 0.0
    for index, wanted in enumerate(target.tolist()):
        desired = max(-fastest_rad, min(fastest_rad, 0.15 * (wanted - here)))
        rate += max(-0.25 * fastest_rad, min(0.25 * fastest_rad, desired - rate))
        here += rate if index else 0.0
        yaw[index] = here
    return yaw


_SPACING = 0.03
"""Metres between the places of a smoothed line."""


def _free_ways(room: Room, starts: Array, ends: Array) -> NDArray[np.bool_]:
    """Whether a camera can go straight from each start, or one, to each end (some, 3); (some,)."""
    share = np.linspace(0.0, 1.0, 14)[:, None, None]
    places = starts + share * (ends - starts)
    return room.clearance(places.reshape(-1, 3)).reshape(14, -1).min(axis=0) > _PLAN_CLEARANCE


def _door_places(room: Room, height: float) -> list[Array]:
    """The middle and the two mouths of every doorway, (3, 3) each."""
    places = []
    for door in room.doors:
        low, high, along = door.low, door.high, door.door_axis
        middle = np.append((low + high)[:2] / 2, min(height, high[2] - 0.4))
        mouth = np.zeros(3)
        mouth[along] = (high - low)[along] / 2 + 0.05
        places.append(np.stack([middle - mouth, middle, middle + mouth]))
    return places


def _walk_corners(rng: np.random.Generator, room: Room, eye: Array, needed_m: float) -> Array:
    """Corners of a walk at least `needed_m` long that prefers places not yet visited; (some, 3)."""
    doors = _door_places(room, eye[0, 2])
    places = np.concatenate([eye[:16], *doors])
    attraction = np.ones(len(places))
    attraction[len(eye[:16]) :] = 3.0
    ways: dict[int, NDArray[np.bool_]] = {}
    here, length, corners = 0, 0.0, [places[0]]
    while length < needed_m:
        if here not in ways:
            ways[here] = _free_ways(room, places[here], places)
        distance = np.linalg.norm(places - places[here], axis=1)
        weight = ways[here] * attraction * np.minimum(distance, 2.5) * (distance > 0.1)
        if not weight.any():
            return np.concatenate([corners, _pace_to_and_fro(room, corners[-1], needed_m)])
        attraction[here] *= 0.3
        here = int(rng.choice(len(places), p=weight / weight.sum()))
        length += float(distance[here])
        corners.append(places[here])
    return np.stack(corners)


def _pace_to_and_fro(room: Room, place: Array, needed_m: float) -> Array:
    """Corners that go a little way sideways and back, where nothing else can be reached."""
    reach = max(float(room.clearance(place[None])[0]) - MIN_CLEARANCE - 2 * _JITTER, 0.02)
    legs = int(needed_m / reach) + 1
    sideways = np.array([reach, 0.0, 0.0])
    return np.stack([place + (leg % 2) * sideways for leg in range(1, legs + 1)])


def _loop_corners(rng: np.random.Generator, room: Room, eye: Array, needed_m: float) -> Array:
    """Corners of rounds of one closed way, at least `needed_m` long; (some, 3)."""
    ring = _ring(rng, room, eye)
    length = float(np.linalg.norm(np.diff(ring, axis=0), axis=1).sum())
    rounds = math.ceil(needed_m / max(length, 0.02)) + 1
    return np.concatenate([ring[:-1]] * rounds + [ring[-1:]])


def _ring(rng: np.random.Generator, room: Room, eye: Array) -> Array:
    """Corners of a closed way around the middle of some free places; first and last agree."""
    for _ in range(16 if len(eye) >= 5 else 0):
        ring = eye[rng.choice(len(eye), int(rng.integers(3, 6)), replace=False)]
        ring = ring[np.argsort(np.arctan2(*(ring - ring.mean(axis=0)).T[1::-1]))]
        closed = np.concatenate([ring, ring[:1]])
        length = np.linalg.norm(np.diff(closed, axis=0), axis=1).sum()
        if length > 2.0 and _free_ways(room, closed[:-1], closed[1:]).all():
            return closed
    start = eye[0]
    partners = eye[_free_ways(room, start, eye)]
    far = partners[np.argmax(np.linalg.norm(partners - start, axis=1))] if len(partners) else start
    if np.linalg.norm(far - start) < 0.1:
        return np.concatenate([start[None], _pace_to_and_fro(room, start, 0.0), start[None]])
    return np.stack([start, far, start])


def _along(lengths_m: Array, line: Array, at_m: Array) -> Array:
    """Places of a line (some, 3), which it has at `lengths_m` (some,), at others; (n, 3)."""
    return np.stack([np.interp(at_m, lengths_m, axis) for axis in line.T], axis=1)


def _smooth_line(corners: Array, needed_m: float) -> Array:
    """Places every `_SPACING` along the corners, corners rounded; (some, 3)."""
    pieces = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(np.maximum(pieces, 1e-9))])
    grid = np.arange(0.0, min(along[-1], needed_m + 1.0), _SPACING)
    line = _along(along, corners, grid)
    half = 8
    window = np.hanning(2 * half + 3)[1:-1]
    window /= window.sum()
    padded = np.concatenate([np.repeat(line[:1], half, 0), line, np.repeat(line[-1:], half, 0)])
    return np.stack([np.convolve(axis, window, mode="valid") for axis in padded.T], axis=1)


MOTIONS = {
    "hand-held": (0.3, _hand_held),
    "orbit": (0.15, _orbit),
    "walk": (0.25, partial(_walk, corners_of=_walk_corners)),
    "look-around": (0.15, _look_around),
    "loop": (0.15, partial(_walk, corners_of=_loop_corners)),
}
"""Kinds of camera paths: how often each is drawn, and what draws its places and yaws."""
