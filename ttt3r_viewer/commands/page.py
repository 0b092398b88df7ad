"""What the commands that serve a page share: how it is made, and what is said when it is up."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from ttt3r_viewer.commands.parser import Echo
from ttt3r_viewer.settings import Settings
from ttt3r_viewer.system.text import Unmasked

if TYPE_CHECKING:
    from ttt3r_viewer.export.job import Exporter
    from ttt3r_viewer.metrics.ground_truth import GroundTruth
    from ttt3r_viewer.reconstruct.messages import Mailbox
    from ttt3r_viewer.scene.store import SceneStore
    from ttt3r_viewer.viewer.app import Viewer
    from ttt3r_viewer.viewer.server.access import Access

PAGE_TITLE = "ttt3r-viewer"
"""Of a page that `--title` gives no other."""


def viewer_of(
    settings: Settings,
    store: SceneStore,
    mailbox: Mailbox,
    *,
    notice: str,
    ground_truth: GroundTruth | None,
    exporter: Exporter | None,
    session: Path | None,
) -> Viewer:
    """Make the page that the settings ask for, not started; `session` is where its tour is kept."""
    from ttt3r_viewer.viewer.app import Viewer
    from ttt3r_viewer.viewer.presentation import Presentation

    return Viewer(
        store,
        mailbox,
        host=settings.host,
        port=settings.port,
        access=access_of(settings),
        title=settings.title or PAGE_TITLE,
        notice=notice,
        ground_truth=ground_truth,
        exporter=exporter,
        presentation=Presentation(
            settings.present, settings.title or "", settings.logo_text or "", session
        ),
    )


def announce(viewer: Viewer, echo: Echo, *remarks: str, open_browser: bool) -> None:
    """Say the remarks that are not empty and where the page is; open it where that is wanted.

    The links hold the tokens that open the page, which are shown nowhere else.
    """
    for remark in filter(None, (*remarks, viewer.port_note)):
        echo(remark)
    if viewer.guest_url is not None:
        echo(Unmasked(f"guests, who only look, open {viewer.guest_url}"))
    echo(Unmasked(f"open {viewer.url} in a browser; Ctrl-C ends"))
    if open_browser:
        webbrowser.open(viewer.url)


def access_of(settings: Settings) -> Access:
    """Choose who may open the page; a token that is needed and not given is made up."""
    from ttt3r_viewer.viewer.server.access import access_for

    return access_for(
        settings.host,
        token=settings.token,
        no_auth=not settings.auth,
        guests=settings.guests == "read-only",
    )
