"""Images of points and lines in numpy, for films without a browser."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.geometry import invert_pose
from ttt3r_viewer.recording.tour import View

NEAR = 1e-3
"""What is nearer to the camera, in the scene's unit, is not drawn."""
SIDES_PX = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
"""Sides that points have in an image; each has the nearest."""
EMPTY = np.uint64(2**64 - 1)
"""Farther than all, in a buffer of depths and colours."""


@dataclass(frozen=True, eq=False)
class Points:
    """Points with colours."""

    positions_world: NDArray[np.float32]
    """(n, 3)"""
    colors: NDArray[np.uint8]
    """(n, 3) RGB"""
    diameters: NDArray[np.float32] | None = None
    """(n,) of round points, in the world's unit; None: all have the renderer's size."""

    def between(self, begin: int, end: int) -> Self:
        """The points from number `begin` to before `end`."""
        diameters = None if self.diameters is None else self.diameters[begin:end]
        return replace(
            self,
            positions_world=self.positions_world[begin:end],
            colors=self.colors[begin:end],
            diameters=diameters,
        )


@dataclass(frozen=True, eq=False)
class Lines:
    """Straight lines with colours."""

    ends_world: NDArray[np.float32]
    """(n, 2, 3)"""
    colors: NDArray[np.uint8]
    """(n, 3) RGB"""


@dataclass(frozen=True)
class Renderer:
    """Draws every point as a disc; of those that overlap, the nearest is seen.

    A pixel of the buffer is one number, whose upper half is the depth's bits, which rise with it,
    and whose lower half is the colour: the least number is the nearest point. A disc is drawn as
    the least of its neighbours' numbers, which costs the same however many points there are.
    """

    width: int
    height: int
    point_px: int = 2
    line_px: int = 2
    background: tuple[int, int, int] = (24, 26, 30)

    def draw(self, view: View, points: Points, *lines: Lines) -> NDArray[np.uint8]:
        """Give the image (height, width, 3) RGB."""
        T_camera_world = invert_pose(view.T_world_camera).astype(np.float32)
        focal_px = self.height / 2 / math.tan(view.fov_y_rad / 2)
        cloud = points.positions_world @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
        buffer = np.full((self.height, self.width), EMPTY)
        for side, members in self._by_side(cloud, points.diameters, focal_px):
            discs = self._discs(cloud[members], points.colors[members], focal_px, side)
            np.minimum(buffer, discs, out=buffer)
        ends_world = np.concatenate(
            [np.zeros((0, 2, 3), np.float32), *(one.ends_world for one in lines)]
        )
        if len(ends_world):
            ends = ends_world @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
            samples, number = self._along(ends, focal_px)
            colors = np.concatenate([one.colors for one in lines])[number]
            np.minimum(buffer, self._discs(samples, colors, focal_px, self.line_px), out=buffer)
        return self._image(buffer)

    def _by_side(
        self,
        points_camera: NDArray[np.float32],
        diameters: NDArray[np.float32] | None,
        focal_px: float,
    ) -> Iterator[tuple[int, NDArray[np.intp] | slice]]:
        """Give each side in pixels that points have, and which points have it."""
        if diameters is None:
            yield self.point_px, slice(None)
            return
        sides = np.array(SIDES_PX)
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = diameters * np.float32(focal_px) / points_camera[:, 2]
        which = np.searchsorted((sides[1:] + sides[:-1]) / 2, wanted)
        seen = points_camera[:, 2] > NEAR
        for number, side in enumerate(SIDES_PX):
            members = np.flatnonzero((which == number) & seen)
            if len(members):
                yield side, members

    def _discs(
        self,
        points_camera: NDArray[np.float32],
        colors: NDArray[np.uint8],
        focal_px: float,
        side: int,
    ) -> NDArray[np.uint64]:
        """Give the buffer (height, width) with each point as a disc of `side` pixels."""
        # A margin takes the points whose discs only reach into the image.
        width, height = self.width + 2 * side, self.height + 2 * side
        depth = points_camera[:, 2]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # A disc stands around its point: an even one reaches as far to either side.
            shift = side + (side % 2 - 1) / 2 + 0.5
            x = points_camera[:, 0] / depth * np.float32(focal_px) + np.float32(self.width / 2)
            y = points_camera[:, 1] / depth * np.float32(focal_px) + np.float32(self.height / 2)
            x, y = np.floor(x + np.float32(shift - 0.5)), np.floor(y + np.float32(shift - 0.5))
            seen = (depth > NEAR) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        where = y[seen].astype(np.int64) * width + x[seen].astype(np.int64)
        bits = depth[seen].astype(np.float32).view(np.uint32).astype(np.uint64)
        buffer = np.full(width * height, EMPTY)
        np.minimum.at(buffer, where, bits << np.uint64(32) | _packed(colors[seen]))
        rows = wide = buffer.reshape(height, width)
        discs, shift, reached = np.full((height, width), EMPTY), (side - 1) // 2, 1
        # From the disc's narrow upper and lower rows to the wide ones in its middle.
        for number, length in enumerate(disc_rows(side)):
            for step in range(reached, length):
                wide = np.minimum(wide, np.roll(rows, step, axis=1))
            reached, first = length, (side - length) // 2 - shift
            for row in {number, side - 1 - number}:
                np.minimum(discs, np.roll(wide, (row - shift, first), axis=(0, 1)), out=discs)
        return discs[side:-side, side:-side]

    def _along(
        self, ends: NDArray[np.float32], focal_px: float
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Give points (n, 3) along lines, a pixel apart at most, and the number of their lines."""
        cut, number = _in_front(ends.astype(np.float64))
        start_xy, end_xy = (one[:, :2] / one[:, 2:] * focal_px for one in (cut[:, 0], cut[:, 1]))
        # A line that leaves the image for far away is not followed all the way.
        most = 4 * (self.width + self.height)
        length = np.abs(end_xy - start_xy).max(axis=1, initial=0)
        count = np.minimum(np.ceil(length), most).astype(np.int64) + 1
        line = np.repeat(np.arange(len(count)), count)
        step = np.arange(len(line)) - np.repeat(np.cumsum(count) - count, count)
        u = (step / np.maximum(count - 1, 1)[line])[:, None]
        # On the image 1 / depth is what changes evenly.
        inverse = (1 - u) / cut[line, 0, 2:] + u / cut[line, 1, 2:]
        xy = (1 - u) * start_xy[line] + u * end_xy[line]
        samples = np.concatenate((xy / focal_px, np.ones_like(u)), axis=1) / inverse
        return samples.astype(np.float32), number[line]

    def _image(self, buffer: NDArray[np.uint64]) -> NDArray[np.uint8]:
        packed = buffer.astype(np.uint32)
        packed[buffer == EMPTY] = _packed(np.array([self.background], np.uint8))[0]
        shifts = np.array([16, 8, 0], np.uint32)
        return (packed[..., None] >> shifts).astype(np.uint8)


def disc_rows(side: int) -> list[int]:
    """Return how many pixels each row of a disc of `side` pixels has, down to its middle."""
    middle = (side - 1) / 2
    squared = (np.arange(side) - middle) ** 2
    inside = squared[:, None] + squared <= side**2 / 4
    return [int(count) for count in inside.sum(axis=1)[: (side + 1) // 2]]


def _packed(colors: NDArray[np.uint8]) -> NDArray[np.uint64]:
    red, green, blue = colors.T.astype(np.uint64)
    return red << np.uint64(16) | green << np.uint64(8) | blue


def _in_front(
    ends: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Cut lines (n, 2, 3) of the camera's frame where they pass behind it; drop those behind.

    Also gives the number of each line that is left.
    """
    number = np.flatnonzero((ends[:, :, 2] > NEAR).any(axis=1))
    ends = ends[number]
    for near, far in ((0, 1), (1, 0)):
        behind = ends[:, near, 2] <= NEAR
        a, b = ends[behind, near], ends[behind, far]
        u = (2 * NEAR - a[:, 2]) / (b[:, 2] - a[:, 2])
        ends[behind, near] = a + u[:, None] * (b - a)
    return ends, number
