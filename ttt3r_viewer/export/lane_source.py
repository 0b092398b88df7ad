"""What an export reads: one lane of a recording, a frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from ttt3r_viewer.errors import RecordingError, SettingsError
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.types import FrameResult

if TYPE_CHECKING:
    from ttt3r_viewer.recording.reader import Recording

T = TypeVar("T")
OnProgress = Callable[[int, int], None]
"""Takes how many steps are done, and of how many; what it raises ends the export."""


class StepCount:
    """Counts the steps of an export for an `OnProgress`."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._done = self._total = 0

    def expect(self, steps: int) -> None:
        """So many steps are to come, beside those that were expected before."""
        self._total += steps
        self._on_progress(self._done, self._total)

    def step(self) -> None:
        """One step is done."""
        self._done += 1
        self._on_progress(self._done, self._total)


class Source:
    """One lane of a recording; every `stride`-th of the frames that were there when it was made.

    Damaged frames are left out, and `notes` says which. Raises `RecordingError` where there is no
    frame, also while reading when a restart has taken them all away, and `SettingsError` where
    there is no such lane.
    """

    def __init__(self, recording: Recording, lane: int = 0, stride: int = 1) -> None:
        """`lane` counts from 0."""
        if stride < 1:
            raise SettingsError(f"--stride {stride}: take 1 or more")
        self.recording = recording
        self.lane = lane
        self.sequences = recording.sequences[::stride]
        self.notes = [recording.note] if recording.note else []
        self.lane_count = self._count_lanes()
        if not 0 <= lane < self.lane_count:
            known = recording.manifest.status.lanes
            names = f" ({', '.join(one.text for one in known)})" if known else ""
            raise SettingsError(
                f"--lane {lane + 1}: this recording has {self.lane_count}{names}; take 1 to "
                f"{self.lane_count}"
            )

    def __len__(self) -> int:
        """How many frames there are, damaged ones included."""
        return len(self.sequences)

    def cameras(self, step: Callable[[], object] = lambda: None) -> Iterator[FrameSummary]:
        """Every frame without its arrays; `step` is called after each, damaged or not."""
        return self._each(lambda sequence: self.recording.camera(sequence, self.lane), step)

    def frames(self, step: Callable[[], object] = lambda: None) -> Iterator[FrameResult]:
        """Every frame in full, one at a time; `step` as in `cameras`."""
        return self._each(lambda sequence: self.recording.lane(sequence, self.lane), step)

    def leave_out(self, note: str) -> None:
        """Say once why a frame is not in the export."""
        if note not in self.notes:
            self.notes.append(note)

    def why_nothing(self) -> str:
        """Say why nothing came of the frames, once all have been read."""
        return "; ".join(self.notes) or "no point is finite"

    def pixel_count(self) -> int:
        """How many pixels the frames have, all together."""
        return sum(one.camera.width * one.camera.height for one in self.cameras())

    def _each(self, read: Callable[[int], T], step: Callable[[], object]) -> Iterator[T]:
        """What `read` gives for every frame; a damaged one is left out."""
        for sequence in self.sequences:
            try:
                yield read(sequence)
            except RecordingError as error:
                # All are gone after a restart.
                if not len(self.recording):
                    raise
                self.leave_out(str(error))
            step()

    def _count_lanes(self) -> int:
        for facts in self._each(self.recording.facts, lambda: None):
            return len(facts["lanes"])
        why = f" ({'; '.join(self.notes)})" if self.notes else ""
        raise RecordingError(f"{self.recording.path}: no frame to export{why}; run it again")
