"""The background thread: messages in, results into the scene. It alone owns the session."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import FrameError, InputError, ViewerError, in_a_line
from ttt3r_viewer.frames import live
from ttt3r_viewer.frames.source import FrameSource
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.reconstruct import prefetch as ahead
from ttt3r_viewer.reconstruct.messages import (
    Adjustment,
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
from ttt3r_viewer.recording.checkpoint import Checkpoints, Saves
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.runs.resuming import Resumable, Resumption
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.types import (
    Answer,
    Expectation,
    Frame,
    FrameResult,
    Inspection,
    SkippedFrame,
    Status,
    Waiting,
)

log = logging.getLogger(__name__)


class Answers(Protocol):
    """What is needed of `Lanes`."""

    def inspect(
        self, lane: int, sequence: int, on_progress: Callable[[int, int], object] | None = None
    ) -> Inspection:
        """Look into one lane's step; `tell` hears how many of how many frames are done."""
        ...

    def ask(self, T_world_camera: NDArray[np.float64], fov_y_rad: float) -> tuple[Expectation, ...]:
        """What every lane's state expects a camera to see."""
        ...


class Questions:
    """The latest question of each kind, until it is answered into the scene.

    What goes wrong is said in place of an answer, and the run goes on.
    """

    def __init__(self, store: SceneStore) -> None:
        self._store = store
        self._inspect: Inspect | None = None
        self._query: Query | None = None

    def put(self, question: Inspect | Query) -> None:
        """Take a question; one of its kind that waits is given up."""
        if isinstance(question, Query):
            self._query = question
        else:
            self._inspect = question

    def answer(self, session: Answers | None) -> None:
        """Answer what waits; without a session, as before the network is loaded, nothing can be."""
        inspect, self._inspect = self._inspect, None
        query, self._query = self._query, None
        if inspect is not None and session is not None:
            self._look_into(session, inspect)
        if query is not None and session is not None:
            self._store.set_answer(self._ask(session, query))

    def _look_into(self, session: Answers, question: Inspect) -> None:
        def on_progress(done: int, total: int) -> None:
            self._store.set_inspection(None, f"taking frames again: {done} of {total}")

        try:
            found = session.inspect(question.lane, question.sequence, on_progress)
        except Exception as error:
            if not isinstance(error, ViewerError):
                log.exception("the frame could not be looked into")
            self._store.set_inspection(None, reason(error))
        else:
            epoch = self._store.snapshot().epoch
            self._store.set_inspection(replace(found, epoch=epoch), "")

    def _ask(self, session: Answers, question: Query) -> Answer:
        try:
            found = session.ask(pose_from_vector(question.pose), question.fov_y_rad)
        except Exception as error:
            if not isinstance(error, ViewerError):
                log.exception("the states could not be asked")
            return Answer(question.number, note=reason(error))
        epoch = self._store.snapshot().epoch
        return Answer(question.number, tuple(replace(one, epoch=epoch) for one in found))


def reason(error: Exception) -> str:
    """Say in a line why there is no answer."""
    return printable(in_a_line(error))


log = logging.getLogger(__name__)

Action = Literal["go on", "restart", "stop"]
"""What a command means for the run that is going."""

ENDED = ("finished", "failed", "stopped")
"""Phases in which a run makes no more frames."""


class ReadyFrames(Protocol):
    """Frames that only wait for their turn."""

    def __next__(self) -> Any:
        """The next one, once it is ready: what `take` takes, or a `SkippedFrame`; of a live source
        also a `Waiting`."""
        ...

    def close(self) -> None:
        """Make no more of them."""
        ...


class FrameProcessor(Answers, Saves, Resumable, Protocol):
    """What the worker needs of `Lanes`."""

    @property
    def rules(self) -> Sized:
        """The rules, one per lane."""
        ...

    @property
    def device_text(self) -> str:
        """Where and how the network computes now."""
        ...

    def prefetch(self, source: Iterable[Frame | SkippedFrame]) -> ReadyFrames:
        """The frames of a source, made ready before their turn."""
        ...

    def take(self, encoded: Any) -> Sequence[FrameResult]:
        """Take the next frame; one result per lane. Raises `FrameError` where it is passed over."""
        ...

    def adjust(self, command: Adjustment) -> None:
        """Change rules, parameters or the reset interval."""
        ...

    def restart(self) -> None:
        """Forget everything that was seen."""
        ...


class Worker:
    """Runs frames through a session, in a thread of its own.

    `make_session` is called in that thread, so that torch is imported and weights are read while
    the page already shows. Whatever goes wrong becomes a `Status` with phase "failed"; `Restart`
    tries again.
    `status` says what is known of model, rule and device from the start. `ends_by_itself`: the
    thread ends with the last frame, or with an error, rather than wait for commands. `archive` gets
    every frame in full. `resumption` is gone on from first, and `checkpoints` are written.
    """

    THREAD = "reconstruct"
    THREADS = (THREAD, *ahead.THREADS, live.THREAD, "compile")
    """Names of all threads that a run may have, by which they can be found while they live."""

    def __init__(
        self,
        source: FrameSource,
        make_session: Callable[[], FrameProcessor],
        store: SceneStore,
        mailbox: Mailbox,
        *,
        status: Status | None = None,
        ends_by_itself: bool = False,
        archive: RecordingWriter | None = None,
        checkpoints: Checkpoints | None = None,
        resumption: Resumption | None = None,
    ) -> None:
        self._source = source
        self._make_session = make_session
        self._store = store
        self._mailbox = mailbox
        self._status = status or Status()
        self._ends_by_itself = ends_by_itself
        self._archive = archive
        self._checkpoints, self._resumption = checkpoints, resumption
        self._session: FrameProcessor | None = None
        self._questions = Questions(store)
        self._paused = False
        self._trouble = ""
        """What was last said of a live source."""
        self._steps = 0
        """Frames that are wanted although the run is paused."""
        self._ended = threading.Event()
        self._ended.set()  # until it begins
        self._thread = threading.Thread(target=self._run, name=self.THREAD, daemon=True)
        self.error: BaseException | None = None
        """What ended the run, where something did; a `ViewerError` is meant for a person's eyes."""

    def start(self) -> None:
        """Begin."""
        self._ended.clear()
        self._thread.start()

    def stop(self, timeout_sec: float | None = None) -> bool:
        """Ask for the end after the frame that is being processed; whether it came in time."""
        self._mailbox.put(Stop())
        self._source.close()
        return self.join(timeout_sec)

    def join(self, timeout_sec: float | None = None) -> bool:
        """Wait for the end; whether it came in time, or there is nothing to wait for.

        Not by `Thread.join`: Python 3.11 takes a thread for ended when Ctrl-C cuts that short.
        """
        return self._ended.wait(timeout_sec)

    def _run(self) -> None:
        try:
            wish: Action = "restart"
            while wish == "restart":
                wish = self._one_run()
            if self._status.phase not in ("finished", "failed"):
                self._publish(phase="stopped")
        finally:
            self._source.close()
            self._ended.set()

    def _one_run(self) -> Action:
        """From the first frame to the last, and on until a command says what now."""
        try:
            wish = self._reconstruct()
        except Exception as error:
            if not isinstance(error, ViewerError):
                log.exception("reconstruction failed")
            elif error.__cause__ is not None:
                # Whoever wrote a rule, say, wants to know where it failed.
                log.info("what was behind it", exc_info=error)
            self.error = error
            self._publish(phase="failed", message=in_a_line(error))
            wish = "go on"
        while wish == "go on" and not self._ends_by_itself:
            command = self._mailbox.get()
            if not isinstance(command, Play | Pause | Step):  # there is no frame to pause before
                wish = self._obey(command)
            if wish == "go on":
                wish = self._obey_what_waits(frames_to_come=False)
        return wish

    def _reconstruct(self) -> Action:
        """Begin anew and take every frame; "go on" means that there are no more."""
        self.error = None
        self._paused, self._steps, self._trouble = False, 0, ""
        self._note(
            phase="starting",
            message="loading the network",
            frames_done=0,
            frames_per_second=0.0,
            skipped=0,
            last_skipped="",
            lag_sec=None,
            dropped=0,
        )
        lanes = 1 if self._session is None else len(self._session.rules)
        self._store.clear(lanes, self._status)
        if self._session is None:
            self._session = self._make_session()
        self._session.restart()
        if len(self._session.rules) != len(self._store.snapshot().lanes):
            self._store.clear(len(self._session.rules))
        self._status = self._session.describe(self._status)
        self._publish(phase="running", message="", frames_total=self._source.total)
        source = self._begin(self._session)
        with closing(self._session.prefetch(source)) as frames:
            wish = self._take_all(self._session, frames)
        return wish

    def _begin(self, session: FrameProcessor) -> Iterable[Frame | SkippedFrame]:
        """Begin anew, or go on with a session where that is wanted; the frames to come."""
        source: Iterable[Frame | SkippedFrame] = self._source
        behind = 0
        if (resumption := self._resumption) is not None and self._archive is not None:
            self._status = resumption.restore(
                *(session, self._archive, self._store, self._status),
                lambda message: self._publish(message=message),
            )
            source, behind = resumption.rest(session), resumption.frames
            # Until here a restart tries the same again: what was recorded must not be lost.
            self._resumption = None
            self._publish(message="")
        elif self._archive is not None:
            self._archive.begin(self._status)
        if self._checkpoints is not None:
            self._checkpoints.begin(behind)
        return source

    def _take_all(self, session: FrameProcessor, frames: ReadyFrames) -> Action:
        """Take frames until there are no more, or a command ends the run."""
        rate = FrameRate()
        waited_sec = 0.0
        while (wish := self._permission()) == "go on":
            started = time.perf_counter()
            item = next(frames, None)
            if item is None:
                # A source that was closed to stop the run has not come to its end.
                if (wish := self._obey_what_waits()) == "go on":
                    self._finish()
                break
            if isinstance(item, Waiting):
                self._keep_waiting(item)
                waited_sec += time.perf_counter() - started
                continue
            self._take(session, item)
            rate.add(waited_sec + time.perf_counter() - started)
            waited_sec = 0.0
            self._publish(
                frames_per_second=rate.per_second,
                frames_total=self._source.total,
                device=session.device_text,
            )
        return wish

    def _keep_waiting(self, waiting: Waiting) -> None:
        """A live source has nothing new: say why, and let messages have their turn."""
        # While paused, the step that was asked for is still to be made.
        self._steps += self._paused
        self._live_message(waiting.message)

    def _live_message(self, message: str) -> None:
        """Show the trouble of a live source, or that it is over; nothing else is taken away."""
        before, self._trouble = self._trouble, message
        if message != before and (message or self._status.message == before):
            self._publish(message=message)

    def _permission(self) -> Action:
        """Obey what has been asked; while paused, wait here."""
        wish = self._obey_what_waits()
        while wish == "go on" and self._paused and self._steps == 0:
            self._publish(phase="paused")
            wish = self._obey(self._mailbox.get())
            if wish == "go on":
                wish = self._obey_what_waits()
        self._steps = max(self._steps - 1, 0)
        self._publish(phase="running")
        return wish

    def _obey_what_waits(self, *, frames_to_come: bool = True) -> Action:
        """Obey all that has been asked, then answer the latest question."""
        wish: Action = "go on"
        while wish == "go on":
            try:
                command = self._mailbox.get_nowait()
            except queue.Empty:
                self._questions.answer(self._session)
                break
            if frames_to_come or not isinstance(command, Play | Pause | Step):
                wish = self._obey(command)
        return wish

    def _obey(self, command: Message) -> Action:
        match command:
            case Play():
                self._paused, self._steps = False, 0
            case Pause():
                self._paused = True
            case Step():
                self._paused, self._steps = True, self._steps + 1
            case SetParameter() | SetResetEvery() | SetRules():
                if self._adjust(command) and isinstance(command, SetRules):
                    return "restart"
            case Inspect() | Query():
                self._questions.put(command)
            case Restart():
                return "restart"
            case Stop():
                return "stop"
            case _:
                assert_never(command)
        return "go on"

    def _adjust(self, command: Adjustment) -> bool:
        """Whether it could be done; why not is said in the page, and the run goes on as before."""
        if self._session is None:  # the network could not be loaded, which the page says already
            return False
        try:
            self._session.adjust(command)
        except ViewerError as error:
            self._publish(message=str(error))
            return False
        self._status = self._session.describe(self._status)
        self._publish(message="" if self._status.phase != "failed" else self._status.message)
        return True

    def _take(self, session: FrameProcessor, item: Any) -> None:
        if not isinstance(item, SkippedFrame):
            try:
                results = session.take(item)
            except FrameError as error:
                prepared = item.prepared
                self._pass_over(session, SkippedFrame(prepared.index, prepared.name, str(error)))
                return
            self._store.add(*results)
            self._status = replace(self._status, frames_done=self._status.frames_done + 1)
            if isinstance(self._source, live.LiveSource):
                lag_sec = self._source.age_sec(results[0].time_sec)
                self._status = replace(self._status, lag_sec=lag_sec, dropped=self._source.dropped)
                self._live_message("")
            if self._archive is not None:
                self._keep_in_full(self._archive, results)
            self._save_where_due(session, results[0].index)
            return
        self._pass_over(session, item)

    def _pass_over(self, session: FrameProcessor, item: SkippedFrame) -> None:
        """Count a frame that could not be used, and say why."""
        log.info("skipped %s: %s", item.name, item.reason)
        self._status = replace(
            self._status,
            skipped=self._status.skipped + 1,
            last_skipped=f"{item.name}: {item.reason}",
        )
        self._save_where_due(session, item.index)

    def _save_where_due(self, session: FrameProcessor, index: int) -> None:
        if (
            self._checkpoints is not None
            and self._archive is not None
            and self._checkpoints.keep_up(session, self._archive, self._status, index)
        ):
            self._publish(message=self._checkpoints.trouble)

    def _keep_in_full(self, archive: RecordingWriter, results: Sequence[FrameResult]) -> None:
        before = archive.trouble
        archive.add(results)
        if self._store.snapshot().recording is not archive.archive:
            self._store.set_recording(archive.archive)
        if archive.trouble != before:
            self._publish(message=archive.trouble)

    def _finish(self) -> None:
        status = self._status
        if status.frames_done == 0:
            why = f"; the last: {status.last_skipped}" if status.skipped else ""
            raise InputError(
                f"{self._source.name}: none of its {status.skipped} frames could be used{why}"
            )
        if isinstance(self._source, live.LiveSource):
            self._live_message(self._source.ending)
        self._publish(phase="finished", frames_total=status.frames_taken)

    def _publish(self, **changes: Any) -> None:
        """Note what has changed, and show it."""
        self._note(**changes)
        self._store.set_status(self._status)

    def _note(self, **changes: Any) -> None:
        status, before = replace(self._status, **changes), self._status
        if (status.phase, status.message) != (before.phase, before.message):
            log.info("%s: frame %d %s", status.phase, status.frames_taken, status.message)
        self._status = replace(
            status,
            message=printable(status.message),
            model=printable(status.model),
            last_skipped=printable(status.last_skipped),
        )
        if self._archive is not None and changes.get("phase") in ENDED:
            self._archive.finish(self._status)


RATE_WINDOW_SEC = 2.0
"""The frame rate is the mean over about so long."""


class FrameRate:
    """Frames per second of the time spent running, smoothed."""

    def __init__(self) -> None:
        self.per_second = 0.0

    def add(self, seconds: float) -> None:
        """One more frame, which took so long."""
        now = 1 / max(seconds, 1e-6)
        share = min(1.0, max(seconds / RATE_WINDOW_SEC, 0.02))
        self.per_second = (
            now if self.per_second == 0 else (1 / ((1 - share) / self.per_second + share / now))
        )
