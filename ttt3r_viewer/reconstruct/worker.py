"""The background thread: commands in, results into the scene. It alone owns the session."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Protocol, assert_never

from ttt3r_viewer.errors import FrameError, InputError, ViewerError
from ttt3r_viewer.frames.source import FrameSource
from ttt3r_viewer.reconstruct.commands import Command, Pause, Play, Restart, Step, Stop
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Frame, FrameResult, SkippedFrame, Status

log = logging.getLogger(__name__)

Wish = Literal["go on", "restart", "stop"]
"""What a command means for the run that is going."""

RATE_WINDOW_SEC = 2.0
"""The frame rate is the mean over about so long."""


class FrameProcessor(Protocol):
    """What the worker needs of a session."""

    def describe(self, status: Status) -> Status:
        """The same status with the rule and the device that are in use."""
        ...

    def process(self, image: Frame) -> FrameResult:
        """Take the next frame."""
        ...

    def restart(self) -> None:
        """Forget everything that was seen."""
        ...


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


class Worker:
    """Runs frames through a session, in a thread of its own.

    `make_session` is called in that thread, so that torch is imported and weights are read while
    the page already shows. Whatever goes wrong becomes a `Status` with phase "failed"; `Restart`
    tries again.
    `status` says what is known of model, rule and device from the start. `ends_by_itself`: the
    thread ends with the last frame, or with an error, rather than wait for commands.
    """

    def __init__(
        self,
        source: FrameSource,
        make_session: Callable[[], FrameProcessor],
        store: SceneStore,
        commands: queue.SimpleQueue[Command],
        *,
        status: Status | None = None,
        ends_by_itself: bool = False,
    ) -> None:
        self._source = source
        self._make_session = make_session
        self._store = store
        self._commands = commands
        self._status = status or Status()
        self._ends_by_itself = ends_by_itself
        self._session: FrameProcessor | None = None
        self._paused = False
        self._one_step = False
        self._thread = threading.Thread(target=self._run, name="reconstruct", daemon=True)
        self.error: BaseException | None = None
        """What ended the run, where something did; a `ViewerError` is meant for a person's eyes."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_sec: float | None = None) -> bool:
        """Ask for the end after the frame that is being processed; whether it came in time."""
        self._commands.put(Stop())
        return self.join(timeout_sec)

    def join(self, timeout_sec: float | None = None) -> bool:
        """Wait for the thread's end; whether it came in time."""
        self._thread.join(timeout_sec)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wish: Wish = "restart"
        while wish == "restart":
            wish = self._one_run()
        self._source.close()
        if self._status.phase not in ("finished", "failed"):
            self._say(phase="stopped")

    def _one_run(self) -> Wish:
        """From the first frame to the last, and on until a command says what now."""
        try:
            wish = self._reconstruct()
        except Exception as error:
            if not isinstance(error, ViewerError):
                log.exception("reconstruction failed")
            self.error = error
            self._say(phase="failed", message=str(error) or type(error).__name__)
            wish = "go on"
        while wish == "go on" and not self._ends_by_itself:
            wish = self._obey(self._commands.get())
        return wish

    def _reconstruct(self) -> Wish:
        """Begin anew and take every frame; "go on" means that there are no more."""
        self._store.clear()
        self.error = None
        self._say(phase="starting", message="loading the network", frames_done=0, skipped=0)
        if self._session is None:
            self._session = self._make_session()
        self._session.restart()
        self._status = self._session.describe(self._status)
        rate = FrameRate()
        self._say(phase="running", message="", frames_total=self._source.total)
        frames = iter(self._source)
        while (wish := self._permission()) == "go on":
            started = time.perf_counter()
            item = next(frames, None)
            if item is None:
                self._finish()
                break
            self._take(self._session, item)
            rate.add(time.perf_counter() - started)
            self._say(frames_per_second=rate.per_second, frames_total=self._source.total)
        return wish

    def _permission(self) -> Wish:
        """Obey what has been asked; while paused, wait here."""
        while True:
            waiting = self._paused and not self._one_step
            self._say(phase="paused" if waiting else "running")
            try:
                command = self._commands.get(block=waiting)
            except queue.Empty:
                self._one_step = False
                return "go on"
            if (wish := self._obey(command)) != "go on":
                return wish

    def _obey(self, command: Command) -> Wish:
        match command:
            case Play():
                self._paused = self._one_step = False
            case Pause():
                self._paused, self._one_step = True, False
            case Step():
                self._paused = self._one_step = True
            case Restart():
                return "restart"
            case Stop():
                return "stop"
            case _:
                assert_never(command)
        return "go on"

    def _take(self, session: FrameProcessor, item: Frame | SkippedFrame) -> None:
        if isinstance(item, Frame):
            try:
                result = session.process(item)
            except FrameError as error:
                item = SkippedFrame(item.index, item.name, str(error))
            else:
                self._store.add(result)
                self._status = replace(self._status, frames_done=self._status.frames_done + 1)
                return
        self._status = replace(
            self._status,
            skipped=self._status.skipped + 1,
            last_skipped=f"{item.name}: {item.reason}",
        )

    def _finish(self) -> None:
        status = self._status
        if status.frames_done == 0:
            why = f"; the last: {status.last_skipped}" if status.skipped else ""
            raise InputError(
                f"{self._source.name}: none of its {status.skipped} frames could be used{why}"
            )
        self._say(phase="finished", frames_total=status.frames_done + status.skipped)

    def _say(self, **changes: Any) -> None:
        self._status = replace(self._status, **changes)
        self._store.set_status(self._status)
