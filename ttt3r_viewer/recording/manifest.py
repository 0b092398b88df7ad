"""The manifest, archive.json: what a recording says of its run beside the frames."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.system.version import PROGRAM, __version__
from ttt3r_viewer.types import ParameterInfo, RuleInfo, Status

Plain = TypeVar("Plain", dict, list)
T = TypeVar("T")
FORMAT = "ttt3r-viewer archive"
VERSION = 1
"""Of the folder; a reader refuses what is newer, and a new kind of array needs no new one."""
_MOST_WHOLE = 1 << 53
MOST_FRAMES = 1 << 40
"""Far above any run; everything that counts frames keeps numbers below it exactly."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """What archive.json says: all that the page shows of a run beside its frames."""

    run: int
    """A random number that the records repeat, so that another run's are not taken for its own."""
    source: str
    settings: Mapping[str, Any]
    """Every setting of the run, as plain values."""
    status: Status
    """As the run began, and once it has ended as it ended."""
    frames: int | None = None
    """Number of recorded frames; None where the run did not come to its end."""
    trouble: str = ""
    """Why frames are missing at the end."""
    started: str = ""
    """When the run began, in ISO 8601, UTC; empty where that is not known."""
    program: str = PROGRAM

    @property
    def started_text(self) -> str:
        """When the run began, as users read it; empty where that is not known."""
        return self.started.replace("T", " ").replace("+00:00", " UTC")

    def to_json(self) -> bytes:
        """Return the content of archive.json."""
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
    def from_json(data: bytes) -> "Manifest":
        """Read archive.json. Raises `RecordingError` where it is of a newer version, or none."""
        with understood("it is damaged"):
            values = json.loads(data)
            if values["format"] != FORMAT:
                raise RecordingError("it describes something else than a recording")
            if values["version"] > VERSION:
                raise NewerRecordingError(
                    f"recording of format version {values['version']}, and this is {__version__}, "
                    f"which reads up to {VERSION}: take the ttt3r-viewer that wrote it "
                    f"({_line(values['program'])}), or a newer one"
                )
            frames = values["frames"]
            return Manifest(
                run=int(text(values["run"]), 16),
                source=_line(values["source"]),
                settings=values_of(values["settings"], dict),
                status=_status(values["status"]),
                frames=None if frames is None else whole(frames),
                trouble=_line(values["trouble"]),
                started=_line(values["started"]),
                program=_line(values["program"]),
            )


class NewerRecordingError(RecordingError):
    """A recording was written by a newer program."""


def _status(values: Mapping[str, Any]) -> Status:
    known = {one.name for one in fields(Status)}
    kept = {name: value for name, value in values.items() if name in known}
    lanes, known_rules = _rules(values["lanes"]), _rules(values["known_rules"])
    return _checked(replace(Status(**kept), lanes=lanes, known_rules=known_rules))


def _rules(values: Sequence[Mapping[str, Any]]) -> tuple[RuleInfo, ...]:
    rules = []
    for one in values_of(values, list):
        parameters = tuple(_checked(ParameterInfo(**each)) for each in one["parameters"])
        rules.append(_checked(RuleInfo(**{**one, "parameters": parameters})))
    return tuple(rules)


Noun = TypeVar("Noun", Status, RuleInfo, ParameterInfo)


def _checked(noun: Noun) -> Noun:
    """The same, if each plain value in it is of the kind that its field has. Raises `TypeError`."""
    for name, hint in get_type_hints(type(noun)).items():
        value = getattr(noun, name)
        choices = get_args(hint)
        if get_origin(hint) is Literal:
            fits = isinstance(value, str) and value in choices
        elif get_origin(hint) is tuple:
            continue  # made by `_rules`
        else:
            kinds = choices or (hint,)
            number = float in kinds and type(value) is int and abs(value) < _MOST_WHOLE
            fits = number or type(value) in kinds
        if not fits or (type(value) is int and abs(value) >= _MOST_WHOLE):
            raise TypeError(f"{name} {repr(value)[:40]}")
    return noun


def _line(value: Any) -> str:
    """A text as one line."""
    return " ".join(text(value).split())


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn what wrong values lead to into a `RecordingError` that says `what`, and the mistake."""
    try:
        yield
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise RecordingError(f"{what} ({' '.join(repr(error).split())[:200]})") from error


# Values out of JSON, each checked to be of the kind that is needed. All raise `TypeError`.


def number(value: Any) -> float:
    """A number, which need not be finite. Raises `OverflowError` beyond all floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{_shown(value)} is no number")
    return float(value)


def whole(value: Any) -> int:
    """A whole number that could count frames or pixels."""
    if type(value) is not int or not 0 <= value < MOST_FRAMES:
        raise TypeError(f"{_shown(value)} is no whole number in reach")
    return value


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise TypeError(f"{_shown(value)} is no text")
    return value


def values_of(value: Any, kind: type[Plain]) -> Plain:
    """An object or a list."""
    if type(value) is not kind:
        raise TypeError(f"{_shown(value)} is no {kind.__name__}")
    return value


def pair(value: Any, make: Callable[[Any], T]) -> tuple[T, T]:
    """Two values, each made by `make`. Raises `ValueError` where they are not two."""
    first, second = value
    return make(first), make(second)


def _shown(value: Any) -> str:
    return repr(value)[:40]
