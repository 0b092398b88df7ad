"""A recorded run is gone on with: session, scene and archive as they were at a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ttt3r_viewer.errors import InputError, RecordingError
from ttt3r_viewer.frames.source import RepeatableSource
from ttt3r_viewer.reconstruct.prefetch import PreparedFrame
from ttt3r_viewer.recording.checkpoint import Checkpoint
from ttt3r_viewer.recording.reader import Recording, in_words
from ttt3r_viewer.recording.refill import refill
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Frame, SkippedFrame, Status

if TYPE_CHECKING:
    from torch import Tensor


class Resumable(Protocol):
    """What is needed of `Lanes`."""

    def describe(self, status: Status) -> Status:
        """The same status with the rules and the device that are in use."""
        ...

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Bring a picture to the network's grid. Raises `FrameError`."""
        ...

    def restore(
        self, tensors: Mapping[str, Tensor], session: Mapping[str, Any], frames: Recording
    ) -> None:
        """Go on from a checkpoint. Raises a `ViewerError`; everything is then as before."""
        ...


@dataclass(frozen=True, eq=False)
class Resumption:
    """What a run goes on from. `archive` has all frames that the checkpoint counts."""

    archive: Recording
    checkpoint: Checkpoint
    source: RepeatableSource

    @property
    def frames(self) -> int:
        """So many frames have been taken."""
        return self.checkpoint.progress.frames

    def restore(
        self,
        session: Resumable,
        writer: RecordingWriter,
        store: SceneStore,
        status: Status,
        on_progress: Callable[[str], object],
    ) -> Status:
        """Bring all to where the run was; the status of then. Nothing on disk is changed yet.

        `tell` hears how far it is. Raises what `Lanes.restore` raises, and `RecordingError` where a
        frame is damaged.
        """
        session.restore(self.checkpoint.tensors(), self.checkpoint.session, self.archive)
        progress = self.checkpoint.progress
        status = replace(
            session.describe(status),
            frames_done=progress.frames,
            skipped=progress.skipped,
            last_skipped=progress.last_skipped,
        )
        writer.go_on(self.archive, progress.frames, status)
        store.clear(self.archive.lanes)
        store.set_recording(self.archive)
        for done, _ in enumerate(refill(self.archive, store, frozenset(self.archive.sequences))):
            on_progress(f"reading recorded frames: {done + 1} of {progress.frames}")
        if len(self.archive) != progress.frames:
            raise RecordingError(
                f"{self.archive.path}: it cannot be gone on with ({self.archive.note}); give "
                "--overwrite in place of --resume to run it again"
            )
        return status

    def rest(self, session: Resumable) -> Iterator[Frame | SkippedFrame]:
        """The frames of the input that are to come.

        Raises `InputError`, at once, where the latest frame is not the one that was recorded.
        """
        latest = self.archive.facts(self.frames - 1)
        frames = self.source.after(latest["index"] - 1)
        first = next(frames, None)
        if not (isinstance(first, Frame) and first.index == latest["index"]) or not np.array_equal(
            session.prepare(first).image.image, self.archive.image(self.frames - 1)
        ):
            raise InputError(
                f"{self.source.name}: its frame {latest['index']} is not what was recorded "
                f"({latest['name']}), so the session cannot be gone on with: give the input as it "
                "was, or --overwrite in place of --resume to run it again"
            )
        return (item for item in frames if item.index > self.checkpoint.progress.index)


def best_checkpoint(
    archive: Recording, files: list[Checkpoint | RecordingError]
) -> Checkpoint | None:
    """The first that belongs to an archive's run and whose frames are all there.

    Gives None where none was ever written for this run. Raises `RecordingError` where all are
    damaged, or frames are missing.
    """
    reasons = []
    there = frozenset(archive.sequences)
    for one in files:
        if isinstance(one, RecordingError):
            reasons.append(str(one))
        elif one.progress.run == archive.description.run:
            # The archive is never asked for more frames than one beyond what it has.
            wanted = range(min(one.progress.frames, len(there) + 1))
            missing = sorted(set(wanted) - there)
            if not missing and one.progress.frames:
                return one
            reasons.append(f"{one.path}: of the archive's frames it needs {in_words(missing)}")
    if reasons:
        raise RecordingError(
            f"{'; '.join(reasons)}: the session cannot be gone on with; give --overwrite in place "
            "of --resume to run it again"
        )
    return None
