"""`run` with several inputs: a recording of each in one folder, and one table of them all."""

import glob
import json
import logging
import re
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from ttt3r_viewer.errors import OutputError, SettingsError, ViewerError, in_a_line
from ttt3r_viewer.frames.selection import IMAGE_SUFFIXES
from ttt3r_viewer.frames.source import is_live
from ttt3r_viewer.metrics.text_tables import csv_text
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.recording import reader
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.runs.reconstruction import Reconstruction, source_of
from ttt3r_viewer.runs.resuming import REPORT, RunFinishedError, absolute_input, holds_something
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import Settings
from ttt3r_viewer.system.assets import DEMO_PREFIX
from ttt3r_viewer.system.files import output_errors, write_output
from ttt3r_viewer.system.logs import LOG_FILES, log_into
from ttt3r_viewer.system.signals import sigterm_is_ctrl_c
from ttt3r_viewer.system.text import hide_passwords, printable
from ttt3r_viewer.weights.fetch import locate

TABLE = "runs.csv"
COLUMNS: tuple[str, ...] = (
    "input",
    "session",
    "state",
    "frames",
    "skipped",
    "frames_per_second",
    "seconds",
    "device",
    "trouble",
)
_NO_NAME = re.compile(r"[*?\[\]:/\\]")
"""What a pattern or a path may hold, and a folder's name on some system may not."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunJob:
    """One input, to be reconstructed into its own folder; travels between processes."""

    settings: Settings
    """The input is absolute, and the output the folder of its recording."""

    @property
    def folder(self) -> Path:
        """The folder of its recording."""
        return Path(self.settings.output.output or "")

    @property
    def table(self) -> Path:
        """A file, there before any job begins, that shows whether a process sees the folder."""
        return self.folder.parent / TABLE


@dataclass(frozen=True)
class RunOutcome:
    """What came of a job; the rest is in its recording."""

    job: RunJob
    frames: int = 0
    """Whose results are there."""
    remarks: tuple[str, ...] = ()
    trouble: str = ""
    """Why the recording is not whole, in one line; empty where it is, or was interrupted."""
    interrupted: bool = False


Watch = Callable[[Worker, SceneStore], None]
"""Returns when the worker has ended; lets Ctrl-C through."""


def plan(settings: Settings, inputs: Sequence[str]) -> list[RunJob]:
    """A job for each input, in the folders `--output`/NAME; nothing is written yet.

    Raises `SettingsError`, `OutputError`, `WeightsError` and `RuleError` for what would fail in
    every job, or leave it unclear which recording is whose.
    """
    folder = Path(settings.output.output or "").absolute()
    _refuse_unclear(settings, inputs)
    for name in (REPORT, reader.FOLDER):
        if (folder / name).exists():
            raise OutputError(
                f"--output {folder}: it is the recording of one input; name another folder, in "
                "which each input gets a folder of its own"
            )
    rules_from_text(settings.rules.rules)
    model, output = settings.model, settings.output
    locate(model.weights)
    if Path(model.weights).is_file():  # and no known name: workers may be elsewhere
        model = replace(model, weights=str(Path(model.weights).absolute()))
    jobs = [
        RunJob(
            replace(
                settings,
                input=replace(settings.input, input=absolute_input(one)),
                model=model,
                output=replace(output, output=str(folder / name)),
            )
        )
        for one, name in zip(inputs, folder_names(inputs), strict=True)
    ]
    there = [job.folder.name for job in jobs if holds_something(job.folder)]
    if there and not (output.resume or output.overwrite):
        raise OutputError(
            f"--output {folder}: {len(there)} of {len(jobs)} recordings are there already (as "
            f"{there[0]}); give --resume, which leaves what is finished and continues the rest, "
            "or --overwrite, or name another folder"
        )
    return jobs


def folder_names(inputs: Sequence[str]) -> list[str]:
    """A folder's name for each input: its own without suffix, longer where that is another's too.

    No two are the same, also where upper and lower case are.
    """
    longer = [deque(_names(one)) for one in inputs]
    while True:
        uses = Counter(one[0].casefold() for one in longer)
        shared = [one for one in longer if uses[one[0].casefold()] > 1 and len(one) > 1]
        if not shared:
            break
        for one in shared:
            one.popleft()
    names: list[str] = []
    taken = {one.casefold() for one in (TABLE, REPORT, reader.FOLDER, *LOG_FILES)}
    for name, *_ in longer:
        choices = chain((name,), (f"{name}_{number}" for number in count(2)))
        names.append(next(one for one in choices if one.casefold() not in taken))
        taken.add(names[-1].casefold())
    return names


def unreadable(jobs: Iterable[RunJob]) -> list[RunOutcome]:
    """Those jobs whose input cannot be opened, which is found out before the first one begins."""
    found = []
    for job in jobs:
        try:
            source_of(job.settings.input).close()
        except ViewerError as error:
            found.append(RunOutcome(job, trouble=in_a_line(error)))
    return found


def run_one(job: RunJob, watch: Watch | None = None) -> RunOutcome:
    """Do a job. Whatever is wrong with it is `trouble`, so that it costs no other job anything."""
    # The log of the job before, in the same process, is closed with it.
    log_into(None, job.settings.output.log_level, fresh=False)
    if not job.table.is_file():
        return RunOutcome(
            job,
            trouble=f"{socket.gethostname()} does not see {job.table}: name an --output that all "
            "machines of the cluster share",
        )
    try:
        with sigterm_is_ctrl_c():
            reconstruction = Reconstruction.prepare(job.settings, ends_by_itself=True)
            ending = reconstruction.run(watch or _wait)
    except RunFinishedError as finished:
        return RunOutcome(job, remarks=(str(finished),))
    except ViewerError as error:
        return RunOutcome(job, trouble=in_a_line(error))
    except KeyboardInterrupt:
        return RunOutcome(job, interrupted=True)
    except Exception as error:
        log.exception("a mistake of the program's")
        return RunOutcome(job, trouble=f"a mistake of the program's: {in_a_line(error)}")
    error = ending.error
    return RunOutcome(
        job, ending.written, ending.remarks, in_a_line(error) if error else "", ending.interrupted
    )


def lost_job(job: RunJob, why: str) -> RunOutcome:
    """What is left of a job whose process has died."""
    return RunOutcome(job, trouble=f"{why}; --resume continues it")


def write_table(jobs: Sequence[RunJob], ended: Mapping[Path, RunOutcome]) -> int:
    """Write runs.csv from the recordings and how jobs have `ended`, by folder; how many finished.

    Raises `OutputError`.
    """
    rows = [_row(job, ended.get(job.folder)) for job in jobs]
    cells = ([printable(str(row.get(name, ""))) for name in COLUMNS] for row in rows)
    path = jobs[0].table
    with output_errors(f"--output {path.parent}", "name another"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_output(path, csv_text(COLUMNS, cells).encode())
    return sum(row["state"] == "finished" for row in rows)


def _row(job: RunJob, outcome: RunOutcome | None) -> dict[str, Any]:
    trouble = "" if outcome is None else outcome.trouble
    row = {
        "input": hide_passwords(job.settings.input.input or ""),
        "session": job.folder.name,
        "state": "failed" if trouble else "not begun",
        "trouble": trouble,
    }
    if job.settings.output.overwrite and (outcome is None or not outcome.frames):
        return row  # what is there is of an earlier run
    try:
        report = json.loads((job.folder / REPORT).read_bytes())
        status, timing = report["status"], report["timing"]
        row |= {
            "state": "failed" if trouble else status["phase"],
            "frames": report["frames"],
            "skipped": status["skipped"],
            "frames_per_second": f"{1 / timing['compute_sec_per_frame']:.2f}",
            "seconds": f"{timing['since_start_sec']:.1f}",
            "device": status["device"],
        }
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        if not trouble and holds_something(job.folder):
            row["state"] = "cut off"
    return row


def _refuse_unclear(settings: Settings, inputs: Sequence[str]) -> None:
    for one in inputs:
        if not one.strip():
            raise SettingsError("--input: one of them is an empty text; leave it out")
        if settings.input.follow or is_live(one):
            raise SettingsError(
                f"--input {hide_passwords(one)} is live and does not end: give it a run of its own"
            )
    for one, times in Counter(map(absolute_input, inputs)).items():
        if times > 1:
            raise SettingsError(f"--input {one}: it is given {times} times; once is enough")
    paths = [Path(one) for one in inputs]
    folders = {one.parent for one in paths}
    if len(folders) == 1 and all(map(_is_one_image, paths)):
        raise SettingsError(
            f"--input: {len(paths)} images, each of which would be a run of one frame; name "
            f"their folder ({paths[0].parent}), or put the pattern in quotes"
        )


def _is_one_image(path: Path) -> bool:
    """By its name: a pattern, and what may be an animation, are more."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES - {".gif"} and not glob.has_magic(str(path))


def _names(spec: str) -> list[str]:
    """Names that an input may have, from the shortest on, fit for a folder."""
    if spec.startswith(DEMO_PREFIX):
        return [_fit(spec.replace(":", "-"))]
    path = Path(absolute_input(spec))
    parts = path.parts[1:] or ("input",)
    plain = [one for one in parts if not glob.has_magic(one)]
    is_pattern = len(plain) < len(parts)
    short = plain[-1] if is_pattern and plain else path.name if path.is_dir() else path.stem
    whole = ["_".join(parts[k:]) for k in reversed(range(len(parts)))]
    return [_fit(one) for one in (short, *whole)]


def _fit(name: str) -> str:
    return _NO_NAME.sub("_", name).strip(". ") or "input"


def _wait(worker: Worker, store: SceneStore) -> None:  # noqa: ARG001
    while not worker.join(0.1):
        pass
