"""A recorded session in place of a run: its frames come from disk, without a network or torch.

What the page shows is the same. What a person asks of the run is answered with what it would need.
"""

from __future__ import annotations

import logging
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from queue import Empty
from typing import Any, Protocol, assert_never

import numpy as np

from ttt3r_viewer.errors import RecordingError, ViewerError, in_a_line
from ttt3r_viewer.reconstruct.messages import (
    Inspect,
    Mailbox,
    Message,
    Pause,
    Play,
    Query,
    Restart,
    SetParameter,
    SetResetEvery,
    SetRules,
    Step,
    Stop,
)
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.recording.refill import refill
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.types import Answer, Inspection

log = logging.getLogger(__name__)

FULL_BYTES = 256 * 2**20
"""Sessions up to this size are read in full, so that they have as many points as a run; of larger
ones the previews are read first, and a frame in full where it is shown alone."""
CANNOT_ASK = "a recorded session keeps no state that could be asked: that needs a live run"
STOP_SEC = 2.0
GAIN_TOLERANCE = 0.02
"""Recorded gains and those of a frame that was taken again are one, up to rounding."""


class Looker(Protocol):
    """What looks into a recorded frame, with the network: `Lanes`, which this must not import."""

    def inspect(
        self, lane: int, sequence: int, on_progress: Callable[[int, int], object] | None = None
    ) -> Inspection:
        """Take a frame again; `tell` hears how many of how many are done, and may raise."""
        ...


class InterruptedLookError(Exception):
    """Something else was asked for while a frame was searched."""


class Replay:
    """Fills a scene from an archive, in a thread of its own; stands where a run's worker would.

    `make_looker` loads the network, when a person first looks into a frame; without it the page
    says what that would need.
    """

    THREAD = "replay"

    def __init__(
        self,
        archive: Recording,
        store: SceneStore,
        mailbox: Mailbox,
        make_looker: Callable[[], Looker] | None = None,
    ) -> None:
        self._archive = archive
        self._make_looker = make_looker
        self._looker: Looker | None = None
        self._question: Inspect | None = None
        self._store = store
        self._mailbox = mailbox
        self._recorded = replace(archive.description.status, cannot_ask=CANNOT_ASK)
        self._status = self._recorded
        self._again = rerun_command(archive.description.settings)
        self._answer = ""
        self._wish: Restart | Stop | None = None
        """What interrupted a look."""
        self._thread = threading.Thread(target=self._run, name=self.THREAD, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait a moment for it; harmless where it was not started."""
        self._mailbox.put(Stop())
        if self._thread.is_alive():
            self._thread.join(STOP_SEC)

    def _run(self) -> None:
        wish: Message = Restart()
        while not isinstance(wish, Stop):
            wish = self._one_reading()

    def _one_reading(self) -> Restart | Stop:
        """Read every frame, then answer until the session is to be read again, or closed."""
        try:
            wish = self._read_all()
        except Exception as error:
            if not isinstance(error, RecordingError):
                log.exception("the session could not be shown")
            self._status = replace(
                self._status, phase="failed", message=printable(in_a_line(error))
            )
            self._store.set_status(self._status)
            wish = None
        while wish is None:
            wish = self._answer_question() or self._obey(self._mailbox.get())
        return wish

    def _read_all(self) -> Restart | Stop | None:
        """Put every frame into the scene; a command that ends this, where one came."""
        archive, recorded = self._archive, self._recorded
        self._answer = ""
        sequences = archive.sequences
        in_full = frozenset(sequences if archive.nbytes <= FULL_BYTES else sequences[-1:])
        self._status = replace(
            recorded, phase="running", frames_done=0, frames_total=len(sequences), skipped=0
        )
        self._note()
        self._store.clear(archive.lanes, self._status)
        self._store.set_recording(archive)
        for _ in refill(archive, self._store, in_full):
            self._status = replace(self._status, frames_done=self._status.frames_done + 1)
            self._store.set_status(self._status)
            if (wish := self._obey_what_waits()) is not None:
                return wish
        done = self._status.frames_done
        if not done:
            raise RecordingError(f"no frame could be read: {archive.note}")
        self._status = replace(
            recorded,
            phase="finished",
            frames_done=done,
            frames_total=recorded.frames_total or done + recorded.skipped,
        )
        self._publish()
        return None

    def _publish(self) -> None:
        """Show the status, as it is noted."""
        self._note()
        self._store.set_status(self._status)

    def _note(self) -> None:
        """Let the status tell the latest answer and what is to be known of the session."""
        facts = (self._answer, *ending(self._archive), self._archive.note)
        message = "; ".join(filter(None, facts))
        self._status = replace(self._status, message=printable(message))

    def _obey_what_waits(self) -> Restart | Stop | None:
        while True:
            try:
                wish = self._obey(self._mailbox.get_nowait())
            except Empty:
                return None
            if wish is not None:
                return wish

    def _obey(self, command: Message) -> Restart | Stop | None:
        """Answer a command, unless it is one that can be followed."""
        match command:
            case Restart() | Stop():
                return command
            case Inspect() if self._make_looker is not None:
                self._question = command
            case Inspect():
                self._store.set_inspection(
                    None,
                    "This is a recorded session; looking inside takes its frames again, which "
                    f"needs the weights: {open_command(self._archive)}",
                )
            case Query(number):
                self._store.set_answer(Answer(number, note=CANNOT_ASK))
            case Play() | Pause() | Step():
                self._tell(f"a recorded session has no frames to come; start a run: {self._again}")
            case SetParameter() | SetResetEvery() | SetRules():
                self._tell(f"a recorded session; start a run to change rules: {self._again}")
            case _:
                assert_never(command)
        return None

    def _answer_question(self) -> Restart | Stop | None:
        """Look into what was asked for last; a command that ends this, where one came."""
        wish = None
        while wish is None and self._question is not None and self._make_looker is not None:
            question, self._question = self._question, None
            try:
                found = self._look(question, self._make_looker)
            except InterruptedLookError:
                wish = self._wish
            except Exception as error:
                if not isinstance(error, ViewerError):
                    log.exception("the frame could not be looked into")
                self._store.set_inspection(None, printable(in_a_line(error)))
            else:
                epoch = self._store.snapshot().epoch
                self._store.set_inspection(replace(found, epoch=epoch), "")
        return wish

    def _look(self, question: Inspect, make_looker: Callable[[], Looker]) -> Inspection:
        """Raises `InterruptedLookError` where another command came, which is then in `_wish`."""

        def on_progress(done: int, total: int) -> None:
            self._store.set_inspection(None, f"taking frames again: {done} of {total}")
            self._wish = self._obey_what_waits()
            if self._wish is not None or self._question not in (None, question):
                raise InterruptedLookError

        if self._looker is None:
            self._store.set_inspection(None, "loading the network")
            self._looker = make_looker()
        found = self._looker.inspect(question.lane, question.sequence, on_progress)
        if self._question == question:  # it was asked for once more meanwhile
            self._question = None
        recorded = self._archive.seen(question.sequence)[question.lane].gain
        same = recorded.shape == found.gain.shape
        error = float(np.abs(recorded - found.gain).max()) if same else np.inf
        if not error <= GAIN_TOLERANCE:
            self._tell(
                f"frame {question.sequence} gave other gains when it was taken again than were "
                f"recorded (by up to {error:.2g}): with other weights, or in another dtype"
            )
        return found

    def _tell(self, answer: str) -> None:
        if self._status.phase != "failed":
            self._answer = answer
            self._publish()


def ending(archive: Recording) -> tuple[str, ...]:
    """Say how the run of a session ended, where that was not at its last frame."""
    said = archive.description
    if said.status.phase == "failed":
        return (f"its run failed: {said.status.message}",)
    if said.frames is None:
        return ("its run did not come to its end: it was cut off, or still goes on",)
    if said.status.phase == "stopped":
        return ("its run was stopped before its end",)
    return ()


def open_command(archive: Recording) -> str:
    """Give the command that opens a session with the weights of its run."""
    weights = archive.description.settings.get("weights", "FILE")
    return shlex.join(
        ["ttt3r-view", "open", str(archive.session_folder), "--weights", str(weights)]
    )


def rerun_command(settings: Mapping[str, Any]) -> str:
    """Give the command that runs the same input with the same weights again."""
    words = ["ttt3r-view"]
    for name in ("input", "weights"):
        if settings.get(name) is not None:
            words += [f"--{name}", str(settings[name])]
    return shlex.join(words)
