"""The background thread: messages in, results out to the sinks. It alone owns the session."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, assert_never

import numpy as np

from ttt3r_viewer.errors import FrameError, InputError, ViewerError, in_a_line
from ttt3r_viewer.frames import live
from ttt3r_viewer.frames.selection import RepeatableSource
from ttt3r_viewer.frames.source import FrameSource
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.reconstruct import messages, prefetch
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.types import Answer, Frame, FrameResult, SkippedFrame, Status, Waiting

if TYPE_CHECKING:
    from ttt3r_viewer.reconstruct.session import Lanes

log = logging.getLogger(__name__)
ENDED = ("finished", "failed", "stopped")
"""Phases in which a run makes no more frames."""
RATE_WINDOW_SEC = 2.0
"""The frame rate is the mean over about so long."""


class Sink(Protocol):
    """Where results go, in the worker's thread: the scene, a recording, checkpoints."""

    trouble: str
    """Why it takes no more frames of this run, in one line; empty while it does."""

    def begin(self, status: Status, recording: Recording | None = None) -> None:
        """A run begins, or goes on after the first `status.frames_done` frames of a recording."""

    def add(self, *results: FrameResult) -> None:
        """Take what every lane made of the next frame, one result per lane."""

    def skip(self, frame: SkippedFrame) -> None:
        """Pass over a frame that could not be used."""

    def finish(self, status: Status) -> None:
        """The run has ended as the status says."""


Resume = Callable[
    ["Lanes", Sequence[Sink], Status, Callable[[str], object]],
    tuple[Status, Iterator[Frame | SkippedFrame]],
]
"""Brings session and sinks to where a recorded run was, and reports progress; gives its status
and the frames to come. Raises a `ViewerError`; nothing on disk is changed then."""


class Worker:
    """Runs frames through a session, in a thread of its own.

    `make_session` is called in that thread, so that torch is imported and weights are read while
    the page already shows. Whatever goes wrong becomes a `Status` with phase "failed"; `Restart`
    tries again. `status` has what is known of model, rule and device from the start.
    `ends_by_itself`: the thread ends with the last frame, or with an error, rather than wait for
    messages. `sinks` get the results besides the `store`. `resume` begins the first run.
    """

    THREAD = "reconstruct"
    THREADS = (THREAD, *prefetch.THREADS, live.THREAD, "compile")
    """Names of all threads that a run may have, by which they can be found while they live."""

    def __init__(
        self,
        source: FrameSource,
        make_session: Callable[[], "Lanes"],
        store: SceneStore,
        mailbox: messages.Mailbox,
        *,
        status: Status | None = None,
        ends_by_itself: bool = False,
        sinks: Sequence[Sink] = (),
        resume: Resume | None = None,
    ) -> None:
        self._source = source
        self._make_session = make_session
        self._store = store
        self._mailbox = mailbox
        self._status = status or Status()
        self._ends_by_itself = ends_by_itself
        self._sinks: tuple[Sink, ...] = (store, *sinks)
        self._resume = resume
        self._session: Lanes | None = None
        self._queries: dict[type[messages.Question], messages.Question] = {}
        """The latest of each kind, until it is answered between two frames."""
        self._allowed = math.inf
        """Frames to process before the run pauses."""
        self._live_message = ""
        """The latest one of a live source."""
        self._ended = threading.Event()
        self._ended.set()  # until it begins
        self._thread = threading.Thread(target=self._run, name=self.THREAD, daemon=True)
        self.error: BaseException | None = None
        """What ended the run, where something did; the text of a `ViewerError` is for users."""

    def start(self) -> None:
        """Begin."""
        self._ended.clear()
        self._thread.start()

    def stop(self, timeout_sec: float | None = None) -> bool:
        """Ask for the end after the frame that is being processed; whether it came in time."""
        self._mailbox.put(messages.Stop())
        self._source.close()
        return self.join(timeout_sec)

    def join(self, timeout_sec: float | None = None) -> bool:
        """Wait for the end; whether it came in time, or there is nothing to wait for.

        Not by `Thread.join`: Python 3.11 takes a thread for ended when Ctrl-C cuts that short.
        """
        return self._ended.wait(timeout_sec)

    def _run(self) -> None:
        try:
            while isinstance(self._one_run(), messages.Restart):
                pass
            if self._status.phase not in ("finished", "failed"):
                self._publish(phase="stopped")
        finally:
            self._source.close()
            self._ended.set()

    def _one_run(self) -> messages.RunEnd | None:
        """From the first frame to the last, and on until a message says what now."""
        end = None
        try:
            end = self._reconstruct()
        except Exception as error:
            if not isinstance(error, ViewerError):
                log.exception("reconstruction failed")
            elif error.__cause__ is not None:
                # The author of a rule, say, needs to know where it failed.
                log.info("its cause", exc_info=error)
            self.error = error
            self._publish(phase="failed", message=in_a_line(error))
        while end is None and not self._ends_by_itself:
            end = self._wait()
        return end

    def _reconstruct(self) -> messages.RunEnd | None:
        """Process every frame from the first on; the message that ends this, where one came."""
        self.error = None
        self._allowed, self._live_message = math.inf, ""
        self._change(
            phase="starting",
            message="loading the network",
            frames_done=0,
            frames_per_second=0.0,
            skipped=0,
            last_skipped="",
            lag_sec=None,
            dropped=0,
        )
        self._store.clear(1 if self._session is None else len(self._session.rules), self._status)
        if self._session is None:
            if not self._ends_by_itself:
                self._show_first_image()
            self._session = self._make_session()
        session = self._session
        session.restart()
        self._status = session.describe(self._status)
        self._change(phase="running", message="", frames_total=self._source.total)
        with closing(session.prefetch(self._begin(session))) as frames:
            return self._process_all(session, frames)

    def _show_first_image(self) -> None:
        """Let the page show what will come while the network is loaded, where that is at hand."""
        if isinstance(self._source, RepeatableSource) and not self._source.slow_start:
            with suppress(ViewerError):  # the run itself will meet it, and say so
                first = next(iter(self._source), None)
                if isinstance(first, Frame):
                    self._store.set_first_image(first.image)

    def _begin(self, session: "Lanes") -> Iterable[Frame | SkippedFrame]:
        """Begin the run in every sink, or resume it there; the frames to come."""
        if self._resume is None:
            for sink in self._sinks:
                sink.begin(self._status)
            return self._source
        self._status, frames = self._resume(
            session, self._sinks, self._status, lambda message: self._publish(message=message)
        )
        # Until here a restart tries the same again: what was recorded must not be lost.
        self._resume = None
        self._publish(message="")
        return frames

    def _process_all(
        self, session: "Lanes", frames: Iterator[prefetch.ReadyItem]
    ) -> messages.RunEnd | None:
        """Process frames until there are no more, or a message ends the run."""
        waited_sec = 0.0
        while (end := self._wait_for_turn()) is None:
            started = time.perf_counter()
            item = next(frames, None)
            if item is None:
                # A source that was closed to stop the run has not come to its end.
                if (end := self._handle_waiting()) is None:
                    self._finish()
                break
            if isinstance(item, Waiting):
                self._allowed += 1  # while paused, the step that was asked for is still to be made
                self._show_live_message(item.message)
                waited_sec += time.perf_counter() - started
                continue
            self._process(session, item)
            seconds = waited_sec + time.perf_counter() - started
            waited_sec = 0.0
            self._publish(
                frames_per_second=smoothed_rate(self._status.frames_per_second, seconds),
                frames_total=self._source.total,
                device=session.device_text,
            )
        return end

    def _process(self, session: "Lanes", item: prefetch.PreparedFrame | SkippedFrame) -> None:
        """Give the sinks what every lane makes of a frame; count one that cannot be used."""
        results: tuple[FrameResult, ...] = ()
        try:
            results = () if isinstance(item, SkippedFrame) else session.step(item)
        except FrameError as error:
            item = SkippedFrame(item.index, item.name, str(error))
        if isinstance(item, SkippedFrame):
            log.info("skipped %s: %s", item.name, item.reason)
            self._change(skipped=self._status.skipped + 1, last_skipped=str(item))
        else:
            self._change(frames_done=self._status.frames_done + 1)
        for sink in self._sinks:
            before = sink.trouble
            if isinstance(item, SkippedFrame):
                sink.skip(item)
            else:
                sink.add(*results)
            if sink.trouble != before:
                self._publish(message=sink.trouble)
        if results and isinstance(self._source, live.LiveSource):
            lag_sec = self._source.age_sec(results[0].time_sec)
            self._change(lag_sec=lag_sec, dropped=self._source.dropped)
            self._show_live_message("")

    def _finish(self) -> None:
        status, name = self._status, self._source.name
        if status.frames_done == 0:
            why = f"; the last: {status.last_skipped}" if status.skipped else ""
            raise InputError(f"{name}: none of its {status.skipped} frames could be used{why}")
        if isinstance(self._source, live.LiveSource):
            self._show_live_message(self._source.ending)
        self._publish(phase="finished", frames_total=status.frames_taken)

    def _show_live_message(self, message: str) -> None:
        """Show the trouble of a live source, or that it is over; nothing else is taken away."""
        before, self._live_message = self._live_message, message
        if message != before and (message or self._status.message == before):
            self._publish(message=message)

    def _wait_for_turn(self) -> messages.RunEnd | None:
        """Handle what was asked for, and wait where the run is paused, until a frame may go."""
        end = self._handle_waiting()
        while end is None and not self._allowed:
            self._publish(phase="paused")
            end = self._wait()
        self._allowed -= 1
        self._publish(phase="running")
        return end

    def _wait(self) -> messages.RunEnd | None:
        """Wait for a message, and handle it with every other one that waits."""
        return self._handle(self._mailbox.get()) or self._handle_waiting()

    def _handle_waiting(self) -> messages.RunEnd | None:
        """Handle messages that wait up to one that ends the run; without one answer the queries."""
        handled = map(self._handle, self._mailbox.waiting())
        if end := next(filter(None, handled), None):
            return end
        queries, self._queries = self._queries, {}
        for query in queries.values():
            if self._session is not None:  # before the network is loaded nobody answers
                answer_query(query, self._session, self._store)
        return None

    def _handle(self, message: messages.Message) -> messages.RunEnd | None:
        match message:
            case messages.Play():
                self._allowed = math.inf
            case messages.Pause() | messages.Step():
                steps = 0 if self._allowed == math.inf else self._allowed
                self._allowed = steps + isinstance(message, messages.Step)
            case messages.SetParameter() | messages.SetResetEvery() | messages.SetRules():
                if self._adjust(message) and isinstance(message, messages.SetRules):
                    return messages.Restart()
            case messages.SetBudget(max_points):
                self._store.set_budget(max_points)
            case messages.Inspect() | messages.Query():
                self._queries[type(message)] = message
            case messages.Restart() | messages.Stop():
                return message
            case _:
                assert_never(message)
        return None

    def _adjust(self, message: messages.Adjustment) -> bool:
        """Whether it could be done; why not is shown in the page, and the run goes on as before."""
        if self._session is None:  # the network could not be loaded, which the page shows already
            return False
        try:
            self._session.adjust(message)
        except ViewerError as error:
            self._publish(message=str(error))
            return False
        self._status = self._session.describe(self._status)
        self._publish(message="" if self._status.phase != "failed" else self._status.message)
        return True

    def _publish(self, **changes: Any) -> None:
        """Change the status and show it; of an end, what is on disk comes first."""
        self._change(**changes)
        if changes.get("phase") in ENDED:
            for sink in reversed(self._sinks):
                sink.finish(self._status)
        else:
            self._store.set_status(self._status)

    def _change(self, **changes: Any) -> None:
        status, before = replace(self._status, **changes), self._status
        if (status.phase, status.message) != (before.phase, before.message):
            log.info("%s: frame %d %s", status.phase, status.frames_taken, status.message)
        self._status = replace(
            status,
            message=printable(status.message),
            model=printable(status.model),
            last_skipped=printable(status.last_skipped),
        )


def answer_query(query: messages.Question, session: "Lanes", store: SceneStore) -> None:
    """Put the answer to a query into the scene; what goes wrong is said in its place."""

    def on_progress(done: int, total: int) -> None:
        store.set_inspection(None, f"replaying frames: {done} of {total}")

    epoch = store.snapshot().epoch
    try:
        if isinstance(query, messages.Inspect):
            found = session.inspect(query.lane, query.sequence, on_progress)
            store.set_inspection(replace(found, epoch=epoch), "")
        else:
            expected = session.ask(pose_from_vector(np.asarray(query.pose)), query.fov_y_rad)
            lanes = tuple(replace(one, epoch=epoch) for one in expected)
            store.set_answer(Answer(query.number, lanes))
    except Exception as error:
        if not isinstance(error, ViewerError):
            log.exception("a query could not be answered")
        reason = printable(in_a_line(error))
        if isinstance(query, messages.Inspect):
            store.set_inspection(None, reason)
        else:
            store.set_answer(Answer(query.number, note=reason))


def smoothed_rate(per_second: float, seconds: float) -> float:
    """Update a frame rate (0 before the first frame) with one more frame that took so long."""
    now = 1 / max(seconds, 1e-6)
    share = min(1.0, max(seconds / RATE_WINDOW_SEC, 0.02))
    return now if per_second == 0 else 1 / ((1 - share) / per_second + share / now)
