"""Recorded frames put into a scene: of a recording that is opened, or of a run that is resumed."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.scene.seen import FrameSummary, thin_points
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import FrameResult


def refill(recording: Recording, store: SceneStore, in_full: Set[int]) -> Iterator[int]:
    """Add every frame of a recording to an empty scene; yields each one's number once it is there.

    Those of `in_full` get as many points as a run gives them, the others those of their previews.
    Damaged frames are left out, and noted by the recording.
    """

    def read(sequence: int) -> tuple[Sequence[FrameSummary], Sequence[FrameResult]]:
        frames = recording.seen(sequence)
        if sequence not in in_full:
            return frames, ()
        results = recording.frame(sequence)
        lanes = zip(frames, results, store.snapshot().lanes, strict=True)
        full = (
            replace(frame, points=thin_points(result, lane.layout.points_per_frame))
            for frame, result, lane in lanes
        )
        return tuple(full), results

    for frames, results in recording.each(read):
        store.add_summary(frames, results)
        yield frames[0].sequence
