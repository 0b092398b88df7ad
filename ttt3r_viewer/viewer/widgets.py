"""Small helpers of every part of the page: to make widgets, to read them and to assign them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import viser

from ttt3r_viewer.viewer.tick import Part, Tick

Page = viser.ViserServer | viser.ClientHandle
"""What nodes are added to: the page of all browsers, or one browser's alone."""
Press = Callable[[viser.ClientHandle | None], object]
"""What a button or a key does, given the browser that it was pressed in."""
Widget = TypeVar("Widget")


def assign_changed(handle: Any, **properties: Any) -> None:
    """Assign only the properties of a viser handle that differ: each assignment is a message."""
    for name, value in properties.items():
        if getattr(handle, name) != value:
            setattr(handle, name, value)


def show(visible: bool, *handles: Any) -> None:
    """Show widgets, or hide them."""
    for handle in handles:
        assign_changed(handle, visible=visible)


def offer(dropdown: viser.GuiDropdownHandle[str], options: tuple[str, ...]) -> None:
    """Offer other options; what is chosen stays at its place in the list."""
    if dropdown.options != options:
        place = dropdown.options.index(dropdown.value)
        dropdown.options = options
        assign_changed(dropdown, value=options[min(place, len(options) - 1)])


def value_of(handle: Any) -> Any:
    """Return a widget's value; a number within its range, as browsers send half-typed ones."""
    value, low, high = (getattr(handle, name, None) for name in ("value", "min", "max"))
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)


def bind(handle: Widget, act: Callable[[Any], object]) -> Widget:
    """Call `act` on viser's loop with a widget's value after a user's change; return the widget."""

    @handle.on_update  # pyright: ignore[reportAttributeAccessIssue]
    async def _(event: viser.GuiEvent[Any]) -> None:
        if event.client is not None:
            act(value_of(handle))

    return handle


def send_file(client: viser.ClientHandle, name: str, content: bytes) -> None:
    """Let a browser save a file."""
    client.send_file_download(name, content, save_immediately=True)


class Widgets:
    """Adds a panel's widgets to the folder or tab that is open; their options are viser's."""

    def __init__(self, gui: viser.GuiApi) -> None:
        self._gui = gui

    def button(
        self, label: str, icon: viser.IconName | None, act: Press, **options: Any
    ) -> viser.GuiButtonHandle:
        """Add a button that calls `act`."""
        button = self._gui.add_button(label, icon=icon, **options)

        @button.on_click
        async def _(event: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            act(event.client)

        return button

    def buttons(
        self, label: str, names: tuple[str, ...], act: Callable[[viser.ClientHandle, str], object]
    ) -> None:
        """Add buttons in a row; `act` is given the browser and the pressed button's name.

        It may take long, as the packing of a file does: it is called on viser's own threads.
        """
        group = self._gui.add_button_group(label, names)

        @group.on_click
        def _(event: viser.GuiEvent[viser.GuiButtonGroupHandle]) -> None:
            if event.client is not None:
                act(event.client, group.value)

    def key(self, label: str, key: Any, act: Press, **options: Any) -> viser.CommandHandle:
        """Add a key that calls `act`, with a label for viser's list of commands."""
        command = self._gui.add_command(label, hotkey=key, **options)

        @command.on_trigger
        async def _(event: viser.CommandEvent) -> None:
            act(event.client)

        return command


class FieldWidgets(Widgets):
    """Adds widgets that replace one field of some settings each, with which they begin."""

    def __init__(self, gui: viser.GuiApi, settings: object, change: Callable[..., object]) -> None:
        """`change` takes the field's new value by its name."""
        super().__init__(gui)
        self._settings = settings
        self._change = change

    def add(self, make: Callable[..., Widget], label: str, field: str, **options: Any) -> Widget:
        """Add a widget that shows the field as it is; `make` and the options are viser's."""
        handle = make(label, initial_value=getattr(self._settings, field), **options)
        return bind(handle, lambda value: self._change(**{field: value}))

    def choice(
        self, label: str, field: str, values: Mapping[str, Any], **options: Any
    ) -> viser.GuiDropdownHandle[str]:
        """Add a list of labels, each of which stands for a value of the field."""
        now = getattr(self._settings, field)
        initial = next(name for name, value in values.items() if value == now)
        handle = self._gui.add_dropdown(label, tuple(values), initial_value=initial, **options)
        return bind(handle, lambda name: self._change(**{field: values[name]}))


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
        """Repeat the next value, unless it is new since the round before: it may still move."""
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
