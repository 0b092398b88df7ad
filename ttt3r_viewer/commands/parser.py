"""Makes the flags of every command from its option groups, and the groups from the flags."""

import argparse
import itertools
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.settings import (
    GROUPS,
    Settings,
    by_known_name,
    completed,
    read_config,
    settings_from,
)
from ttt3r_viewer.system.options import Group, Options, flag, group_from, kind_of
from ttt3r_viewer.system.terminal import did_you_mean, labelled
from ttt3r_viewer.system.version import PROGRAM

Echo = Callable[[str], None]
"""Takes a line for the user."""

OLD_NAMES = {
    "--seq_path": "--input",
    "--model_path": "--weights",
    "--model_update_type": "--rules",
    "--frame_interval": "--stride",
    "--reset_interval": "--reset-every",
    "--vis_threshold": "the slider 'Hide least sure (%)' in the page, a percentile",
}
"""Flags of the published demos; each gets an error that names ours."""

_INPUTS = {"input", "demo"}
"""Two names of one thing, of which a flag wins over the other in a file."""


class Given:
    """The option groups of a command, as they were given."""

    def __init__(self, groups: Iterable[Options], several: Mapping[str, list[str]]) -> None:
        self._groups = tuple(groups)
        self._several = several

    def __getitem__(self, kind: type[Group]) -> Group:
        """The group of that class; its defaults where the command does not take it."""
        return next((one for one in self._groups if isinstance(one, kind)), None) or kind()

    def all_of(self, name: str) -> list[str]:
        """Every value of a flag that takes several."""
        return self._several.get(name, [])

    @property
    def settings(self) -> Settings:
        """The groups of a run and its page."""
        return Settings(*(self[kind] for kind in GROUPS))


@dataclass(frozen=True)
class Command:
    """A command: what it does, and which options it takes."""

    description: str
    options: tuple[type[Options], ...] = ()
    execute: Callable[[Given, Echo, Echo], int] | None = None
    """Returns the exit code and raises a `ViewerError` of one line. The first function takes a line
    of the answer, the second a remark beside it. None where the parts execute.
    """
    words: Mapping[str, str] = field(default_factory=dict)
    """What the help lists before the flags, under `words_title`: names and what each is."""
    words_title: str = ""
    remark: str = ""
    """What the help says below that list."""
    usage: str = ""
    """The help's first lines; empty: as `argparse` makes them."""
    config: tuple[type[Options], ...] = ()
    """Those of `options` that a YAML file, `--config`, may fill; it may have other settings too."""
    several: tuple[str, ...] = ()
    """Options that take several values; the groups hold the first."""
    parts: "Mapping[str, Command]" = field(default_factory=dict)
    """Sub-commands by name."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what came and how to correct it."""
        raise SettingsError(f"{message}; {self.prog} --help lists what there is")


def parse(prog: str, command: Command, words: Sequence[str], warn: Echo) -> tuple[Command, Given]:
    """The command or sub-command, and its options from flags, then the configuration file, then
    defaults. Raises `SettingsError`.
    """
    for old in (word.partition("=")[0] for word in words):
        if old in OLD_NAMES:
            raise SettingsError(f"{old} is not a flag here: what it did is now {OLD_NAMES[old]}")
    _check_words(prog, command, words)
    parser = Parser(prog=prog, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=PROGRAM)
    _add_command(parser, command)
    values = vars(parser.parse_args(words))
    command = values.pop("command")
    several = {name: values[name] for name in command.several if name in values}
    values |= {name: given[0] for name, given in several.items()}
    from_file: dict[str, Any] = {}
    if "config" in values:
        from_file = by_known_name(read_config(values.pop("config")))
        settings_from(from_file)  # also what this command does not use is checked
    if _INPUTS & values.keys():
        from_file = {name: value for name, value in from_file.items() if name not in _INPUTS}
    in_full = from_file | values
    if all(len(given) == 1 for given in several.values()):
        in_full = completed(in_full)
    groups: list[Options] = []
    for group in command.options:
        chosen = in_full if group in command.config else values
        for one in fields(group):
            if one.metadata.get("deprecated") and one.name in chosen:
                warn(f"{flag(one.name)} is deprecated: {one.metadata['deprecated']}")
        groups.append(group_from(group, chosen))
    return command, Given(groups, several)


def _add_command(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.description = _description(command)
    parser.usage = command.usage or None
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(command=command)
    if command.config:
        parser.add_argument(
            "--config",
            type=Path,
            default=argparse.SUPPRESS,
            metavar="FILE",
            help="YAML with any settings of a run and its page; flags win",
        )
    for group in command.options:
        title = (group.__doc__ or "").partition(".")[0]
        section = parser.add_argument_group(title[:1].lower() + title[1:])
        for one in fields(group):
            _add_option(section, group, one, several=one.name in command.several)
    if command.parts:
        parts = parser.add_subparsers(dest="part", required=True, metavar="COMMAND")
        for name, part in command.parts.items():
            _add_command(parts.add_parser(name, help=part.description, allow_abbrev=False), part)


def _check_words(prog: str, command: Command, words: Sequence[str]) -> None:
    """Raise `SettingsError` for a part or a flag that there is not, with the one that was meant."""
    if command.parts and words and not words[0].startswith("-"):
        part = words[0]
        if part not in command.parts:
            raise SettingsError(
                f"{prog} has no {part!r}{did_you_mean(part, command.parts)}; {prog} --help lists "
                "what there is"
            )
        command, prog = command.parts[part], f"{prog} {part}"
    known = {"--help", "--version", *(["--config"] * bool(command.config))}
    for group in command.options:
        for one in fields(group):
            names = [flag(name) for name in (one.name, *one.metadata.get("aliases", ()))]
            no = [f"--no-{name[2:]}" for name in names if kind_of(group, one)[0] is bool]
            known |= {*names, *no} if not one.metadata.get("positional") else set()
    given = itertools.takewhile(lambda word: word != "--", words)
    for name in (word.partition("=")[0] for word in given if word.startswith("--")):
        if name not in known:
            raise SettingsError(
                f"{prog} has no flag {name}{did_you_mean(name, sorted(known))}; {prog} --help "
                "lists what there is"
            )


def _description(command: Command) -> str:
    """What a command does, and its list of words, in lines that fit the help."""
    width = max(shutil.get_terminal_size().columns - 2, 24)
    return "\n".join(_description_lines(command, width))


def _description_lines(command: Command, width: int) -> Iterator[str]:
    yield from textwrap.wrap(command.description, width)
    if command.words:
        yield ""
        yield f"{command.words_title}:"
        indent = max(map(len, command.words)) + 4
        for name, what in command.words.items():
            yield from labelled(f"  {name}", what, indent, width)
    if command.remark:
        yield ""
        yield from textwrap.wrap(command.remark, width)


def _add_option(
    section: argparse._ArgumentGroup, group: type[Options], one: Field[Any], *, several: bool
) -> None:
    kind, choices = kind_of(group, one)
    keywords: dict[str, Any] = {"help": _help(one), "default": argparse.SUPPRESS}
    if kind is bool:
        keywords["action"] = argparse.BooleanOptionalAction
    else:
        name = "|".join(choices) or kind.__name__.upper()
        keywords |= {"type": kind, "metavar": one.metadata.get("metavar", name)}
        keywords |= {"choices": choices} if choices else {}
        keywords |= {"nargs": "+"} if several else {}
    if one.metadata.get("positional"):
        section.add_argument(one.name, **keywords)
        return
    names = map(flag, (one.name, *one.metadata.get("aliases", ())))
    section.add_argument(*names, dest=one.name, required=one.default is MISSING, **keywords)


def _help(one: Field[Any]) -> str:
    text: str = one.metadata["help_text"]
    if one.metadata.get("deprecated"):
        text = f"deprecated: {one.metadata['deprecated']}"
    has_none = any(one.default is none for none in (None, False, MISSING)) or "(default" in text
    return text if has_none else f"{text} (default {one.default})"
