"""Resize and crop an image to the network's patch grid, and remember how to undo it.

Follows the preparation that the released CUT3R weights were trained with, so that their numbers
come out the same.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import FrameError
from ttt3r_viewer.types import Crop

_SQUARE_SIZE = 224
"""The one size whose images are square: the short side is fitted to it, not the long one."""


def prepare_image(
    image: NDArray[np.uint8], size: int, patch: int = 16
) -> tuple[NDArray[np.uint8], Crop]:
    """The network's input (rows, columns, 3) of an upright RGB image, and how it was cut out.

    `size` 224 makes the short side 224 and takes the central square; any other makes the long side
    `size` and crops each side about the centre to a multiple of `patch`, one that is square after
    the resize to 4:3 (then again to the multiple).

    Raises `FrameError` where the image, or what would be made of it, has a side under one patch.
    """
    # Here, because who trains has no Pillow, and no image to prepare.
    from PIL import Image

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise FrameError(
            f"the image is {image.dtype} of shape {image.shape}; wanted uint8 (height, width, 3)"
        )
    height, width = image.shape[:2]
    if min(width, height) < patch:
        raise FrameError(
            f"the image is {width}x{height} pixels; wanted both sides at least one patch of {patch}"
        )
    resized_width, resized_height = _resized_size(width, height, size, max(width, height))
    crop_width, crop_height = _crop_size(resized_width, resized_height, patch)
    if min(crop_width, crop_height) < patch:
        raise FrameError(
            f"the image is {width}x{height} pixels, and {resized_width}x{resized_height} at size"
            f" {size}, of which a side would be under one patch of {patch}; wanted a less oblong"
            " image or a larger size"
        )
    # Only now, because the check above keeps the resized image of a very long image small.
    if size == _SQUARE_SIZE:
        resized_width, resized_height = _resized_size(width, height, size, min(width, height))
        crop_width = crop_height = size // patch * patch
    shrinks = max(width, height) > max(resized_width, resized_height)
    kernel = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    resized = Image.fromarray(image).resize((resized_width, resized_height), kernel)
    # So the pixel (width // 2, height // 2), the principal point, is the same before and after.
    left = (resized_width - crop_width) // 2
    upper = (resized_height - crop_height) // 2
    cropped = resized.crop((left, upper, left + crop_width, upper + crop_height))
    scale_xy = resized_width / width, resized_height / height
    return np.array(cropped), _crop(scale_xy, (left, upper), width, height)


_crop = lru_cache(maxsize=64)(Crop)
"""One value for all images that are cut alike, because every frame keeps its own."""


def _resized_size(width: int, height: int, size: int, fitted_side: int) -> tuple[int, int]:
    """Width and height where `fitted_side`, one of the two, has become `size`."""
    return round(width * size / fitted_side), round(height * size / fitted_side)


def _crop_size(width: int, height: int, patch: int) -> tuple[int, int]:
    """Width and height of the central crop of a resized image, in whole patches."""
    crop_width = width // patch * patch
    crop_height = height // patch * patch
    if width == height:
        crop_height = crop_width * 3 // 4 // patch * patch
    return crop_width, crop_height
