"""Options as frozen dataclasses: declared once, checked when they are made, and turned into flags
by `commands/parser.py`.
"""

from __future__ import annotations

import functools
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from ttt3r_viewer.errors import SettingsError

_MOST_WHOLE = 1 << 53
"""Larger whole numbers are no settings, and not all of them are floats."""
_LONGEST_SHOWN = 80
_EXPECTED = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


def option(
    default: Any,
    help_text: str,
    *,
    metavar: str | None = None,
    choices: Sequence[str] = (),
    above: float | None = None,
    least: float | None = None,
    is_path: bool = False,
    may_be_empty: bool = False,
    positional: bool = False,
    aliases: tuple[str, ...] = (),
    deprecated: str = "",
) -> Any:
    """A field of an option group; `MISSING` as default makes the option required.

    A number must be larger than `above`, or at least `least`. A text that `is_path` may begin with
    `~`. An option with `choices` takes one of them, also where its type does not list them.
    `aliases` are other names; `deprecated` says what to use instead.
    """
    metadata = {
        "help_text": help_text,
        "metavar": metavar,
        "choices": tuple(choices),
        "above": above,
        "least": least,
        "is_path": is_path,
        "may_be_empty": may_be_empty,
        "positional": positional,
        "aliases": aliases,
        "deprecated": deprecated,
    }
    return field(default=default, metadata=metadata)


def option_like(group: type[Options], name: str, **changes: Any) -> Any:
    """The option of another group, with changes to what `option` takes."""
    (one,) = (one for one in fields(group) if one.name == name)
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
    """An option's plain type (str, int, float, bool or Path), and its choices where it has some."""
    hint = _type_hints(group)[one.name]
    if types.NoneType in typing.get_args(hint):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) is Literal:
        return str, typing.get_args(hint)
    return hint, one.metadata["choices"]


_type_hints = functools.cache(typing.get_type_hints)


def group_from(group: type[Group], values: Mapping[str, Any]) -> Group:
    """The group with those of the values that are its own; a `~` in a path is the user's home,
    which a shell leaves in `--output=~/x`, and a YAML file too.
    """
    chosen: dict[str, Any] = {}
    for one in fields(group):
        if one.name in values:
            value = values[one.name]
            if one.metadata["is_path"] and isinstance(value, str):
                value = os.path.expanduser(value)  # noqa: PTH111 - an unknown user's stays as it is
            chosen[one.name] = value
    return group(**chosen)


def _check(group: type[Options], one: Field[Any], value: Any) -> None:
    kind, choices = kind_of(group, one)
    least, above = one.metadata["least"], one.metadata["above"]
    given = f"{flag(one.name)} {shown(value)}"
    if isinstance(value, int) and abs(value) > _MOST_WHOLE:
        raise SettingsError(f"{flag(one.name)}: a number of {value.bit_length()} bits: take less")
    if choices and value not in choices:
        raise SettingsError(f"{given}: take one of {', '.join(choices)}")
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        text = repr(value)[:_LONGEST_SHOWN] if isinstance(value, str) else shown(value)
        raise SettingsError(f"{flag(one.name)} {text}: wanted {_EXPECTED[kind]}")
    if least is not None and not least <= value < math.inf:
        raise SettingsError(f"{given}: take {least} or more")
    if above is not None and not above < value < math.inf:
        raise SettingsError(f"{given}: take a number above {above}")
    if value == "" and not one.metadata["may_be_empty"]:
        raise SettingsError(f"{flag(one.name)} is empty: give a value, or leave it out")


def shown(value: Any) -> str:
    """A value out of a file, fit for a line of text."""
    try:
        return str(value)[:_LONGEST_SHOWN]
    except ValueError:
        return "a very large number"  # Python writes no whole number of over 4300 digits
