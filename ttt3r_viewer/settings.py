"""Everything that a person can choose, in one frozen dataclass: the command line is derived from
it, and a YAML file (`--config`) fills it; flags win."""

from __future__ import annotations

import difflib
import math
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.system.text import hide_passwords

SHORTEST_TOKEN = 16
TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{SHORTEST_TOKEN},256}}")
_MOST_WHOLE = 1 << 53
"""Whole numbers beyond are no settings, and not all of them are floats."""
_LONGEST_SHOWN = 80
PATHS = ("input", "output", "poses")
"""Settings that may begin with `~`; so may weights, which have names too."""
WANTED = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def option(
    default: Any, help_text: str, *, metavar: str | None = None, view_only: bool = False
) -> Any:
    """A field of `Settings`; `view_only` keeps it away from commands that open no page."""
    metadata = {"help": help_text, "metavar": metavar, "view_only": view_only}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What is reconstructed, how, and where it is shown."""

    input: str | None = option(
        None,
        "folder of images, glob, video, one image, camera:0, an address such as rtsp://..., or "
        "demo:loop, demo:walk, demo:hand-held (default: demo:loop)",
        metavar="PATH",
    )
    follow: bool = option(
        False,
        "the input is a folder that grows: take its newest picture each time, until Ctrl-C",
    )
    weights: str = option(
        "miniature", "a file, or miniature, cut3r-512, cut3r-224", metavar="FILE|NAME"
    )
    rule: str = option(
        "ttt3r",
        "how much of each proposed state is accepted: NAME[:VALUE][:KEY=VALUE]..., as "
        "constant:0.3; `ttt3r-view rules` lists all",
        metavar="RULE",
    )
    rate: float | None = option(
        None, "rate of the constant rule, 0 to 1 (default 1, which is CUT3R)", metavar="RATE"
    )
    rules: str | None = option(
        None,
        "one to four rules side by side on the same frames, as ttt3r,constant:1.0,constant:0.3",
        metavar="RULE,RULE",
    )
    poses: str | None = option(
        None,
        "true camera poses (TUM, KITTI or transforms.json; default: found beside the input)",
        metavar="FILE",
    )
    reset_every: int = option(0, "start the state anew after every N frames; 0: never", metavar="N")
    size: int | None = option(
        None, "long side in pixels that pictures are prepared to (default: the network's own)"
    )
    start: int = option(0, "first frame of the input", metavar="N")
    stride: int = option(1, "take every N-th frame", metavar="N")
    max_frames: int | None = option(None, "stop after so many frames", metavar="N")
    fps: float = option(30.0, "frame rate of a folder that has no times of its own")
    device: Literal["auto", "cuda", "mps", "cpu"] = option("auto", "where the network runs")
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "what the network computes in; auto: bfloat16 on CUDA and on CPUs with AMX or AVX512-BF16, "
        "else float32",
    )
    compile: Literal["auto", "on", "off"] = option(
        "auto",
        "compile the recurrent step while the first frames run; auto: on CUDA. A run repeats bit "
        "by bit only without",
    )
    max_points: int | None = option(
        None,
        "points kept in the scene: the page keeps fewer per volume beyond, run fewer per frame "
        "(default: 600000 in the page, 10000000 in run)",
        metavar="N",
    )
    output: str | None = option(
        None, "folder for poses, intrinsics, points and run.json", metavar="DIR"
    )
    inspect: bool = option(
        False, "also write tokens.npz and frames.csv: every token's gain, and statistics"
    )
    archive_gb: float = option(
        8.0,
        "disk that all frames in full may take beside the page, removed at the end, and never over "
        "half of what is free; with --output they stay in DIR/archive, without this limit; "
        "0: keep thinned ones only",
        metavar="GB",
    )
    overwrite: bool = option(False, "replace our own files in a folder that is not empty")
    resume: bool = option(
        False,
        "go on with the session in --output that was killed, stopped or failed, from its last "
        "checkpoint",
    )
    checkpoint_every: int = option(
        20,
        "frames between two checkpoints of a session in --output, from which --resume goes on; 0: "
        "none",
        metavar="N",
    )
    log_level: Literal["debug", "info", "warning", "error"] = option(
        "info",
        "what log.txt in --output takes; without --output the terminal takes warnings, and with "
        "debug everything",
    )
    host: str = option(
        "127.0.0.1",
        "address the page is served at; any but this machine's own wants a token, which is made up "
        "and printed in a link where --token gives none",
        view_only=True,
    )
    port: int = option(8080, "port of the page; 0: any free one", view_only=True)
    token: str | None = option(
        None,
        "what a browser must show once, in /?token=...; letters, digits, - and _, 16 or more",
        metavar="TOKEN",
        view_only=True,
    )
    auth: bool = option(
        True,
        "without it no token is wanted at any --host: whoever reaches the page is its owner",
        view_only=True,
    )
    guests: Literal["none", "read-only"] = option(
        "none", "read-only: a second link, for people who only look", view_only=True
    )
    open_browser: bool = option(False, "open the page in the default browser", view_only=True)
    present: bool = option(
        False, "show the page to a room: large captions, no panel; ? lists the keys", view_only=True
    )
    title: str | None = option(None, "title of the page and of --present", view_only=True)
    logo_text: str | None = option(
        None, "words in the upper right corner with --present", view_only=True
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            _check_type(one, getattr(self, one.name))
        for name in ("reset_every", "start", "archive_gb", "checkpoint_every"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"{flag(name)} {getattr(self, name)}: take 0 or more")
        for name in ("stride", "max_frames", "size", "max_points", "fps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SettingsError(f"{flag(name)} {value}: take a number above 0")
        for name in ("input", "output", "weights", "rule", "rules", "poses", "title", "logo_text"):
            if getattr(self, name) == "":
                raise SettingsError(f"{flag(name)} is empty: give a value, or leave it out")
        if self.follow and (self.input is None or self.input.startswith("demo:")):
            raise SettingsError(
                f"--follow with --input {self.input or 'left out'}: name the folder that grows"
            )
        if self.resume and (self.output is None or self.overwrite or not self.archive_gb):
            raise SettingsError(
                "--resume goes on with the session in --output DIR: name that, and give neither "
                "--overwrite nor --archive-gb 0 beside it"
            )
        self._check_access()
        if self.rules is not None and (self.rule, self.rate) != ("ttt3r", None):
            raise SettingsError(
                f"--rules {self.rules} beside --rule or --rate: --rules names every lane; "
                "leave the others out"
            )
        if self.rate is not None and self.rule != "constant":
            raise SettingsError(
                f"--rate {self.rate:g} with --rule {self.rule}, which computes its own: "
                "take --rule constant, or leave --rate out"
            )
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise SettingsError(f"--rate {self.rate:g}: take a rate from 0 to 1, where 1 is CUT3R")

    def _check_access(self) -> None:
        # The token itself is never said: errors end up in logs.
        if self.token is not None and not TOKEN.fullmatch(self.token):
            raise SettingsError(
                f"--token of {len(self.token)} letters: take {SHORTEST_TOKEN} or more letters, "
                "digits, - and _ that nobody guesses, or leave it out and one is made up"
            )
        if not self.auth and (self.token is not None or self.guests != "none"):
            other = "--token" if self.token is not None else f"--guests {self.guests}"
            raise SettingsError(
                f"--no-auth beside {other}: without tokens everyone is the owner; leave one out"
            )

    @property
    def lanes(self) -> str:
        """The rules of all lanes in the form that `rules` has."""
        rate = "" if self.rate is None else f":{self.rate!r}"
        return self.rules or self.rule + rate

    def as_dict(self) -> dict[str, Any]:
        """Plain values by field name, to be recorded; `settings_from` of it gives the same
        settings but for passwords and the token, which it does not hold.
        """
        values = asdict(self) | {"token": None}
        return {
            name: hide_passwords(value) if isinstance(value, str) else value
            for name, value in values.items()
        }


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.replace("_", "-")


def choices_of(one: Field[Any]) -> tuple[type, tuple[str, ...]]:
    """A field's plain type (str, int, float or bool), and its choices where it has some."""
    hint = typing.get_type_hints(Settings)[one.name]
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) is Literal:
        return str, typing.get_args(hint)
    return hint, ()


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings from values by name, `~` being a person's home; an unknown name is an error with the
    nearest known one.
    """
    known = [one.name for one in fields(Settings)]
    for name in values:
        if name not in known:
            shown = str(name)[:_LONGEST_SHOWN]
            near = difflib.get_close_matches(shown, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise SettingsError(f"unknown setting {shown}: {hint}")
    return Settings(**{name: _from_home(name, value) for name, value in values.items()})


def _from_home(name: str, value: Any) -> Any:
    """A path without `~`, which a shell leaves in `--output=~/x`, and a YAML file too."""
    if name in PATHS and isinstance(value, str):
        return os.path.expanduser(value)  # noqa: PTH111 - it leaves the home of nobody as it is
    return value


def read_config(path: Path) -> dict[str, Any]:
    """The values that a YAML file holds, unchecked."""
    from ttt3r_viewer.system.yaml_file import read_yaml  # most runs read no file

    try:
        values = read_yaml(path)
    except SettingsError as error:
        raise SettingsError(f"--config {path}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"--config {path}: a {type(values).__name__}; give `name: value` lines")
    named = {_shown(name).replace("-", "_"): value for name, value in values.items()}
    if len(named) < len(values):
        raise SettingsError(f"--config {path}: one setting stands there twice: give it once")
    return named


def _check_type(one: Field[Any], value: Any) -> None:
    kind, choices = choices_of(one)
    if value is None and one.default is None:
        return
    if isinstance(value, int) and abs(value) > _MOST_WHOLE:
        raise SettingsError(f"{flag(one.name)}: a number of {value.bit_length()} bits: take less")
    if choices and value not in choices:
        raise SettingsError(f"{flag(one.name)} {_shown(value)}: take one of {', '.join(choices)}")
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        shown = repr(value) if isinstance(value, str) else _shown(value)
        raise SettingsError(f"{flag(one.name)} {shown[:_LONGEST_SHOWN]}: wanted {WANTED[kind]}")


def _shown(value: Any) -> str:
    """A value out of a file, fit for a line of text."""
    try:
        return str(value)[:_LONGEST_SHOWN]
    except ValueError:
        return "a very large number"  # Python writes no whole number of over 4300 digits
