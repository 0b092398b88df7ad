"""What the commands that serve a page say when it is up."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING

from ttt3r_viewer.commands.parser import Say

if TYPE_CHECKING:
    from ttt3r_viewer.viewer.app import Viewer


def announce(viewer: Viewer, say: Say, *remarks: str, open_browser: bool) -> None:
    """Say the remarks that are not empty and where the page is; open it where that is wanted."""
    for remark in filter(None, (*remarks, viewer.port_note)):
        say(remark)
    say(f"open {viewer.url} in a browser; Ctrl-C ends")
    if open_browser:
        webbrowser.open(viewer.url)
