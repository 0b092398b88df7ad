"""A recorded session in place of a run: its frames come from disk, without a network or torch.

What the page shows is the same. What a person asks of the run is answered with what it would need.
"""

from __future__ import annotations

import logging
import shlex
import threading
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, assert_never

from ttt3r_viewer.errors import ArchiveError
from ttt3r_viewer.reconstruct.commands import (
    Command,
    Inspect,
    Pause,
    Play,
    Restart,
    SetParameter,
    SetResetEvery,
    SetRules,
    Step,
    Stop,
)
from ttt3r_viewer.scene.archive import Archive
from ttt3r_viewer.scene.seen import SeenFrame, thin_points
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import FrameResult, printable

log = logging.getLogger(__name__)

FULL_BYTES = 256 * 2**20
"""Sessions up to this size are read in full, so that they have as many points as a run; of larger
ones the previews are read first, and a frame in full where it is shown alone."""
STOP_SEC = 2.0


class Replay:
    """Fills a scene from an archive, in a thread of its own; stands where a run's worker would."""

    THREAD = "replay"

    def __init__(self, archive: Archive, store: SceneStore, commands: SimpleQueue[Command]) -> None:
        self._archive = archive
        self._store = store
        self._commands = commands
        self._status = archive.description.status
        self._again = rerun_command(archive.description.settings)
        self._answer = ""
        self._thread = threading.Thread(target=self._run, name=self.THREAD, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait a moment for it; harmless where it was not started."""
        self._commands.put(Stop())
        if self._thread.is_alive():
            self._thread.join(STOP_SEC)

    def _run(self) -> None:
        wish: Command = Restart()
        while not isinstance(wish, Stop):
            wish = self._one_reading()

    def _one_reading(self) -> Restart | Stop:
        """Read every frame, then answer until the session is to be read again, or closed."""
        try:
            wish = self._read_all()
        except Exception as error:
            if not isinstance(error, ArchiveError):
                log.exception("the session could not be shown")
            self._status = replace(self._status, phase="failed", message=printable(str(error)))
            self._store.set_status(self._status)
            wish = None
        while wish is None:
            wish = self._obey(self._commands.get())
        return wish

    def _read_all(self) -> Restart | Stop | None:
        """Put every frame into the scene; a command that ends this, where one came."""
        archive, recorded = self._archive, self._archive.description.status
        self._store.clear(archive.lanes)
        self._store.set_archive(archive)
        self._answer = ""
        sequences = archive.sequences
        in_full = frozenset(sequences if archive.nbytes <= FULL_BYTES else sequences[-1:])
        self._status = replace(
            recorded, phase="running", frames_done=0, frames_total=len(sequences), skipped=0
        )
        self._say()
        for frames, results in archive.each(partial(self._read, in_full=in_full)):
            self._store.add_seen(frames, results)
            self._status = replace(self._status, frames_done=self._status.frames_done + 1)
            self._store.set_status(self._status)
            if (wish := self._obey_what_waits()) is not None:
                return wish
        done = self._status.frames_done
        if not done:
            raise ArchiveError(f"no frame could be read: {archive.note}")
        self._status = replace(
            recorded,
            phase="finished",
            frames_done=done,
            frames_total=recorded.frames_total or done + recorded.skipped,
        )
        self._say()
        return None

    def _read(
        self, sequence: int, in_full: Set[int]
    ) -> tuple[Sequence[SeenFrame], Sequence[FrameResult]]:
        """Give what the scene keeps of a frame, and all of it where that is wanted."""
        frames = self._archive.seen(sequence)
        if sequence not in in_full:
            return frames, ()
        results = self._archive.frame(sequence)
        lanes = zip(frames, results, self._store.snapshot().lanes, strict=True)
        full = (
            replace(frame, points=thin_points(result, lane.layout.points_per_frame))
            for frame, result, lane in lanes
        )
        return tuple(full), results

    def _say(self) -> None:
        """Show the status, with the latest answer and what is to be known of the session."""
        facts = (self._answer, *ending(self._archive), self._archive.note)
        message = "; ".join(filter(None, facts))
        self._status = replace(self._status, message=printable(message))
        self._store.set_status(self._status)

    def _obey_what_waits(self) -> Restart | Stop | None:
        while True:
            try:
                wish = self._obey(self._commands.get_nowait())
            except Empty:
                return None
            if wish is not None:
                return wish

    def _obey(self, command: Command) -> Restart | Stop | None:
        """Answer a command, unless it is one that can be followed."""
        match command:
            case Restart() | Stop():
                return command
            case Inspect():
                self._store.set_inspection(
                    None,
                    "This is a recorded session; looking inside takes its frames again, which "
                    f"needs the weights and the input: {self._again}",
                )
            case Play() | Pause() | Step():
                self._tell(f"a recorded session has no frames to come; start a run: {self._again}")
            case SetParameter() | SetResetEvery() | SetRules():
                self._tell(f"a recorded session; start a run to change rules: {self._again}")
            case _:
                assert_never(command)
        return None

    def _tell(self, answer: str) -> None:
        if self._status.phase != "failed":
            self._answer = answer
            self._say()


def ending(archive: Archive) -> tuple[str, ...]:
    """Say how the run of a session ended, where that was not at its last frame."""
    said = archive.description
    if said.status.phase == "failed":
        return (f"its run failed: {said.status.message}",)
    if said.frames is None:
        return ("its run did not come to its end: it was cut off, or still goes on",)
    if said.status.phase == "stopped":
        return ("its run was stopped before its end",)
    return ()


def rerun_command(settings: Mapping[str, Any]) -> str:
    """Give the command that runs the same input with the same weights again."""
    words = ["ttt3r-view"]
    for name in ("input", "weights"):
        if settings.get(name) is not None:
            words += [f"--{name}", str(settings[name])]
    return shlex.join(words)
