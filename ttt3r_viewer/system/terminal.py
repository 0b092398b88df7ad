"""Lines that fit the terminal, and the word that was meant.

A pipe or a file has no width: there a line stays whole for the program that reads it, unless
`COLUMNS` says otherwise.
"""

import difflib
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence

NARROWEST = 24
"""Narrower terminals break lines themselves."""
GAP = 2
"""Spaces between the columns of a table."""


def line_width() -> int | None:
    """How many columns a line may have; None where it may be of any length."""
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()):
        return None
    return max(shutil.get_terminal_size().columns, NARROWEST)


def fitted(line: str, width: int | None, indent: int = 0) -> list[str]:
    """A line in pieces that fit; all but the first begin `indent` columns from the left."""
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False)


def labelled(label: str, text: str, indent: int, width: int | None) -> list[str]:
    """Lines of a text beside its label, which takes `indent` columns; in a narrow terminal the
    lines that follow begin further left.
    """
    line = f"{label:<{indent - 1}} {text}".rstrip()
    return fitted(line, width, indent if width is not None and width >= 3 * indent else 2)


def table_lines(rows: Sequence[Sequence[str]], width: int | None, *, left: int = 1) -> list[str]:
    """Aligned lines of a table, its first `left` columns to the left, the others to the right.

    Columns for which the line has no room follow in blocks of their own, each beside the first
    ones, of which a long name is then cut.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widest = max(widths[left:], default=0)
    if width is not None:
        room = (width - widest) // left - GAP
        widths[:left] = [min(one, max(room, NARROWEST // 3)) for one in widths[:left]]
    first = sum(widths[:left]) + GAP * (left - 1)
    blocks: list[list[int]] = [[]]
    used = first
    for column in range(left, len(widths)):
        if width is not None and blocks[-1] and used + GAP + widths[column] > width:
            blocks.append([])
            used = first
        blocks[-1].append(column)
        used += GAP + widths[column]
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        for row in rows:
            lead = (_cut(row[k], widths[k]).ljust(widths[k]) for k in range(left))
            others = (row[k].rjust(widths[k]) for k in block)
            lines.append((" " * GAP).join((*lead, *others)).rstrip())
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def did_you_mean(word: str, known: Collection[str]) -> str:
    """`: did you mean open?` after a word that is close to a known one; else empty."""
    bare = {name.lstrip("-"): name for name in known}
    close = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.65)
    return f": did you mean {bare[close[0]]}?" if close else ""
