"""Colours of points: one table of the modes in which the page can colour them, with legends."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.metrics.palette import LANE_COLORS, RGB
from ttt3r_viewer.scene.budget import SURE_BINS, Layout

if TYPE_CHECKING:
    from ttt3r_viewer.metrics.true_surface import SurfaceDistance

DARKEST_TINT = 0.25
"""Share of the lane's colour that black becomes; black would look alike in all lanes."""
LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue, after Rec. 601."""


def _table(stops: str) -> NDArray[np.float64]:
    return np.array([list(bytes.fromhex(stop)) for stop in stops.split()], dtype=np.float64)


# Nine even stops of matplotlib's perceptually uniform maps (CC0), enough for the eye when blended.
VIRIDIS = _table("440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725")
PLASMA = _table("0d0887 4c02a1 7e03a8 a92395 cc4778 e56b5d f89540 fdc527 f0f921")
# Nine stops of ColorBrewer's RdYlBu (Apache-2.0), blue first: told apart by the colour-blind too.
BLUE_RED = _table("4575b4 74add1 abd9e9 e0f3f8 ffffbf fee090 fdae61 f46d43 d73027")
OLDEST_SHARE = 0.35
"""Share of its colour that the oldest part of a path has: the older, the fainter."""
MOST_ERROR_M = 0.5
"""What is farther than this from the true surface is all red."""
UNKNOWN_COLOR: RGB = (128, 128, 128)


def apply_color_map(share: NDArray[np.floating], table: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Blend the table's stops (stops, 3) at shares (N,) clipped to [0, 1]; gives (N, 3) RGB."""
    place = np.clip(share, 0.0, 1.0) * (len(table) - 1)
    low = np.minimum(place.astype(np.intp), len(table) - 2)
    blend = (place - low)[:, None]
    return (table[low] * (1 - blend) + table[low + 1] * blend).round().astype(np.uint8)


def tint(colors: NDArray[np.uint8], lane_color: RGB) -> NDArray[np.uint8]:
    """Paint RGB colours (N, 3) in a lane's colour, with their own luminance; gives (N, 3) RGB."""
    luminance = colors @ LUMINANCE_WEIGHTS / 255
    share = DARKEST_TINT + (1 - DARKEST_TINT) * luminance
    return (share[:, None] * np.array(lane_color)).round().astype(np.uint8)


def line_colors(colors: ArrayLike) -> NDArray[np.uint8]:
    """Convert RGB colours (..., 3) so that viser's lines show them as they are.

    viser takes the colours of lines for linear light, and would show them too pale (IEC 61966-2-1,
    without its linear toe).
    """
    linear = (np.asarray(colors, np.float64) / 255) ** 2.2
    return (255 * linear).round().astype(np.uint8)


def frame_share(position: NDArray[np.number], layout: Layout) -> NDArray[np.float64]:
    """Return each frame's place on the colour map, 0 for the first frame."""
    return position.astype(np.float64) / max(layout.frames_scale - 1, 1)


@dataclass(frozen=True, eq=False)
class PointBatch:
    """Points of one lane, with all that a colour mode may use."""

    points_world: NDArray[np.float32]
    """(N, 3)"""
    colors: NDArray[np.uint8]
    """(N, 3) RGB of the images."""
    confidence: NDArray[np.float32]
    """(N,)"""
    sureness: NDArray[np.float32]
    """(N,) see `FramePoints.sureness`."""
    spacing: NDArray[np.floating]
    """(N,) distance between neighbouring samples of its frame at the point's depth."""
    frames: NDArray[np.floating]
    """(N,) positions of the points' frames in the scene, from 0."""
    layout: Layout
    lane_color: RGB = LANE_COLORS[0]
    distance: "SurfaceDistance | None" = None
    """Measures how far the lane's points lie from the true surface; None where nothing does."""

    def where(self, kept: NDArray[np.bool_]) -> Self:
        """Return the points that `kept` (N,) says."""
        names = ("points_world", "colors", "confidence", "sureness", "spacing", "frames")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def _by_confidence(batch: PointBatch) -> NDArray[np.uint8]:
    """Colour by the percentile of the network's confidence."""
    edges = batch.layout.confidence_edges
    rank = np.interp(batch.confidence, edges, np.linspace(0.0, 1.0, len(edges)))
    return apply_color_map(rank, VIRIDIS)


def _by_frame(batch: PointBatch) -> NDArray[np.uint8]:
    return apply_color_map(frame_share(batch.frames, batch.layout), PLASMA)


def _by_height(batch: PointBatch) -> NDArray[np.uint8]:
    low, high = batch.layout.height_range
    share = (batch.points_world @ batch.layout.up - low) / max(high - low, 1e-9)
    return apply_color_map(share, VIRIDIS)


def _by_error(batch: PointBatch) -> NDArray[np.uint8]:
    """Colour by the distance from the nearest true surface, blue for none; grey while unknown."""
    if batch.distance is None:
        return np.tile(np.array(UNKNOWN_COLOR, np.uint8), (len(batch.points_world), 1))
    return apply_color_map(batch.distance(batch.points_world) / MOST_ERROR_M, BLUE_RED)


@dataclass(frozen=True)
class LegendInput:
    """What a legend may depend on beside its mode."""

    layout: Layout
    unit: str = "m"


@dataclass(frozen=True, eq=False)
class Legend:
    """What the colours of a mode mean, from the low end of its colour map to the high one."""

    title: str
    table: NDArray[np.float64]
    """(stops, 3) the colour map."""
    ticks: tuple[tuple[float, str], ...]
    """Shares of the way along the map, 0 to 1, and what is written there."""


def _confidence_legend(shown: LegendInput) -> Legend:
    edges = shown.layout.confidence_edges
    words = {0: ": lowest", SURE_BINS // 2: ": median", SURE_BINS: ": highest"}
    ticks = ((b / SURE_BINS, f"{edges[b]:.3g}{text}") for b, text in words.items())
    return Legend("Confidence", VIRIDIS, tuple(ticks))


def _even_ticks(
    low: float, high: float, text: Callable[[float], str]
) -> tuple[tuple[float, str], ...]:
    return tuple((share, text(low + share * (high - low))) for share in (0.0, 0.5, 1.0))


def _height_legend(shown: LegendInput) -> Legend:
    """Heights above the grid, which lies at the low end."""
    low, high = shown.layout.height_range
    ticks = _even_ticks(0.0, high - low, lambda height: f"{height:.2f} {shown.unit}")
    return Legend("Height above the grid", VIRIDIS, ticks)


def _frame_legend(shown: LegendInput) -> Legend:
    ticks = _even_ticks(1, shown.layout.frames_scale, lambda frame: f"{frame:,.0f}")
    return Legend("Frame", PLASMA, ticks)


def _error_legend(_: LegendInput) -> Legend:
    """Distances in metres, which are those of the truth."""
    low, middle, (share, most) = _even_ticks(0.0, MOST_ERROR_M, lambda error: f"{error:.2f} m")
    return Legend("Distance from the truth", BLUE_RED, (low, middle, (share, f"{most} and more")))


@dataclass(frozen=True)
class ColorMode:
    """One way to colour points."""

    label: str
    """Its name in the page."""
    colors: Callable[[PointBatch], NDArray[np.uint8]]
    """Returns (N, 3) RGB."""
    legend: Callable[[LegendInput], Legend] | None = None
    """What the colours mean; None where they need no words."""
    compares_lanes: bool = False
    """Offered only where there are several lanes."""
    needs_depth: bool = False
    """Offered only where true depth is known."""


COLOR_MODES: dict[str, ColorMode] = {
    "image": ColorMode("Image", lambda batch: batch.colors),
    "confidence": ColorMode("Confidence", _by_confidence, _confidence_legend),
    "frame": ColorMode("Frame", _by_frame, _frame_legend),
    "height": ColorMode("Height", _by_height, _height_legend),
    "error": ColorMode("Error", _by_error, _error_legend, needs_depth=True),
    "lane": ColorMode(
        "Lane", lambda batch: tint(batch.colors, batch.lane_color), compares_lanes=True
    ),
}
"""By the name in the view's settings. A new mode is one entry here, with its colours and legend."""
DEFAULT_COLOR_MODE = "image"


def color_modes_for(lane_count: int, *, has_depth: bool = False) -> dict[str, str]:
    """Return the label of each mode that is offered for so many lanes, by its name.

    `has_depth` says whether true depth is known.
    """
    return {
        name: mode.label
        for name, mode in COLOR_MODES.items()
        if (lane_count > 1 or not mode.compares_lanes) and (has_depth or not mode.needs_depth)
    }
