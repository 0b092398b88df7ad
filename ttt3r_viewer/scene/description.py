"""What archive.json says: the run that an archive is of, beside its frames."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ttt3r_viewer import __version__
from ttt3r_viewer.errors import ArchiveError
from ttt3r_viewer.types import ParameterInfo, RuleInfo, Status

FORMAT = "ttt3r-viewer archive"
VERSION = 1
"""Of the folder; a reader refuses what is newer, and a new kind of array needs no new one."""


@dataclass(frozen=True, eq=False)
class Description:
    """What archive.json says: all that the page shows of a run beside its frames."""

    run: int
    """A random number that the records repeat, so that none of another run is taken for its own."""
    source: str
    settings: Mapping[str, Any]
    """Every setting of the run, as plain values."""
    status: Status
    """As the run began, and once it has ended as it ended."""
    frames: int | None = None
    """How many were recorded; None where the run did not come to say so."""
    trouble: str = ""
    """Why frames are missing at the end."""
    started: str = ""
    """When the run began, in ISO 8601, UTC; empty where that is not known."""
    program: str = f"ttt3r-viewer {__version__}"

    def to_json(self) -> bytes:
        """Give the content of archive.json."""
        head = {"format": FORMAT, "version": VERSION, "program": self.program}
        body = {
            "run": f"{self.run:016x}",
            "source": self.source,
            "started": self.started,
            "settings": dict(self.settings),
            "status": asdict(self.status),
            "frames": self.frames,
            "trouble": self.trouble,
        }
        return json.dumps(head | body, indent=1).encode("ascii")

    @staticmethod
    def from_json(data: bytes) -> Description:
        """Read archive.json. Raises `ArchiveError` where it is of a newer version, or none."""
        try:
            values = json.loads(data)
            if values["format"] != FORMAT:
                raise ArchiveError("it describes something else than an archive of frames")
            if values["version"] > VERSION:
                raise NewerArchiveError(
                    f"archive of format version {values['version']}, and this is {__version__}, "
                    f"which reads up to {VERSION}: take the ttt3r-viewer that wrote it "
                    f"({values['program']}), or a newer one"
                )
            return Description(
                run=int(values["run"], 16),
                source=values["source"],
                settings=values["settings"],
                status=_status(values["status"]),
                frames=values["frames"],
                trouble=values["trouble"],
                started=values["started"],
                program=values["program"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArchiveError(f"it is damaged ({' '.join(repr(error).split())})") from error


class NewerArchiveError(ArchiveError):
    """An archive was written by a newer program."""


def _status(values: Mapping[str, Any]) -> Status:
    known = {one.name for one in fields(Status)}
    status = Status(**{name: value for name, value in values.items() if name in known})
    return replace(status, lanes=_rules(values["lanes"]), known_rules=_rules(values["known_rules"]))


def _rules(values: Sequence[Mapping[str, Any]]) -> tuple[RuleInfo, ...]:
    return tuple(
        RuleInfo(**{**one, "parameters": tuple(ParameterInfo(**p) for p in one["parameters"])})
        for one in values
    )
