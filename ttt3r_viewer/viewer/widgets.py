"""Small helpers that every part of the page shares."""

from __future__ import annotations

import html
from typing import Any

import viser

Page = viser.ViserServer | viser.ClientHandle
"""What nodes are added to: the page of all browsers, or one browser's alone."""


def assign_changed(handle: Any, **properties: Any) -> None:
    """Assign only the properties of a viser handle that differ: each assignment is a message."""
    for name, value in properties.items():
        if getattr(handle, name) != value:
            setattr(handle, name, value)


def send_again(handle: Any) -> None:
    """Tell all browsers a widget's value once more, as if it had changed.

    viser's page keeps one message for the whole panel while it waits (50 ms, or as long as it is
    busy): what a person did before is then lost, and shown by their page all the same.
    """
    handle._queue_update("value", handle.value)


def escape(text: str, limit: int = 600) -> str:
    """Make text of unknown origin safe inside HTML, and no longer than `limit` characters."""
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return html.escape(shortened, quote=True)
