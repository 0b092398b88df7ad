"""Tables as text (CSV in full precision, Markdown to read), and the medians that they show."""

import csv
import io
import math
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np

MISSING = "–"  # noqa: RUF001 - a dash as wide as a digit, as tables have it
RESAMPLES = 2000


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median of numbers, and the ends of its 95 % interval.

    The ends are the 2.5 and 97.5 percentiles of the medians of seeded resamples (bootstrap).
    """
    numbers = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(0, len(numbers), (RESAMPLES, len(numbers)))
    medians = np.median(numbers[drawn], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(numbers)), float(low), float(high)


def is_missing(cell: object) -> bool:
    """Whether a cell holds no number: None or NaN."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Rows under their columns' names; cells without a number are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if is_missing(cell) else cell for cell in row] for row in rows)
    return text.getvalue()


def markdown_table(
    headings: Sequence[str], rows: Iterable[Iterable[str]], *, left: Collection[int]
) -> list[str]:
    """Lines of a table; the columns of these numbers are aligned to the left, all others right."""
    sides = ("---" if column in left else "---:" for column in range(len(headings)))
    lines = (headings, sides, *rows)
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def markdown_text(text: str) -> str:
    """Put text of unknown origin on one line in which nothing is HTML or a link."""
    return re.sub(r"[\\`<\[\]]", r"\\\g<0>", " ".join(text.split()))
