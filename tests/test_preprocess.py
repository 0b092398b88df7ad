"""Preparation of pictures: the published examples, the grid it promises, and the way back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ttt3r_viewer.errors import FrameError
from ttt3r_viewer.frames.folder import read_image
from ttt3r_viewer.frames.preprocess import prepare_image
from ttt3r_viewer.types import Crop

GOLDEN = Path(__file__).parent / "golden" / "preprocess.npz"


def ramp_image(width: int, height: int) -> NDArray[np.uint8]:
    """Picture whose pixel (x, y) is (x, y, 0), for sides up to 256."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = np.arange(width, dtype=np.uint8)
    image[..., 1] = np.arange(height, dtype=np.uint8)[:, None]
    return image


def blank(width: int, height: int) -> NDArray[np.uint8]:
    return np.zeros((height, width, 3), dtype=np.uint8)


def prepared_size(width: int, height: int, size: int, patch: int = 16) -> tuple[int, int]:
    prepared, _ = prepare_image(blank(width, height), size, patch)
    return prepared.shape[1], prepared.shape[0]


@pytest.mark.skipif(not GOLDEN.exists(), reason="tests/golden/preprocess.npz is not there")
@pytest.mark.parametrize("size", [512, 224])
@pytest.mark.parametrize("example", range(6))
def test_the_published_examples_agree_within_one_grey_level(example, size, tmp_path):
    with np.load(GOLDEN) as golden:
        height, width = golden[f"{example}_input_height_width"].tolist()
        orientation = int(golden[f"{example}_exif_orientation"])
        expected = golden[f"{example}_{size}"]
    y, x, channel = np.indices((height, width, 3))
    angle = x * (0.02 + 0.013 * channel) + y * (0.031 - 0.007 * channel) + channel
    image = np.round(127.5 + 127.5 * np.sin(angle)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "example.png"
    Image.fromarray(image).save(path, exif=exif)

    prepared, _ = prepare_image(read_image(path), size)

    assert prepared.shape == expected.shape
    assert np.abs(prepared.astype(int) - expected.astype(int)).max() <= 1


@settings(max_examples=60)
@given(
    width=st.integers(16, 400),
    height=st.integers(16, 400),
    size=st.sampled_from([64, 80, 96, 112, 224]),
    patch=st.sampled_from([8, 14, 16]),
)
def test_a_prepared_image_lies_on_the_patch_grid(width, height, size, patch):
    try:
        prepared, crop = prepare_image(blank(width, height), size, patch)
    except FrameError:
        assert min(width, height) * size / max(width, height) < patch + 1
        return
    rows, columns = prepared.shape[:2]
    assert rows % patch == 0
    assert columns % patch == 0
    assert 0 < max(rows, columns) <= size
    # The crop lies about the principal point (width // 2, height // 2) of the resized picture.
    resized = [round(n * s) for n, s in zip((width, height), crop.scale_xy, strict=True)]
    for side, offset, cut in zip(resized, crop.offset_xy, (columns, rows), strict=True):
        assert offset >= 0
        assert offset + cut <= side
        assert offset + cut // 2 == side // 2


@settings(max_examples=60)
@given(
    scale_xy=st.tuples(st.floats(0.01, 50), st.floats(0.01, 50)),
    offset_xy=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    x=st.floats(-0.5, 5000),
    y=st.floats(-0.5, 5000),
)
def test_to_original_undoes_resize_and_crop(scale_xy, offset_xy, x, y):
    crop = Crop(scale_xy, offset_xy, 1, 1)
    original = np.array([[x, y], [y, x]])
    there = (original + 0.5) * np.array(scale_xy) - np.array(offset_xy) - 0.5
    np.testing.assert_allclose(crop.to_original(there), original, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(200, 150, 112), (150, 200, 80), (100, 100, 160), (90, 120, 512), (256, 200, 224)],
)
def test_to_original_finds_the_pixel_that_was_resampled(width, height, size):
    prepared, crop = prepare_image(ramp_image(width, height), size)
    rows, columns = prepared.shape[:2]
    y, x = np.indices((rows, columns))
    original = crop.to_original(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64))
    seen = prepared.reshape(-1, 3)[:, :2].astype(np.float64)
    # At the borders the kernel is cut off, so a ramp is not reproduced there.
    inner = ((original > 4) & (original < np.array([width, height]) - 5)).all(axis=1)
    assert inner.mean() > 0.5
    # Two passes that each round to whole levels: half a level each, and a little of the kernel's.
    assert np.abs(original - seen)[inner].max() < 1.1
    assert np.abs((original - seen)[inner].mean(axis=0)).max() < 0.1


def test_an_image_that_fits_is_not_changed():
    image = np.random.default_rng(0).integers(0, 256, (384, 512, 3), dtype=np.uint8)
    prepared, crop = prepare_image(image, 512)
    np.testing.assert_array_equal(prepared, image)
    corners = np.array([[0.0, 0.0], [511.0, 383.0]])
    np.testing.assert_array_equal(crop.to_original(corners), corners)
    assert (crop.original_width, crop.original_height) == (512, 384)
    # Torch takes only arrays that may be written to without a warning.
    assert prepared.flags.writeable
    assert prepared.flags.c_contiguous


def test_square_images_become_four_to_three_and_224_becomes_square():
    assert prepared_size(700, 700, 512) == (512, 384)
    assert prepared_size(700, 700, 224) == (224, 224)
    assert prepared_size(640, 480, 224) == (224, 224)
    # Three quarters of 80 are 60, which is not a whole number of patches.
    assert prepared_size(700, 700, 80) == (80, 48)


def test_other_sizes_and_patches_follow_the_way_of_512():
    assert prepared_size(640, 480, 160) == (160, 112)
    assert prepared_size(480, 640, 160, patch=8) == (120, 160)
    assert prepared_size(640, 480, 518, patch=14) == (518, 378)


@pytest.mark.parametrize("size", [512, 224])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (20000, 10), (10, 20000)])
def test_an_image_with_a_side_under_one_patch_is_refused(width, height, size):
    with pytest.raises(FrameError, match=f"{width}x{height} pixels; wanted both sides at least"):
        prepare_image(blank(width, height), size)


@pytest.mark.parametrize("size", [512, 224])
def test_a_side_that_would_be_under_one_patch_is_refused(size):
    message = f"20000x20 pixels, and {size}x[01] at size {size}, .* one patch of 16"
    with pytest.raises(FrameError, match=message):
        prepare_image(blank(20000, 20), size)


def test_a_four_to_three_crop_that_leaves_no_patch_is_refused():
    with pytest.raises(FrameError, match="40x40 pixels, and 16x16 at size 16"):
        prepare_image(blank(40, 40), 16)


@pytest.mark.parametrize(
    "image", [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 4), np.uint8), np.zeros((64, 64, 3))]
)
def test_only_rgb_of_eight_bits_is_taken(image):
    with pytest.raises(FrameError, match=r"wanted uint8 \(height, width, 3\)"):
        prepare_image(image, 512)
