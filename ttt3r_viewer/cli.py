"""The command line: frames -> model -> rule -> scene (`runs/reconstruction.py`) -> viewer.

The first word names the command, `commands/<word>.py`; none is `view`. A command is imported when
it is asked for, so that the page and the help come at once.
"""

import importlib
import io
import logging
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ttt3r_viewer.commands.parser import Command, parse
from ttt3r_viewer.errors import SettingsError, ViewerError, in_a_line
from ttt3r_viewer.system.logs import log_file, logging_to_terminal
from ttt3r_viewer.system.memory import keep_few_arenas
from ttt3r_viewer.system.signals import sigterm_is_ctrl_c
from ttt3r_viewer.system.terminal import did_you_mean
from ttt3r_viewer.system.text import Unmasked, hide_passwords, printable

log = logging.getLogger(__name__)

COMMANDS = {
    "run": "the same without a browser",
    "compare": "several rules on the same frames, without a browser: table, plot, poses",
    "open": "show what --output left again, without weights or input",
    "info": "print what it holds",
    "export": "write a recording as PLY, GLB, COLMAP, NeRF, TUM, KITTI, depth maps",
    "rules": "list the rules with paper, formula and parameters",
    "weights": "look at, convert or fetch weights files",
    "eval": "rules on a data set, at growing numbers of frames: tables and curves",
    "bench": "what a frame costs here, stage by stage",
    "doctor": "what this machine has, what is missing, and what to do about it",
}
"""What each does, in the help's words."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where all went well, 2 after an error in one line, 1 after a mistake of
    the program's, 130 after Ctrl-C. A process that ends with it asks `leaves_work_behind` first.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Torch's threads would spin while they wait for each other: a busy machine then stands still.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_few_arenas()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that has no emoji must not end a run whose folder has one.
            stream.reconfigure(errors="backslashreplace")
    with logging_to_terminal():
        return _guarded(words)


def leaves_work_behind() -> bool:
    """Whether a thread is still inside a frame that takes long, or torch's import.

    Neither is waited for; and Python would crash if it took its interpreter away from under them,
    so a process that has such a thread ends with `os._exit`.
    """
    # A module that is not there yet has no thread, and after Ctrl-C none is imported any more.
    worker = getattr(sys.modules.get("ttt3r_viewer.reconstruct.worker"), "Worker", None)
    player = getattr(sys.modules.get("ttt3r_viewer.runs.player"), "Player", None)
    busy = {*getattr(worker, "THREADS", ()), getattr(player, "THREAD", None)}
    return any(thread.name in busy for thread in threading.enumerate())


def _guarded(words: list[str]) -> int:
    """Run one command, whatever becomes of it; the exit code."""
    try:
        with sigterm_is_ctrl_c():
            return _command(words)
    except ViewerError as error:
        _warn(f"error: {in_a_line(error)}")
        log.info("the command ended with an error", exc_info=True)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        log.exception("a mistake of the program's")
        file = log_file()
        where = f"; {file} says where" if file else ""
        _warn(
            f"error: a mistake of the program's: {type(error).__name__}: {in_a_line(error)}{where}"
        )
        return 1


def _command(words: list[str]) -> int:
    """Find the command, read its flags, execute it."""
    name = "view" if not words or words[0].startswith("-") else words.pop(0)
    if name not in ("view", *COMMANDS):
        raise SettingsError(
            f"{name!r} is no command{did_you_mean(name, COMMANDS) or _as_input(name)}; "
            "ttt3r-view --help lists them"
        )
    command: Command = importlib.import_module(f"ttt3r_viewer.commands.{name}").COMMAND
    prog = f"ttt3r-view {name}"
    if name == "view":
        prog = "ttt3r-view"
        command = replace(
            command,
            words={"(none)": "reconstruct, and watch it in the browser", **COMMANDS},
            words_title="commands",
            remark="Each has its own --help. Flags without a command:",
            usage=f"{prog} [COMMAND] [--flags]",
        )
    command, given = parse(prog, command, words, _warn)
    assert command.execute is not None
    return command.execute(given, _echo, _warn)


def _as_input(word: str) -> str:
    """How a file that stands where a command belongs is watched; empty for other words."""
    return f": to watch it, say --input {word}" if Path(word).exists() or "/" in word else ""


def _echo(line: str) -> None:
    print(line if isinstance(line, Unmasked) else hide_passwords(printable(line)), flush=True)


def _warn(line: str) -> None:
    print(hide_passwords(printable(line)), file=sys.stderr, flush=True)
