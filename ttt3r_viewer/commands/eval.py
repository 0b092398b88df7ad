"""`ttt3r-view eval`: the papers' tables, on data sets where they lie."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.evaluate.datasets import DATASETS
from ttt3r_viewer.evaluate.datasets.base import MEASURES
from ttt3r_viewer.settings import JobOptions, NetworkOptions, RuleOptions
from ttt3r_viewer.system.files import write_output
from ttt3r_viewer.system.options import Options, option, option_like
from ttt3r_viewer.system.terminal import line_width, table_lines
from ttt3r_viewer.system.text import printable
from ttt3r_viewer.system.version import __version__

if TYPE_CHECKING:
    from ttt3r_viewer.evaluate.evaluation import EvalConfig, Job
    from ttt3r_viewer.evaluate.records import RecordFolder
    from ttt3r_viewer.evaluate.tables import Mean

REFERENCE = "constant"
"""What ratios are to: the constant rate 1, which is CUT3R, as it is written shortest."""


@dataclass(frozen=True, kw_only=True)
class EvalOptions(Options):
    """What is measured, on what."""

    dataset: str = option(MISSING, "which data set", choices=DATASETS)
    root: Path | None = option(None, "where the data set lies, as published", metavar="PATH")
    sequences: str | None = option(None, "some of its sequences (default: all)", metavar="NAME,...")
    frames: str | None = option(
        None,
        "numbers of frames to measure at, as 50,100 or 50:1000:50, and all "
        "(default: the data set's)",
        metavar="N,...",
    )
    stride: int | None = option(None, "take every N-th frame (default: 1)", metavar="N", above=0)
    measures: str | None = option(
        None, "some of them (default: the data set's)", metavar=",".join(MEASURES)
    )
    output: Path | None = option(
        None, "folder for records, tables and curves (default: evaluation-DATASET)", metavar="DIR"
    )
    speed: bool = option(False, "also measure frame rate and memory, rule by rule")


@dataclass(frozen=True)
class EvalRules(RuleOptions):
    """How the state is updated: each rule is measured."""

    rules: str = option_like(RuleOptions, "rules", default="ttt3r,constant:1.0")


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Measure what is not measured yet, and write tables and curves, also after Ctrl-C."""
    from ttt3r_viewer.evaluate.evaluation import jobs_for
    from ttt3r_viewer.evaluate.records import RecordFolder
    from ttt3r_viewer.evaluate.tables import mean_cells
    from ttt3r_viewer.rules.registry import rule_from_text, text_of
    from ttt3r_viewer.system.jobs import need_ray

    options, spread = given[EvalOptions], given[JobOptions]
    if spread.ray is not None:
        need_ray(spread.ray)
    texts = given[RuleOptions].rules.split(",")
    rules = list(dict.fromkeys(text_of(rule_from_text(one)) for one in texts))
    config, sequences, lengths = _plan(given)
    output = options.output or Path(f"evaluation-{options.dataset}")
    folder = RecordFolder(output, config.on_disk())
    there = set(folder.records)
    quality = jobs_for(config, sequences, rules, lengths, there, speed=False)
    speed = jobs_for(config, sequences, rules, lengths, there, speed=True) if options.speed else []
    skipped: dict[str, str] = {}
    code = 0
    try:
        _measure(spread, quality, speed, folder, skipped, warn)
    except KeyboardInterrupt:
        code = 130
    rows = _write(folder, config, rules, sequences, lengths, skipped)
    if rows:
        headings, lines = mean_cells(rows)
        echo("\n".join(table_lines([headings, *lines], line_width(), left=2)))
    echo(f"wrote {len(folder.records)} records and their tables to {printable(str(output))}")
    # Each sequence's trouble has been shown; where nothing else came of it, all was in vain.
    return code or (0 if folder.records else 2)


def _plan(given: Given) -> "tuple[EvalConfig, list[str], list[str]]":
    """What is fixed, which sequences, and which lengths. Raises `ViewerError`s."""
    from ttt3r_viewer.evaluate.evaluation import EvalConfig, open_dataset

    options, network = given[EvalOptions], given[NetworkOptions]
    root = str(options.root.absolute()) if options.root else ""
    dataset = open_dataset(options.dataset, root, network.weights)
    measures = options.measures.split(",") if options.measures else dataset.info.measures
    if unknown := [one for one in measures if one not in MEASURES]:
        raise SettingsError(f"--measures {unknown[0]}: take some of {', '.join(MEASURES)}")
    config = EvalConfig(
        dataset=options.dataset,
        root=root,
        reset_every=given[RuleOptions].reset_every,
        stride=options.stride or dataset.info.stride,
        measures=tuple(one for one in MEASURES if one in measures),
        **vars(network),
    )
    lengths = lengths_of(options.frames or dataset.info.lengths)
    if "all" in lengths and dataset.info.endless:
        raise SettingsError(f"--frames all: {dataset.info.title} have no end; say a number")
    names = options.sequences.split(",") if options.sequences else None
    return config, dataset.sequences(names), lengths


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


def _measure(
    spread: JobOptions,
    quality: "Sequence[Job]",
    speed: "Sequence[Job]",
    folder: "RecordFolder",
    skipped: dict[str, str],
    warn: Echo,
) -> None:
    """Do all jobs, those for speed one by one once the rest is done; keep what each gives as it
    comes, with a progress bar.
    """
    from ttt3r_viewer.commands.progress import progress_bar
    from ttt3r_viewer.evaluate.evaluation import Outcome, run_job
    from ttt3r_viewer.system.jobs import job_runner

    if not (quality or speed):
        return
    with job_runner(spread.ray, spread.jobs, warn) as run, progress_bar() as progress:
        task = progress.add_task("", total=len(quality) + len(speed))
        for jobs, one_by_one in ((quality, False), (speed, True)):
            with closing(run(run_job, jobs, lost=Outcome, one_by_one=one_by_one)) as outcomes:
                for outcome in outcomes:
                    folder.add(outcome.records)
                    sequence, trouble = outcome.job.sequence, outcome.trouble
                    if trouble and skipped.get(sequence) != trouble:
                        skipped[sequence] = trouble
                        warn(f"{sequence}: {trouble}")
                    progress.update(task, advance=1, description=sequence)


def _write(
    folder: "RecordFolder",
    config: "EvalConfig",
    rules: Sequence[str],
    sequences: Sequence[str],
    lengths: Sequence[str],
    skipped: dict[str, str],
) -> "list[Mean]":
    """Tables and curves of what was asked for, from all records that are there; its means."""
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
        f"{config.dataset}: {len(sequences)} sequences, stride {config.stride}; weights "
        f"{Path(config.weights).name}; ttt3r-viewer {__version__}",
        f"device: {', '.join(devices) or 'none'}",
        *([f"every state was reset after {config.reset_every} frames"] * (config.reset_every > 0)),
        *(f"{one.sequence}, {one.rule}, {one.length}: {one.reason}" for one in asked if one.reason),
    ]
    path = folder.folder
    write_output(path / "evaluation.md", markdown(rows, REFERENCE, skipped, notes).encode())
    write_output(path / "means.csv", means_csv(rows).encode())
    write_output(path / "records.csv", records_csv(asked).encode())
    title = f"{config.dataset}, {len(sequences)} sequences, {Path(config.weights).name}"
    plot_curves(path / "curves.png", rows, rules, title)
    return rows


COMMAND = Command(
    "Measure rules on a data set at growing numbers of frames: camera poses, depth, points, and "
    "with --speed frame rate and memory. A second call continues where the first one ended.",
    (EvalOptions, NetworkOptions, EvalRules, JobOptions),
    execute,
)
