"""What every command's flags share: errors of one line, and a flag for each setting."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn

from ttt3r_viewer import __version__
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.settings import Settings, choices_of, flag, read_config, settings_from

Echo = Callable[[str], None]
"""Takes a line for the person."""

OLD_NAMES = {
    "--seq_path": "--input",
    "--model_path": "--weights",
    "--model_update_type": "--rule",
    "--frame_interval": "--stride",
    "--reset_interval": "--reset-every",
    "--vis_threshold": "the slider 'Hide least sure (%)' in the page, a percentile",
}
"""Flags of the published demos; each gets an error that names ours."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what came and how to mend it."""
        raise SettingsError(f"{message}; {self.prog} --help lists what there is")


def add_settings(
    parser: argparse.ArgumentParser, *, with_page: bool, several_inputs: bool = False
) -> None:
    """Add a flag for every setting that a command with or without a page has, and `--config`.

    With `several_inputs` the value of `--input` is a list.
    """
    parser.argument_default = argparse.SUPPRESS
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML with any of these settings"
    )
    parser.add_argument("--version", action="version", version=f"ttt3r-viewer {__version__}")
    for one in fields(Settings):
        if with_page or not one.metadata["view_only"]:
            several = several_inputs and one.name == "input"
            _add_setting(parser, one, **({"nargs": "+"} if several else {}))


def add_page_settings(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting of the page alone, and `--config`."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML with any of the page's settings; those of a run in it are passed over",
    )
    for one in fields(Settings):
        if one.metadata["view_only"]:
            _add_setting(parser, one)


def _add_setting(parser: argparse.ArgumentParser, one: Field[Any], **more: Any) -> None:
    kind, choices = choices_of(one)
    keywords: dict[str, Any] = {"help": _help(one.metadata["help"], one.default), **more}
    if kind is bool:
        keywords["action"] = argparse.BooleanOptionalAction
    else:
        keywords |= {"type": kind, "metavar": one.metadata["metavar"] or kind.__name__.upper()}
        if choices:
            keywords |= {"choices": choices, "metavar": "|".join(choices)}
    parser.add_argument(flag(one.name), default=argparse.SUPPRESS, **keywords)


def _help(text: str, default: Any) -> str:
    return text if default is None or default is False else f"{text} (default {default})"


def settings_of(given: argparse.Namespace) -> Settings:
    """Settings from flags, then the configuration file, then defaults."""
    flags = dict(vars(given))
    config = flags.pop("config", None)
    return settings_from((read_config(config) if config else {}) | flags)


def page_settings_of(given: argparse.Namespace, *more: str) -> Settings:
    """Settings of the page, and those named in `more`, from flags, then the configuration file,
    then defaults; all others are defaults.
    """
    values = read_config(given.config) if given.config else {}
    settings_from(values)  # a misspelt name is an error here too
    names = {*more, *(one.name for one in fields(Settings) if one.metadata["view_only"])}
    chosen = {name: value for name, value in (values | vars(given)).items() if name in names}
    return settings_from(chosen)


def refuse_old_names(words: Sequence[str]) -> None:
    """Raise `SettingsError` at a flag of the published demos."""
    for word in words:
        old = word.partition("=")[0]
        if old in OLD_NAMES:
            raise SettingsError(f"{old} is not a flag here: what it did is now {OLD_NAMES[old]}")
