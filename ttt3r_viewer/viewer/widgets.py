"""Small helpers of every part of the page: to make widgets, to read them and to assign them."""

from collections.abc import Callable
from typing import Any

import viser

from ttt3r_viewer.viewer.tick import Part, Tick

Page = viser.ViserServer | viser.ClientHandle
"""What nodes are added to: the page of all browsers, or one browser's alone."""
Press = Callable[[viser.ClientHandle | None], object]
"""What a button or a key does, given the browser that it was pressed in."""


def assign_changed(handle: Any, **properties: Any) -> None:
    """Assign only the properties of a viser handle that differ: each assignment is a message."""
    for name, value in properties.items():
        if getattr(handle, name) != value:
            setattr(handle, name, value)


def bind(handle: Any, act: Callable[[Any], object]) -> None:
    """Call `act` with a widget's value after each change by a user; on viser's loop, in order."""

    @handle.on_update
    async def _(event: viser.GuiEvent[Any]) -> None:
        if event.client is not None:
            act(handle.value)


def add_button(gui: viser.GuiApi, label: str, act: Press, **options: Any) -> viser.GuiButtonHandle:
    """Add a button that calls `act`; the options are viser's."""
    button = gui.add_button(label, **options)

    @button.on_click
    async def _(event: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
        act(event.client)

    return button


def add_key(
    gui: viser.GuiApi, label: str, key: Any, act: Press, **options: Any
) -> viser.CommandHandle:
    """Add a key that calls `act`, with a label for viser's list of commands."""
    command = gui.add_command(label, hotkey=key, **options)

    @command.on_trigger
    async def _(event: viser.CommandEvent) -> None:
        act(event.client)

    return command


def send_file(client: viser.ClientHandle, name: str, content: bytes) -> None:
    """Let a browser save a file."""
    client.send_file_download(name, content, save_immediately=True)


def clamp(value: float, low: float, high: float) -> float:
    """Bring a number from a browser, which checks nothing, into its range."""
    return min(max(value, low), high)


class Resender(Part):
    """Sends all browsers the widgets' values again, one at a time.

    viser's page keeps one message for the whole panel while it waits (50 ms, or as long as it is
    busy). What a user did before is then lost, and shown by their page all the same: they would
    not see that it has to be done again.
    """

    def __init__(self, gui: viser.GuiApi) -> None:
        self._gui = gui
        self._waiting: list[Any] = []
        self._known: dict[str, Any] = {}
        """Each widget's value when it was considered last."""

    def update(self, tick: Tick) -> None:  # noqa: ARG002
        """Repeat the next value, unless it has changed since the round before: the user may still
        be moving it.
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
