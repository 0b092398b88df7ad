"""Small helpers that every part of the page shares."""

from __future__ import annotations

import html
from typing import Any

import viser

from ttt3r_viewer.viewer.tick import Part, Tick

Page = viser.ViserServer | viser.ClientHandle
"""What nodes are added to: the page of all browsers, or one browser's alone."""


def assign_changed(handle: Any, **properties: Any) -> None:
    """Assign only the properties of a viser handle that differ: each assignment is a message."""
    for name, value in properties.items():
        if getattr(handle, name) != value:
            setattr(handle, name, value)


class Resender(Part):
    """Sends all browsers the widgets' values again, one at a time.

    viser's page keeps one message for the whole panel while it waits (50 ms, or as long as it is
    busy). What a person did before is then lost, and shown by their page all the same: they would
    not see that it has to be done again.
    """

    def __init__(self, gui: viser.GuiApi) -> None:
        self._gui = gui
        self._waiting: list[Any] = []
        self._known: dict[str, Any] = {}
        """Each widget's value when it had its turn last."""

    def update(self, tick: Tick) -> None:  # noqa: ARG002
        """Repeat the next value, unless it has changed since the round before: a hand may still be
        at it.
        """
        if not self._waiting:
            handles = list(self._gui._gui_input_handle_from_uuid.values())
            self._waiting = [one for one in handles if not one._impl.is_button]
        if self._waiting:
            handle = self._waiting.pop()
            identifier, value = handle._impl.uuid, handle.value
            settled = self._known.get(identifier) == value
            self._known[identifier] = value
            if settled and not handle._impl.removed and isinstance(value, int | float | str):
                handle._queue_update("value", value)


def escape(text: str, limit: int = 600) -> str:
    """Make text of unknown origin safe inside HTML, and no longer than `limit` characters."""
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return html.escape(shortened, quote=True)
