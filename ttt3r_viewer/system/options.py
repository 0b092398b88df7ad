"""Options as frozen dataclasses: declared once, checked when they are made, and turned into flags
by `commands/parser.py`.
"""

import functools
import math
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, TypeVar

from ttt3r_viewer.errors import SettingsError

DeviceName = str
"""What a network can be asked to run on: auto, cuda, cuda:N, mps or cpu."""
DEVICE_PATTERN = (r"auto|cuda(:\d{1,3})?|mps|cpu", "auto, cuda, cuda:N, mps, cpu")
DtypeName = Literal["auto", "float32", "bfloat16"]
"""What it can be asked to compute in."""
_MOST_WHOLE = 1 << 53
"""Larger whole numbers are no settings, and not all of them are floats."""
_LONGEST_SHOWN = 80
_EXPECTED = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def option(default: Any, help_text: str, **traits: Any) -> Any:
    """A field of an option group; `MISSING` as default makes the option required.

    Traits: `metavar`; `choices`, where the type does not list them, also a table that may grow;
    `pattern`, a regular expression for a text, and what it admits in words;
    `above` or `least`, the lower bound of a number without or with itself; `is_path`, a text that
    may begin with `~`; `may_be_empty`; `positional`; `aliases`, other names; `deprecated`, what to
    use instead.
    """
    return field(default=default, metadata={"help_text": help_text, **traits})


def option_like(group: "type[Options]", name: str, **changes: Any) -> Any:
    """The option of another group, with changes to what `option` takes."""
    one = group.__dataclass_fields__[name]
    default = changes.pop("default", one.default)
    return field(default=default, metadata={**one.metadata, **changes})


@dataclass(frozen=True)
class Options:
    """A group of options. Raises `SettingsError` for a value of another type or out of range."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None or one.default is not None:
                _check(type(self), one, value)


Group = TypeVar("Group", bound=Options)


def flag(name: str) -> str:
    """The command-line flag of an option."""
    return "--" + name.replace("_", "-")


def kind_of(group: type[Options], one: Field[Any]) -> tuple[Any, tuple[str, ...]]:
    """An option's plain type (str, int, float, bool or Path), and its choices, if any."""
    hint = _type_hints(group)[one.name]
    if types.NoneType in typing.get_args(hint):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) is Literal:
        return str, typing.get_args(hint)
    return hint, tuple(one.metadata.get("choices", ()))


_type_hints = functools.cache(typing.get_type_hints)


def group_from(group: type[Group], values: Mapping[str, Any]) -> Group:
    """The group with those of the values that are its own; a `~` in a path is the user's home,
    which a shell leaves in `--output=~/x`, and a YAML file too.
    """
    chosen = {one.name: values[one.name] for one in fields(group) if one.name in values}
    for one in fields(group):
        if one.metadata.get("is_path") and isinstance(text := chosen.get(one.name), str):
            chosen[one.name] = os.path.expanduser(text)  # noqa: PTH111 - leaves unknown users
    return group(**chosen)


def _check(group: type[Options], one: Field[Any], value: Any) -> None:
    kind, choices = kind_of(group, one)
    least, above = one.metadata.get("least"), one.metadata.get("above")
    given = f"{flag(one.name)} {shown(value)}"
    if isinstance(value, int) and abs(value) > _MOST_WHOLE:
        raise SettingsError(f"{flag(one.name)}: a number of {value.bit_length()} bits: take less")
    if choices and value not in choices:
        raise SettingsError(f"{given}: take one of {', '.join(choices)}")
    pattern = one.metadata.get("pattern")
    if pattern and not re.fullmatch(pattern[0], shown(value)):
        raise SettingsError(f"{given}: take one of {pattern[1]}")
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        text = repr(value)[:_LONGEST_SHOWN] if isinstance(value, str) else shown(value)
        raise SettingsError(f"{flag(one.name)} {text}: wanted {_EXPECTED.get(kind, 'a path')}")
    if least is not None and not least <= value < math.inf:
        raise SettingsError(f"{given}: take {least} or more")
    if above is not None and not above < value < math.inf:
        raise SettingsError(f"{given}: take a number above {above}")
    if value == "" and not one.metadata.get("may_be_empty"):
        raise SettingsError(f"{flag(one.name)} is empty: give a value, or leave it out")


def shown(value: Any) -> str:
    """A value out of a file, fit for a line of text."""
    try:
        return str(value)[:_LONGEST_SHOWN]
    except ValueError:
        return "a very large number"  # Python writes no whole number of over 4300 digits
