"""The lamps and windows that light a room, and the skirting along its walls, as plain numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.synthetic.rooms import Room

LIGHTS = 3
LIGHT_COLUMNS = 7
"""Place (3), colour (3), and squared metres at which the light has fallen to one half."""


def draw_skirting(rng: np.random.Generator) -> NDArray[np.float32]:
    """The board along the foot of a room's walls: height in metres, then its RGB colour; (4,).

    Pale or dark, it shows where floor and wall meet; its height is nearly one everywhere.
    """
    value = rng.uniform(0.7, 0.95) if rng.random() < 0.5 else rng.uniform(0.06, 0.3)
    colour = np.clip(value + rng.normal(0, 0.05, 3), 0.03, 0.97)
    return np.append(rng.uniform(0.09, 0.11), colour).astype(np.float32)


def draw_lights(rng: np.random.Generator, room: Room) -> NDArray[np.float32]:
    """One to three lamps; the first casts shadows, often as a window; (LIGHTS, LIGHT_COLUMNS)."""
    table = np.zeros((LIGHTS, LIGHT_COLUMNS), np.float32)
    table[:, 6] = 1.0
    spaces = room.chambers
    boxes = zip(room.solids["boxes"], room.styles["boxes"], strict=True)
    panes = [box for box, style in boxes if style == "window"]
    for light in range(min(max(len(spaces), int(rng.integers(1, LIGHTS + 1))), LIGHTS)):
        space = spaces[light % len(spaces)]
        low, high = space.low, space.high
        places = low + (high - low) * rng.uniform([0.15, 0.15, 0.5], [0.85, 0.85, 0.92], (12, 3))
        place = places[int(np.argmax(room.clearance(places) + rng.uniform(0, 0.5, 12)))]
        warm = rng.uniform(-0.15, 0.2)
        strength = rng.uniform(0.5, 1.3)
        if light == 0 and panes and rng.random() < 0.7:
            x, y, z, *_, cosine, sine = panes[rng.integers(len(panes))]
            place, warm = np.array([x - 0.4 * sine, y + 0.4 * cosine, z]), -0.12
            strength *= 1.4
        table[light, :3] = place
        table[light, 3:6] = strength * np.array([1 + warm, 1.0, 1 - warm])
        table[light, 6] = rng.uniform(1.2, 4.0) ** 2
    return table
