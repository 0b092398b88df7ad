"""Frames of a video: its own times, upright pictures, and what becomes of a damaged one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests import media
from tests.media import frames_of, open_at, refused, times_of
from ttt3r_viewer.errors import InputError
from ttt3r_viewer.frames import video as video_module
from ttt3r_viewer.types import Frame, SkippedFrame

COUNT = 12


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
