"""The opening shot: a view in which the scene's box fills the part of a window that nothing hides.

Pure functions of a box, a direction and a window. The page opens with it and orbits from there, and
so do films and recordings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.export.film.camera_path import FOV_Y_RAD, upright
from ttt3r_viewer.geometry import upright_axes
from ttt3r_viewer.recording.tour import View

if TYPE_CHECKING:
    from ttt3r_viewer.scene.seen import FrameSummary
    from ttt3r_viewer.scene.store import LaneScene

FILL = 0.86
"""Share of the free part's width or height, whichever is reached first, that the box takes."""
BOX_PERCENTILES = (5.0, 95.0)
"""Of the shown points along each axis: what lies beyond is not fitted."""
BOX_POINTS, BOX_FRAMES = 12_000, 200
"""Points and frames from which a box is found."""
ELEVATION_RAD = math.radians(35)
"""How far above level a doll's house is looked at from."""
TURN_RAD = math.radians(25)
"""How far the opening is turned aside from the first camera's look."""
STEEPEST_RAD = math.radians(89)
"""A view along up itself would have no up in its image."""

ORBIT_SEC = 48.0
"""Duration of one orbit: slow enough to speak over."""
SWING_RAD = math.radians(50)
"""Angle of the swing to either side of a scene that was seen from one side."""
SIDE_SWING_RAD = math.radians(18)
"""The same for lanes side by side: seen from the side one would hide the other."""
ONE_SIDED = 0.5
"""Length of the mean of all cameras' unit looks: 1 where all looked the same way, 0 all round."""

PANEL_PX, SHEET_SHARE, BAR_PX = 335, 0.6, 86
"""What viser's panel hides: 320 px and a margin at the right; in a narrow window a sheet over this
share of its height. The playback bar hides its height, below the scene or above the sheet."""
MOST_HIDDEN = 0.75
"""However low a window is, this share of its height is hidden at most."""
NARROW_PX = 576
"""Width up to which a window is narrow for viser."""


@dataclass(frozen=True, eq=False)
class PageView:
    """Camera of a browser: its place, the point that it looks at and orbits around, what is up."""

    position: NDArray[np.float64]
    """(3,) world."""
    look_at: NDArray[np.float64]
    """(3,) world."""
    up: NDArray[np.float64]
    """(3,) unit vector, world."""
    fov_y_rad: float | None = None
    """None keeps the browser's own."""

    def moved(self, by_world: NDArray[np.float64]) -> Self:
        """Return the same view from a place moved by (3,)."""
        return replace(self, position=self.position + by_world, look_at=self.look_at + by_world)

    def is_close(self, other: Self, atol: float) -> bool:
        """Whether both look from the same place in the same way, fields of view aside."""
        mine = (self.position, self.look_at, self.up)
        theirs = (other.position, other.look_at, other.up)
        return all(np.allclose(a, b, atol=atol) for a, b in zip(mine, theirs, strict=True))

    def blended(self, goal: Self, share: float) -> Self:
        """Return the view at this share of the way to another."""
        up = self.up + share * (goal.up - self.up)
        length = float(np.linalg.norm(up))
        fov_y_rad = goal.fov_y_rad
        if self.fov_y_rad is not None and fov_y_rad is not None:
            fov_y_rad = self.fov_y_rad + share * (fov_y_rad - self.fov_y_rad)
        return replace(
            goal,
            position=self.position + share * (goal.position - self.position),
            look_at=self.look_at + share * (goal.look_at - self.look_at),
            up=up / length if length > 1e-6 else goal.up,
            fov_y_rad=fov_y_rad,
        )


@dataclass(frozen=True)
class Window:
    """A browser's window, and which share of it the panel and the playback bar hide."""

    aspect: float
    """Width / height."""
    right: float = 0.0
    """Share of the width that is hidden, at the right."""
    bottom: float = 0.0
    """Share of the height that is hidden, at the bottom."""

    @classmethod
    def of(cls, width: int, height: int, pixel_ratio: float = 1.0, *, panel: bool = True) -> Self:
        """Return the window with a canvas of this many pixels, `pixel_ratio` of them for one of the
        page, and with panel and bar or neither.
        """
        width, height = max(width, 1), max(height, 1)
        aspect = width / height
        if not panel:
            return cls(aspect)
        width_px, bar = width / pixel_ratio, BAR_PX * pixel_ratio / height
        if width_px <= NARROW_PX and aspect < 1:
            return cls(aspect, bottom=min(SHEET_SHARE + bar, MOST_HIDDEN))
        return cls(aspect, right=min(PANEL_PX / width_px, 0.6), bottom=min(bar, MOST_HIDDEN))

    def edges(self, fov_y_rad: float, fill: float = 1.0) -> NDArray[np.float64]:
        """Return tangents (2, 2) of the free part: of its left and right, its lower and upper edge,
        or of the same share `fill` of it.
        """
        upper = math.tan(fov_y_rad / 2)
        side = upper * self.aspect
        free = np.array(
            [[-side, side * (1 - 2 * self.right)], [upper * (2 * self.bottom - 1), upper]]
        )
        middle = free.mean(axis=1, keepdims=True)
        return middle + fill * (free - middle)


@dataclass(frozen=True, eq=False)
class SceneBox:
    """The box around nearly all shown points, upright, and how it was seen."""

    centre: NDArray[np.float64]
    """(3,) world."""
    half: NDArray[np.float64]
    """(3,) half of its sides along the axes."""
    axes: NDArray[np.float64]
    """(3, 3) unit vectors of the world, a row each: right, up, and level ahead."""
    all_round: bool = True
    """The scene was seen from all sides: the orbit goes round it, else it swings."""
    swing_rad: float = SWING_RAD

    @property
    def up(self) -> NDArray[np.float64]:
        """Up (3,) in the world's frame."""
        return self.axes[1]

    def corners(self) -> NDArray[np.float64]:
        """Return its corners (8, 3) in the world's frame."""
        signs = np.stack(np.meshgrid(*[(-1, 1)] * 3), axis=-1).reshape(-1, 3)
        return self.centre + (signs * self.half) @ self.axes

    def differs(self, other: Self) -> float:
        """Return how far a corner of the other box is away from this one's, as a share of the
        distance from this box's middle to its corners.
        """
        moved = np.linalg.norm(other.corners() - self.corners(), axis=1).max()
        return float(moved / np.linalg.norm(self.half))

    def blended(self, goal: Self, share: float) -> Self:
        """Return the box at this share of the way to another."""
        up = self.axes[1] + share * (goal.axes[1] - self.axes[1])
        ahead = self.axes[2] + share * (goal.axes[2] - self.axes[2])
        return replace(
            goal,
            centre=self.centre + share * (goal.centre - self.centre),
            half=self.half + share * (goal.half - self.half),
            axes=upright_axes(up, ahead),
        )

    def turned(self, time_sec: float) -> float:
        """Return the azimuth, in radians, of the orbit at a time; it repeats after `ORBIT_SEC`."""
        turn_rad = 2 * math.pi * time_sec / ORBIT_SEC
        if self.all_round:
            return TURN_RAD + turn_rad
        first_rad = math.asin(min(TURN_RAD / self.swing_rad, 1.0))
        return self.swing_rad * math.sin(first_rad + turn_rad)


def box_of_lanes(
    lanes: Sequence[LaneScene],
    offsets: Sequence[float],
    up: NDArray[np.float64],
    hidden_bins: int = 0,
) -> SceneBox:
    """Return the box of lanes that stand `offsets` along the world's x axis.

    The `hidden_bins` least sure tenths of the points are left out.
    """
    points = [
        _some_points(lane, BOX_POINTS // len(lanes), hidden_bins) + np.array([offset, 0.0, 0.0])
        for lane, offset in zip(lanes, offsets, strict=True)
    ]
    looks = np.stack([one.camera.T_world_camera[:3, 2] for one in _some_of(lanes[0].frames)])
    axes = upright_axes(up, looks[0])
    low, high = np.percentile(np.concatenate(points) @ axes.T, BOX_PERCENTILES, axis=0)
    apart = max(offsets) > min(offsets)
    return SceneBox(
        centre=(low + high) / 2 @ axes,
        half=np.maximum((high - low) / 2, 1e-3 * lanes[0].layout.median_depth),
        axes=axes,
        all_round=not apart and float(np.linalg.norm(looks.mean(axis=0))) < ONE_SIDED,
        swing_rad=SIDE_SWING_RAD if apart else SWING_RAD,
    )


def _some_points(lane: LaneScene, most: int, hidden_bins: int) -> NDArray[np.float64]:
    """Choose the same share of some frames' shown points, (n, 3); their cameras where none is."""
    frames = _some_of([one for one in lane.frames if len(one.points)])
    stride = max(1, -(-sum(len(one.points) for one in frames) // most))
    parts = [one.points.first(-(-len(one.points) // stride)) for one in frames]
    least = lane.layout.least_shown(hidden_bins)
    kept = [one.shown(least).points_world for one in parts]
    if any(map(len, kept)):
        return np.concatenate(kept).astype(np.float64)
    return np.stack([one.camera.T_world_camera[:3, 3] for one in _some_of(lane.frames)])


def _some_of(frames: Sequence[FrameSummary]) -> Sequence[FrameSummary]:
    """Choose at most `BOX_FRAMES` frames, evenly from the first one on."""
    return frames[:: max(1, -(-len(frames) // BOX_FRAMES))]


def fitted_view(
    box: SceneBox,
    azimuth_rad: float,
    elevation_rad: float,
    fov_y_rad: float,
    window: Window,
) -> PageView:
    """Return the nearest view from a direction in which the box fills `FILL` of the free part.

    At azimuth 0 it looks ahead along the box, at 90 degrees to its right; it looks down by the
    elevation. The box stands in the middle of the window's free part.
    """
    right, up, ahead = box.axes
    lift = float(np.clip(elevation_rad, -STEEPEST_RAD, STEEPEST_RAD))
    level = math.cos(azimuth_rad) * ahead + math.sin(azimuth_rad) * right
    forward = math.cos(lift) * level - math.sin(lift) * up
    aside = math.cos(azimuth_rad) * right - math.sin(azimuth_rad) * ahead
    camera = np.stack((aside, np.cross(aside, forward), forward))
    x, y, z = ((box.corners() - box.centre) @ camera.T).T
    edges = window.edges(fov_y_rad, FILL)
    # Each pair of edges lets the camera come no nearer than this.
    nearest = [
        ((across - low * z).min() - (across - high * z).max()) / (high - low)
        for across, (low, high) in zip((x, y), edges, strict=True)
    ]
    back = min(nearest)
    place = [_middle(across, z - back, pair) for across, pair in zip((x, y), edges, strict=True)]
    position = box.centre + np.array([*place, back]) @ camera
    return PageView(position, position - back * forward, up, fov_y_rad)


def orbit_view(box: SceneBox, share: float, aspect: float) -> View:
    """Return the view after this share of one orbit, in an image of width / height `aspect`."""
    view = fitted_view(box, box.turned(share * ORBIT_SEC), ELEVATION_RAD, FOV_Y_RAD, Window(aspect))
    return View(upright(view.position, view.look_at, view.up), FOV_Y_RAD)


def _middle(
    across: NDArray[np.float64], depth: NDArray[np.float64], edges: NDArray[np.float64]
) -> float:
    """Return where a camera stands across, so that points (n,) appear midway between two edges."""
    at = 0.0
    # Newton's method; which two points are outermost changes at most a few times.
    for _ in range(12):
        seen = (across - at) / depth
        first, last = seen.argmin(), seen.argmax()
        off = float(seen[first] + seen[last] - edges.sum())
        at += off / float(1 / depth[first] + 1 / depth[last])
    return at


def filled_share(box: SceneBox, view: PageView, window: Window) -> NDArray[np.float64]:
    """Return where the box lies in a view, (2, 2): its left and right, lower and upper edge, as
    shares of the free part of the window, from 0 to 1.
    """
    assert view.fov_y_rad is not None
    forward = (view.look_at - view.position) / np.linalg.norm(view.look_at - view.position)
    aside = np.cross(forward, view.up)
    aside = aside / np.linalg.norm(aside)
    camera = np.stack((aside, np.cross(aside, forward), forward))
    x, y, z = ((box.corners() - view.position) @ camera.T).T
    seen = np.stack((x / z, y / z))
    free = window.edges(view.fov_y_rad)
    bounds = np.stack((seen.min(axis=1), seen.max(axis=1)), axis=1)
    return (bounds - free[:, :1]) / (free[:, 1:] - free[:, :1])
