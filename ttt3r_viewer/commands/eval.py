"""`ttt3r-view eval`: the papers' tables, on data sets where they lie."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ttt3r_viewer import __version__
from ttt3r_viewer.commands.parser import Echo
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.evaluate.datasets import DATASETS
from ttt3r_viewer.system.text import printable

if TYPE_CHECKING:
    from ttt3r_viewer.evaluate.evaluation import EvalConfig, Job, Outcome
    from ttt3r_viewer.evaluate.records import RecordFolder

DESCRIPTION = (
    "Measure rules on a data set at growing numbers of frames: camera poses, depth, points, and "
    "with --speed frame rate and memory. A second call goes on where the first one ended."
)
RULES = "ttt3r,constant:1.0"
REFERENCE = "constant"
"""What ratios are to: the constant rate 1, which is CUT3R, as it is written shortest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `eval`."""
    add = parser.add_argument
    add("--dataset", required=True, choices=tuple(DATASETS), metavar="|".join(DATASETS))
    add("--root", type=Path, metavar="PATH", help="where the data set lies, as published")
    add("--sequences", metavar="NAME,...", help="some of its sequences (default: all)")
    add(
        "--frames",
        metavar="N,...",
        help="numbers of frames to measure at, as 50,100 or 50:1000:50, and all "
        "(default: the data set's)",
    )
    add("--stride", type=int, metavar="N", help="take every N-th frame (default: 1)")
    add("--rules", default=RULES, metavar="RULE,...", help=f"default {RULES}")
    add("--measures", metavar="poses,depth,points", help="default: the data set's")
    add("--output", type=Path, metavar="DIR", help="default: evaluation-DATASET")
    add("--weights", default="miniature", metavar="FILE|NAME", help="default miniature")
    add("--size", type=int, metavar="PIXELS", help="long side (default: the network's own)")
    add("--reset-every", type=int, default=0, metavar="N", help="reset after N frames; 0: never")
    add("--device", default="auto", choices=("auto", "cuda", "mps", "cpu"))
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--jobs", type=int, default=1, metavar="N", help="sequences at once, in processes here")
    add(
        "--ray",
        metavar="ADDRESS|local",
        help="spread sequences over a Ray cluster, one GPU each; local starts one of --jobs here",
    )
    add("--speed", action="store_true", help="also measure frame rate and memory, rule by rule")


def execute(given: argparse.Namespace, echo: Echo, warn: Echo) -> int:
    """Measure what is not measured yet, and write tables and curves, also after Ctrl-C."""
    from ttt3r_viewer.evaluate.evaluation import jobs_for
    from ttt3r_viewer.evaluate.records import RecordFolder
    from ttt3r_viewer.rules.registry import rule_from_text, text_of
    from ttt3r_viewer.system.jobs import need_ray

    for name in ("jobs", "stride", "size"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise SettingsError(f"--{name} {value}: take a number above 0")
    if given.reset_every < 0:
        raise SettingsError(f"--reset-every {given.reset_every}: take 0 or more")
    if given.ray is not None:
        need_ray(given.ray)
    rules = list(dict.fromkeys(text_of(rule_from_text(one)) for one in given.rules.split(",")))
    setting, sequences, lengths = _plan(given)
    output = given.output or Path(f"evaluation-{given.dataset}")
    folder = RecordFolder(output, setting.on_disk())
    there = set(folder.records)
    quality = jobs_for(setting, sequences, rules, lengths, there, speed=False)
    speed = jobs_for(setting, sequences, rules, lengths, there, speed=True) if given.speed else []
    skipped: dict[str, str] = {}
    code = 0
    try:
        _run(given, quality, speed, folder, skipped, warn)
    except KeyboardInterrupt:
        code = 130
    _write(folder, setting, rules, sequences, lengths, skipped)
    echo(f"wrote {len(folder.records)} records and their tables to {printable(str(output))}")
    # Each sequence's trouble has been told; where nothing else came of it, all was in vain.
    return code or (0 if folder.records else 2)


def _plan(given: argparse.Namespace) -> tuple[EvalConfig, list[str], list[str]]:
    """What is fixed, which sequences, and which lengths. Raises `ViewerError`s."""
    from ttt3r_viewer.evaluate.datasets.base import MEASURES
    from ttt3r_viewer.evaluate.evaluation import EvalConfig, open_dataset

    root = str(given.root.absolute()) if given.root else ""
    dataset = open_dataset(given.dataset, root, given.weights)
    wanted = given.measures.split(",") if given.measures else dataset.info.measures
    if unknown := [one for one in wanted if one not in MEASURES]:
        raise SettingsError(f"--measures {unknown[0]}: take some of {', '.join(MEASURES)}")
    setting = EvalConfig(
        dataset=given.dataset,
        root=root,
        weights=given.weights,
        device=given.device,
        dtype=given.dtype,
        size=given.size,
        reset_every=given.reset_every,
        stride=given.stride or dataset.info.stride,
        measures=tuple(one for one in MEASURES if one in wanted),
    )
    lengths = lengths_of(given.frames or dataset.info.lengths)
    if "all" in lengths and dataset.info.endless:
        raise SettingsError(f"--frames all: {dataset.info.title} have no end; say a number")
    return (
        setting,
        dataset.sequences(given.sequences.split(",") if given.sequences else None),
        lengths,
    )


def lengths_of(text: str) -> list[str]:
    """`50:200:50,all` as texts of numbers, rising, then `all`; a range holds its end.

    Raises `SettingsError`.
    """
    numbers: set[int] = set()
    parts = text.split(",")
    for part in parts:
        fields = part.split(":")
        if part == "all":
            continue
        if not all(one.isdecimal() and int(one) > 0 for one in fields) or len(fields) not in (1, 3):
            raise SettingsError(f"--frames {text}: take numbers above 0, ranges as 50:1000:50, all")
        first, stop, step = map(int, fields if len(fields) == 3 else (part, part, "1"))
        numbers |= set(range(first, stop + 1, step))
    if not numbers and "all" not in parts:
        raise SettingsError(f"--frames {text}: holds no number; a range is FIRST:LAST:STEP")
    return [*map(str, sorted(numbers)), *(["all"] if "all" in parts else [])]


def _run(
    given: argparse.Namespace,
    quality: Sequence[Job],
    speed: Sequence[Job],
    folder: RecordFolder,
    skipped: dict[str, str],
    warn: Echo,
) -> None:
    """Do the jobs with a progress bar, and keep what each gives as it comes."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    text = TextColumn("{task.description}", markup=False)
    with Progress(text, BarColumn(), MofNCompleteColumn(), TimeLeft()) as progress:
        task = progress.add_task(given.dataset, total=len(quality) + len(speed))
        with closing(_outcomes(given, quality, speed, warn)) as outcomes:
            for outcome in outcomes:
                folder.add(outcome.records)
                if outcome.trouble and skipped.get(outcome.job.sequence) != outcome.trouble:
                    skipped[outcome.job.sequence] = outcome.trouble
                    warn(f"{outcome.job.sequence}: {outcome.trouble}")
                progress.update(task, advance=1, description=outcome.job.sequence)


def _outcomes(
    given: argparse.Namespace, quality: Sequence[Job], speed: Sequence[Job], warn: Echo
) -> Generator[Outcome, None, None]:
    """Outcomes of all jobs, those for speed one after the other once the rest is done."""
    from ttt3r_viewer.evaluate.evaluation import lost_job, run_job
    from ttt3r_viewer.system.jobs import in_processes, joined_cluster

    if given.ray is None:
        yield from in_processes(run_job, quality, given.jobs, lost=lost_job)
        yield from in_processes(run_job, speed, 1, lost=lost_job, fresh=True)
    elif quality or speed:
        with joined_cluster(given.ray, given.jobs, warn) as cluster:
            yield from cluster.run(run_job, quality, lost=lost_job)
            yield from cluster.run(run_job, speed, lost=lost_job, one_by_one=True)


def _write(
    folder: RecordFolder,
    setting: EvalConfig,
    rules: Sequence[str],
    sequences: Sequence[str],
    lengths: Sequence[str],
    skipped: dict[str, str],
) -> None:
    """Tables and curves of what was asked for, from all records that are there."""
    from ttt3r_viewer.evaluate.plot import plot_curves
    from ttt3r_viewer.evaluate.tables import markdown, means, means_csv, records_csv

    asked = [
        record
        for record in folder.records.values()
        if record.sequence in sequences and record.rule in rules and record.length in lengths
    ]
    rows = means(asked, rules, REFERENCE)
    devices = Counter(record.device for record in asked)
    notes = [
        f"{setting.dataset}: {len(sequences)} sequences, stride {setting.stride}; weights "
        f"{Path(setting.weights).name}; ttt3r-viewer {__version__}",
        f"device: {', '.join(devices) or 'none'}",
        *(
            [f"every state was reset after {setting.reset_every} frames"]
            * (setting.reset_every > 0)
        ),
        *(f"{one.sequence}, {one.rule}, {one.length}: {one.reason}" for one in asked if one.reason),
    ]
    files: dict[str, Callable[[], str]] = {
        "evaluation.md": lambda: markdown(rows, REFERENCE, skipped, notes),
        "means.csv": lambda: means_csv(rows),
        "records.csv": lambda: records_csv(asked),
    }
    from ttt3r_viewer.system.files import write_output

    for name, text in files.items():
        write_output(folder.folder / name, text().encode())
    title = f"{setting.dataset}, {len(sequences)} sequences, {Path(setting.weights).name}"
    plot_curves(folder.folder / "curves.png", rows, rules, title)
