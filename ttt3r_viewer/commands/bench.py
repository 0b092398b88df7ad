"""`ttt3r-view bench`: flags, the variants that they ask for, and where the numbers go."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ttt3r_viewer.bench.report import as_json, table
from ttt3r_viewer.bench.turns import measure
from ttt3r_viewer.bench.variant import MADE_UP, Variant, Way
from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.errors import OutputError, SettingsError
from ttt3r_viewer.model.config import PRESETS
from ttt3r_viewer.rules.registry import MOST_LANES, rule_from_text
from ttt3r_viewer.settings import NetworkOptions, RuleOptions
from ttt3r_viewer.system.files import write_json
from ttt3r_viewer.system.options import DeviceName, DtypeName, Options, option, option_like
from ttt3r_viewer.weights.fetch import locate

_DTYPES = get_args(DtypeName)


@dataclass(frozen=True)
class BenchOptions(Options):
    """What is measured."""

    preset: str | None = option(
        None, "sizes of the network (default cut3r-512)", choices=tuple(PRESETS)
    )
    weights: str | None = option_like(
        NetworkOptions, "weights", default=None, help_text="real weights (default: made-up ones)"
    )
    frames: int = option(4, "of each variant's turn", metavar="N", above=0)
    rounds: int = option(3, "turns of each variant", metavar="N", above=0)
    lanes: str = option("1", "lanes under one rule", metavar="N[,N]")
    rules: str = option_like(RuleOptions, "rules", help_text="update rules, one for each variant")
    device: DeviceName = option_like(NetworkOptions, "device")
    dtype: str = option("auto", ", ".join(_DTYPES), metavar="DTYPE[,DTYPE]")
    reference: bool = option(
        False, "also the plain way: float32, all maps, attention written out, frame by frame"
    )
    compile: bool = option(False, "also with the recurrent step compiled")
    profile: bool = option(False, "also one frame's operators by time")
    json: Path | None = option(None, "write every number", metavar="FILE")
    overwrite: bool = option(False, "replace FILE")


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Measure and report; `echo` takes the results, `warn` how far it is.

    Raises `SettingsError`, `RuleError`, `WeightsError` or `OutputError` before anything is started,
    and `ReconstructionError` where a variant fails.
    """
    options = given[BenchOptions]
    variants = _variants_of(options)
    if options.json is not None:
        _check_free(options.json, overwrite=options.overwrite)
    runs = measure(variants, options.rounds, profile=options.profile, echo=warn)
    for run in runs:
        if run.facts.profile:
            echo(f"{run.name}, one frame:\n{run.facts.profile}")
    echo(table(runs))
    if options.json is not None:
        write_json(options.json, as_json(runs, options.rounds))
        echo(f"wrote {options.json}")
    return 0


def _variants_of(given: BenchOptions) -> list[Variant]:
    """Every combination of rules, dtypes and lanes; then a plain one for each rule and count."""
    if given.weights is not None and given.preset is not None:
        raise SettingsError(
            f"--preset {given.preset} with --weights {given.weights}, which has sizes of its own: "
            "leave one out"
        )
    if given.weights is not None:
        locate(given.weights)
    rules, dtypes = given.rules.split(","), given.dtype.split(",")
    lanes = [_lane_count(one) for one in given.lanes.split(",")]
    for rule in rules:
        rule_from_text(rule)
    if unknown := [dtype for dtype in dtypes if dtype not in _DTYPES]:
        raise SettingsError(f"--dtype {','.join(unknown)}: take of {', '.join(_DTYPES)}")

    def variants(way: Way, *dtypes: Any) -> list[Variant]:
        network = given.preset or "cut3r-512", given.weights or MADE_UP
        return [
            Variant(way, *network, rule, count, given.device, dtype, given.frames)
            for rule, count, dtype in itertools.product(rules, lanes, dtypes)
        ]

    return [
        *variants("fast", *dtypes),
        *(variants("compiled", *dtypes) if given.compile else ()),
        *(variants("plain", "float32") if given.reference else ()),
    ]


def _check_free(path: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` where the file could not be written, before hours are spent."""
    if path.exists() and not (overwrite and path.is_file()):
        raise OutputError(f"--json {path} exists: give another name, or --overwrite")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"--json {path}: there is no folder {path.parent}; make it first")


def _lane_count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_LANES:
        raise SettingsError(f"--lanes {text}: take 1 to {MOST_LANES}, several with commas")
    return int(text)


COMMAND = Command(
    "Measure what a frame costs, stage by stage, on made-up frames: each variant in a process of "
    "its own, taking turns. --rules, --dtype and --lanes take several values with commas; every "
    "combination is a variant.",
    (BenchOptions,),
    execute,
)
