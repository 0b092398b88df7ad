"""Sources of frames: order, choice, what may be opened, nothing read early, and videos."""

import os
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import media
from tests.media import frames_of, names_of, open_at, refused, times_of
from ttt3r_viewer.errors import InputError
from ttt3r_viewer.frames import folder as folder_module
from ttt3r_viewer.frames import video as video_module
from ttt3r_viewer.frames.folder import natural_key
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.types import Frame, SkippedFrame

COUNT = 12


def numbered_folder(where: Path) -> Path:
    return media.write_images(where / "frames", [f"img{n}.png" for n in range(COUNT)])


def numbered_video(where: Path) -> Path:
    return media.write_video(where / "clip.mp4", media.level_frames(COUNT))


@given(st.lists(st.integers(0, 10**30), unique=True), st.randoms())
def test_names_sort_by_their_numbers(numbers, random):
    shuffled = [f"img{number}.png" for number in numbers]
    random.shuffle(shuffled)
    assert sorted(shuffled, key=natural_key) == [f"img{n}.png" for n in sorted(numbers)]


def test_natural_order_of_hard_names():
    expected = ["A2.png", "a10.png", "b/1.png", "b/9" + "0" * 5000, "b/10" + "0" * 5000, "b-1/0"]
    for shuffled in permutations(expected):
        assert sorted(shuffled, key=natural_key) == expected
    # Names that differ only in zeros or case have one order, wherever they started.
    ties = permutations(["IMG1.png", "img01.png", "img1.png"])
    assert len({tuple(sorted(tie, key=natural_key)) for tie in ties}) == 1


@pytest.mark.parametrize("make", [numbered_folder, numbered_video])
@pytest.mark.parametrize("choice", [(0, 1, None), (3, 1, None), (0, 4, 2), (2, 3, 100), (11, 5, 1)])
def test_a_choice_of_frames_is_a_slice_of_all(make, choice, tmp_path):
    path = make(tmp_path)
    everything = frames_of(open_at(path))
    assert [frame.index for frame in everything] == list(range(COUNT))
    assert [media.frame_index(frame.image) for frame in everything] == list(range(COUNT))
    start, stride, most = choice
    source = open_source(str(path), start=start, stride=stride, max_frames=most)
    expected = everything[start::stride][:most]
    assert source.total == len(expected)
    for _ in range(2):
        chosen = frames_of(source)
        assert [(f.index, f.time_sec, f.name) for f in chosen] == [
            (f.index, f.time_sec, f.name) for f in expected
        ]
        for frame, twin in zip(chosen, expected, strict=True):
            np.testing.assert_array_equal(frame.image, twin.image)
    assert source.total == len(expected)


@pytest.mark.parametrize("make", [numbered_folder, numbered_video])
def test_close_ends_an_iteration_before_its_next_frame(make, tmp_path):
    source = open_at(make(tmp_path))
    running = iter(source)
    next(running)
    source.close()
    source.close()
    assert list(running) == []


@pytest.mark.parametrize("make", [numbered_folder, numbered_video])
def test_bad_choices_are_refused(make, tmp_path):
    path = make(tmp_path)
    with pytest.raises(InputError, match="start is -1; wanted"):
        open_at(path, start=-1)
    with pytest.raises(InputError, match="stride is 0; wanted 1"):
        open_at(path, stride=0)
    with pytest.raises(InputError, match="max frames is 0; wanted 1 or more"):
        open_at(path, max_frames=0)
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"fps is .*; wanted a positive number"):
            open_source(str(path), fps=fps)
    with pytest.raises(InputError, match="has 12 frames, so the last is number 11, but start is 1"):
        open_at(path, start=12)


def test_other_files_of_a_folder_do_not_count(tmp_path):
    media.write_images(tmp_path, ["2.JPG", "10.png", ".hidden.png"])
    media.write_images(tmp_path / "sub.png", ["1.png"])
    for name in ("LICENSE", "notes.txt", ".DS_Store", "clip.mp4", "png"):
        (tmp_path / name).write_text("not a picture")
    source = open_at(tmp_path)
    assert source.total == 2
    assert names_of(source) == ["2.JPG", "10.png"]
    assert str(tmp_path) in source.name


def test_a_glob_takes_images_at_any_depth(tmp_path):
    media.write_images(tmp_path / "b", ["10.png", "9.png"])
    media.write_images(tmp_path / "a" / "deep", ["1.png"])
    (tmp_path / "b" / "9.txt").write_text("not a picture")
    assert names_of(open_at(tmp_path / "b" / "*")) == ["9.png", "10.png"]
    assert names_of(open_at(tmp_path / "b" / "[0-9].???")) == ["9.png"]
    deep = open_at(tmp_path / "**" / "**" / "*.png", stride=2)
    assert names_of(deep) == ["a/deep/1.png".replace("/", os.sep), "b/10.png".replace("/", os.sep)]


def test_an_existing_path_is_no_pattern(tmp_path):
    folder = media.write_images(tmp_path / "run[1]", ["1.png", "2.png"])
    assert open_at(folder).total == 2
    assert open_at(folder / "1.png").total == 1


def test_one_image_is_one_frame_at_time_zero(tmp_path):
    media.write_images(tmp_path, ["5.25.png", "6.25.png"])
    (tmp_path / "timestamps.txt").write_text("nothing that fits")
    (frame,) = frames_of(open_at(tmp_path / "6.25.png"))
    assert (frame.index, frame.time_sec, frame.name) == (0, 0.0, "6.25.png")


def test_the_content_decides_between_image_and_video(tmp_path):
    media.write_images(tmp_path, ["picture.png"]).joinpath("picture.png").rename(tmp_path / "p.mp4")
    assert frames_of(open_at(tmp_path / "p.mp4"))[0].name == "p.mp4"
    media.write_video(tmp_path / "clip.mp4", media.level_frames(3)).rename(tmp_path / "clip.dat")
    assert names_of(open_at(tmp_path / "clip.dat")) == ["clip.dat#0", "clip.dat#1", "clip.dat#2"]


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_an_animation_is_a_video(suffix, tmp_path):
    images = [Image.fromarray(image) for image in media.level_frames(5)]
    path = tmp_path / f"moving.{suffix}"
    images[0].save(path, save_all=True, append_images=images[1:], duration=200)
    frames = frames_of(open_at(path))
    assert [media.frame_index(frame.image) for frame in frames] == list(range(5))
    assert [frame.time_sec for frame in frames] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


def test_what_is_no_input_is_refused_with_the_kinds(tmp_path):
    refused("", "the input is an empty text")
    refused(tmp_path / "none", "there is no file or folder .*none")
    refused(tmp_path / "none*.jpg", r"nothing matches the pattern .*none\*\.jpg")
    refused("x" * 5000, "cannot be opened")
    for follow in (False, True):
        with pytest.raises(InputError, match="~nobody-of-that-name/x: "):
            open_source("~nobody-of-that-name/x", follow=follow)
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "the folder .*empty is empty")
    data = tmp_path / "data"
    (data / "frames").mkdir(parents=True)
    (data / "LICENSE").write_text("words\n" * 100)
    (data / "words.txt").write_text("words\n" * 100)
    refused(data, "the folder .*data has no images, only frames/, LICENSE, words.txt")
    refused(data / "*", "no image matches the pattern .*, only .*frames, .*LICENSE")
    refused(data / "LICENSE", "LICENSE is neither an image nor a video")
    # FFmpeg would show it as the video of a terminal.
    refused(data / "words.txt", "words.txt is a text file")
    (data / "zero.png").touch()
    refused(data / "zero.png", "the file .*zero.png is empty")
    refused(os.devnull, "is neither a file nor a folder")


def test_images_are_opened_one_by_one(tmp_path, monkeypatch):
    opened: list[str] = []
    true_open = Image.open

    def counting_open(path: Path, **choices: Any) -> Image.Image:
        opened.append(path.name)
        return true_open(path, **choices)

    monkeypatch.setattr(folder_module.Image, "open", counting_open)
    source = open_at(numbered_folder(tmp_path))
    running = iter(source)
    assert opened == []
    for seen in range(1, 4):
        next(running)
        assert opened == [f"img{n}.png" for n in range(seen)]


def test_only_chosen_video_frames_are_converted(tmp_path, monkeypatch):
    converted = 0
    true_convert = video_module.upright_rgb

    def counting_convert(frame: video_module.VideoFrame) -> object:
        nonlocal converted
        converted += 1
        return true_convert(frame)

    monkeypatch.setattr(video_module, "upright_rgb", counting_convert)
    running = iter(open_at(numbered_video(tmp_path), start=2, stride=5))
    next(running)
    assert converted == 1
    assert len(list(running)) == 1
    assert converted == 2


@pytest.mark.parametrize(("suffix", "declares"), [("mp4", True), ("avi", True), ("mkv", False)])
def test_a_video_gives_its_own_times(suffix, declares, tmp_path):
    path = media.write_video(tmp_path / f"clip.{suffix}", media.level_frames(COUNT), rate=8)
    source = open_at(path)
    # Matroska declares no number of frames, and an estimate must not pass for one.
    assert source.total == (COUNT if declares else None)
    frames = frames_of(source)
    assert source.total == COUNT
    assert [frame.name for frame in frames] == [f"clip.{suffix}#{n}" for n in range(COUNT)]
    assert [f.time_sec for f in frames] == pytest.approx([n / 8 for n in range(COUNT)], abs=2e-3)


def test_uneven_times_are_kept(tmp_path):
    ticks = [0, 1, 5, 6, 20]
    path = media.write_video(tmp_path / "clip.mp4", media.level_frames(5), ticks=ticks)
    assert times_of(path) == pytest.approx([tick / 10 for tick in ticks])
    chosen = frames_of(open_at(path, start=1, stride=3))
    assert [frame.time_sec for frame in chosen] == pytest.approx([0.1, 2.0])


def test_times_are_not_shifted_to_zero(tmp_path):
    path = media.write_video(tmp_path / "clip.mkv", media.level_frames(3), ticks=[70, 71, 72])
    assert times_of(path) == pytest.approx([7.0, 7.1, 7.2])


def test_frames_without_times_follow_each_other_by_the_frame_period(tmp_path, monkeypatch):
    path = media.write_video(tmp_path / "clip.mp4", media.level_frames(6), rate=20)
    true_decoded = video_module._decoded

    def decoded_without_times(*arguments: Any) -> Iterator[video_module.VideoFrame | str]:
        for index, item in enumerate(true_decoded(*arguments)):
            assert isinstance(item, video_module.VideoFrame)
            item.pts = {0: 0, 4: 10**6}.get(index)
            yield item

    monkeypatch.setattr(video_module, "_decoded", decoded_without_times)
    times = times_of(path)
    assert times[:4] == pytest.approx([0, 0.05, 0.1, 0.15])
    assert times[4] > 1
    assert times[5] == pytest.approx(times[4] + 0.05)


def test_every_display_matrix_comes_out_upright(tmp_path):
    stored = media.quarters_image()
    # (a, b, c, d) with x' = a x + c y and y' = b x + d y, and the picture that a player shows.
    shown = {
        (1, 0, 0, 1): stored,
        (0, 1, -1, 0): np.rot90(stored, -1),
        (-1, 0, 0, -1): np.rot90(stored, 2),
        (0, -1, 1, 0): np.rot90(stored, 1),
        (-1, 0, 0, 1): stored[:, ::-1],
        (1, 0, 0, -1): stored[::-1],
        (0, 1, 1, 0): stored.transpose(1, 0, 2),
        (0, -1, -1, 0): np.rot90(stored, 2).transpose(1, 0, 2),
    }
    path = media.write_video(tmp_path / "clip.mp4", [stored] * 2)
    for matrix, expected in shown.items():
        media.set_display_matrix(path, matrix)
        image = frames_of(open_at(path))[0].image
        assert image.shape == expected.shape, matrix
        assert image.flags.c_contiguous
        assert np.abs(image.astype(int) - expected).mean() < 5, matrix


def test_a_video_that_breaks_off_gives_its_good_frames_and_says_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    path = media.write_video(tmp_path / "clip.mp4", list(noise))
    whole = frames_of(open_at(path))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    source = open_at(path)
    assert source.total == 20
    items = list(source)
    good = [item for item in items if isinstance(item, Frame)]
    assert 5 < len(good) < 15
    for frame, twin in zip(good[:-1], whole, strict=False):
        assert frame.index == twin.index
        np.testing.assert_array_equal(frame.image, twin.image)
    assert isinstance(items[-1], SkippedFrame)
    assert "damaged" in items[-1].reason
    # Its length is known now.
    assert source.total == len(items) < 20


@pytest.mark.parametrize("stride", [1, 4])
def test_a_packet_that_cannot_be_decoded_is_reported_in_its_place(stride, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    path = media.write_video(tmp_path / "clip.mp4", list(noise))
    media.erase_packet(path, 7)
    items = list(open_at(path, stride=stride))
    wanted = sorted({*range(0, 12, stride), 7})
    assert [item.index for item in items] == wanted
    (skipped,) = [item for item in items if isinstance(item, SkippedFrame)]
    assert (skipped.index, skipped.name) == (7, "clip.mp4#7")
    assert skipped.reason.startswith("the video is damaged or cut off here (")


def test_a_title_in_strange_letters_is_no_reason_to_refuse_a_video(tmp_path):
    path = media.write_video(tmp_path / "clip.mp4", media.level_frames(3), title="holiday")
    path.write_bytes(path.read_bytes().replace(b"holiday", b"holid\xe4y"))
    assert len(frames_of(open_at(path))) == 3


def test_a_video_without_images_or_frames_is_refused(tmp_path):
    refused(media.write_sound(tmp_path / "sound.mp4"), "sound.mp4 has no video stream")
    path = media.write_video(tmp_path / "noise.mp4", media.level_frames(4))
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))
    refused(path, r"noise.mp4 has no frame that can be decoded \(")
    # Without its index, such a file cannot even be opened.
    path.write_bytes(data[:200])
    refused(path, r"noise.mp4 (is neither an image nor a video|has no )")


def test_a_start_beyond_the_end_of_an_undeclared_video_is_an_error_at_its_end(tmp_path):
    path = media.write_video(tmp_path / "clip.mkv", media.level_frames(3))
    source = open_at(path, start=3)
    with pytest.raises(InputError, match=r"clip.mkv has 3 frames, .* but start is 3"):
        list(source)


def test_a_second_iteration_does_not_disturb_the_first(tmp_path):
    source = open_at(media.write_video(tmp_path / "clip.mp4", media.level_frames(COUNT)))
    first: Iterator[Frame | SkippedFrame] = iter(source)
    assert next(first).index == 0
    assert len(frames_of(source)) == COUNT
    assert next(first).index == 1
