"""The command line: frames -> model -> rule -> scene (`wiring.py`) -> viewer.

Commands by first word: none is `view`; `run` is the same without a browser; `compare` measures
several rules on the same frames; `open` shows a recorded session and `info` prints what it holds;
`rules` lists the rules; `weights` looks after weights files; `bench` measures what a frame costs.
Whatever a command needs is imported when it needs it, so that the page and the help come at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from ttt3r_viewer import __version__
from ttt3r_viewer.errors import SettingsError, ViewerError
from ttt3r_viewer.memory import keep_few_arenas
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import Settings, choices_of, flag, read_config, settings_from
from ttt3r_viewer.types import printable
from ttt3r_viewer.wiring import Reconstruction

MINIATURE_NOTICE = (
    "This is the miniature: a small network trained on procedural rooms, to show how the program "
    "works. It has never seen a photo; real footage wants the released weights "
    "(ttt3r-view weights fetch cut3r-512)."
)

OLD_NAMES = {
    "--seq_path": "--input",
    "--model_path": "--weights",
    "--model_update_type": "--rule",
    "--frame_interval": "--stride",
    "--reset_interval": "--reset-every",
    "--vis_threshold": "the slider 'Hide least sure (%)' in the page, a percentile",
}
"""Flags of the published demos; each gets an error that names ours."""

COMPARED_RULES = "ttt3r,constant:1.0,constant:0.3"
"""What `compare` runs where no rules are named: the paper's, CUT3R, and a plain slow rate."""

COMMANDS = """commands:
  (none)    reconstruct, and watch it in the browser
  run       the same without a browser
  compare   several rules on the same frames, without a browser: table, plot, poses
  export    write a session as PLY, GLB, COLMAP, NeRF, TUM, KITTI, depth maps
  open      show what --output left again, without weights or input
  info      print what it holds
  rules     list the rules with paper, formula and parameters
  weights   look at, convert or fetch weights files
  bench     what a frame costs here, stage by stage
each has its own --help"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what came and how to mend it."""
        raise SettingsError(f"{message}; {self.prog} --help lists what there is")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where all went well, 2 after an error in one line, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Torch's threads would spin while they wait for each other: a busy machine then stands still.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_few_arenas()
    code = 130
    try:
        with sigterm_is_ctrl_c():
            code = _command(words)
    except ViewerError as error:
        _complain(f"error: {' '.join(str(error).split())}")
        code = 2
    except KeyboardInterrupt:
        pass
    if any(thread.name in Worker.THREADS for thread in threading.enumerate()):
        # A frame that takes long, or torch's import, is not waited for; and Python would crash if
        # it took its interpreter away from under them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _complain(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def _command(words: list[str]) -> int:
    match words[:1]:
        case ["run"]:
            return _run(words[1:])
        case ["compare"]:
            return _compare(words[1:])
        case ["export"]:
            return _export(words[1:])
        case ["rules"]:
            return _rules(words[1:])
        case ["weights"]:
            return _weights(words[1:])
        case ["open"]:
            return _open(words[1:])
        case ["info"]:
            return _info(words[1:])
        case ["bench"]:
            return _bench(words[1:])
        case _:
            return _view(words)


@contextmanager
def sigterm_is_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does: with its outputs whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def no_interruption() -> Iterator[None]:
    """Ignore further signals for the moment that the outputs need."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, signal.SIG_IGN) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def settings_parser(prog: str, description: str, *, with_page: bool) -> Parser:
    """A parser with a flag for every setting that the command has."""
    parser = Parser(
        prog=prog,
        description=description,
        epilog=COMMANDS if with_page else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML with any of these settings"
    )
    parser.add_argument("--version", action="version", version=f"ttt3r-viewer {__version__}")
    for one in fields(Settings):
        if one.metadata["view_only"] and not with_page:
            continue
        kind, choices = choices_of(one)
        keywords: dict[str, Any] = {"help": _help(one.metadata["help"], one.default)}
        if kind is bool:
            keywords["action"] = argparse.BooleanOptionalAction
        else:
            keywords |= {"type": kind, "metavar": one.metadata["metavar"] or kind.__name__.upper()}
            if choices:
                keywords |= {"choices": choices, "metavar": "|".join(choices)}
        parser.add_argument(flag(one.name), **keywords)
    return parser


def _help(text: str, default: Any) -> str:
    return text if default is None or default is False else f"{text} (default {default})"


def parse_settings(parser: Parser, words: Sequence[str]) -> Settings:
    """Settings from flags, then the configuration file, then defaults."""
    for word in words:
        old = word.partition("=")[0]
        if old in OLD_NAMES:
            raise SettingsError(f"{old} is not a flag here: what it did is now {OLD_NAMES[old]}")
    flags = vars(parser.parse_args(words))
    config = flags.pop("config", None)
    return settings_from((read_config(config) if config else {}) | flags)


def _view(words: Sequence[str]) -> int:
    parser = settings_parser(
        "ttt3r-view",
        "Watch TTT3R reconstruct a folder of images, a video or a demo, live in the browser.",
        with_page=True,
    )
    return view(parse_settings(parser, words))


def _run(words: Sequence[str]) -> int:
    parser = settings_parser(
        "ttt3r-view run",
        "Reconstruct without a browser: poses_tum.txt, intrinsics.json, points.ply and run.json.",
        with_page=False,
    )
    settings = parse_settings(parser, words)
    if settings.output is None:
        raise SettingsError("run has nowhere to write: give --output DIR")
    return run(settings, Path(settings.output))


def _compare(words: Sequence[str]) -> int:
    parser = settings_parser(
        "ttt3r-view compare",
        "Run several rules on the same frames and measure them: comparison.md, comparison.csv, "
        "trajectories.png and poses_<lane>.txt.",
        with_page=False,
    )
    settings = parse_settings(parser, words)
    if settings.output is None:
        raise SettingsError("compare has nowhere to write: give --output DIR")
    folder = Path(settings.output)
    if settings.rules is None and settings == replace(settings, rule="ttt3r", rate=None):
        settings = replace(settings, rules=COMPARED_RULES)
    return compare(settings, folder)


def _export(words: Sequence[str]) -> int:
    from ttt3r_viewer.export_command import DESCRIPTION, add_arguments, export

    parser = Parser(prog="ttt3r-view export", description=DESCRIPTION, allow_abbrev=False)
    add_arguments(parser)
    export(parser.parse_args(words), print, _complain)
    return 0


def _rules(words: Sequence[str]) -> int:
    from ttt3r_viewer.rules_command import list_rules

    parser = Parser(prog="ttt3r-view rules", description="List the update rules.")
    parser.parse_args(words)
    list_rules(print)
    return 0


def _weights(words: Sequence[str]) -> int:
    from ttt3r_viewer.weights_command import add_parser

    parser = Parser(prog="ttt3r-view", add_help=False)
    add_parser(parser.add_subparsers(parser_class=Parser))
    given = parser.parse_args(["weights", *words])
    given.handler(given, print)
    return 0


def _open(words: Sequence[str]) -> int:
    from ttt3r_viewer.session_command import OPEN_TEXT, add_open_arguments, open_session

    parser = Parser(prog="ttt3r-view open", description=OPEN_TEXT, allow_abbrev=False)
    add_open_arguments(parser)
    open_session(parser.parse_args(words), lambda line: print(line, flush=True))
    return 0


def _info(words: Sequence[str]) -> int:
    from ttt3r_viewer.session_command import INFO_TEXT, add_info_arguments, info

    parser = Parser(prog="ttt3r-view info", description=INFO_TEXT, allow_abbrev=False)
    add_info_arguments(parser)
    info(parser.parse_args(words), print)
    return 0


def _bench(words: Sequence[str]) -> int:
    from ttt3r_viewer.bench.command import DESCRIPTION, add_arguments, bench

    parser = Parser(prog="ttt3r-view bench", description=DESCRIPTION, allow_abbrev=False)
    add_arguments(parser)
    bench(parser.parse_args(words), print, _complain)
    return 0


def view(settings: Settings) -> int:
    """Reconstruct in the background and serve the page until Ctrl-C."""
    from ttt3r_viewer.model.fetch import locate
    from ttt3r_viewer.viewer.address import free_port

    # What can be known to fail is refused before anything is loaded.
    locate(settings.weights)
    free_port(settings.host, settings.port)
    reconstruction = Reconstruction.prepare(settings)
    # The thread imports torch and reads the weights while this one serves the page.
    reconstruction.worker.start()
    viewer = None
    try:
        from ttt3r_viewer.viewer.app import Viewer

        notice = MINIATURE_NOTICE if settings.weights == "miniature" else ""
        viewer = Viewer(
            reconstruction.store,
            reconstruction.commands,
            host=settings.host,
            port=settings.port,
            notice=notice,
            ground_truth=reconstruction.ground_truth,
        )
        viewer.start()
        for line in (
            reconstruction.note,
            viewer.port_note,
            notice,
            f"open {viewer.url} in a browser; Ctrl-C ends",
        ):
            if line:
                print(line, flush=True)
        if settings.open_browser:
            webbrowser.open(viewer.url)
        reconstruction.watch(_complain, viewer.report)
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        with no_interruption():
            reconstruction.end()
            if viewer is not None:
                viewer.stop()
    return 0


def run(settings: Settings, folder: Path) -> int:
    """Reconstruct with a progress bar and write the results, also after Ctrl-C."""
    return _headless(Reconstruction.prepare(settings, ends_by_itself=True), folder)


def compare(settings: Settings, folder: Path) -> int:
    """Run several rules with a progress bar and write how they compare, also after Ctrl-C."""
    return _headless(Reconstruction.prepare_comparison(settings), folder)


def _headless(reconstruction: Reconstruction, folder: Path) -> int:
    """With a progress bar to the end or to Ctrl-C, then write."""
    worker, store = reconstruction.worker, reconstruction.store
    if reconstruction.note:
        _complain(reconstruction.note)
    worker.start()
    interrupted = False
    try:
        _show_progress(worker, store)
    except KeyboardInterrupt:
        interrupted = True
    with no_interruption():
        written = reconstruction.end()
    status = store.snapshot().status
    if status.skipped and status.frames_done:
        _complain(f"{status.skipped} frames skipped; the last: {status.last_skipped}")
    if reconstruction.archive is not None and reconstruction.archive.trouble:
        _complain(reconstruction.archive.trouble)
    if worker.error is not None:
        raise worker.error
    said = f"{written} frames to {folder}" if written else "nothing: no frame was finished"
    print(f"wrote {printable(said)}", flush=True)
    return 130 if interrupted else 0


def _show_progress(worker: Worker, store: SceneStore) -> None:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} frames/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("starting", total=None, rate=0.0)
        ended = False
        while not ended:
            ended = worker.join(0.1)
            status = store.snapshot().status
            progress.update(
                task,
                description=f"{status.model}, {status.rule}, {status.device}",
                completed=status.frames_taken,
                total=status.frames_total,
                rate=status.frames_per_second,
            )
