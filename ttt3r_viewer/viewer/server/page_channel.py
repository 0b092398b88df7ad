"""What our script in a browser says to the program: through viser, which knows the browser."""

import json
from collections.abc import Callable
from typing import Any

import viser

LONGEST_PAGE = 32
"""Length limit of the name that a page gives itself."""

Act = Callable[[viser.ClientHandle, str, str, Any], object]
"""Takes the browser, its page's name in the overlay, the action and the action's value."""


class PageChannel:
    """A text box that nobody sees, into which the script writes `[page, number, action, value]`.

    The gate checks what comes as it checks every widget; guests may write too, so who acts on it
    asks who wrote.
    """

    def __init__(self, gui: viser.GuiApi) -> None:
        self._handle = gui.add_text("", "", visible=False)
        self._acts: list[Act] = []

        @self._handle.on_update
        async def _(event: viser.GuiEvent[Any]) -> None:
            said = _read(self._handle.value)
            if event.client is not None and said is not None:
                for act in self._acts:
                    act(event.client, *said)

    @property
    def name(self) -> str:
        """What the script calls the text box."""
        return self._handle._impl.uuid

    def widget(self, identifier: str) -> Any:
        """Return the text box where it has this identifier, or None; from any thread."""
        return self._handle if identifier == self.name else None

    def on_action(self, act: Act) -> None:
        """Call `act` on viser's loop with every action."""
        self._acts.append(act)


def _read(text: str) -> tuple[str, str, Any] | None:
    """Return page, action and value; None where the text says none."""
    try:
        match json.loads(text):
            case [str(page), int() | float(), str(action), value] if len(page) <= LONGEST_PAGE:
                return page, action, value
    except (ValueError, RecursionError):
        pass
    return None
