"""Recorded frames put into a scene again: for a session that is opened, and one that goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from functools import partial

from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.scene.seen import FrameSummary, thin_points
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import FrameResult


def refill(archive: Recording, store: SceneStore, in_full: Set[int]) -> Iterator[int]:
    """Add every frame of an archive to an empty scene; gives each one's number once it is there.

    Those of `in_full` get as many points as a run gives them, the others those of their previews.
    Damaged frames are left out, and noted by the archive.
    """
    for frames, results in archive.each(partial(_read, archive, store, in_full)):
        store.add_summary(frames, results)
        yield frames[0].sequence


def _read(
    archive: Recording, store: SceneStore, in_full: Set[int], sequence: int
) -> tuple[Sequence[FrameSummary], Sequence[FrameResult]]:
    """Give what the scene keeps of a frame, and all of it where that is wanted."""
    frames = archive.seen(sequence)
    if sequence not in in_full:
        return frames, ()
    results = archive.frame(sequence)
    lanes = zip(frames, results, store.snapshot().lanes, strict=True)
    full = (
        replace(frame, points=thin_points(result, lane.layout.points_per_frame))
        for frame, result, lane in lanes
    )
    return tuple(full), results
