"""Tables over the sequences of a data set: every record, and the mean of each rule and length."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from ttt3r_viewer.evaluate.records import ALL, Record
from ttt3r_viewer.metrics.text_tables import MISSING, csv_text, markdown_table, median_interval

HEADINGS = {
    "ate_m": "ATE (m)",
    "ate_metric_m": "ATE, own metres (m)",
    "rpe_translation_m": "RPE t (m)",
    "rpe_rotation_deg": "RPE r (deg)",
    "path_m": "path (m)",
    "abs_rel_aligned": "AbsRel",
    "delta_aligned": "delta < 1.25",
    "abs_rel_metric": "AbsRel, own metres",
    "delta_metric": "delta < 1.25, own metres",
    "accuracy_mean_m": "Acc mean (m)",
    "accuracy_median_m": "Acc median (m)",
    "completeness_mean_m": "Comp mean (m)",
    "completeness_median_m": "Comp median (m)",
    "normal_consistency_mean": "NC mean",
    "normal_consistency_median": "NC median",
    "fps": "frames per second",
    "peak_memory_mb": "peak memory (MB)",
}
"""Measures in the order of their columns."""
NO_RATIO = frozenset({"path_m", "peak_memory_mb", "fps"})


@dataclass(frozen=True)
class Mean:
    """One measure of one rule and length, over sequences."""

    rule: str
    length: str
    measure: str
    sequences: int
    mean: float
    median: float
    ratio: float | None = None
    """Median over sequences of this rule / the reference rule; None for the reference itself."""
    ratio_low: float | None = None
    ratio_high: float | None = None


def length_order(length: str) -> tuple[bool, int]:
    """Key that sorts lengths: numbers rising, then `all`."""
    return (True, 0) if length == ALL else (False, int(length))


def means(records: Sequence[Record], rules: Sequence[str], reference: str) -> list[Mean]:
    """One per length, rule and measure, in this order; rules in the order that is given.

    Ratios are paired by sequence: only those that both rules have count.
    """
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    for record in records:
        for measure, number in record.numbers.items():
            values.setdefault((record.length, record.rule, measure), {})[record.sequence] = number
    found = []
    for length in sorted({record.length for record in records}, key=length_order):
        for rule in rules:
            for measure in HEADINGS:
                own = values.get((length, rule, measure))
                if own is None:
                    continue
                beside = values.get((length, reference, measure), {})
                pairs = [own[one] / beside[one] for one in own if beside.get(one, 0) > 0]
                compared = rule != reference and pairs and measure not in NO_RATIO
                ratio = median_interval(pairs) if compared else (None, None, None)
                numbers = list(own.values())
                middle = float(np.median(numbers))
                mean = float(np.mean(numbers))
                found.append(Mean(rule, length, measure, len(own), mean, middle, *ratio))
    return found


def records_csv(records: Sequence[Record]) -> str:
    """Every record in full precision; a cell is empty where there is no number."""
    rows = sorted(records, key=lambda one: (one.sequence, one.rule, length_order(one.length)))
    columns = ("sequence", "rule", "length", "frames", "speed", "device", "reason")
    cells = (
        [*(getattr(row, column) for column in columns), *map(row.numbers.get, HEADINGS)]
        for row in rows
    )
    return csv_text((*columns, *HEADINGS), cells)


def means_csv(rows: Sequence[Mean]) -> str:
    """The means, medians and ratios in full precision."""
    columns = tuple(one.name for one in fields(Mean))
    return csv_text(columns, (astuple(row) for row in rows))


def markdown(
    rows: Sequence[Mean], reference: str, skipped: Mapping[str, str], notes: Sequence[str]
) -> str:
    """Tables of the means and of the ratios, notes, and sequences that were left out, with why."""
    text = ["Mean over sequences.", "", *markdown_table(*mean_cells(rows), left={1})]
    if ratios := [row for row in rows if row.ratio is not None]:
        what = f"ratio to `{reference}`, with a 95 % bootstrap interval"
        form = "{0.ratio:.3f} [{0.ratio_low:.3f}, {0.ratio_high:.3f}]"
        ratio_cells = _cells(ratios, form.format)
        text += ["", f"Median over sequences of the {what}.", ""]
        text += markdown_table(*ratio_cells, left={1})
    items = [*notes, *(f"left out: {name}: {reason}" for name, reason in skipped.items())]
    text += ["", *(f"* {' '.join(item.split())}" for item in items)] if items else []
    return "\n".join(text) + "\n"


def mean_cells(rows: Sequence[Mean]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of the means: one line per length and rule, a column per measure."""
    return _cells(rows, lambda row: f"{row.mean:.4g}", counted=True)


def _cells(
    rows: Sequence[Mean], text: Callable[[Mean], str], *, counted: bool = False
) -> tuple[list[str], list[list[str]]]:
    """A line per length and rule, a column per measure; `counted`: and one of the sequences."""
    shown = [measure for measure in HEADINGS if any(row.measure == measure for row in rows)]
    groups: dict[tuple[str, str], dict[str, Mean]] = {}
    for row in rows:
        groups.setdefault((row.length, row.rule), {})[row.measure] = row
    lines: list[list[str]] = []
    for (length, rule), own in groups.items():
        count = [str(max(one.sequences for one in own.values()))] if counted else []
        numbers = (text(own[one]) if one in own else MISSING for one in shown)
        lines.append([length, rule, *count, *numbers])
    headings = ["frames", "rule", *["sequences"] * counted, *(HEADINGS[one] for one in shown)]
    return headings, lines
