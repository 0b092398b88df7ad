"""Text to show, log or write, without passwords and printable; and text with numbers to read."""

import re
from collections.abc import Sequence

HIDDEN = "***"


class Unmasked(str):
    """A line whose secret the user needs: the link to their own page."""

    __slots__ = ()


_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>\S*)")
_SECRET_NAME = "user|usr|login|pass|pwd|token|key|secret|auth|sig|cred"
_SECRET_VALUE = re.compile(rf"(?P<name>[?&;][^=&;\s]*(?:{_SECRET_NAME})[^=&;\s]*=)[^&;\s]*", re.I)


def hide_passwords(text: str) -> str:
    """Put *** for the user and password of every address in a text, and for what follows a name
    such as `token=` or `pwd=` in its query.

    A password may hold `@`, `/`, `?` or `#` although none of them should stand there unescaped:
    rather too much is hidden than too little.
    """
    return _ADDRESS.sub(_hidden, text)


def _hidden(match: re.Match[str]) -> str:
    rest = match["rest"]
    _, at, after = rest.rpartition("@")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # Where neither `@` nor `:` comes before the path, an `@` further on belongs to the path.
    if at and ("@" in host or ":" in host):
        rest = f"{HIDDEN}@{after}"
    return match["scheme"] + _SECRET_VALUE.sub(rf"\g<name>{HIDDEN}", rest)


_CONTROL_CODES = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"
}


def printable(text: str) -> str:
    """The text with bytes that are no UTF-8 (of a file name, say) written out as \\udcXX, and what
    controls a terminal as \\x1b and the like.
    """
    return text.encode("utf-8", "backslashreplace").decode().translate(_CONTROL_CODES)


def some_of(names: Sequence[str], most: int) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def last_part(path: str) -> str:
    """What follows the last `/` or `\\` of a path as any system writes it."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def input_name(given: str) -> str:
    """What an input is called in a title: an address without its secrets, else the last part of a
    path, as of `videos/desk.mp4`; `demo:loop` as it is.
    """
    name = given if "://" in given else last_part(given.rstrip("/\\")) or given
    return printable(hide_passwords(name))


def numbered_fields(text: str, most_splits: int = -1) -> list[tuple[int, list[str]]]:
    """Line numbers from 1 and the fields of every line that is neither empty nor a `#` comment."""
    lines = enumerate(text.split("\n"), start=1)
    numbered = [(number, line.strip().split(maxsplit=most_splits)) for number, line in lines]
    return [(number, fields) for number, fields in numbered if fields and fields[0][0] != "#"]


_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def number_in(text: str) -> float:
    """The decimal number that a text spells, infinite if it is beyond all floats; else NaN."""
    return float(text if _NUMBER.fullmatch(text) else "nan")
