"""A folder that grows: half-written, replaced and vanished files, and the folder's own end."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.live_media import jpeg
from tests.waiting import wait_for
from ttt3r_viewer.errors import InputError
from ttt3r_viewer.frames import follow as follow_module
from ttt3r_viewer.frames.live import LiveSource
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.types import Frame, SkippedFrame, Waiting


class Taker:
    """Takes every frame of a followed folder in a thread, as fast as they come."""

    def __init__(self, folder: Path, retry_sec: float = 30.0) -> None:
        source = open_source(str(folder), follow=True)
        assert isinstance(source, LiveSource)
        source._retry_sec, source._pause_sec = retry_sec, 0.02
        self.source = source
        self.items: list[Frame | SkippedFrame] = []
        self.words: list[str] = []
        self.error: InputError | None = None
        self.thread = threading.Thread(target=self._take, daemon=True)
        self.thread.start()

    def _take(self) -> None:
        try:
            for item in self.source.watch():
                if isinstance(item, Waiting):
                    self.words.append(item.message)
                else:
                    self.items.append(item)
        except InputError as error:
            self.error = error

    @property
    def levels(self) -> list[tuple[str, int]]:
        """Name and grey level of every frame."""
        return [(i.name, round(i.image.mean(), -1)) for i in self.items if isinstance(i, Frame)]

    def wait(self, count: int) -> None:
        wait_for(
            lambda: len(self.items) >= count, lambda: f"{count} frames; there are {self.levels}"
        )


@pytest.fixture
def follow(tmp_path):
    takers: list[Taker] = []

    def begin(folder: Path = tmp_path, **choice: float) -> Taker:
        takers.append(Taker(folder, **choice))
        return takers[-1]

    yield begin
    for taker in takers:
        taker.source.close()
        taker.thread.join(2)
        assert not taker.thread.is_alive()


def test_images_are_taken_as_they_come(tmp_path, follow):
    taker = follow()
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(20 * number))
        taker.wait(number + 1)
    assert taker.levels == [(f"{number}.jpg", 20 * number) for number in range(5)]
    assert [item.index for item in taker.items] == list(range(5))
    assert taker.source.dropped == 0


def test_of_what_is_there_the_newest_is_taken(tmp_path, follow):
    for number in range(3):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(jpeg(20 * number))
        os.utime(path, (1000 - number, 1000 - number))
    taker = follow()
    taker.wait(1)
    time.sleep(0.2)
    assert taker.levels == [("0.jpg", 0)]


def test_the_newest_wins_and_the_others_are_counted(tmp_path):
    source = open_source(str(tmp_path), follow=True)
    assert isinstance(source, LiveSource)
    frames = iter(source)
    (tmp_path / "a.jpg").write_bytes(jpeg(10))
    assert next(frames).name == "a.jpg"
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
        os.utime(tmp_path / f"{number}.jpg", (1000, 1000))
    wait_for(lambda: source._arrived == 13, "not all were noticed")
    item = next(frames)
    assert (item.name, item.index, source.dropped) == ("11.jpg", 12, 11)
    source.close()


def test_a_half_written_image_is_waited_for(tmp_path, follow):
    taker, data = follow(), jpeg(120)
    with (tmp_path / "slow.jpg").open("wb") as file:
        for start in range(0, len(data), len(data) // 3):
            file.write(data[start : start + len(data) // 3])
            file.flush()
            time.sleep(0.15)
    taker.wait(1)
    assert taker.levels == [("slow.jpg", 120)]


def test_an_image_that_stays_half_is_skipped_and_taken_when_it_is_mended(
    tmp_path, follow, monkeypatch
):
    monkeypatch.setattr(follow_module, "STILL_SEC", 0.2)
    taker = follow()
    (tmp_path / "half.jpg").write_bytes(jpeg(120)[:-200])
    taker.wait(1)
    (skipped,) = taker.items
    assert isinstance(skipped, SkippedFrame)
    assert skipped.name == "half.jpg"
    (tmp_path / "half.jpg").write_bytes(jpeg(130))
    taker.wait(2)
    assert taker.levels == [("half.jpg", 130)]


def test_a_replaced_image_is_a_new_frame_and_a_vanished_one_is_none(tmp_path, follow):
    taker = follow()
    (tmp_path / "latest.jpg").write_bytes(jpeg(50))
    taker.wait(1)
    (tmp_path / "new.part").write_bytes(jpeg(90))
    (tmp_path / "new.part").replace(tmp_path / "latest.jpg")
    taker.wait(2)
    (tmp_path / "latest.jpg").write_bytes(jpeg(150))
    taker.wait(3)
    (tmp_path / "latest.jpg").unlink()
    time.sleep(0.1)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "latest.jpg").write_bytes(jpeg(200))
    taker.wait(4)
    time.sleep(0.2)
    assert taker.levels == [("latest.jpg", level) for level in (50, 90, 150, 200)]


def test_a_folder_that_goes_and_comes_back_is_followed_on(tmp_path, follow):
    folder = tmp_path / "in"
    folder.mkdir()
    taker = follow(folder)
    (folder / "a.jpg").write_bytes(jpeg(50))
    taker.wait(1)
    shutil.rmtree(folder)
    wait_for(lambda: any("was lost" in text for text in taker.words), "the loss is not told")
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(80))
    taker.wait(2)
    wait_for(lambda: taker.words[-1] == "", "the loss is told for ever")
    assert taker.levels == [("a.jpg", 50), ("a.jpg", 80)]


def test_a_folder_that_is_gone_for_good_ends_the_run(tmp_path, follow):
    folder = tmp_path / "in"
    folder.mkdir()
    taker = follow(folder, retry_sec=0.6)
    (folder / "a.jpg").write_bytes(jpeg(50))
    taker.wait(1)
    shutil.rmtree(folder)
    wait_for(lambda: taker.error is not None, "it waits for ever")
    assert "was lost and did not come back within 0.6 s" in str(taker.error)
    assert "\n" not in str(taker.error)
