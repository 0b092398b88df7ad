"""Pictures of a folder: every kind, every damage, and when each was taken."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import media
from tests.media import frames_of, open_at, refused, skipped_of, times_of
from ttt3r_viewer.errors import FrameError, InputError
from ttt3r_viewer.frames import folder as folder_module
from ttt3r_viewer.frames.folder import read_image
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.types import Frame, SkippedFrame


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def rgb_of(path: Path) -> list[list[int]]:
    """Pixels of the first row."""
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    return image[0].tolist()


def greys(*levels: int) -> list[list[int]]:
    return [[level] * 3 for level in levels]


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    expected = greys(0, 1, 128, 255)
    assert rgb_of(save(Image.fromarray(values), tmp_path / "a.png")) == expected
    assert rgb_of(save(Image.fromarray(values), tmp_path / "a.tif")) == expected
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 65535\n" + values.byteswap().tobytes())
    assert rgb_of(tmp_path / "a.pgm") == expected


def test_grey_and_two_levels(tmp_path):
    grey = Image.fromarray(np.array([[0, 77, 255]], dtype=np.uint8))
    assert rgb_of(save(grey, tmp_path / "grey.png")) == greys(0, 77, 255)
    two_levels = Image.fromarray(np.array([[False, True]]))
    assert rgb_of(save(two_levels, tmp_path / "bits.png")) == greys(0, 255)


def test_transparent_pixels_lie_over_black(tmp_path):
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], dtype=np.uint8)
    expected = [[200, 100, 50], [0, 0, 0], [40, 20, 10]]
    assert rgb_of(save(Image.fromarray(rgba), tmp_path / "rgba.png")) == expected
    grey_alpha = np.array([[[200, 255], [200, 0], [200, 51]]], dtype=np.uint8)
    assert rgb_of(save(Image.fromarray(grey_alpha), tmp_path / "la.png")) == greys(200, 0, 40)


def test_palette_with_and_without_transparency(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="L").convert("P")
    palette.putpalette([10, 20, 30, 200, 100, 50])
    assert rgb_of(save(palette, tmp_path / "p.png")) == [[10, 20, 30], [200, 100, 50]]
    transparent = save(palette, tmp_path / "pt.png", transparency=1)
    assert rgb_of(transparent) == [[10, 20, 30], [0, 0, 0]]


def test_cmyk(tmp_path):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red, green, blue = rgb_of(save(cmyk, tmp_path / "cmyk.jpg", quality=95))[0]
    assert red > 240
    assert max(green, blue) < 15


def test_images_without_a_white_are_refused(tmp_path):
    for mode, words in (("F", "floats"), ("I", "32-bit integers")):
        path = save(Image.new(mode, (8, 8)), tmp_path / f"{mode}.tif")
        with pytest.raises(FrameError, match=f"holds {words}, and nothing says which value"):
            read_image(path)


def test_every_exif_orientation_comes_out_upright(tmp_path):
    upright = media.quarters_image(32, 48)
    # What a camera stores so that the given orientation leads back to the upright picture.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(pixels))
        path = save(image, tmp_path / f"{orientation}.png", exif=exif)
        np.testing.assert_array_equal(read_image(path), upright, err_msg=str(orientation))


def test_bad_images_are_skipped_with_a_reason_and_good_ones_kept(tmp_path):
    media.write_images(tmp_path, ["1.png", "3.png", "9.png"])
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("4.jpg", "5.png"):
        whole = save(Image.fromarray(noise), tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "2.png").touch()
    (tmp_path / "6.jpg").write_text("not a picture at all")
    (tmp_path / "7.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    (tmp_path / "8.png").symlink_to(tmp_path / "gone.png")
    source = open_at(tmp_path)
    assert source.total == 9
    items = list(source)
    assert [item.index for item in items] == list(range(9))
    assert [item.name for item in items if isinstance(item, Frame)] == ["1.png", "3.png", "9.png"]
    reasons = {item.name: item.reason for item in items if isinstance(item, SkippedFrame)}
    assert reasons["2.png"] == "the file is empty"
    assert reasons["4.jpg"].startswith("the image is damaged or cut off (")
    assert reasons["5.png"].startswith("the image is damaged or cut off (")
    assert reasons["6.jpg"] == "the file is not an image that can be read"
    assert reasons["7.heic"] == "the file is not an image that can be read"
    assert reasons["8.png"] == "the file is gone"
    assert not any("\n" in reason for reason in reasons.values())


def test_a_folder_of_bad_images_gives_only_skipped_frames(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.jpg").touch()
    assert len(skipped_of(open_at(tmp_path))) == 3


def test_a_file_deleted_during_the_run_is_skipped(tmp_path):
    folder = media.write_images(tmp_path, ["img0.png", "img1.png", "img2.png"])
    running = iter(open_at(folder))
    next(running)
    (folder / "img1.png").unlink()
    assert next(running) == SkippedFrame(1, "img1.png", "the file is gone")
    assert isinstance(next(running), Frame)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_does_not_hang_the_run(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert skipped_of(open_at(tmp_path)) == [SkippedFrame(0, "pipe.png", "it is not a file")]
    refused(tmp_path / "pipe.png", "is neither a file nor a folder")


@pytest.mark.parametrize("limit", [32 * 24 - 1, 32 * 24 // 3])
def test_an_image_too_large_for_pillow_is_skipped(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pillow warns above its limit and raises above twice that.
    monkeypatch.setattr(folder_module.Image, "MAX_IMAGE_PIXELS", limit)
    media.write_images(tmp_path, ["large.png"])
    for path in (tmp_path, tmp_path / "large.png"):
        (skipped,) = skipped_of(open_at(path))
        assert "the image is too large" in skipped.reason
        assert "768 pixels" in skipped.reason


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    suffix=st.sampled_from(["png", "jpg", "gif", "tif", "webp", "bmp"]),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
)
def test_no_damage_ends_the_run(suffix, cut, changes, tmp_path):
    good = tmp_path / f"good.{suffix}"
    if not good.exists():
        Image.fromarray(media.quarters_image(24, 32)).save(good)
    data = bytearray(good.read_bytes())
    for where, value in changes:
        data[min(int(where * len(data)), len(data) - 1)] = value
    bad = tmp_path / f"bad.{suffix}"
    bad.write_bytes(data[: int(cut * len(data))] if cut < 0.5 else data)
    (item,) = open_source(str(tmp_path / f"bad.{suffix}*"))
    if isinstance(item, SkippedFrame):
        assert item.reason
        assert "\n" not in item.reason
    else:
        assert item.image.ndim == 3
        assert item.image.shape[2] == 3


NAMES = ["1.png", "2.png", "10.png"]


def test_plain_folders_are_timed_by_fps(tmp_path):
    assert times_of(media.write_images(tmp_path / "numbers", NAMES), fps=4) == [0, 0.25, 0.5]
    padded = media.write_images(tmp_path / "padded", ["000012.png", "000013.png"])
    assert times_of(padded, 2) == [0, 0.5]


def test_names_that_are_seconds_are_times(tmp_path):
    stems = ["1305031102.175304", "1305031102.211214", "1305031103.000000"]
    folder = media.write_images(tmp_path / "rgb", [f"{stem}.png" for stem in stems])
    assert times_of(folder) == [float(stem) for stem in stems]
    # A stride keeps the original frame's time.
    strided = [frame.time_sec for frame in frames_of(open_at(folder, stride=2))]
    assert strided == [float(stems[0]), float(stems[2])]


@pytest.mark.parametrize(
    "names", [["1.5.png", "2.5.png", "last.png"], ["1.5.png", "1.25.png"], ["1.5.png", "2.png"]]
)
def test_names_that_are_not_all_rising_seconds_are_no_times(names, tmp_path):
    folder = media.write_images(tmp_path / "frames", names)
    assert times_of(folder, fps=1) == [float(index) for index in range(len(names))]


@pytest.mark.parametrize("place", ["frames", "."])
@pytest.mark.parametrize("file_name", ["timestamps.txt", "rgb.txt"])
@pytest.mark.parametrize(
    "text",
    [
        "# seconds\n0.5\n\n1.5\n1e1\n",
        "# time file\n1.5 rgb/2.png\n0.5 rgb/1.png\r\n10. rgb/10.png\n99 rgb/other.png\n",
        "\ufeff0.5 1.png\n1.5 2.png\n+10 10.png",
    ],
)
def test_a_file_of_times_beside_the_images_decides(text, file_name, place, tmp_path):
    folder = media.write_images(tmp_path / "frames", NAMES)
    (tmp_path / place / file_name).write_text(text, encoding="utf-8")
    assert times_of(folder) == [0.5, 1.5, 10.0]
    if "png" in text:
        assert times_of(folder / "1*.png") == [0.5, 10.0]


def test_the_folders_own_file_of_times_comes_first(tmp_path):
    folder = media.write_images(tmp_path / "frames", ["1.png"])
    for place, seconds in ((tmp_path, "1"), (folder, "2")):
        (place / "timestamps.txt").write_text(seconds)
    assert times_of(folder) == [2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5\n1.5\n", "holds 2 times for 3 images"),
        ("", "holds 0 times for 3 images"),
        ("2011-09-26 13:02:25.96\n", "line 1 is '2011-09-26 13:02:25.96'; wanted `seconds`"),
        ("0\nnan\n2\n", "line 2 is 'nan'"),
        ("0 1.png\n1 2.png\n", "gives no time for 1 of 3 images, the first 10.png"),
        ("0 1.png\n1\n2\n", "names the files of some lines and not of others"),
        ("0 1.png\n1 2.png\n2 10.png\n3 1.png\n", "line 4 gives 1.png a second time"),
        ("0\n2\n1\n", "gives 10.png an earlier time than the image before it"),
    ],
)
def test_a_file_of_times_that_does_not_fit_is_an_error(text, message, tmp_path):
    folder = media.write_images(tmp_path / "frames", NAMES)
    (folder / "timestamps.txt").write_text(text)
    with pytest.raises(InputError, match=f"timestamps.txt {message}.*: fix the file, or rename"):
        open_at(folder)


def test_images_of_several_folders_use_no_file_of_times(tmp_path):
    media.write_images(tmp_path / "a", ["1.png"])
    media.write_images(tmp_path / "b", ["1.png"])
    (tmp_path / "timestamps.txt").write_text("not for these")
    assert times_of(tmp_path / "*" / "*.png", fps=2) == [0.0, 0.5]
