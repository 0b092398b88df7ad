"""`ttt3r-view open`: show what `--output` left behind in the browser again, without torch."""

from __future__ import annotations

import argparse
import threading
from queue import SimpleQueue

from ttt3r_viewer.commands.page import announce
from ttt3r_viewer.commands.parser import Say
from ttt3r_viewer.commands.session import add_session, open_archive, when_recorded
from ttt3r_viewer.errors import EvaluationError, SettingsError, ViewerError
from ttt3r_viewer.evaluate.ground_truth import GroundTruth
from ttt3r_viewer.reconstruct.commands import Command
from ttt3r_viewer.replay import Replay, rerun_command
from ttt3r_viewer.scene.archive import Archive
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import Settings
from ttt3r_viewer.types import printable
from ttt3r_viewer.wiring import PAGE_POINTS, find_poses

DESCRIPTION = (
    "Show a recorded session (what --output left) in the browser again: no weights, GPU or input "
    "are needed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The session, and what the page takes."""
    add_session(parser)
    default = Settings()
    parser.add_argument("--host", default=default.host, help="address the page is served at")
    parser.add_argument("--port", type=int, default=default.port, help="its port; 0: any free one")
    parser.add_argument("--open-browser", action="store_true", help="open the page right away")
    parser.add_argument(
        "--max-points", type=int, metavar="N", help=f"points in the page (default {PAGE_POINTS})"
    )
    parser.add_argument("--weights", help="not yet: a session is shown without its network")


def execute(given: argparse.Namespace, say: Say, _complain: Say) -> int:
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
        announce(viewer, say, archive.note, note, open_browser=given.open_browser)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        replay.stop()
        viewer.stop()
    return 0


def notice_of(archive: Archive) -> str:
    """Say in the page what it shows, and what needs a run."""
    said = archive.description
    when = f", recorded {when_recorded(said.started)}" if said.started else ""
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
