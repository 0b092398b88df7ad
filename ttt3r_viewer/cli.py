"""The command line, and the one place that wires frames -> model -> rule -> scene -> viewer.

Commands by first word: none is `view`; `run` is the same without a browser; `weights` looks after
weights files. Whatever a command needs is imported when it needs it, so that the page and the help
come at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ttt3r_viewer import __version__
from ttt3r_viewer.assets import asset_path
from ttt3r_viewer.errors import OutputError, SettingsError, ViewerError
from ttt3r_viewer.export.folder import claim_folder
from ttt3r_viewer.export.results import OWN_FILES, write_results
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.reconstruct.commands import Command
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.scene.store import SceneSnapshot, SceneStore
from ttt3r_viewer.settings import Settings, choices_of, flag, read_config, settings_from
from ttt3r_viewer.types import Status, printable

if TYPE_CHECKING:
    from ttt3r_viewer.reconstruct.session import Session

STOP_SEC = 1.0
"""After Ctrl-C a frame in progress gets so long."""

PAGE_POINTS = 600_000
"""More than this a browser without a GPU does not draw at a tolerable rate."""
FILE_POINTS = 10_000_000
"""What points.ply of `run` may hold: about 200 MB on disk, and up to 600 MB of memory."""

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

COMMANDS = """commands:
  (none)    reconstruct, and watch it in the browser
  run       the same without a browser
  weights   look at, convert or fetch weights files
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
    code = 130
    try:
        with sigterm_is_ctrl_c():
            code = _command(words)
    except ViewerError as error:
        print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        pass
    if any(thread.name == Worker.THREAD for thread in threading.enumerate()):
        # A frame that takes long, or torch's import, is not waited for; and Python would crash if
        # it took its interpreter away from under them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _command(words: list[str]) -> int:
    match words[:1]:
        case ["run"]:
            return _run(words[1:])
        case ["weights"]:
            return _weights(words[1:])
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


def _weights(words: Sequence[str]) -> int:
    from ttt3r_viewer.weights_command import add_parser

    parser = Parser(prog="ttt3r-view", add_help=False)
    add_parser(parser.add_subparsers(parser_class=Parser))
    given = parser.parse_args(["weights", *words])
    given.handler(given, print)
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
        )
        viewer.start()
        for line in (viewer.port_note, notice, f"open {viewer.url} in a browser; Ctrl-C ends"):
            if line:
                print(line, flush=True)
        if settings.open_browser:
            webbrowser.open(viewer.url)
        reconstruction.watch(viewer.report)
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
    reconstruction = Reconstruction.prepare(settings, ends_by_itself=True)
    worker, store = reconstruction.worker, reconstruction.store
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
        print(f"{status.skipped} frames skipped; the last: {status.last_skipped}", file=sys.stderr)
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


@dataclass(eq=False)
class Reconstruction:
    """The arrow's first four parts, wired: source, worker with its session to be, store."""

    settings: Settings
    store: SceneStore
    commands: SimpleQueue[Command]
    worker: Worker
    started: float
    written: int = 0
    """Frames whose results are in the output folder."""
    written_epoch: int = -1

    @staticmethod
    def prepare(settings: Settings, *, ends_by_itself: bool = False) -> Reconstruction:
        """Open the input and claim the output folder; nothing is loaded yet."""
        source = open_source(
            str(asset_path("demo")) if settings.input is None else settings.input,
            start=settings.start,
            stride=settings.stride,
            max_frames=settings.max_frames,
            fps=settings.fps,
        )
        if settings.output is not None:
            claim_folder(Path(settings.output), OWN_FILES, overwrite=settings.overwrite)
        page = {"max_points": settings.max_points or PAGE_POINTS}
        file = {
            "max_points": settings.max_points or FILE_POINTS,
            "points_per_frame": FILE_POINTS,
        }
        store = SceneStore(**(file if ends_by_itself else page))
        commands: SimpleQueue[Command] = SimpleQueue()
        worker = Worker(
            source,
            lambda: _make_session(settings),
            store,
            commands,
            status=Status(model=settings.weights, rule=settings.rule, device=settings.device),
            ends_by_itself=ends_by_itself,
        )
        return Reconstruction(settings, store, commands, worker, time.perf_counter())

    def watch(self, report: Callable[[str], None]) -> None:
        """Until Ctrl-C: write the results whenever a run has finished, and say what went wrong.

        `report` shows a line in the page; an empty one takes it away.
        """
        last: SceneSnapshot | None = None
        while True:
            scene = self.store.snapshot()
            if scene is not last and scene.status.phase == "failed":
                print(f"the run failed: {scene.status.message}", file=sys.stderr, flush=True)
            if scene is not last and scene.status.phase == "finished":
                try:
                    self.write(scene)
                    report("")
                except OutputError as error:
                    print(f"error: {printable(str(error))}", file=sys.stderr, flush=True)
                    report(str(error))
            last = scene
            time.sleep(0.2)

    def end(self) -> int:
        """Stop the worker, and write what there is; how many frames have been written."""
        self.worker.stop(STOP_SEC)
        scene = self.store.snapshot()
        # Results of a whole run are not replaced by those of a restart that was cut short.
        if not self.written or scene.status.phase == "finished":
            self.write(scene)
        return self.written

    def write(self, scene: SceneSnapshot) -> None:
        """Write a scene's results where they were asked for, if it is not there already."""
        new = scene.epoch != self.written_epoch or len(scene.frames) != self.written
        if self.settings.output is None or not scene.frames or not new:
            return
        compute_sec = [frame.compute_sec for frame in scene.frames]
        timing = {
            "since_start_sec": time.perf_counter() - self.started,
            "compute_sec": float(np.sum(compute_sec)),
            "compute_sec_per_frame": float(np.mean(compute_sec)),
        }
        write_results(Path(self.settings.output), scene, self.settings.as_dict(), timing)
        self.written, self.written_epoch = len(scene.frames), scene.epoch


def _make_session(settings: Settings) -> Session:
    """In the worker's thread: import torch, read the weights."""
    from ttt3r_viewer.model.load import load_network
    from ttt3r_viewer.reconstruct.session import Session
    from ttt3r_viewer.rules.registry import make_rule

    rule = make_rule(settings.rule, **settings.rule_parameters)
    network = load_network(settings.weights, device=settings.device, dtype=settings.dtype)
    return Session(network, rule, size=settings.size, reset_every=settings.reset_every)
