"""`ttt3r-view open`: show what `--output` left behind in the browser again, without torch.

With `--weights` the network is loaded when a person first looks into a frame.
"""

from __future__ import annotations

import argparse
import threading
from dataclasses import fields
from functools import partial

from ttt3r_viewer.commands.page import announce, viewer_of
from ttt3r_viewer.commands.parser import Echo, add_page_settings, page_settings_of
from ttt3r_viewer.commands.session import add_session, open_archive, when_recorded
from ttt3r_viewer.errors import EvaluationError, ViewerError
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.runs.loading import recorded_lanes
from ttt3r_viewer.runs.player import Replay, open_command, rerun_command
from ttt3r_viewer.runs.reconstruction import PAGE_POINTS, find_poses
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import Settings, choices_of, flag
from ttt3r_viewer.system.text import printable

DESCRIPTION = (
    "Show a recorded session (what --output left) in the browser again: no weights, GPU or input "
    "are needed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The session, and what the page takes."""
    add_session(parser)
    add_page_settings(parser)
    parser.add_argument(
        "--max-points",
        type=int,
        default=argparse.SUPPRESS,
        metavar="N",
        help=f"points in the page (default {PAGE_POINTS})",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE|NAME",
        help="the weights of the run; Inspect then takes recorded frames again",
    )
    for name in ("device", "dtype"):
        (one,) = (one for one in fields(Settings) if one.name == name)
        parser.add_argument(
            flag(name),
            choices=choices_of(one)[1],
            default=one.default,
            help=f"{one.metadata['help']}; with --weights",
        )


def execute(given: argparse.Namespace, echo: Echo, _warn: Echo) -> int:
    """Serve the page of a session until Ctrl-C."""
    settings = page_settings_of(given, "max_points")
    archive = open_archive(given.session)
    make_looker = None
    if given.weights is not None:
        from ttt3r_viewer.weights.fetch import locate

        locate(given.weights)
        network = Settings(weights=given.weights, device=given.device, dtype=given.dtype)
        make_looker = partial(recorded_lanes, archive, network)
    ground_truth, note = true_poses(archive)
    from ttt3r_viewer.export.job import Exporter

    store = SceneStore(settings.max_points or PAGE_POINTS, one_per_voxel=True)
    mailbox = Mailbox()
    replay = Replay(archive, store, mailbox, make_looker)
    viewer = viewer_of(
        settings,
        store,
        mailbox,
        notice=notice_of(archive, given.weights),
        ground_truth=ground_truth,
        exporter=Exporter(lambda: archive, archive.session_folder),
        session=archive.session_folder,
    )
    try:
        viewer.start()
        replay.start()
        announce(viewer, echo, archive.note, note, open_browser=settings.open_browser)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        replay.stop()
        viewer.stop()
    return 0


def notice_of(archive: Recording, weights: str | None = None) -> str:
    """Say in the page what it shows, what needs a run, and with what frames are taken again."""
    said = archive.description
    when = f", recorded {when_recorded(said.started)}" if said.started else ""
    inside = f"needs the weights: {open_command(archive)}."
    if weights is not None:
        inside = (
            f"takes recorded frames again, from the first one on, with {weights}: what it shows is "
            "that of the run to rounding, where weights and dtype are those of the run."
        )
    return printable(
        f"A recorded session of {said.source}{when}, read from disk. Play, Step and other rules "
        f"need a run: {rerun_command(said.settings)}. Inspect {inside} Restart reads the session "
        "again."
    )


def true_poses(archive: Recording) -> tuple[GroundTruth | None, str]:
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
