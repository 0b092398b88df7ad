"""What was measured, as a table for people and as JSON for programs (docs/benchmarks.md)."""

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np

from ttt3r_viewer.bench.variant import MADE_UP, STAGES, Measured
from ttt3r_viewer.system.terminal import fitted, line_width, table_lines
from ttt3r_viewer.system.version import __version__

FORMAT = "ttt3r-viewer bench 1"
"""Goes up where a field of the JSON changes its meaning."""
MISSING = "-"


def base_of(runs: Sequence[Measured]) -> Measured:
    """What the others are compared with: a plain one, else the first."""
    return next((run for run in runs if run.variant.way == "plain"), runs[0])


def speeds(run: Measured, base: Measured) -> list[float]:
    """How many times as fast a run is, round by round."""
    return [theirs / own for theirs, own in zip(base.turn_sec, run.turn_sec, strict=True)]


def peak_share(run: Measured) -> float:
    """Operations per second as it ran, as a share of what a matrix product reached."""
    per_sec = run.facts.flop_per_frame / median(run.turn_sec)
    return per_sec / run.facts.peak_flop_per_sec


def table(runs: Sequence[Measured]) -> str:
    """One column per variant: stages, rate, memory, operations, speed."""
    base = base_of(runs)
    rows: list[tuple[str, Callable[[Measured], str]]] = [
        *((stage, lambda run, stage=stage: _stage(run, stage)) for stage in STAGES),
        ("one by one", lambda run: spread([sum(one.values()) for one in run.stages])),
        ("as it runs", lambda run: spread(run.frame_sec)),
        ("frames per second", lambda run: f"{1 / median(run.turn_sec):.3g}"),
        ("host memory", lambda run: _gigabytes(run.facts.host_peak_bytes)),
        ("device memory", lambda run: _gigabytes(run.facts.device_peak_bytes)),
        ("TFLOP per frame", lambda run: f"{run.facts.flop_per_frame / 1e12:.3g}"),
        ("device's TFLOP/s", lambda run: f"{run.facts.peak_flop_per_sec / 1e12:.3g}"),
        ("share of it", lambda run: f"{peak_share(run):.0%}"),
        (f"speed ({base.name} = 1)", lambda run: _ratio(speeds(run, base))),
    ]
    cells = [["", *(run.name for run in runs)], *([name, *map(of, runs)] for name, of in rows)]
    width = line_width()
    heading = (part for line in _heading(runs) for part in fitted(line, width))
    return "\n".join([*heading, "", *table_lines(cells, width)])


def spread(seconds: Sequence[float]) -> str:
    """Median and percentiles 10 and 90, in milliseconds."""
    low, middle, high = (_digits(1000 * one) for one in np.percentile(seconds, (10, 50, 90)))
    return f"{middle} ({low} - {high})"


def as_json(runs: Sequence[Measured], rounds: int) -> dict[str, Any]:
    """Everything that was measured, down to the single frame."""
    base = base_of(runs)
    return {
        "format": FORMAT,
        "version": __version__,
        "torch": runs[0].facts.torch,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv[1:],
        "rounds": rounds,
        "compared_with": base.name,
        "variants": [_variant_json(run, speeds(run, base)) for run in runs],
    }


def _variant_json(run: Measured, ratios: list[float]) -> dict[str, Any]:
    facts = asdict(run.facts)
    del facts["torch"]  # that of all
    profile = facts.pop("profile")
    return {
        "name": run.name,
        **asdict(run.variant),
        **facts,
        "turns": [
            {"frame_sec": list(turn.frame_sec), "stage_sec": list(turn.stages)}
            for turn in run.turns
        ],
        "frames_per_second": 1 / median(run.turn_sec),
        "share_of_peak": peak_share(run),
        "speed": median(ratios),
        "speed_of_rounds": ratios,
        **({"profile": profile} if profile else {}),
    }


def _heading(runs: Sequence[Measured]) -> tuple[str, str]:
    first = runs[0]
    height, width = first.facts.image_height, first.facts.image_width
    weights = first.variant.weights
    what = first.variant.preset if weights == MADE_UP else weights
    made_up = ", made-up weights" if weights == MADE_UP else ""
    return (
        f"{what}{made_up}, {width}x{height}; {first.facts.device} ({os.cpu_count()} cores), "
        f"torch {first.facts.torch}, {first.facts.threads} threads",
        f"milliseconds per frame: median (10 % - 90 %) of {len(first.frame_sec)} frames in "
        f"{len(first.turns)} rounds; memory is each process's own peak",
    )


def _stage(run: Measured, stage: str) -> str:
    """Its spread; 0 in a frame that had no such stage."""
    return spread([one.get(stage, 0.0) for one in run.stages])


def _ratio(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.3f} ({min(ratios):.3f} - {max(ratios):.3f})"


def _gigabytes(count: int | None) -> str:
    return MISSING if count is None else f"{count / 1e9:.2f} GB"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
