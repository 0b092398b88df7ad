"""Newest camera, lanes and maps share no colour, also where red or green is not seen."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from ttt3r_viewer.metrics.palette import LANE_COLORS
from ttt3r_viewer.viewer.layers.camera_layer import LIVE_COLOR
from ttt3r_viewer.viewer.layers.colors import BLUE_RED, PLASMA, VIRIDIS, apply_color_map

# What is seen without green or red cones, of linear RGB: Machado, Oliveira and Fernandes, 2009.
SIGHT = {
    "all three cones": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}
# Oklab (Ottosson, 2020): linear RGB to cones, and the cones' cube roots to lightness, a and b.
CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
OKLAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]
JUST_SEEN = 0.02
"""Distance in Oklab at which colours beside each other are just told apart."""
MAPS = {
    name: apply_color_map(np.linspace(0, 1, 129), stops)
    for name, stops in {"viridis": VIRIDIS, "plasma": PLASMA, "blue to red": BLUE_RED}.items()
}


def oklab(colors: ArrayLike, sight: str) -> NDArray[np.float64]:
    share = np.atleast_2d(np.asarray(colors, np.float64)) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(SIGHT[sight]).T, 0, 1)
    return np.cbrt(seen @ np.asarray(CONES).T) @ np.asarray(OKLAB).T


def nearest(first: ArrayLike, second: ArrayLike, sight: str) -> float:
    steps = oklab(first, sight)[:, None] - oklab(second, sight)[None]
    return float(np.linalg.norm(steps, axis=-1).min())


def test_the_simulation_sees_what_such_people_see():
    assert np.allclose(oklab([255, 255, 255], "all three cones"), [1, 0, 0], atol=1e-4)
    for sight in SIGHT:
        assert nearest([90, 90, 90], [90, 90, 90], sight) == 0
        assert np.allclose(oklab([128, 128, 128], sight)[:, 1:], 0, atol=5e-3), "grey stays grey"
    red, green = (213, 62, 30), (120, 118, 20)
    assert nearest(red, green, "all three cones") > 0.15
    assert nearest(red, green, "deuteranopia") < nearest(red, green, "all three cones") / 2


@pytest.mark.parametrize("sight", SIGHT)
def test_the_newest_camera_the_lanes_and_the_maps_share_no_colour(sight):
    for one, other in combinations(LANE_COLORS, 2):
        assert nearest(one, other, sight) > 4 * JUST_SEEN, (one, other)
    for name, colors in MAPS.items():
        assert nearest(LIVE_COLOR, colors, sight) > 5 * JUST_SEEN, name
        for lane in LANE_COLORS:
            assert nearest(lane, colors, sight) > 1.5 * JUST_SEEN, (name, lane)
    assert nearest(LIVE_COLOR, LANE_COLORS, sight) > 5 * JUST_SEEN
