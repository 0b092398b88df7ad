"""`ttt3r-view`: reconstruct in the background, and watch it in the browser."""

from functools import partial

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.commands.shows import show_in_turn, show_run
from ttt3r_viewer.settings import GROUPS


def execute(given: Given, echo: Echo, warn: Echo) -> int:
    """Show the input, or let the owner choose one on the page, until Ctrl-C."""
    from ttt3r_viewer.rules.registry import rules_from_text
    from ttt3r_viewer.weights.fetch import locate

    settings = given.settings
    # What can be known to fail is refused before anything is loaded or chosen.
    locate(settings.model.weights)
    rules_from_text(settings.rules.rules)
    first = None
    if settings.input.input is not None:
        first = partial(show_run, settings, echo=echo, warn=warn)
    return show_in_turn(settings, first, echo, warn)


COMMAND = Command(
    "Watch TTT3R reconstruct a folder of images, a video or a demo, live in the browser.",
    GROUPS,
    execute,
    config=GROUPS,
)
