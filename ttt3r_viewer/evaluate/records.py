"""Results of an evaluation on disk: one JSON file per sequence, rule and number of frames.

evaluation.json                             what was set; another setting needs another folder
records/SEQUENCE/RULE/FRAMES.json           what was measured
records/SEQUENCE/RULE/FRAMES.speed.json     frame rate and memory
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.system.files import ELSEWHERE, output_errors, write_json

FORMAT = 1
ALL = "all"
"""The length of a sequence in full."""


@dataclass(frozen=True)
class Record:
    """What one rule reached on the first frames of one sequence."""

    sequence: str
    rule: str
    length: str
    """The number of frames that was asked for, or `all`."""
    frames: int
    speed: bool
    """Whether it holds frame rate and memory, which have runs of their own."""
    numbers: dict[str, float]
    """By measure."""
    device: str
    reason: str = ""
    """Why numbers are missing."""

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """What no two records of a folder share."""
        return self.sequence, self.rule, self.length, self.speed


class RecordFolder:
    """The folder of one evaluation, opened for going on or made."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Raises `OutputError` where the folder holds something else or another setting."""
        self.folder = folder
        place, head = f"--output {folder}", folder / "evaluation.json"
        wanted = {"format": FORMAT, **settings}
        if head.exists():
            there = _read(head)
            for name in {**wanted, **there}:
                old, new = there.get(name), wanted.get(name)
                if old != new:
                    why = f"holds an evaluation with {name} {old}; this one has {new}"
                    raise OutputError(f"{place}: {why}: {ELSEWHERE}")
        else:
            with output_errors(place, ELSEWHERE):
                folder.mkdir(parents=True, exist_ok=True)
                taken = next(folder.iterdir(), None)
            if taken is not None:
                why = f"not empty (it holds {taken.name}) and no evaluation"
                raise OutputError(f"{place}: {why}; {ELSEWHERE}")
            write_json(head, wanted)
        self.records = {one.key: one for one in self._all()}

    def add(self, records: Iterable[Record]) -> None:
        """Write records, each whole or not at all. Raises `OutputError`."""
        for record in records:
            path = self._path(record)
            with output_errors(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, asdict(record))
            self.records[record.key] = record

    def _path(self, record: Record) -> Path:
        # Quoted names are one part of a path each, whatever they hold, and no two are the same.
        sequence, rule = quote(record.sequence, safe=" "), quote(record.rule, safe=" ")
        name = f"{record.length}{'.speed' * record.speed}.json"
        return self.folder / "records" / sequence / rule / name

    def _all(self) -> Iterable[Record]:
        for path in sorted((self.folder / "records").glob("*/*/*.json")):
            try:
                yield Record(**_read(path))
            except TypeError as error:
                raise OutputError(f"{path}: no record of ours; remove it, and run again") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: damaged ({error}); remove it, and run again") from error
    if not isinstance(value, dict):
        raise OutputError(f"{path}: damaged; remove it, and run again")
    return value
