"""The colours of points: by picture, confidence, frame, height or lane."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.metrics.palette import RGB
from ttt3r_viewer.scene.budget import Layout
from ttt3r_viewer.viewer.view_settings import ColorBy

DARKEST_TINT = 0.25
"""Black of the picture becomes this share of the lane's colour, or lanes would look alike there."""
LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue, after Rec. 601."""


def _table(stops: str) -> NDArray[np.float64]:
    return np.array([list(bytes.fromhex(stop)) for stop in stops.split()], dtype=np.float64)


# Nine even stops of matplotlib's perceptually uniform maps (CC0), enough for the eye when blended.
VIRIDIS = _table("440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725")
PLASMA = _table("0d0887 4c02a1 7e03a8 a92395 cc4778 e56b5d f89540 fdc527 f0f921")


def apply_color_map(share: NDArray[np.floating], table: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Blend the table's stops (stops, 3) at shares (N,) clipped to [0, 1]; gives (N, 3) RGB."""
    place = np.clip(share, 0.0, 1.0) * (len(table) - 1)
    low = np.minimum(place.astype(np.intp), len(table) - 2)
    blend = (place - low)[:, None]
    return (table[low] * (1 - blend) + table[low + 1] * blend).round().astype(np.uint8)


def tint(colors: NDArray[np.uint8], lane_color: RGB) -> NDArray[np.uint8]:
    """Paint pictures (N, 3) in a lane's colour, as bright as they are; gives (N, 3) RGB."""
    luminance = colors @ LUMINANCE_WEIGHTS / 255
    share = DARKEST_TINT + (1 - DARKEST_TINT) * luminance
    return (share[:, None] * np.array(lane_color)).round().astype(np.uint8)


def line_colors(colors: ArrayLike) -> NDArray[np.uint8]:
    """Give what makes viser's lines show these RGB colours (..., 3).

    It takes the colours of lines for linear light, and so would show them too pale (IEC 61966-2-1,
    without its linear toe).
    """
    linear = (np.asarray(colors, np.float64) / 255) ** 2.2
    return (255 * linear).round().astype(np.uint8)


def frame_share(position: NDArray[np.number], layout: Layout) -> NDArray[np.float64]:
    """Give each frame's place on the colour map, 0 for the first frame."""
    return position.astype(np.float64) / max(layout.frames_scale - 1, 1)


def point_colors(
    color_by: ColorBy,
    layout: Layout,
    *,
    colors: NDArray[np.uint8],
    confidence: NDArray[np.float32],
    height: NDArray[np.floating],
    position: NDArray[np.floating],
    lane_color: RGB,
) -> NDArray[np.uint8]:
    """Give (N, 3) RGB.

    `colors` (N, 3) are the picture's; `height` (N,) is -y of the world; `position` (N,) counts
    the frames of the scene. Confidence is coloured by its percentile, by which the slider hides.
    """
    match color_by:
        case "picture":
            return colors
        case "confidence":
            edges = layout.confidence_edges
            rank = np.interp(confidence, edges, np.linspace(0.0, 1.0, len(edges)))
            return apply_color_map(rank, VIRIDIS)
        case "frame":
            return apply_color_map(frame_share(position, layout), PLASMA)
        case "height":
            low, high = layout.height_range
            return apply_color_map((height - low) / max(high - low, 1e-9), VIRIDIS)
        case "lane":
            return tint(colors, lane_color)
        case _:
            assert_never(color_by)
