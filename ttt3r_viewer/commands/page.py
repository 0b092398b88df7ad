"""A page: who may open it, what it and the terminal say, and how long it stays."""

import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt3r_viewer.commands.parser import Echo
from ttt3r_viewer.settings import GPU_POINTS, PageOptions, Settings
from ttt3r_viewer.system import compare_demo
from ttt3r_viewer.system.assets import is_comparison, is_own_comparison
from ttt3r_viewer.system.text import Unmasked

if TYPE_CHECKING:
    from ttt3r_viewer.viewer.server.access import Access
    from ttt3r_viewer.viewer.server.door import Door

MINIATURE_NOTICE = (
    "This is the miniature: a small network trained on procedural rooms, to show how the program "
    "works. It has never seen a photo; real footage needs the released weights "
    "(ttt3r-view weights fetch cut3r-512)."
)
PAGE_TITLE = "ttt3r-viewer"
"""Of a page that `--title` gives no other."""


def announce(door: "Door", echo: Echo, *remarks: str, open_browser: bool) -> None:
    """Print the remarks that are not empty and, the first time, where the page is; open it then
    where that is asked for.

    The links hold the tokens that open the page, which are shown nowhere else.
    """
    for remark in filter(None, remarks):
        echo(remark)
    if door.announced:
        return
    door.announced = True
    if door.note:
        echo(door.note)
    for line in door.lines():
        echo(Unmasked(line))
    echo("Ctrl-C ends")
    if open_browser:
        webbrowser.open(door.url)


def access_of(page: PageOptions) -> "Access":
    """Choose who may open the page; a token that is needed and not given is made up."""
    from ttt3r_viewer.viewer.server.access import access_for

    return access_for(
        page.host, token=page.token, no_auth=not page.auth, guests=page.guests == "read-only"
    )


def wait_for_choice(door: "Door") -> bool:
    """Wait until the start screen has a choice, and return True; False after Ctrl-C."""
    assert door.start is not None
    try:
        door.start.chosen.wait()
    except KeyboardInterrupt:
        return False
    return True


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
        "title": title or PAGE_TITLE,
        "settings": ViewSettings(edge_filter=edge_filter),
        "presentation": presentation,
    }


def gpu_points_of(max_points: int | None) -> int | None:
    """The points that a page may keep where browsers draw on a GPU; None where `--max-points` says
    how many.
    """
    return None if max_points else GPU_POINTS
