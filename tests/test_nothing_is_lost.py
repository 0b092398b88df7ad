"""Whatever is pressed in the page, no recorded frame is lost."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.made_up_run import rule_info
from tests.page_client import CAMERA, echo, join, set_value
from tests.pages import running
from tests.test_worker import Images, Pretended, worker_of
from tests.waiting import wait_for
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.recording.reader import FOLDER, Recording
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import FrameResult, SkippedFrame, Status
from ttt3r_viewer.viewer.app import Viewer

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
    found = map(Recording.open, folder.glob(f"{FOLDER}*"))
    return {one.manifest.run: len(one) for one in found}


def presses(viewer: Viewer) -> Sequence[tuple[str, Any]]:
    """Every key and every button of the page, and no other widget."""
    gui = viewer.server.gui
    keys = [("key", one) for one in gui._command_handle_from_uuid]
    handles = list(gui._gui_input_handle_from_uuid.values())
    buttons = [("button", one) for one in handles if one._impl.is_button]
    return (*keys, *buttons)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_key_and_no_button_loses_a_recorded_frame(tmp_path, seed):
    store, mailbox = SceneStore(), Mailbox()
    writer = RecordingWriter(
        tmp_path / FOLDER, source="pictures", settings={}, on_recording=store.set_recording
    )
    counting = Counting(writer)
    worker = worker_of(Images(FRAMES), WithRules, store, mailbox, sinks=(writer, counting))
    viewer = Viewer(store, mailbox, port=0)
    order = random.Random(seed)
    with running(viewer, worker):
        wait_for(lambda: store.snapshot().status.phase == "finished", "the first run")
        wait_for(lambda: len(presses(viewer)) > 20, "the widgets")
        with join(viewer.port) as first, join(viewer.port) as second:
            for socket in (first, second):
                echo(socket, CAMERA)
            for _ in range(2):
                todo = list(presses(viewer))
                order.shuffle(todo)
                for kind, what in todo:
                    socket = order.choice((first, second))  # two pages at once
                    if kind == "key":
                        echo(socket, {"type": "CommandTriggerMessage", "uuid": what})
                    else:
                        set_value(socket, what, True)
                wait_for(lambda: len(counting.frames) > 1, "a restart")
        wait_for(
            lambda: store.snapshot().status.phase in ("finished", "paused"), "the last run's end"
        )
    writer.close()
    assert len(counting.frames) > 1
    assert frames_on_disk(tmp_path) == dict(counting.frames)
