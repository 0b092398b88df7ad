"""What the page says before the first points: the input's first image, and what is being done."""

import json

import numpy as np
import pytest

from tests.made_up_run import room_result
from tests.media import write_video
from tests.ticks import tick_of
from ttt3r_viewer.errors import InputError, RecordingError
from ttt3r_viewer.frames.selection import RepeatableSource, Selection
from ttt3r_viewer.frames.video import VideoSource
from ttt3r_viewer.reconstruct.messages import Mailbox, Stop
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.scene.store import FIRST_IMAGE_PX, SceneStore
from ttt3r_viewer.types import Frame, Status
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.panels.loading import RESTART_SEC, LoadingPanel

IMAGE = np.full((60, 80, 3), 200, np.uint8)


class OneImage(RepeatableSource):
    def after(self, last):
        yield from [Frame(0, 0.0, "a.png", IMAGE)][last + 1 :]


@pytest.fixture
def page(server):
    return PageContext(server)


def loading(page, store, now_sec=0.0, panel=None):
    (panel or LoadingPanel(page)).update(tick_of(store, now_sec=now_sec))
    return json.loads(page.overlay.content())["loading"]


@pytest.mark.parametrize(("ends_by_itself", "seen"), [(False, True), (True, False)])
def test_the_first_image_is_there_before_the_network(ends_by_itself, seen):
    store, mailbox, images = SceneStore(), Mailbox(), []

    def make_session():
        images.append(store.snapshot().first_image)
        mailbox.put(Stop())
        raise RuntimeError("no network")

    worker = Worker(OneImage("one"), make_session, store, mailbox, ends_by_itself=ends_by_itself)
    worker.start()
    assert worker.join(20)
    assert (images[0] is not None) is seen
    assert not seen or np.array_equal(images[0], IMAGE)


def test_a_first_image_far_into_a_video_is_not_waited_for(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, [IMAGE] * 6)
    for start in (0, 3):
        assert VideoSource(path, Selection(start=start)).slow_start is (start > 0)
    read, mailbox = [], Mailbox()

    class Far(OneImage):
        slow_start = True

        def after(self, last):
            read.append(last)
            yield from super().after(last)

    def make_session():
        mailbox.put(Stop())
        raise RuntimeError("no network")

    worker = Worker(Far("one"), make_session, SceneStore(), mailbox)
    worker.start()
    assert worker.join(20)
    assert read == []


def test_an_input_that_cannot_be_read_is_the_runs_own_trouble():
    class Broken(OneImage):
        def after(self, last):
            raise InputError(f"no such video after {last}")

    made, mailbox = [], Mailbox()

    def make_session():
        made.append(mailbox.put(Stop()))
        raise RuntimeError("no network")

    worker = Worker(Broken("x"), make_session, SceneStore(), mailbox)
    worker.start()
    assert worker.join(20)
    assert len(made) == 1


def test_the_page_says_what_is_done_until_there_are_points_and_not_after_a_restart(page):
    store, panel = SceneStore(), LoadingPanel(page)
    store.set_first_image(np.zeros((1000, 2000, 3), np.uint8))
    first = store.snapshot().first_image
    assert first is not None
    assert first.shape[1] <= FIRST_IMAGE_PX
    store.set_status(Status(phase="starting", message="loading the network: importing PyTorch"))
    said = loading(page, store, panel=panel)
    assert said["title"] == "Loading the network"
    assert said["line"] == "importing PyTorch; the first points come soon after"
    assert said["image"].startswith("data:image/jpeg")
    store.set_status(Status(phase="running", message="the camera gives nothing"))
    assert loading(page, store, panel=panel)["line"] == "the camera gives nothing"
    store.add(room_result(0))
    assert loading(page, store, 10.0, panel) is None
    store.clear()
    assert loading(page, store, 10.0 + RESTART_SEC / 2, panel) is None
    assert loading(page, store, 10.0 + 2 * RESTART_SEC, panel)["image"] == said["image"]
    store.set_status(Status(phase="failed", message="no weights"))
    assert loading(page, store, 12.0, panel) is None


class Recorded:
    earlier = ""

    def __contains__(self, sequence):
        return sequence < 3

    def lane(self, sequence, lane):
        raise RecordingError(f"no frame {sequence} of lane {lane}")


def test_a_recording_is_read_and_not_a_network(page):
    store = SceneStore()
    store.set_status(Status(phase="running"))
    store.set_recording(Recorded())
    assert loading(page, store)["title"] == "Reading the recording"
