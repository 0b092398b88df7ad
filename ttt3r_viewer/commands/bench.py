"""`ttt3r-view bench`: flags, the variants that they ask for, and where the numbers go."""

from __future__ import annotations

import argparse
import itertools
from dataclasses import fields, replace
from pathlib import Path

from ttt3r_viewer.bench.report import as_json, table
from ttt3r_viewer.bench.turns import measure
from ttt3r_viewer.bench.variant import MADE_UP, Variant, Way
from ttt3r_viewer.commands.parser import Echo
from ttt3r_viewer.errors import OutputError, SettingsError
from ttt3r_viewer.model.config import PRESETS
from ttt3r_viewer.rules.registry import MOST_LANES, rule_from_text
from ttt3r_viewer.settings import Settings, choices_of
from ttt3r_viewer.system.files import write_json
from ttt3r_viewer.weights.fetch import locate

DESCRIPTION = (
    "Measure what a frame costs, stage by stage, on made-up frames: each variant in a process of "
    "its own, taking turns. --rule, --dtype and --lanes take several values with commas; every "
    "combination is a variant."
)
_CHOICES = {one.name: choices_of(one)[1] for one in fields(Settings)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench`."""
    add = parser.add_argument
    add("--preset", choices=tuple(PRESETS), help="sizes of the network (default cut3r-512)")
    add("--weights", metavar="FILE|NAME", help="real weights (default: made-up ones)")
    add("--frames", type=int, default=4, metavar="N", help="of each variant's turn (default 4)")
    add("--rounds", type=int, default=3, metavar="N", help="turns of each variant (default 3)")
    add("--lanes", default="1", metavar="N[,N]", help="lanes under one rule (default 1)")
    add("--rule", default="ttt3r", metavar="RULE[,RULE]", help="update rule (default ttt3r)")
    add("--device", choices=_CHOICES["device"], default="auto", help="where (default auto)")
    add(
        "--dtype",
        default="auto",
        metavar="DTYPE[,DTYPE]",
        help=f"{', '.join(_CHOICES['dtype'])} (default auto)",
    )
    add(
        "--reference",
        action="store_true",
        help="also the plain way: float32, all maps, attention written out, frame by frame",
    )
    add("--compile", action="store_true", help="also with the recurrent step compiled")
    add("--profile", action="store_true", help="also one frame's operators by time")
    add("--json", type=Path, metavar="FILE", help="write every number")
    add("--overwrite", action="store_true", help="replace FILE")


def execute(given: argparse.Namespace, echo: Echo, warn: Echo) -> int:
    """Measure and report; `echo` takes the results, `warn` how far it is.

    Raises `SettingsError`, `RuleError`, `WeightsError` or `OutputError` before anything is started,
    and `ReconstructionError` where a variant cannot go on.
    """
    variants = variants_of(given)
    if given.json is not None:
        check_free(given.json, overwrite=given.overwrite)
    runs = measure(variants, given.rounds, profile=given.profile, echo=warn)
    for run in runs:
        if run.finished.profile:
            echo(f"{run.name}, one frame:\n{run.finished.profile}")
    echo(table(runs))
    if given.json is not None:
        write_json(given.json, as_json(runs, given.rounds))
        echo(f"wrote {given.json}")
    return 0


def variants_of(given: argparse.Namespace) -> list[Variant]:
    """Every combination of rules, dtypes and lanes; then a plain one for each rule and count."""
    for name in ("frames", "rounds"):
        if getattr(given, name) < 1:
            raise SettingsError(f"--{name} {getattr(given, name)}: take 1 or more")
    if given.weights is not None and given.preset is not None:
        raise SettingsError(
            f"--preset {given.preset} with --weights {given.weights}, which has sizes of its own: "
            "leave one out"
        )
    if given.weights is not None:
        locate(given.weights)
    rules, lanes = given.rule.split(","), [_lane_count(one) for one in given.lanes.split(",")]
    for rule in rules:
        rule_from_text(rule)
    dtypes = given.dtype.split(",")
    if unknown := [dtype for dtype in dtypes if dtype not in _CHOICES["dtype"]]:
        raise SettingsError(f"--dtype {','.join(unknown)}: take of {', '.join(_CHOICES['dtype'])}")

    def variant(way: Way, rule: str, count: int, dtype: str) -> Variant:
        return Variant(
            way=way,
            preset=given.preset or "cut3r-512",
            weights=given.weights or MADE_UP,
            rule=rule,
            lanes=count,
            device=given.device,
            dtype=dtype,
            frames=given.frames,
        )

    fast = [variant("fast", *one) for one in itertools.product(rules, lanes, dtypes)]
    plain = [variant("plain", *one, "float32") for one in itertools.product(rules, lanes)]
    compiled = [replace(one, way="compiled") for one in fast]
    return [*fast, *(compiled if given.compile else ()), *(plain if given.reference else ())]


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` where the file could not be written, before hours are spent."""
    if path.exists() and not (overwrite and path.is_file()):
        raise OutputError(f"--json {path} exists: give another name, or --overwrite")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"--json {path}: there is no folder {path.parent}; make it first")


def _lane_count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_LANES:
        raise SettingsError(f"--lanes {text}: take 1 to {MOST_LANES}, several with commas")
    return int(text)
