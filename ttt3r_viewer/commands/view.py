"""`ttt3r-view`: reconstruct in the background, and watch it in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttt3r_viewer.commands.page import announce, viewer_of
from ttt3r_viewer.commands.parser import Echo, add_settings, settings_of
from ttt3r_viewer.runs.reconstruction import Reconstruction
from ttt3r_viewer.runs.resuming import SessionFinishedError
from ttt3r_viewer.system.signals import no_interruption

DESCRIPTION = "Watch TTT3R reconstruct a folder of images, a video or a demo, live in the browser."
MINIATURE_NOTICE = (
    "This is the miniature: a small network trained on procedural rooms, to show how the program "
    "works. It has never seen a photo; real footage wants the released weights "
    "(ttt3r-view weights fetch cut3r-512)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting."""
    add_settings(parser, with_page=True)


def execute(given: argparse.Namespace, echo: Echo, warn: Echo) -> int:
    """Reconstruct in the background and serve the page until Ctrl-C."""
    from ttt3r_viewer.viewer.server.address import free_port
    from ttt3r_viewer.weights.fetch import locate

    settings = settings_of(given)
    # What can be known to fail is refused before anything is loaded.
    locate(settings.weights)
    free_port(settings.host, settings.port)
    try:
        reconstruction = Reconstruction.prepare(settings)
    except SessionFinishedError as told:
        echo(str(told))
        return 0
    viewer = None
    try:
        from ttt3r_viewer.export.job import Exporter

        archive = reconstruction.archive
        folder = None if settings.output is None else Path(settings.output)
        exporter = None if archive is None else Exporter(lambda: archive.archive, folder)
        notice = MINIATURE_NOTICE if settings.weights == "miniature" else ""
        viewer = viewer_of(
            settings,
            reconstruction.store,
            reconstruction.mailbox,
            notice=notice,
            ground_truth=reconstruction.ground_truth,
            exporter=exporter,
            session=folder,
        )
        viewer.start()
        # The thread imports torch, which would slow down what this one has imported till here.
        reconstruction.worker.start()
        announce(viewer, echo, reconstruction.note, notice, open_browser=settings.open_browser)
        reconstruction.watch(warn, viewer.report)
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        with no_interruption():
            try:
                reconstruction.end()
            finally:
                if viewer is not None:
                    viewer.stop()
    return 0
