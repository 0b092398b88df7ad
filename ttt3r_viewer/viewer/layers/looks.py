"""Sectors of the level directions in which cameras looked; see `near_walls.py`."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.geometry import upright_axes
from ttt3r_viewer.scene.seen import FrameSummary

SECTORS = 8
"""Number of sectors; the first is around the world's z axis, the next to its right."""
NO_SECTOR = "any"
"""Of frames that looked in many directions, or up or down."""
LEAST_ALIKE = 0.7
"""Length of the mean of frames' level looks, above which they have a sector: 1 if all are alike."""


def sector_looks() -> NDArray[np.float64]:
    """Return the middle look of each sector, (SECTORS, 2): its parts ahead and to the right."""
    turn_rad = 2 * math.pi * np.arange(SECTORS) / SECTORS
    return np.stack((np.cos(turn_rad), np.sin(turn_rad)), axis=1)


def level_parts(looks: NDArray[np.floating], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the parts (..., 2) of directions (..., 3) along the world's z axis, made level, and to
    its right.
    """
    right, _, ahead = upright_axes(up, np.array([0.0, 0.0, 1.0]))
    return np.stack((looks @ ahead, looks @ right), axis=-1)


def level_looks(frames: Sequence[FrameSummary], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the level parts (n, 2) of where the cameras of some frames looked."""
    return level_parts(np.stack([one.camera.T_world_camera[:3, 2] for one in frames]), up)


def sector_of(frames: Sequence[FrameSummary], up: NDArray[np.float64]) -> str:
    """Return the number of the sector in which the cameras of some frames looked, as text."""
    mean = level_looks(frames, up).mean(axis=0)
    if float(np.linalg.norm(mean)) < LEAST_ALIKE:
        return NO_SECTOR
    return str(int((sector_looks() @ mean).argmax()))
