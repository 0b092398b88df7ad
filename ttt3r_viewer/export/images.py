"""Pictures of an export: PNG, without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def image_name(sequence: int) -> str:
    """How every export names a frame's picture: by its number in the session."""
    return f"{sequence:06d}.png"


def write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write RGB bytes (height, width, 3), or one channel of 16 bits (height, width)."""
    # Level 1 takes a third of the usual time and about a tenth more room.
    Image.fromarray(pixels).save(path, format="PNG", compress_level=1)
