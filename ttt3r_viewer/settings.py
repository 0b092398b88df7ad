"""Everything that a user can choose, in frozen groups of options.

The flags of every command and their help are derived from these groups, and a YAML file
(`--config`) fills them; flags win.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.system import compare_demo
from ttt3r_viewer.system.assets import DEMO_NAMES, DEMO_PREFIX, is_comparison
from ttt3r_viewer.system.options import (
    DEVICE_PATTERN,
    DeviceName,
    DtypeName,
    Options,
    group_from,
    option,
    shown,
)
from ttt3r_viewer.system.text import hide_passwords

PAGE_POINTS = 600_000
"""More than this a browser without a GPU does not draw at a tolerable rate."""
GPU_POINTS = 2_500_000
"""Points in the page where every owner's browser draws on a GPU."""
FILE_POINTS = 10_000_000
"""What points.ply of `run` may hold: about 200 MB on disk, and up to 600 MB of memory."""
EDGE_FILTER = 0.12
"""What `scene/edges.py` leaves out by default: this room may not look into that one."""
DEMO_INPUTS = tuple(DEMO_PREFIX + name for name in DEMO_NAMES)
SHORTEST_TOKEN = 16
TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{SHORTEST_TOKEN},256}}")


@dataclass(frozen=True)
class InputOptions(Options):
    """Which frames are read."""

    input: str | None = option(
        None,
        "folder of images, glob, video, one image, camera:0, an address such as rtsp://..., or "
        f"{', '.join(DEMO_INPUTS)} (default: the page lets you choose; elsewhere {DEMO_INPUTS[0]})",
        metavar="PATH",
        is_path=True,
    )
    demo: str | None = option(
        None,
        "the same as --input demo:NAME; compare: two rules side by side on a chosen sequence",
        choices=DEMO_NAMES,
    )
    """After the check part of `input`, and None."""
    follow: bool = option(
        False,
        "the input is a folder that grows: read its newest image each time, until Ctrl-C",
    )
    poses: str | None = option(
        None,
        "true camera poses (TUM, KITTI or transforms.json; default: found beside the input)",
        metavar="FILE",
        is_path=True,
    )
    start: int = option(0, "first frame of the input", metavar="N", least=0)
    stride: int = option(1, "take every N-th frame", metavar="N", above=0)
    max_frames: int | None = option(None, "stop after so many frames", metavar="N", above=0)
    fps: float = option(30.0, "frame rate of a folder that has no times of its own", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.demo is not None:
            if self.input is not None:
                raise SettingsError(f"--demo {self.demo} beside --input {self.input}: name one")
            object.__setattr__(self, "input", DEMO_PREFIX + self.demo)
            object.__setattr__(self, "demo", None)
        if self.follow and (self.input is None or self.input.startswith("demo:")):
            raise SettingsError(
                f"--follow with --input {self.input or 'left out'}: name the folder that grows"
            )


@dataclass(frozen=True)
class NetworkOptions(Options):
    """Which network, and where it runs."""

    weights: str = option(
        "miniature",
        "a file, or a name that `ttt3r-view weights fetch --help` lists",
        metavar="FILE|NAME",
    )
    size: int | None = option(
        None,
        "long side in pixels that images are prepared to (default: the network's own)",
        above=0,
    )
    device: DeviceName = option(
        "auto",
        f"where the network runs: {DEVICE_PATTERN[1]}",
        metavar="DEVICE",
        pattern=DEVICE_PATTERN,
    )
    dtype: DtypeName = option(
        "auto",
        "what the network computes in; auto: bfloat16 on CUDA and on CPUs with AMX or AVX512-BF16, "
        "else float32",
    )


@dataclass(frozen=True)
class ModelOptions(NetworkOptions):
    """Which network, and how it runs."""

    compile: Literal["auto", "on", "off"] = option(
        "auto",
        "compile the recurrent step while the first frames run; auto: on CUDA. A run repeats bit "
        "by bit only without",
    )


@dataclass(frozen=True)
class RuleOptions(Options):
    """How the state is updated."""

    rules: str = option(
        "ttt3r",
        "how much of each proposed state is accepted: NAME[:VALUE][:KEY=VALUE]..., or several "
        "side by side on the same frames, as ttt3r,constant:0.3; `ttt3r-view rules` lists all",
        metavar="RULE[,RULE]",
        aliases=("rule",),
    )
    rate: float | None = option(
        None,
        "rate of the constant rule, 0 to 1",
        metavar="RATE",
        deprecated="use --rules constant:RATE",
    )
    """After the check part of `rules`, and None."""
    reset_every: int = option(
        0, "reset the state after every N frames; 0: never", metavar="N", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate is None:
            return
        if self.rules != "constant":
            raise SettingsError(
                f"--rate {self.rate:g} with --rules {self.rules}, which computes its own: "
                "use --rules constant:RATE, or leave --rate out"
            )
        if not 0 <= self.rate <= 1:
            raise SettingsError(f"--rate {self.rate:g}: take a rate from 0 to 1, where 1 is CUT3R")
        object.__setattr__(self, "rules", f"constant:{self.rate!r}")
        object.__setattr__(self, "rate", None)


@dataclass(frozen=True)
class OutputOptions(Options):
    """What is kept and written."""

    output: str | None = option(
        None,
        "folder for poses, intrinsics, points and run.json",
        metavar="DIR",
        is_path=True,
    )
    max_points: int | None = option(
        None,
        "points kept in the scene: the page keeps fewer per volume beyond, run fewer per frame "
        f"(default: {PAGE_POINTS} in the page, {GPU_POINTS} where browsers draw on a GPU, "
        f"{FILE_POINTS} in run)",
        metavar="N",
        above=0,
    )
    edge_filter: float = option(
        EDGE_FILTER,
        "leave points out of the page and of points.ply around which the depth's logarithm changes "
        "by more (0.12: by 13 %%; they hang in the air); 0: leave out none. Recordings keep all",
        metavar="X",
        least=0.0,
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
        least=0,
    )
    overwrite: bool = option(False, "replace our own files in a folder that is not empty")
    resume: bool = option(False, "resume the run in --output from its last checkpoint")
    checkpoint_every: int = option(
        20,
        "frames between two checkpoints in --output, from which --resume continues; 0: none",
        metavar="N",
        least=0,
    )
    log_level: Literal["debug", "info", "warning", "error"] = option(
        "info",
        "what log.txt in --output takes; without --output the terminal takes warnings, and with "
        "debug everything",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and (self.output is None or self.overwrite or not self.archive_gb):
            raise SettingsError(
                "--resume continues the recording in --output DIR: name that, and give neither "
                "--overwrite nor --archive-gb 0 beside it"
            )


@dataclass(frozen=True)
class PageOptions(Options):
    """How the page is served and shown."""

    host: str = option(
        "127.0.0.1",
        "address the page is served at; any but this machine's own needs a token, which is made up "
        "and printed in a link where --token gives none",
        may_be_empty=True,
    )
    port: int = option(8080, "port of the page; 0: any free one")
    token: str | None = option(
        None,
        "what a browser must show once, in /?token=...; letters, digits, - and _, 16 or more",
        metavar="TOKEN",
        may_be_empty=True,
    )
    auth: bool = option(
        True, "without it no token is needed at any --host: whoever reaches the page is its owner"
    )
    guests: Literal["none", "read-only"] = option(
        "none", "read-only: a second link, for people who only look"
    )
    open_browser: bool = option(False, "open the page in the default browser")
    present: bool = option(
        False, "show the page to a room: large captions, no panel; ? lists the keys"
    )
    title: str | None = option(None, "title of the page and of --present")
    logo_text: str | None = option(None, "words in the upper right corner with --present")

    def __post_init__(self) -> None:
        super().__post_init__()
        # The token itself is never shown: errors end up in logs.
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


@dataclass(frozen=True, kw_only=True)
class RecordingOptions(Options):
    """Which recording."""

    recording: Path = option(MISSING, "what a run's --output named", metavar="DIR", positional=True)


@dataclass(frozen=True)
class JobOptions(Options):
    """How several inputs or sequences are spread."""

    jobs: int = option(1, "so many at once, in processes here", metavar="N", above=0)
    ray: str | None = option(
        None,
        "spread them over a Ray cluster, one GPU each; local starts one of --jobs here",
        metavar="ADDRESS|local",
    )


@dataclass(frozen=True)
class Settings:
    """Everything that a run and its page can be given, by group."""

    input: InputOptions = InputOptions()
    model: ModelOptions = ModelOptions()
    rules: RuleOptions = RuleOptions()
    output: OutputOptions = OutputOptions()
    page: PageOptions = PageOptions()

    def as_dict(self) -> dict[str, Any]:
        """Plain values by option name, to be recorded; `settings_from` of it gives the same
        settings but for passwords and the token, which it does not hold.
        """
        values: dict[str, Any] = {}
        for group in asdict(self).values():
            values |= group
        del values["rate"], values["demo"]
        return {
            name: hide_passwords(value) if isinstance(value, str) else value
            for name, value in (values | {"token": None}).items()
        }


RUN_GROUPS = (InputOptions, ModelOptions, RuleOptions, OutputOptions)
GROUPS: tuple[type[Any], ...] = (*RUN_GROUPS, PageOptions)
"""Those of `Settings`, in its order."""
_ALL = {one.name: one for group in GROUPS for one in fields(group)}
"""Every option by name."""
_ALIASES = {alias: name for name, one in _ALL.items() for alias in one.metadata.get("aliases", ())}


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings from values by name or alias, `~` being a user's home; an unknown name is an error
    with the nearest known one.
    """
    known = completed(by_known_name(values))
    return Settings(*(group_from(group, known) for group in GROUPS))


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, and what the demo that compares says where they do not."""
    demo = values.get("demo")
    if is_comparison(values.get("input") if demo is None else DEMO_PREFIX + demo):
        return {**compare_demo.DEFAULTS, **values}
    return dict(values)


def recorded_settings(values: Mapping[str, Any]) -> Settings:
    """The settings in a recording of this version or an earlier one, which may have had others."""
    kept = {name: value for name, value in values.items() if name in _ALL}
    if kept.get("rules") is None:  # an earlier version had `rule`, and `rules` for several
        kept["rules"] = values.get("rule", _ALL["rules"].default)
    return settings_from(kept)


def by_known_name(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with aliases resolved. Raises `SettingsError` at a name that is unknown, or
    stands there twice.
    """
    named: dict[str, Any] = {}
    for given, value in values.items():
        name = _ALIASES.get(given, given)
        if name not in _ALL:
            near = difflib.get_close_matches(shown(given), _ALL, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_ALL)}"
            raise SettingsError(f"unknown setting {shown(given)}: {hint}")
        if name in named:
            raise SettingsError(f"the setting {name} stands there twice: give it once")
        named[name] = value
    return named


def read_config(path: Path) -> dict[str, Any]:
    """The values that a YAML file holds, unchecked, by the names that it gives."""
    from ttt3r_viewer.system.yaml_file import read_yaml  # most runs read no file

    try:
        values = read_yaml(path)
    except SettingsError as error:
        raise SettingsError(f"--config {path}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"--config {path}: a {type(values).__name__}; give `name: value` lines")
    named = {shown(name).replace("-", "_"): value for name, value in values.items()}
    if len(named) < len(values):
        raise SettingsError(f"--config {path}: one setting stands there twice: give it once")
    return named
