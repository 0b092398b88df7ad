"""`ttt3r-view open` and `ttt3r-view info`: what `--output` left behind, without torch."""

from __future__ import annotations

import threading
import webbrowser
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from queue import SimpleQueue

from ttt3r_viewer.errors import ArchiveError, EvaluationError, SettingsError, ViewerError
from ttt3r_viewer.evaluate.ground_truth import GroundTruth
from ttt3r_viewer.reconstruct.commands import Command
from ttt3r_viewer.replay import Replay, ending, rerun_command
from ttt3r_viewer.scene.archive import Archive
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import Settings
from ttt3r_viewer.types import printable
from ttt3r_viewer.wiring import PAGE_POINTS, find_poses

OPEN_TEXT = (
    "Show a recorded session (what --output left) in the browser again: no weights, GPU or input "
    "are needed."
)
INFO_TEXT = "Print what a recorded session holds."


def add_open_arguments(parser: ArgumentParser) -> None:
    """Add what `open` takes."""
    _add_folder(parser)
    default = Settings()
    parser.add_argument("--host", default=default.host, help="address the page is served at")
    parser.add_argument("--port", type=int, default=default.port, help="its port; 0: any free one")
    parser.add_argument("--open-browser", action="store_true", help="open the page right away")
    parser.add_argument(
        "--max-points", type=int, metavar="N", help=f"points in the page (default {PAGE_POINTS})"
    )
    parser.add_argument("--weights", help="not yet: a session is shown without its network")


def add_info_arguments(parser: ArgumentParser) -> None:
    """Add what `info` takes."""
    _add_folder(parser)


def _add_folder(parser: ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="DIR", help="what a run's --output named")


def open_session(given: Namespace, say: Callable[[str], object]) -> None:
    """Serve the page of a session until Ctrl-C."""
    if given.weights is not None:
        raise SettingsError(
            f"--weights {given.weights}: a session cannot be opened with its network yet; leave it "
            "out, or run the input again (ttt3r-view --input PATH --weights FILE)"
        )
    settings = Settings(host=given.host, port=given.port, max_points=given.max_points)
    archive = open_archive(given.session)
    ground_truth, note = true_poses(archive)
    from ttt3r_viewer.viewer.app import Viewer

    store = SceneStore(settings.max_points or PAGE_POINTS, one_per_voxel=True)
    commands: SimpleQueue[Command] = SimpleQueue()
    replay = Replay(archive, store, commands)
    viewer = Viewer(
        store,
        commands,
        host=settings.host,
        port=settings.port,
        notice=notice_of(archive),
        ground_truth=ground_truth,
    )
    try:
        viewer.start()
        replay.start()
        for line in (
            archive.note,
            note,
            viewer.port_note,
            f"open {viewer.url} in a browser; Ctrl-C ends",
        ):
            if line:
                say(printable(line))
        if given.open_browser:
            webbrowser.open(viewer.url)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        replay.stop()
        viewer.stop()


def open_archive(path: Path) -> Archive:
    """Find a session's frames. Raises `ArchiveError`, also where there is not one frame."""
    archive = Archive.open(path)
    if not len(archive):
        why = f" ({archive.note})" if archive.note else ""
        raise ArchiveError(f"{path}: a session without a frame{why}; give another one")
    return archive


def notice_of(archive: Archive) -> str:
    """Say in the page what it shows, and what needs a run."""
    said = archive.description
    when = f", recorded {_when(said.started)}" if said.started else ""
    return printable(
        f"A recorded session of {said.source}{when}, read from disk without its network. Play, "
        "Step and other rules need a run, and Inspect needs the weights: "
        f"{rerun_command(said.settings)}. Restart reads the session again."
    )


def true_poses(archive: Archive) -> tuple[GroundTruth | None, str]:
    """Find the true cameras that the run used, if they are still there; else say why they are not.

    Nothing is looked for where the session does not say what its input was.
    """
    recorded = archive.description.settings
    if "input" not in recorded:
        return None, ""
    try:
        return find_poses(Settings(input=recorded["input"], poses=recorded.get("poses")))
    except EvaluationError as error:
        return None, f"no true poses: {error}"
    except ViewerError:
        # A demo that this version does not have brings no poses, and none is missed.
        return None, ""


def info(given: Namespace, say: Callable[[str], object]) -> None:
    """Print what a session holds."""
    for name, value in session_facts(given.session):
        say(printable(f"{name:<10}{value}"))


def session_facts(path: Path) -> Iterator[tuple[str, str]]:
    """Give what there is to say about a session, line by line. Raises `ArchiveError`."""
    archive = open_archive(path)
    said, status = archive.description, archive.description.status
    first, last = (archive.facts(archive.sequences[k]) for k in (0, -1))
    yield "source", said.source
    yield "recorded", f"{_when(said.started) or 'at an unknown time'}, by {said.program}"
    yield "model", f"{status.model}, on {status.device}"
    for number, lane in enumerate(last["lanes"], start=1):
        reset = f", reset every {lane['reset_every']}" if lane["reset_every"] else ""
        yield f"lane {number}", f"{lane['rule']}{reset}"
    span = f"{first['time_sec']:.2f} to {last['time_sec']:.2f} s"
    skipped = f", {status.skipped} skipped" if status.skipped else ""
    of_total = f" of {status.frames_total}" if status.frames_total else ""
    yield "frames", f"{len(archive)}{of_total}, {span}{skipped}"
    lane, crop = first["lanes"][0], first["crop"]
    original = f"{crop['original_width']} x {crop['original_height']}"
    yield "pictures", f"{lane['width']} x {lane['height']}, from {original}"
    yield "disk", f"{archive.nbytes / 1e6:,.1f} MB of frames in {archive.path}"
    yield "ended", "; ".join(ending(archive)) or "with its last frame"
    yield "damage", archive.note or "none found"
    chosen = changed_settings(said.settings)
    yield "settings", chosen or "all as by default"


def changed_settings(settings: object) -> str:
    """Write the settings of a run that were not the default, as flags."""
    values = dict(settings) if isinstance(settings, dict) else {}
    changed = (
        f"--{one.name.replace('_', '-')} {values[one.name]}"
        for one in fields(Settings)
        if one.name in values and values[one.name] != one.default
    )
    return " ".join(changed)


def _when(started: str) -> str:
    """Write a time in ISO 8601, UTC, for people."""
    return started.replace("T", " ").replace("+00:00", " UTC")
