"""Which points stay and how they are grouped: pure functions and the value that they make."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.types import Camera

SURE_BINS = 10
"""Equal shares of all points by how sure they are; a step of the percentile slider is one share."""

HIDDEN_BINS = 2
"""Shares that pages and films hide at first: most of what hangs in the air is among them."""

MAX_CHUNKS = 20
"""Times `SURE_BINS` this is at most 200 nodes, which a page draws without slowing down."""

FIRST_FRAMES_PER_CHUNK = 4

SCALE_SAMPLES = 200_000
"""How many points are looked at to find percentiles; more changes no digit that shows."""


CUT_SHARE = 0.15
"""Share of the range of heights that a ceiling cut hides, from above."""
SPACING_SIZE = 1.4
"""Automatic side of a round point, as a multiple of the distance between its frame's samples."""
PLASTIC = 1.324717957244746
"""The real root of x^3 = x + 1."""
LARGEST_POINT = 0.02 / 3
"""Largest automatic side of a point, as a share of the scene's median depth: 2 cm at 3 m."""


@dataclass(frozen=True, eq=False)
class Layout:
    """How the kept points are thinned, grouped and scaled; a new generation redraws all of them."""

    generation: int = 0
    frames_per_chunk: int = FIRST_FRAMES_PER_CHUNK
    points_per_frame: int = 0
    """Every frame keeps at most this many points: the first ones of its random order."""
    voxel_side: float = 0.0
    """Side of the finest voxels, of one point each; 0 where all points of the share are kept."""
    confidence_edges: NDArray[np.float64] = field(
        default_factory=lambda: np.linspace(0.0, 1.0, SURE_BINS + 1)
    )
    """(SURE_BINS + 1,) percentiles 0, 10, ... 100 of the confidence of all kept points."""
    sure_edges: NDArray[np.float64] = field(
        default_factory=lambda: np.linspace(0.0, 1.0, SURE_BINS + 1)
    )
    """(SURE_BINS + 1,) the same of `FramePoints.sureness`, by which points are hidden."""
    height_range: tuple[float, float] = (0.0, 1.0)
    """Percentiles 2 and 98 of the height of all kept points."""
    up: NDArray[np.float64] = field(default_factory=lambda: np.array([0.0, -1.0, 0.0]))
    """(3,) unit vector against gravity, in the world's frame."""
    up_is_seen: bool = False
    """Floors or walls told it; else it is how cameras were held."""
    across: tuple[float, float] = (0.0, 1.0)
    """Percentiles 2 and 98 of the places of all kept points along the world's x axis."""
    frames_scale: int = 1
    """Number of frames over which colours by frame run: never fewer than there are."""
    median_depth: float = 1.0
    """Median distance in front of the cameras; what the page's sizes are proportional to."""

    def least_shown(self, hidden_bins: int) -> float:
        """Return the least sureness of points that are shown while so many shares are hidden."""
        return float(self.sure_edges[hidden_bins]) if hidden_bins else -math.inf

    @property
    def cut_height(self) -> float:
        """The height above which the ceiling is cut off."""
        low, high = self.height_range
        return high - CUT_SHARE * (high - low)

    def below_cut(self, points_world: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether points (N, 3) are not above the height of the ceiling cut, (N,)."""
        return points_world @ self.up <= self.cut_height

    @property
    def sizes(self) -> tuple[int, int]:
        """What decides how points are grouped, and how many of a frame there are at most."""
        return self.frames_per_chunk, self.points_per_frame


def points_per_frame_within(counts: Sequence[int], points_per_frame: int, max_points: int) -> int:
    """Halve the share of each frame until all frames together fit; 0 where not even one does."""
    sizes = np.asarray(counts, dtype=np.int64)
    while points_per_frame > 0 and int(np.minimum(sizes, points_per_frame).sum()) > max_points:
        points_per_frame //= 2
    return points_per_frame


def frames_per_chunk_for(frame_count: int, frames_per_chunk: int, max_chunks: int) -> int:
    """Make chunks larger until there are at most `max_chunks` of them.

    Fourfold each time, because a page is sent every point again.
    """
    while frames_per_chunk * max_chunks < frame_count:
        frames_per_chunk *= 4
    return frames_per_chunk


def tenths(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the (SURE_BINS + 1,) percentiles 0, 10, ... 100 of the samples (N,), N > 0."""
    return np.percentile(values.astype(np.float64), np.linspace(0.0, 100.0, SURE_BINS + 1))


def bins_between(values: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Give each value's share 0 (the lowest) to SURE_BINS - 1 by the inner edges."""
    return np.searchsorted(edges[1:-1], values, side="right").astype(np.uint8)


def robust_range(values: NDArray[np.floating]) -> tuple[float, float]:
    """Give percentiles 2 and 98 of the samples (N,), N > 0, so that a few outliers set no scale."""
    low, high = np.percentile(values, [2.0, 98.0])
    return float(low), float(high)


def pixel_order(
    shape: tuple[int, ...], sequence: int, count: int | None = None
) -> NDArray[np.intp]:
    """Return the numbers (height * width,) of all pixels of an image of that `shape`, counted row
    by row, in an order of which the first so many lie evenly over it, however many those are; with
    `count` only that many.

    Each frame has the same order, moved over the image by a seeded random shift.
    """
    height, width = shape
    rows, columns = (one[:count] for one in _even_order(height, width))
    down, right = np.random.default_rng(sequence).integers((height, width))
    return (rows + down) % height * width + (columns + right) % width


@functools.lru_cache(maxsize=4)
def _even_order(height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of all pixels in the order of a sequence of low discrepancy.

    It is the additive recurrence with the powers of the plastic number (M. Roberts, "The
    unreasonable effectiveness of quasirandom sequences", 2018): pixels in the order in which its
    points first fall into them. The few that are not met for long come last, at random.
    """
    count = height * width
    step = np.arange(2 * count)[:, None] / np.array([PLASTIC, PLASTIC**2])
    rows, columns = np.floor(step % 1 * (height, width)).astype(np.intp).T
    met, first = np.unique(rows * width + columns, return_index=True)
    rest = np.setdiff1d(np.arange(count), met)
    order = np.concatenate([met[np.argsort(first)], np.random.default_rng(0).permutation(rest)])
    rows, columns = np.divmod(order, width)
    return rows, columns


def shrink_image(image: NDArray[np.uint8], max_width: int) -> NDArray[np.uint8]:
    """Average whole blocks of pixels until the image (height, width, 3) is at most that wide."""
    height, width = image.shape[:2]
    factor = min(-(-width // max_width), height)
    if factor <= 1:
        return image.copy()
    rows, columns = height // factor, width // factor
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
    total = blocks.sum(axis=1, dtype=np.uint32).sum(axis=2)
    return ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)


def largest_point_size(layout: Layout) -> float:
    """Return the largest side that points have by themselves, in two digits."""
    return float(f"{LARGEST_POINT * layout.median_depth:.2g}")


def sample_spacing(
    depth: NDArray[np.floating], camera: Camera, samples: float
) -> NDArray[np.floating]:
    """Return how far apart neighbouring samples of a frame lie at each depth (N,), where so many of
    its pixels are taken.
    """
    pixels = camera.width * camera.height
    return depth / camera.focal_px * math.sqrt(max(1.0, pixels / max(samples, 1.0)))


def point_sizes(
    spacing: NDArray[np.floating] | np.floating, layout: Layout
) -> NDArray[np.floating]:
    """Return the side of each point (N,) by itself, whose samples lie `spacing` (N,) apart."""
    return np.minimum(SPACING_SIZE * spacing, largest_point_size(layout))


def spaced_point_size(spacing: NDArray[np.floating], layout: Layout) -> float:
    """Return the side of points (N,) by themselves, whose samples lie `spacing` (N,) apart."""
    largest = largest_point_size(layout)
    return float(point_sizes(np.median(spacing), layout)) if len(spacing) else largest
