"""`ttt3r-view run`: reconstruct without a browser, with a progress bar."""

from __future__ import annotations

import argparse

from ttt3r_viewer.commands.interruption import no_interruption
from ttt3r_viewer.commands.parser import Say, add_settings, settings_of
from ttt3r_viewer.errors import OutputError, SettingsError
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.resuming import SessionFinishedError
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Status, printable
from ttt3r_viewer.wiring import Reconstruction

DESCRIPTION = (
    "Reconstruct without a browser: poses_tum.txt, intrinsics.json, points.ply and run.json."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting but those of the page."""
    add_settings(parser, with_page=False)


def execute(given: argparse.Namespace, say: Say, complain: Say) -> int:
    """Reconstruct and write the results, also after Ctrl-C."""
    settings = settings_of(given)
    if settings.output is None:
        raise SettingsError("run has nowhere to write: give --output DIR")
    try:
        reconstruction = Reconstruction.prepare(settings, ends_by_itself=True)
    except SessionFinishedError as told:
        say(str(told))
        return 0
    return to_the_end(reconstruction, say, complain)


def to_the_end(reconstruction: Reconstruction, say: Say, complain: Say) -> int:
    """With a progress bar to the end or to Ctrl-C, then write; the exit code."""
    worker, store = reconstruction.worker, reconstruction.store
    if reconstruction.note:
        complain(reconstruction.note)
    worker.start()
    interrupted = False
    try:
        _show_progress(worker, store)
    except KeyboardInterrupt:
        interrupted = True
    written, unwritten = 0, None
    with no_interruption():
        try:
            written = reconstruction.end()
        except OutputError as error:
            unwritten = error
    status = store.snapshot().status
    if status.lag_sec is not None and status.message:
        complain(status.message)
    if status.dropped:
        complain(f"{status.dropped} frames dropped, each for a newer one")
    if status.skipped and status.frames_done:
        complain(f"{status.skipped} frames skipped; the last: {status.last_skipped}")
    if reconstruction.archive is not None and reconstruction.archive.trouble:
        complain(reconstruction.archive.trouble)
    if reconstruction.checkpoints is not None and reconstruction.checkpoints.trouble:
        complain(reconstruction.checkpoints.trouble)
    if worker.error is not None:
        raise worker.error
    if unwritten is not None:
        raise unwritten
    folder = reconstruction.settings.output
    said = f"{written} frames to {folder}" if written else "nothing: no frame was finished"
    say(f"wrote {printable(said)}")
    return 130 if interrupted else 0


def _show_progress(worker: Worker, store: SceneStore) -> None:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} frames/s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[live]}", markup=False),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("starting", total=None, rate=0.0, live="")
        ended = False
        while not ended:
            ended = worker.join(0.1)
            status = store.snapshot().status
            progress.update(
                task,
                description=f"{status.model}, {status.rule}, {status.device}",
                completed=status.frames_taken,
                total=status.frames_total,
                rate=status.frames_per_second,
                live=live_text(status),
            )


def live_text(status: Status) -> str:
    """How far a live input is behind, and what is wrong with it; empty for other inputs."""
    if status.lag_sec is None:
        return ""
    return f"lag {status.lag_sec:.2f} s, {status.dropped:,} dropped {status.message}".rstrip()
