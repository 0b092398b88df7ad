"""A recording in place of a run: its frames come from disk, without a network or torch.

What the page shows is the same. A message to the run is answered with what it would need.
"""

import logging
import shlex
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np

from ttt3r_viewer.errors import RecordingError, ViewerError, in_a_line
from ttt3r_viewer.reconstruct import messages
from ttt3r_viewer.recording.reader import Recording, refill
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.system.text import input_name, printable
from ttt3r_viewer.types import Answer, Inspection

if TYPE_CHECKING:
    from ttt3r_viewer.reconstruct.session import Lanes

log = logging.getLogger(__name__)

FULL_BYTES = 256 * 2**20
"""Recordings up to this size are read in full, so that they have as many points as a run; of larger
ones the previews are read first, and a frame in full where it is shown alone."""
CANNOT_ASK = "a recording keeps no state that could be asked: that needs a live run"
STOP_SEC = 2.0
GAIN_TOLERANCE = 0.02
"""Recorded gains and those of a frame that is read again agree, up to rounding."""


class InterruptedLookError(Exception):
    """Another message came while a frame was read again."""


class Player:
    """Fills a scene from a recording, in a thread of its own; stands where a run's worker would.

    `make_lanes` loads the network at the first look into a frame; without it the page shows how.
    """

    THREAD = "player"

    def __init__(
        self,
        recording: Recording,
        store: SceneStore,
        mailbox: messages.Mailbox,
        make_lanes: Callable[[], "Lanes"] | None = None,
    ) -> None:
        self._recording = recording
        self._store = store
        self._mailbox = mailbox
        self._make_lanes = make_lanes
        self._lanes: Lanes | None = None
        self._inspect: messages.Inspect | None = None
        """The frame that is to be looked into."""
        self._action: messages.RunEnd | None = None
        """What interrupted a look."""
        said = recording.manifest
        source = said.status.source or input_name(str(said.settings.get("input") or said.source))
        self._recorded = replace(said.status, cannot_ask=CANNOT_ASK, source=source)
        self._status = self._recorded
        self._again = rerun_command(recording.manifest.settings)
        self._answer = ""
        """To the latest message, shown in the status."""
        self._thread = threading.Thread(target=self._run, name=self.THREAD, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait a moment for it; harmless where it was not started."""
        self._mailbox.put(messages.Stop())
        if self._thread.is_alive():
            self._thread.join(STOP_SEC)

    def _run(self) -> None:
        action: messages.RunEnd | None = messages.Restart()
        while not isinstance(action, messages.Stop):
            try:
                action = self._read_all()
            except Exception as error:
                if not isinstance(error, RecordingError):
                    log.exception("the recording could not be shown")
                self._publish(phase="failed", message=printable(in_a_line(error)))
                action = None
            while action is None:
                action = self._inspect_frames() or self._handle(self._mailbox.get())

    def _read_all(self) -> messages.RunEnd | None:
        """Put every frame into the scene; the message that ends this, where one came."""
        recording, recorded = self._recording, self._recorded
        self._answer = ""
        sequences = recording.sequences
        in_full = frozenset(sequences if recording.nbytes <= FULL_BYTES else sequences[-1:])
        self._status = replace(
            recorded,
            phase="running",
            message=self._message(),
            frames_done=0,
            frames_total=len(sequences),
            skipped=0,
        )
        self._store.clear(recording.lanes, self._status)
        self._store.set_recording(recording)
        with suppress(RecordingError):
            self._store.set_first_image(recording.lane(sequences[0], 0).image)
        for _ in refill(recording, self._store, in_full):
            self._publish(frames_done=self._status.frames_done + 1)
            if (action := self._handle_waiting()) is not None:
                return action
        done = self._status.frames_done
        if not done:
            raise RecordingError(f"no frame could be read: {recording.note}")
        total = recorded.frames_total or done + recorded.skipped
        self._status = replace(recorded, frames_done=done, frames_total=total)
        self._publish(phase="finished", message=self._message())
        return None

    def _publish(self, **changes: Any) -> None:
        self._status = replace(self._status, **changes)
        self._store.set_status(self._status)

    def _message(self) -> str:
        """The latest answer, and what is to be known of the recording."""
        parts = (self._answer, *ending(self._recording), self._recording.note)
        return printable("; ".join(filter(None, parts)))

    def _show_answer(self, answer: str) -> None:
        if self._status.phase != "failed":
            self._answer = answer
            self._publish(message=self._message())

    def _handle_waiting(self) -> messages.RunEnd | None:
        handled = map(self._handle, self._mailbox.waiting())
        return next(filter(None, handled), None)

    def _handle(self, message: messages.Message) -> messages.RunEnd | None:
        """Answer a message, unless it is one that can be followed."""
        match message:
            case messages.Restart() | messages.Stop():
                return message
            case messages.SetBudget(max_points):
                self._store.set_budget(max_points)
                if self._store.thinned:  # reading again is fast, and keeps what was left out before
                    return messages.Restart()
            case messages.Inspect() if self._make_lanes is not None:
                self._inspect = message
            case messages.Inspect():
                self._store.set_inspection(
                    None,
                    "This is a recording; looking inside reads its frames again, which needs "
                    f"the weights: {open_command(self._recording)}",
                )
            case messages.Query(number):
                self._store.set_answer(Answer(number, note=CANNOT_ASK))
            case messages.Play() | messages.Pause() | messages.Step():
                self._show_answer(f"a recording has no frames to come; start a run: {self._again}")
            case messages.SetParameter() | messages.SetResetEvery() | messages.SetRules():
                self._show_answer(f"a recording; start a run to change rules: {self._again}")
            case _:
                assert_never(message)
        return None

    def _inspect_frames(self) -> messages.RunEnd | None:
        """Look into the frame asked for last; the message that ends this, where one came."""
        action = None
        while action is None and self._inspect is not None and self._make_lanes is not None:
            asked, self._inspect = self._inspect, None
            try:
                found = self._look(asked, self._make_lanes)
            except InterruptedLookError:
                action = self._action
            except Exception as error:
                if not isinstance(error, ViewerError):
                    log.exception("the frame could not be looked into")
                self._store.set_inspection(None, printable(in_a_line(error)))
            else:
                epoch = self._store.snapshot().epoch
                self._store.set_inspection(replace(found, epoch=epoch), "")
        return action

    def _look(self, asked: messages.Inspect, make_lanes: Callable[[], "Lanes"]) -> Inspection:
        """Raises `InterruptedLookError` where another message came, which is then in `_action`."""

        def on_progress(done: int, total: int) -> None:
            self._store.set_inspection(None, f"replaying frames: {done} of {total}")
            self._action = self._handle_waiting()
            if self._action is not None or self._inspect not in (None, asked):
                raise InterruptedLookError

        if self._lanes is None:
            self._store.set_inspection(None, "loading the network")
            self._lanes = make_lanes()
        found = self._lanes.inspect(asked.lane, asked.sequence, on_progress)
        if self._inspect == asked:  # it was asked for once more meanwhile
            self._inspect = None
        recorded = self._recording.seen(asked.sequence)[asked.lane].gain
        same = recorded.shape == found.gain.shape
        error = float(np.abs(recorded - found.gain).max()) if same else np.inf
        if not error <= GAIN_TOLERANCE:
            self._show_answer(
                f"frame {asked.sequence} has other gains when it is read again than were "
                f"recorded (by up to {error:.2g}): with other weights, or in another dtype"
            )
        return found


def ending(recording: Recording) -> tuple[str, ...]:
    """How the run of a recording ended, where that was not at its last frame."""
    manifest = recording.manifest
    if manifest.status.phase == "failed":
        return (f"its run failed: {manifest.status.message}",)
    if manifest.frames is None:
        return ("its run did not come to its end: it was cut off, or still goes on",)
    if manifest.status.phase == "stopped":
        return ("its run was stopped before its end",)
    return ()


def open_command(recording: Recording) -> str:
    """The command that opens a recording with the weights of its run."""
    weights = str(recording.manifest.settings.get("weights", "FILE"))
    return shlex.join(["ttt3r-view", "open", str(recording.output_folder), "--weights", weights])


def rerun_command(settings: Mapping[str, Any]) -> str:
    """The command that runs the same input with the same weights again."""
    words = ["ttt3r-view"]
    for name in ("input", "weights"):
        if settings.get(name) is not None:
            words += [f"--{name}", str(settings[name])]
    return shlex.join(words)
