"""One page after another at one door: a run, a recording, and the start screen to choose the next.

`ttt3r-view` and `ttt3r-view open` begin with what they were given.
"""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ttt3r_viewer.commands.page import (
    access_of,
    announce,
    gpu_points_of,
    notice_of_run,
    page_arguments,
    wait_for_choice,
)
from ttt3r_viewer.commands.parser import Echo
from ttt3r_viewer.errors import EvaluationError, ViewerError, in_a_line
from ttt3r_viewer.settings import (
    InputOptions,
    NetworkOptions,
    OutputOptions,
    PageOptions,
    Settings,
)
from ttt3r_viewer.system import compare_demo
from ttt3r_viewer.system.assets import is_own_comparison
from ttt3r_viewer.system.signals import no_interruption
from ttt3r_viewer.system.text import printable

if TYPE_CHECKING:
    from ttt3r_viewer.metrics.ground_truth import GroundTruth
    from ttt3r_viewer.recording.reader import Recording
    from ttt3r_viewer.scene.store import SceneStore
    from ttt3r_viewer.viewer.server.door import Door

Show = Callable[["Door"], bool]
"""Serves a page until the start screen has a choice, and returns True; False after Ctrl-C."""


def show_in_turn(settings: Settings, first: Show | None, echo: Echo, warn: Echo) -> int:
    """Show the first, or the start screen, and then what is chosen; the exit code.

    The start screen says why a choice could not be shown. Raises `ViewerError` where the first
    cannot be, or the port.
    """
    # Here, so that the help comes at once.
    from ttt3r_viewer.runs.start_offers import StartOffers
    from ttt3r_viewer.viewer.server.door import Door
    from ttt3r_viewer.viewer.server.start_screen import StartScreen
    from ttt3r_viewer.viewer.server.uploads import UploadFolder

    page, offers = settings.page, StartOffers(settings)
    start = StartScreen(offers, UploadFolder(offers.inputs, offers.videos, offers.images))
    show = first
    with closing(Door(page.host, page.port, access_of(page), start)) as door:
        door.listen()
        while True:
            try:
                if not (show or partial(_choosing, page, echo=echo))(door):
                    return 0
            except ViewerError as error:
                if show is first:
                    raise
                start.trouble, show = in_a_line(error), None
                warn(f"error: {start.trouble}")
            else:
                show = partial(_show_choice, settings, start.take(), echo=echo, warn=warn)


def _show_choice(
    settings: Settings, choice: Settings | Path, door: "Door", echo: Echo, warn: Echo
) -> bool:
    if isinstance(choice, Settings):
        return show_run(choice, door, echo, warn)
    from ttt3r_viewer.recording.reader import open_recording

    return show_recording(open_recording(choice), settings.output, settings.page, door, echo)


def _choosing(page: PageOptions, door: "Door", echo: Echo) -> bool:
    """Serve nothing but the start screen."""
    from ttt3r_viewer.viewer.server.gate import Gate

    gate = Gate(door)
    gate.start()
    try:
        announce(door, echo, open_browser=page.open_browser)
        return wait_for_choice(door)
    except KeyboardInterrupt:
        return False
    finally:
        gate.stop()


def show_run(settings: Settings, door: "Door", echo: Echo, warn: Echo) -> bool:
    """Reconstruct in the background and serve the page until there is a choice, and return True;
    False after Ctrl-C, and where the run that was to be resumed had finished.

    Raises `ViewerError` where it cannot be begun.
    """
    from ttt3r_viewer.export.job import Exporter
    from ttt3r_viewer.runs.reconstruction import Reconstruction
    from ttt3r_viewer.runs.resuming import RunFinishedError
    from ttt3r_viewer.weights.fetch import locate

    assert door.start is not None
    # What can be known to fail is refused before anything is loaded.
    locate(settings.model.weights)
    try:
        reconstruction = Reconstruction.prepare(settings)
    except RunFinishedError as finished:
        echo(str(finished))
        return False
    viewer = None
    try:
        from ttt3r_viewer.viewer.app import Viewer

        writer = reconstruction.writer
        folder = None if settings.output.output is None else Path(settings.output.output)
        run, notice = settings.as_dict(), notice_of_run(settings)
        viewer = Viewer(
            reconstruction.store,
            reconstruction.mailbox,
            door=door,
            notice=notice,
            ground_truth=reconstruction.ground_truth,
            exporter=None if writer is None else Exporter(lambda: writer.recording, folder),
            recorder=writer,
            gpu_points=gpu_points_of(settings.output.max_points),
            **page_arguments(settings.page, folder, settings.output.edge_filter, run),
        )
        viewer.start()
        # The thread imports torch, which would slow down what this one has imported till here.
        reconstruction.worker.start()
        door.start.at_stake = partial(at_stake, settings, reconstruction.store)
        announce(door, echo, reconstruction.note, notice, open_browser=settings.page.open_browser)
        reconstruction.watch(warn, viewer.report, door.start.chosen.is_set)
        return True
    except KeyboardInterrupt:
        return False  # the way to end it
    finally:
        with no_interruption():
            try:
                reconstruction.end()
            finally:
                if viewer is not None:
                    viewer.stop()


def at_stake(settings: Settings, store: "SceneStore") -> str:
    """What becomes of a run when another begins, in a line; empty before its first frame."""
    frames = len(store.snapshot().frames)
    if not frames:
        return ""
    output = settings.output.output
    kept = f"they are kept in {printable(output)}" if output else "they are not kept"
    return f"This ends the run that is shown now, which has {frames:,} frames: {kept}."


def show_recording(
    recording: "Recording",
    shown: OutputOptions,
    page: PageOptions,
    door: "Door",
    echo: Echo,
    network: NetworkOptions | None = None,
) -> bool:
    """Serve the page of a recording until there is a choice, and return True; False after Ctrl-C.

    Of `shown` the limit of points and the edge filter are used. `network` looks into frames.
    """
    from ttt3r_viewer.export.job import Exporter
    from ttt3r_viewer.reconstruct.messages import Mailbox
    from ttt3r_viewer.runs.known_truth import page_store
    from ttt3r_viewer.runs.player import Player
    from ttt3r_viewer.runs.reconstruction import recorded_lanes
    from ttt3r_viewer.viewer.app import Viewer

    ground_truth, note = true_poses(recording)
    store = page_store(shown.max_points, ground_truth, shown.edge_filter)
    mailbox = Mailbox()
    make_lanes = None if network is None else partial(recorded_lanes, recording, network)
    player = Player(recording, store, mailbox, make_lanes)
    viewer = Viewer(
        store,
        mailbox,
        door=door,
        notice=notice_of(recording, None if network is None else network.weights),
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
        announce(door, echo, recording.note, note, open_browser=page.open_browser)
        return wait_for_choice(door)
    except KeyboardInterrupt:
        return False  # the way to end it
    finally:
        player.stop()
        viewer.stop()


def notice_of(recording: "Recording", weights: str | None = None) -> str:
    """What the page shows, what needs a run, and with what frames are read again."""
    from ttt3r_viewer.runs.player import open_command, rerun_command

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
        f"A recording of {manifest.source}{when}, read from disk. Step and other rules "
        f"need a run: {rerun_command(manifest.settings)}. Inspect {inside} Restart reads it again."
    )


def true_poses(recording: "Recording") -> tuple["GroundTruth | None", str]:
    """The true cameras that the run used, if they are still there; else why they are not used.

    Nothing is looked for where the recording does not say what its input was.
    """
    from ttt3r_viewer.runs.known_truth import find_truth

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
