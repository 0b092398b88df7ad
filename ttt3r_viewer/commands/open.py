"""`ttt3r-view open`: show what `--output` left in the browser again, without torch.

With `--weights` the network is loaded when a user first looks into a frame.
"""

import threading
from dataclasses import dataclass
from functools import partial

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.commands.view import announce, gpu_points_of, page_arguments
from ttt3r_viewer.errors import EvaluationError, ViewerError
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.recording.reader import Recording, open_recording
from ttt3r_viewer.runs.known_truth import find_truth, page_store
from ttt3r_viewer.runs.player import Player, open_command, rerun_command
from ttt3r_viewer.runs.reconstruction import recorded_lanes
from ttt3r_viewer.settings import (
    GPU_POINTS,
    PAGE_POINTS,
    InputOptions,
    NetworkOptions,
    OutputOptions,
    PageOptions,
    RecordingOptions,
)
from ttt3r_viewer.system import compare_demo
from ttt3r_viewer.system.assets import is_own_comparison
from ttt3r_viewer.system.options import DeviceName, DtypeName, Options, option_like
from ttt3r_viewer.system.text import printable


@dataclass(frozen=True)
class SceneOptions(Options):
    """What is shown of it."""

    max_points: int | None = option_like(
        OutputOptions,
        "max_points",
        help_text=f"points in the page (default {PAGE_POINTS}, and {GPU_POINTS} where browsers "
        "draw on a GPU)",
    )
    edge_filter: float = option_like(
        OutputOptions,
        "edge_filter",
        help_text="hide points around which the depth changes by more than this share; 0 shows "
        "them wherever frames are read in full",
    )


@dataclass(frozen=True)
class LookOptions(Options):
    """What looks into recorded frames."""

    weights: str | None = option_like(
        NetworkOptions,
        "weights",
        default=None,
        help_text="the weights of the run; Inspect then takes recorded frames again",
    )
    device: DeviceName = option_like(NetworkOptions, "device")
    dtype: DtypeName = option_like(NetworkOptions, "dtype")


def execute(given: Given, echo: Echo, _warn: Echo) -> int:
    """Serve the page of a recording until Ctrl-C."""
    look, page, shown = given[LookOptions], given[PageOptions], given[SceneOptions]
    recording = open_recording(given[RecordingOptions].recording)
    make_lanes = None
    if look.weights is not None:
        from ttt3r_viewer.weights.fetch import locate

        locate(look.weights)
        network = NetworkOptions(look.weights, device=look.device, dtype=look.dtype)
        make_lanes = partial(recorded_lanes, recording, network)
    ground_truth, note = true_poses(recording)
    from ttt3r_viewer.export.job import Exporter
    from ttt3r_viewer.viewer.app import Viewer

    store = page_store(shown.max_points, ground_truth, shown.edge_filter)
    mailbox = Mailbox()
    player = Player(recording, store, mailbox, make_lanes)
    viewer = Viewer(
        store,
        mailbox,
        notice=notice_of(recording, look.weights),
        ground_truth=ground_truth,
        exporter=Exporter(lambda: recording, recording.output_folder),
        gpu_points=gpu_points_of(shown.max_points),
        **page_arguments(
            page, recording.output_folder, shown.edge_filter, recording.manifest.settings
        ),
    )
    try:
        viewer.start()
        player.start()
        announce(viewer, echo, recording.note, note, open_browser=page.open_browser)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        player.stop()
        viewer.stop()
    return 0


def notice_of(recording: Recording, weights: str | None = None) -> str:
    """What the page shows, what needs a run, and with what frames are read again."""
    manifest = recording.manifest
    when = f", recorded {manifest.started_text}" if manifest.started else ""
    inside = f"needs the weights: {open_command(recording)}."
    if weights is not None:
        inside = (
            f"takes recorded frames again, from the first one on, with {weights}: what it shows is "
            "that of the run to rounding, where weights and dtype are those of the run."
        )
    own = f"{compare_demo.NOTICE} " if is_own_comparison(manifest.settings) else ""
    return own + printable(
        f"A recording of {manifest.source}{when}, read from disk. Play, Step and other rules "
        f"need a run: {rerun_command(manifest.settings)}. Inspect {inside} Restart reads it again."
    )


def true_poses(recording: Recording) -> tuple[GroundTruth | None, str]:
    """The true cameras that the run used, if they are still there; else why they are not used.

    Nothing is looked for where the recording does not say what its input was.
    """
    recorded = recording.manifest.settings
    if "input" not in recorded:
        return None, ""
    try:
        return find_truth(InputOptions(recorded["input"], poses=recorded.get("poses")))
    except EvaluationError as error:
        return None, f"no true poses: {error}"
    except ViewerError:
        # A demo that this version does not have brings no poses, and none is missed.
        return None, ""


COMMAND = Command(
    "Show a recording (what --output left) in the browser again: no weights, GPU or input are "
    "needed.",
    (RecordingOptions, SceneOptions, LookOptions, PageOptions),
    execute,
    config=(SceneOptions, PageOptions),
)
