"""Live sources: the newest frame wins, drops are counted, what is lost is tried again."""

import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live_media import DrivenFeed, first_words, jpeg, levels, send_multipart, served
from tests.media import frame_index, level_frames, write_video
from tests.test_worker import Pretended, worker_of
from tests.waiting import wait_for
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import InputError
from ttt3r_viewer.frames import follow as follow_module
from ttt3r_viewer.frames import live as live_module
from ttt3r_viewer.frames.live import LiveSource, LostError
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.reconstruct.messages import Mailbox, Pause, Restart, Step
from ttt3r_viewer.reconstruct.prefetch import on_demand
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.recording.manifest import Manifest
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Frame, SkippedFrame, Status, Waiting
from ttt3r_viewer.viewer.panels.run import status_html

PASSWORD = "s3cr3t"


@pytest.fixture
def feed():
    return DrivenFeed()


@pytest.fixture
def source(feed):
    feed.put.put(0)
    with_retries = LiveSource(feed, retry_sec=0.5, pause_sec=0.02)
    yield with_retries
    with_retries.close()
    feed.put.put(None)


def given(source: LiveSource, feed: DrivenFeed, *levels: int) -> None:
    """Let frames arrive, and wait until the reading thread has seen all of them."""
    before = source._arrived
    for level in levels:
        feed.put.put(level)
    wait_for(lambda: source._arrived == before + len(levels), "the frames have not arrived")


def test_the_newest_frame_wins_and_every_other_is_counted(source, feed):
    frames = (item for item in source if isinstance(item, Frame))
    first = next(frames)
    assert (first.image.mean(), first.index, source.dropped) == (0, 0, 0)
    given(source, feed, 10, 20, 30)
    second = next(frames)
    assert (second.image.mean(), second.index, source.dropped) == (30, 3, 2)
    given(source, feed, 40)
    third = next(frames)
    assert (third.image.mean(), third.index, source.dropped) == (40, 4, 2)
    assert first.time_sec < second.time_sec < third.time_sec
    assert 0 <= source.age_sec(third.time_sec) < 1


def test_a_slow_taker_is_never_further_behind_than_one_frame(source, feed):
    """Law: arrived = taken + dropped, and each frame taken is the newest of its moment."""
    taken, newest = [], 0
    frames = iter(source)
    for step in range(1, 8):
        given(source, feed, *(newest + k for k in range(1, step + 1)))
        newest += step
        item = next(frames)
        assert isinstance(item, Frame)
        taken.append(round(item.image.mean()))
        assert taken[-1] == newest
    assert len(taken) + source.dropped == source._arrived


def test_a_second_iteration_goes_on_from_now(source, feed):
    given(source, feed, 10, 20)
    assert levels(source, 1) == [20]
    given(source, feed, 30, 40)
    frames = iter(source)
    item = next(frames)
    assert isinstance(item, Frame)
    assert (item.image.mean(), item.index, source.dropped) == (40, 0, 0)
    assert feed.opened == 1


def test_a_feed_that_ends_ends_the_iteration_and_is_opened_again_by_the_next(source, feed):
    feed.put.put("end")
    assert levels(source, 9) == [0]
    assert source.ending == "driven has ended"
    feed.put.put(50)
    assert levels(source, 1) == [50]
    assert feed.opened == 2


def test_a_feed_that_breaks_off_and_comes_back_goes_on(source, feed):
    source._retry_sec = 30
    items = source.watch()
    assert isinstance(next(items), Frame)
    feed.put.put(LostError("unplugged"))
    feed.put.put(LostError("no such device"))
    message, item = "", Waiting()
    while "no such device" not in message:
        item = next(items)
        assert isinstance(item, Waiting)
        message = item.message or message
        if feed.put.empty() and "no such device" not in message:
            time.sleep(0.01)
            feed.put.put(LostError("no such device"))
    assert "driven was lost (no such device): trying again for" in message
    feed.put.put(70)
    while isinstance(item, Waiting):
        item = next(items)
    assert isinstance(item, Frame)
    assert item.image.mean() == 70
    assert next(items) == Waiting("")


def test_a_feed_that_stays_away_is_given_up(source, feed):
    frames = iter(source)
    next(frames)
    started = time.monotonic()
    for _ in range(100):
        feed.put.put(LostError("unplugged"))
    with pytest.raises(InputError, match=r"did not come back within 0.5 s \(unplugged\)"):
        next(frames)
    assert 0.3 < time.monotonic() - started < 10


def test_a_feed_that_cannot_be_opened_is_refused_at_once_with_advice(feed):
    feed.put.put(LostError("no such device"))
    with pytest.raises(InputError, match=r"driven cannot be opened \(no such device\): drive it"):
        LiveSource(feed)


def test_a_feed_that_never_answers_is_refused():
    stuck = DrivenFeed(silent_sec=0.2)
    with pytest.raises(InputError, match="nothing came"):
        LiveSource(stuck)
    stuck.put.put(None)


def test_a_stuck_feed_is_told_and_then_given_up():
    stuck = DrivenFeed(silent_sec=1.0)
    stuck.put.put(0)
    source = LiveSource(stuck, retry_sec=1.0)
    words = first_words(source)
    assert any("nothing came" in next(words) for _ in range(15))
    with pytest.raises(InputError, match="nothing came"):
        list(words)
    source.close()
    stuck.put.put(None)


def test_a_mistake_in_the_reading_thread_reaches_who_takes(source, feed):
    feed.put.put(ZeroDivisionError(PASSWORD))
    frames = iter(source)
    next(frames)
    with pytest.raises(InputError, match="driven: ZeroDivisionError while reading") as caught:
        next(frames)
    assert PASSWORD not in str(caught.value)


def test_close_ends_a_waiting_iteration_at_once(source):
    frames = iter(source)
    next(frames)
    threading.Timer(0.05, source.close).start()
    started = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - started < 1


def test_as_many_frames_as_were_asked_for(feed):
    feed.put.put(0)
    source = LiveSource(feed, max_frames=1)
    assert len(list(source)) == 1
    assert source.ending == "1 frames were taken, as many as were asked for"
    source.close()
    feed.put.put(None)


class Live(Pretended):
    """A session without a network that takes live frames as `Lanes` does."""

    def prefetch(self, source: Any) -> Any:
        return on_demand(source.watch(), self.prepare, self.encode)


def test_the_run_shows_lag_and_drops_and_obeys_while_nothing_comes(source, feed):
    mailbox = Mailbox()
    session, store = Live(), SceneStore()
    worker = worker_of(source, lambda: session, store, mailbox)

    def status() -> Status:
        return store.snapshot().status

    worker.start()
    wait_for(lambda: status().frames_done == 1, "no first frame")
    lag_sec = status().lag_sec
    assert lag_sec is not None
    assert 0 <= lag_sec < 5
    mailbox.put(Pause())
    wait_for(lambda: status().phase == "paused", "it waits for a frame instead of pausing")
    given(source, feed, 10, 20, 30)
    mailbox.put(Step())
    wait_for(lambda: status().frames_done == 2, "no step")
    assert status().dropped == 2
    mailbox.put(Step())
    time.sleep(0.3)
    given(source, feed, 40)
    wait_for(lambda: status().frames_done == 3, "the step was lost while nothing came")
    mailbox.put(Restart())
    wait_for(lambda: store.snapshot().epoch > 1 and status().phase == "running", "no restart")
    assert status().dropped == 0
    feed.put.put(LostError("unplugged"))
    wait_for(lambda: "unplugged" in status().message, "the loss is not told")
    feed.put.put(50)
    wait_for(lambda: status().frames_done == 1 and not status().message, "it did not come back")
    feed.put.put("end")
    wait_for(lambda: status().phase == "finished", "no end")
    assert status().message == "driven has ended"
    assert worker.stop(1)


def test_the_page_says_lag_and_drops_of_live_input_only():
    text = status_html(Status(lag_sec=0.123, dropped=1234), "")
    assert "lag 0.12 s" in text
    assert "1,234 frames dropped" in text
    assert "lag" not in status_html(Status(), "")


def test_a_session_of_before_there_was_live_input_still_opens():
    description = Manifest(run=1, source="x", settings={}, status=Status(lag_sec=0.5, dropped=3))
    assert Manifest.from_json(description.to_json()).status == description.status
    values = json.loads(description.to_json())
    del values["status"]["lag_sec"], values["status"]["dropped"]
    status = Manifest.from_json(json.dumps(values).encode()).status
    assert (status.lag_sec, status.dropped) == (None, 0)


def test_images_over_http_come_as_they_are_sent():
    with served(lambda request: send_multipart(request, 1000, 0.02)) as port:
        source = open_source(f"http://127.0.0.1:{port}/")
        assert isinstance(source, LiveSource)
        frames = (item for item in source if isinstance(item, Frame))
        taken = []
        for _ in range(6):
            taken.append(next(frames))
            time.sleep(0.1)
        source.close()
    assert source.dropped >= 5
    first = frame_index(taken[0].image) - taken[0].index
    for frame in taken:
        assert (frame_index(frame.image) - frame.index - first) % 20 == 0, "not the frame it says"


def test_a_stream_that_breaks_off_is_opened_again():
    answers: list[int] = []
    told = threading.Event()

    def respond(request):
        answers.append(1)
        if len(answers) == 1:
            send_multipart(request, 5, 0.02)
        else:
            told.wait(5)  # a loss that is mended before anyone looks is never told
            send_multipart(request, 1000, 0.02)

    with served(respond) as port:
        source = open_source(f"http://u:{PASSWORD}@127.0.0.1:{port}/")
        assert isinstance(source, LiveSource)
        source._pause_sec = 0.05
        words = []
        for item in source.watch():
            if isinstance(item, Waiting):
                words.append(item.message)
                if "was lost" in item.message:
                    told.set()
            elif told.is_set() and isinstance(item, Frame):
                break
        source.close()
    assert len(answers) > 1
    assert not any(PASSWORD in text for text in words)


def test_a_stream_over_tcp_is_read_and_ends(tmp_path):
    data = write_video(tmp_path / "clip.ts", level_frames(20) * 3, rate=25).read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with server.accept()[0] as reader:
                for start in range(0, len(data), len(data) // 60):
                    reader.sendall(data[start : start + len(data) // 60])
                    time.sleep(0.02)

        threading.Thread(target=send, daemon=True).start()
        source = open_source(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        assert isinstance(source, LiveSource)
        count = sum(isinstance(item, Frame) for item in source)
    assert source.ending.endswith("has ended")
    assert count > 5
    assert count + source.dropped <= 60


def test_a_file_behind_an_address_plays_at_its_own_speed(tmp_path):
    path = write_video(tmp_path / "clip.mp4", level_frames(10), rate=10)
    source = open_source(path.as_uri())
    assert isinstance(source, LiveSource)
    frames = [item for item in source if isinstance(item, Frame)]
    assert source.dropped <= 2
    gaps = np.diff([frame.time_sec for frame in frames])
    assert 0.08 < np.median(gaps) < 0.15


@pytest.mark.parametrize(
    ("spec", "choice", "words"),
    [
        (f"http://me:{PASSWORD}@127.0.0.1:1/", {}, "cannot be opened .Connection refused.: see"),
        (f"rtsp://me:{PASSWORD}@127.0.0.1:1/", {}, "cannot be opened .Connection refused.: see"),
        (f"nonsense://me:{PASSWORD}@x/", {}, "cannot be opened .Protocol not found.: see"),
        ("camera:77", {}, "there is no camera camera:77; wanted .*cameras here: "),
        ("camera:", {}, "there is no camera"),
        (f"rtsp://me:{PASSWORD}@x/", {"start": 3}, "start is 3, but .* is live: .*leave start out"),
        ("camera:0", {"stride": 2}, "stride is 2, but camera:0 is live: .*leave stride out"),
        (".", {"fps": 10.0, "follow": True}, "fps is 10, but . is live: .*leave fps out"),
        (f"http://me:{PASSWORD}@x/", {"follow": True}, "is live already"),
        ("tests/media.py", {"follow": True}, "--follow wants a folder"),
        ("no/such/folder", {"follow": True}, "--follow wants a folder"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_one_line(spec, choice, words):
    started = time.monotonic()
    with pytest.raises(InputError, match=words) as caught:
        open_source(spec, **choice)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert time.monotonic() - started < 7


def test_a_run_of_a_stream_records_no_password(tmp_path, capfd):
    video = write_video(tmp_path / "clip.ts", level_frames(20), rate=25).read_bytes()

    def respond(request):
        request.send_response(200)
        request.send_header("Content-Type", "video/mp2t")
        request.send_header("Content-Length", str(len(video)))
        request.end_headers()
        for start in range(0, len(video), 4096):
            request.wfile.write(video[start : start + 4096])

    output = tmp_path / "out"
    with served(respond) as port:
        url = f"http://me:{PASSWORD}@127.0.0.1:{port}/x?token={PASSWORD}"
        words = ["run", "--input", url, "--output", str(output), "--size", "64"]
        assert main([*words, "--device", "cpu"]) == 0
        assert main(["info", str(output)]) == 0
        assert main(["run", url]) == 2
    told = capfd.readouterr()
    written = [path for path in output.rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert PASSWORD.encode() not in path.read_bytes(), path
    assert PASSWORD not in told.out + told.err
    assert "has ended" in told.err
    assert "***" in Path(output / "run.json").read_text(encoding="utf-8")


@pytest.mark.usefixtures("source")
def test_the_reading_thread_is_known_by_its_name():
    assert any(thread.name == live_module.THREAD for thread in threading.enumerate())
    assert live_module.THREAD in Worker.THREADS


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
