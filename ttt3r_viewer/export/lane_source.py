"""What an export reads: one lane of a session on disk, a frame at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ttt3r_viewer.errors import RecordingError, SettingsError
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.types import Camera, Crop, FrameResult


@dataclass(frozen=True, eq=False)
class CameraOfFrame:
    """A frame without its maps."""

    sequence: int
    index: int
    time_sec: float
    name: str
    crop: Crop
    camera: Camera


class Source:
    """One lane of an archive; every `stride`-th of the frames that were there when it was made.

    Damaged frames are left out, and `notes` says which. Raises `RecordingError` where there is no
    frame, also while reading when a restart has taken them all away, and `SettingsError` where
    there is no such lane.
    """

    def __init__(self, archive: Recording, lane: int = 0, stride: int = 1) -> None:
        """`lane` counts from 0."""
        if stride < 1:
            raise SettingsError(f"--stride {stride}: take 1 or more")
        self.archive = archive
        self.lane = lane
        self.sequences = archive.sequences[::stride]
        self.notes = [archive.note] if archive.note else []
        self.lane_count = self._count_lanes()
        if not 0 <= lane < self.lane_count:
            known = archive.description.status.lanes
            names = f" ({', '.join(one.text for one in known)})" if known else ""
            raise SettingsError(
                f"--lane {lane + 1}: this session has {self.lane_count}{names}; take 1 to "
                f"{self.lane_count}"
            )

    def __len__(self) -> int:
        """How many frames there are, damaged ones included."""
        return len(self.sequences)

    def cameras(self) -> Iterator[CameraOfFrame]:
        """Every frame's camera; no array is read."""
        for sequence in self.sequences:
            try:
                yield self._camera(sequence)
            except RecordingError as error:
                self._go_on_after(error)

    def frames(self) -> Iterator[FrameResult]:
        """Every frame in full, one at a time."""
        for sequence in self.sequences:
            try:
                yield self.archive.lane(sequence, self.lane)
            except RecordingError as error:
                self._go_on_after(error)

    def _go_on_after(self, error: RecordingError) -> None:
        """Leave out a damaged frame. Raises what came where all are gone, as after a restart."""
        if not len(self.archive):
            raise error
        self.leave_out(str(error))

    def leave_out(self, note: str) -> None:
        """Say once why a frame is not in the export."""
        if note not in self.notes:
            self.notes.append(note)

    def pixel_count(self) -> int:
        """How many pixels the frames have, all together."""
        return sum(one.camera.width * one.camera.height for one in self.cameras())

    def _camera(self, sequence: int) -> CameraOfFrame:
        facts = self.archive.facts(sequence)
        try:
            own, crop = facts["lanes"][self.lane], facts["crop"]
            return CameraOfFrame(
                sequence=sequence,
                index=facts["index"],
                time_sec=facts["time_sec"],
                name=facts["name"],
                crop=Crop(
                    tuple(crop["scale_xy"]),
                    tuple(crop["offset_xy"]),
                    crop["original_width"],
                    crop["original_height"],
                ),
                camera=Camera(
                    np.array(own["T_world_camera"], np.float64).reshape(4, 4),
                    own["focal_px"],
                    own["width"],
                    own["height"],
                ),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise RecordingError(
                f"frame {sequence}: its header is not whole ({error!r})"
            ) from error

    def _count_lanes(self) -> int:
        for sequence in self.sequences:
            try:
                return len(self.archive.facts(sequence)["lanes"])
            except RecordingError as error:
                self.leave_out(str(error))
        why = f" ({'; '.join(self.notes)})" if self.notes else ""
        raise RecordingError(f"{self.archive.path}: no frame to export{why}; run it again")
