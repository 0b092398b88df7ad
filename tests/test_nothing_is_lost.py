"""Whatever is pressed in the page, no recorded frame is lost."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.connection import Connection

from tests.made_up_run import rule_info
from tests.page_client import CAMERA, echo, join, set_value
from tests.pages import running
from tests.test_worker import Images, Pretended, worker_of
from tests.waiting import wait_for
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.recording.reader import FOLDER, MANIFEST_FILE, Recording
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import FrameResult, SkippedFrame, Status
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.panels.restart import RestartQuestion
from ttt3r_viewer.viewer.panels.run import RunPanel

FRAMES = 12


class Counting:
    """Sink that counts the frames of every run that were recorded."""

    def __init__(self, writer: RecordingWriter) -> None:
        self._writer = writer
        self.trouble = ""
        self.frames: Counter[int] = Counter()
        """By run."""

    def begin(self, status: Status, recording: Recording | None = None) -> None:
        """Do nothing: a run counts from its first frame on."""

    def add(self, *results: FrameResult) -> None:  # noqa: ARG002
        recording = self._writer.recording
        assert recording is not None
        self.frames[recording.manifest.run] += 1

    def skip(self, frame: SkippedFrame) -> None:
        """Do nothing."""

    def finish(self, status: Status) -> None:
        """Do nothing."""


class WithRules(Pretended):
    """A session that offers rules, so that other lanes can be begun."""

    def describe(self, status: Status) -> Status:
        lanes = tuple(rule_info(rule, 0.5) for rule in self.rules)
        return replace(super().describe(status), lanes=lanes, known_rules=lanes)


def frames_on_disk(folder: Path) -> dict[int, int]:
    found = (Recording.open(one.parent) for one in folder.rglob(MANIFEST_FILE))
    return {one.manifest.run: len(one) for one in found}


def presses(viewer: Viewer) -> Sequence[tuple[str, Any]]:
    """Every key and every button of the page, and no other widget."""
    gui = viewer.server.gui
    keys = [("key", one) for one in gui._command_handle_from_uuid]
    handles = list(gui._gui_input_handle_from_uuid.values())
    buttons = [("button", one) for one in handles if one._impl.is_button]
    return (*keys, *buttons)


class Page:
    """A made-up run that is recorded, in a folder or for the page only, and two browsers."""

    def __init__(self, folder: Path | None) -> None:
        self.store, mailbox = SceneStore(), Mailbox()
        self.writer = RecordingWriter(
            folder, source="pictures", settings={}, on_recording=self.store.set_recording
        )
        self.counting = Counting(self.writer)
        sinks = (self.writer, self.counting)
        self.worker = worker_of(Images(FRAMES), WithRules, self.store, mailbox, sinks=sinks)
        self.viewer = Viewer(self.store, mailbox, port=0, recorder=self.writer)

    @contextmanager
    def opened(self) -> Iterator[tuple[Connection, Connection]]:
        with running(self.viewer, self.worker):
            self.ended("finished")
            wait_for(lambda: len(presses(self.viewer)) > 20, "the widgets")
            with self._join() as first, self._join() as second:
                for socket in (first, second):
                    echo(socket, CAMERA)
                wait_for(lambda: len(self.viewer.server.get_clients()) == 2, "both browsers")
                yield first, second
            self.ended("finished", "paused")

    def _join(self) -> Connection:
        """A browser that never reads, and need not."""
        return join(self.viewer.port, ping_interval=None)

    def ended(self, *phases: str) -> None:
        wait_for(lambda: self.store.snapshot().status.phase in phases, "the run's end")

    def press_all(self, order: random.Random, sockets: Sequence[Connection]) -> None:
        todo = list(presses(self.viewer))
        order.shuffle(todo)
        for kind, what in todo:
            socket = order.choice(sockets)  # two pages at once
            if kind == "key":
                echo(socket, {"type": "CommandTriggerMessage", "uuid": what})
            else:
                set_value(socket, what, True)

    def answers(self) -> list[tuple[int, list[Any]]]:
        """The buttons of every open question, by client: save, replace, cancel."""
        return [(client, one[1]) for client, one in self.question._open.items()]

    @property
    def question(self) -> RestartQuestion:
        return self.viewer.part(RunPanel)._question


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_key_and_no_button_loses_a_recorded_frame(tmp_path, seed):
    page, order = Page(tmp_path / FOLDER), random.Random(seed)
    with page.opened() as sockets:
        for _ in range(2):
            page.press_all(order, sockets)
            wait_for(lambda: len(page.counting.frames) > 1, "a restart")
        assert not page.answers()
    page.writer.close()
    assert len(page.counting.frames) > 1
    assert frames_on_disk(tmp_path) == dict(page.counting.frames)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_recorded_for_the_page_only_is_asked_about(tmp_path, seed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, order = Page(None), random.Random(seed)
    with page.opened() as sockets:
        (first,) = page.counting.frames
        for _ in range(2):
            page.press_all(order, sockets)
            wait_for(page.answers, "the question")

        def cancelled() -> bool:  # what was pressed before may still ask
            for _, (_, _, cancel) in page.answers():
                for socket in sockets:
                    set_value(socket, cancel, True)
            return not page.answers()

        wait_for(cancelled, "no question any more")
        assert dict(page.counting.frames) == {first: FRAMES}
        recording = page.writer.recording
        assert recording is not None
        temporary = recording.path.parent
        assert frames_on_disk(temporary) == {first: FRAMES}
        page.press_all(order, sockets)
        wait_for(page.answers, "the question again")

        def restarted() -> bool:  # both pages may save, and what was pressed before may still ask
            for _, (save, _, _) in page.answers():
                for socket in sockets:
                    set_value(socket, save, True)
            return len(page.counting.frames) > 1

        wait_for(restarted, "a restart")
        assert not page.writer.temporary
        page.press_all(order, sockets)  # is kept beside it from now on, without a question
    page.writer.close()
    assert not temporary.exists()
    assert [one.name for one in tmp_path.iterdir()] == ["ttt3r-view-recording-1"]
    assert frames_on_disk(tmp_path) == dict(page.counting.frames)


def test_only_the_run_that_was_asked_about_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Page(None)
    with page.opened() as (first, second):
        panel = page.viewer.part(RunPanel)
        for client in page.viewer.server.get_clients().values():
            on_loop_of(page.viewer, partial(panel._restart, client))
        (_, (_, one, _)), (_, (_, other, _)) = page.answers()
        for socket in (first, second):
            set_value(socket, one, True)
        wait_for(lambda: len(page.counting.frames) == 2, "the restart")
        page.ended("finished")
        for socket in (first, second):
            set_value(socket, other, True)
        wait_for(
            lambda: [buttons for _, buttons in page.answers() if other not in buttons],
            "the question about the new run",
        )
        recording = page.writer.recording
        assert recording is not None
        runs = frames_on_disk(recording.path.parent)
        assert runs == {recording.manifest.run: FRAMES}
    page.writer.close()
    assert not list(tmp_path.iterdir())


def on_loop_of(viewer: Viewer, act: Callable[[], object]) -> None:
    async def do() -> None:
        act()

    asyncio.run_coroutine_threadsafe(do(), viewer.server.get_event_loop()).result(10)
