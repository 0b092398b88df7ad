"""`ttt3r-view run`: reconstruct without a browser, with a progress bar."""

import functools
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.errors import OutputError, SettingsError
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.runs.batch import (
    RunJob,
    RunOutcome,
    lost_job,
    plan,
    run_one,
    unreadable,
    write_table,
)
from ttt3r_viewer.runs.reconstruction import Reconstruction
from ttt3r_viewer.runs.resuming import RunFinishedError
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import RUN_GROUPS, JobOptions
from ttt3r_viewer.system.jobs import job_runner, need_ray
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.types import Status


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Reconstruct and write the results, also after Ctrl-C."""
    spread, inputs, settings = given[JobOptions], given.all_of("input"), given.settings
    if len(inputs) < 2 and (spread.jobs > 1 or spread.ray is not None):
        raise SettingsError("--jobs and --ray spread several inputs: name them after --input")
    if settings.output.output is None:
        raise SettingsError("run has nowhere to write: give --output DIR")
    if len(inputs) > 1:
        return _several(plan(settings, inputs), spread, echo, warn)
    try:
        reconstruction = Reconstruction.prepare(settings, ends_by_itself=True)
    except RunFinishedError as finished:
        echo(str(finished))
        return 0
    return to_the_end(reconstruction, echo, warn)


def _several(jobs: Sequence[RunJob], spread: JobOptions, echo: Echo, warn: Echo) -> int:
    """Do all jobs, report how each ended, and write the table after each; the exit code."""
    if spread.ray is not None:
        need_ray(spread.ray)
    ended: dict[Path, RunOutcome] = {}

    def add(outcome: RunOutcome) -> None:
        name, folder = outcome.job.folder.name, outcome.job.folder
        ended[folder] = outcome
        for line in filter(None, (*outcome.remarks, outcome.trouble)):
            warn(f"{name}: {line}")
        if outcome.frames:
            echo(f"wrote {outcome.frames} frames to {printable(str(folder))}")
        try:
            write_table(jobs, ended)
        except OutputError as error:
            warn(str(error))  # it is written again

    write_table(jobs, ended)
    for outcome in unreadable(jobs):
        add(outcome)
    readable = [job for job in jobs if job.folder not in ended]
    interrupted = False
    try:
        with closing(_outcomes(readable, spread, warn)) as outcomes:
            for outcome in outcomes:
                add(outcome)
                # A machine of a cluster may be stopped, which is not this command's end.
                interrupted = outcome.interrupted and spread.ray is None
                if interrupted:
                    break
    except KeyboardInterrupt:
        interrupted = True
    finished = write_table(jobs, ended)
    echo(f"{finished} of {len(jobs)} inputs are finished: {printable(str(jobs[0].table))}")
    return 130 if interrupted else 0 if finished == len(jobs) else 2


def _outcomes(
    jobs: Sequence[RunJob], spread: JobOptions, warn: Echo
) -> Generator[RunOutcome, None, None]:
    """Outcomes as they come; one process is this one, and shows each run's own progress."""
    if spread.ray is None and spread.jobs == 1:
        for job in jobs:
            yield run_one(job, functools.partial(_show_progress, name=job.folder.name))
        return
    from ttt3r_viewer.commands.progress import progress_bar

    with job_runner(spread.ray, spread.jobs, warn) as run, progress_bar() as progress:
        task = progress.add_task("inputs", total=len(jobs))
        with closing(run(run_one, jobs, lost=lost_job)) as outcomes:
            for outcome in outcomes:
                progress.advance(task)
                yield outcome


def to_the_end(reconstruction: Reconstruction, echo: Echo, warn: Echo) -> int:
    """With a progress bar to the end or to Ctrl-C, then write; the exit code."""
    if reconstruction.note:
        warn(reconstruction.note)
    ending = reconstruction.run(_show_progress)
    for line in ending.remarks:
        warn(line)
    if ending.error is not None:
        raise ending.error
    folder = reconstruction.output.output
    done = f"{ending.written} frames to {folder}"
    echo(f"wrote {printable(done if ending.written else 'nothing: no frame was finished')}")
    return 130 if ending.interrupted else 0


def _show_progress(worker: Worker, store: SceneStore, name: str = "") -> None:
    from ttt3r_viewer.commands.progress import progress_bar

    with progress_bar("{task.fields[rate]:.1f} frames/s", "{task.fields[live]}") as progress:
        task = progress.add_task("starting", total=None, rate=0.0, live="")
        ended = False
        while not ended:
            ended = worker.join(0.1)
            status = store.snapshot().status
            progress.update(
                task,
                description=f"{name} {status.model}, {status.rule}, {status.device}".strip(),
                completed=status.frames_taken,
                total=status.frames_total,
                rate=status.frames_per_second,
                live=live_text(status),
            )


def live_text(status: Status) -> str:
    """How late a live input is, and what is wrong with it; empty for other inputs."""
    if status.lag_sec is None:
        return ""
    return f"lag {status.lag_sec:.2f} s, {status.dropped:,} dropped {status.message}".rstrip()


COMMAND = Command(
    "Reconstruct without a browser: poses_tum.txt, intrinsics.json, points.ply and run.json. "
    "Several inputs each get a folder of their own in --output, and runs.csv lists them.",
    (*RUN_GROUPS, JobOptions),
    execute,
    config=RUN_GROUPS,
    several=("input",),
)
