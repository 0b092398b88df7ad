"""Which points stay and how they are grouped: pure functions and the value that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CONFIDENCE_BINS = 10
"""Equal shares of all points by confidence; a step of the percentile slider is one share."""

HIDDEN_BINS = 3
"""Shares that pages and films hide at first: most of what hangs in the air is among them."""

MAX_CHUNKS = 20
"""Times `CONFIDENCE_BINS` this is at most 200 nodes, which a page draws without slowing down."""

FIRST_FRAMES_PER_CHUNK = 4

SCALE_SAMPLES = 200_000
"""How many points are looked at to find percentiles; more changes no digit that shows."""


CUT_SHARE = 0.15
"""Share of the range of heights that a ceiling cut hides, from above."""
SPACING_SIZE = 1.4
"""Automatic side of a round point, as a multiple of the distance between its pixels."""
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
        default_factory=lambda: np.linspace(0.0, 1.0, CONFIDENCE_BINS + 1)
    )
    """(CONFIDENCE_BINS + 1,) percentiles 0, 10, ... 100 of the confidence of all kept points."""
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


def confidence_edges(confidence: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the (CONFIDENCE_BINS + 1,) percentiles 0, 10, ... 100 of the samples (N,), N > 0."""
    return np.percentile(
        confidence.astype(np.float64), np.linspace(0.0, 100.0, CONFIDENCE_BINS + 1)
    )


def confidence_bin(
    confidence: NDArray[np.float32], edges: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Give each value's share 0 (least confident) to CONFIDENCE_BINS - 1 by the inner edges."""
    return np.searchsorted(edges[1:-1], confidence, side="right").astype(np.uint8)


def robust_range(values: NDArray[np.floating]) -> tuple[float, float]:
    """Give percentiles 2 and 98 of the samples (N,), N > 0, so that a few outliers set no scale."""
    low, high = np.percentile(values, [2.0, 98.0])
    return float(low), float(high)


def random_subset(
    candidates: NDArray[np.intp], count: int, generator: np.random.Generator
) -> NDArray[np.intp]:
    """Choose at most `count` of the candidates in random order, so that a prefix is fair too."""
    return generator.choice(candidates, size=min(count, len(candidates)), replace=False)


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


def point_sizes(
    spacing: NDArray[np.floating] | np.floating, layout: Layout
) -> NDArray[np.floating]:
    """Return the side of each point (N,) by itself, whose pixels lie `spacing` (N,) apart."""
    return np.minimum(SPACING_SIZE * spacing, largest_point_size(layout))


def spaced_point_size(spacing: NDArray[np.floating], layout: Layout) -> float:
    """Return the side of points (N,) by themselves, whose pixels lie `spacing` (N,) apart."""
    largest = largest_point_size(layout)
    return float(point_sizes(np.median(spacing), layout)) if len(spacing) else largest
