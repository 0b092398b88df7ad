"""`ttt3r-view`: reconstruct in the background, and watch it in the browser."""

import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.settings import GPU_POINTS, GROUPS, PageOptions, Settings
from ttt3r_viewer.system import compare_demo
from ttt3r_viewer.system.assets import is_comparison, is_own_comparison
from ttt3r_viewer.system.signals import no_interruption
from ttt3r_viewer.system.text import Unmasked

if TYPE_CHECKING:
    from ttt3r_viewer.viewer.app import Viewer
    from ttt3r_viewer.viewer.server.access import Access

MINIATURE_NOTICE = (
    "This is the miniature: a small network trained on procedural rooms, to show how the program "
    "works. It has never seen a photo; real footage needs the released weights "
    "(ttt3r-view weights fetch cut3r-512)."
)
PAGE_TITLE = "ttt3r-viewer"
"""Of a page that `--title` gives no other."""


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Reconstruct in the background and serve the page until Ctrl-C."""
    from ttt3r_viewer.export.job import Exporter
    from ttt3r_viewer.runs.reconstruction import Reconstruction
    from ttt3r_viewer.runs.resuming import RunFinishedError
    from ttt3r_viewer.viewer.server.address import free_port
    from ttt3r_viewer.weights.fetch import locate

    settings = given.settings
    # What can be known to fail is refused before anything is loaded.
    locate(settings.model.weights)
    free_port(settings.page.host, settings.page.port)
    try:
        reconstruction = Reconstruction.prepare(settings)
    except RunFinishedError as finished:
        echo(str(finished))
        return 0
    viewer = None
    try:
        from ttt3r_viewer.viewer.app import Viewer

        writer = reconstruction.writer
        folder = None if settings.output.output is None else Path(settings.output.output)
        run, notice = settings.as_dict(), notice_of_run(settings)
        viewer = Viewer(
            reconstruction.store,
            reconstruction.mailbox,
            notice=notice,
            ground_truth=reconstruction.ground_truth,
            exporter=None if writer is None else Exporter(lambda: writer.recording, folder),
            gpu_points=gpu_points_of(settings.output.max_points),
            **page_arguments(settings.page, folder, settings.output.edge_filter, run),
        )
        viewer.start()
        # The thread imports torch, which would slow down what this one has imported till here.
        reconstruction.worker.start()
        announce(viewer, echo, reconstruction.note, notice, open_browser=settings.page.open_browser)
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


def notice_of_run(settings: Settings) -> str:
    """What the page says about a run before it begins."""
    from ttt3r_viewer.weights.fetch import MINIATURE

    notice = MINIATURE_NOTICE if settings.model.weights == MINIATURE else ""
    own = is_own_comparison(settings.as_dict())
    return f"{compare_demo.NOTICE} {notice}".strip() if own else notice


def page_arguments(
    page: PageOptions, folder: Path | None, edge_filter: float, run: Mapping[str, Any]
) -> dict[str, Any]:
    """What a `Viewer` takes of the options; `folder` is where its tour is kept, `run` has the
    settings of the run by name.
    """
    from ttt3r_viewer.viewer.context import Presentation
    from ttt3r_viewer.viewer.view_settings import ViewSettings

    title = page.title or ""
    presentation = Presentation(
        page.present,
        title,
        page.logo_text or "",
        folder,
        chart=compare_demo.CHART if is_comparison(run.get("input")) else "",
        remark=compare_demo.CAPTION if is_own_comparison(run) else "",
    )
    return {
        "host": page.host,
        "port": page.port,
        "access": access_of(page),
        "title": title or PAGE_TITLE,
        "settings": ViewSettings(edge_filter=edge_filter),
        "presentation": presentation,
    }


def gpu_points_of(max_points: int | None) -> int | None:
    """The points that a page may keep where browsers draw on a GPU; None where `--max-points` says
    how many.
    """
    return None if max_points else GPU_POINTS


def announce(viewer: "Viewer", echo: Echo, *remarks: str, open_browser: bool) -> None:
    """Print the remarks that are not empty and where the page is; open it where that is asked for.

    The links hold the tokens that open the page, which are shown nowhere else.
    """
    for remark in filter(None, (*remarks, viewer.port_note)):
        echo(remark)
    if viewer.guest_url is not None:
        echo(Unmasked(f"guests, who only look, open {viewer.guest_url}"))
    echo(Unmasked(f"open {viewer.url} in a browser; Ctrl-C ends"))
    if open_browser:
        webbrowser.open(viewer.url)


def access_of(page: PageOptions) -> "Access":
    """Choose who may open the page; a token that is needed and not given is made up."""
    from ttt3r_viewer.viewer.server.access import access_for

    return access_for(
        page.host, token=page.token, no_auth=not page.auth, guests=page.guests == "read-only"
    )


COMMAND = Command(
    "Watch TTT3R reconstruct a folder of images, a video or a demo, live in the browser.",
    GROUPS,
    execute,
    config=GROUPS,
)
