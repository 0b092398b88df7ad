"""What a person chose to look at: one value that callbacks replace and the publisher reads."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any, Literal

ColorBy = Literal["picture", "confidence", "frame", "height"]
Extent = Literal["all", "one"]


@dataclass(frozen=True)
class ViewSettings:
    """The state of every widget that changes the view and not the run."""

    live: bool = True
    """Show the newest frame, whatever `position` says."""
    position: int = 0
    """Which of the seen frames is shown, from 0."""
    extent: Extent = "all"
    """All frames up to the shown one, or that one only."""
    hidden_bins: int = 0
    """How many of the least confident tenths are hidden."""
    color_by: ColorBy = "picture"
    point_size: float | None = None
    """Side of a point in the scene's unit; None follows the scene's size."""
    show_cameras: bool = True
    show_path: bool = True
    follow_camera: bool = False


class ViewControls:
    """The mailbox between callbacks, which replace the settings, and the publisher.

    Callbacks are `async`, so all run in order on viser's own loop: one writer needs no lock.
    """

    def __init__(self) -> None:
        self.settings = ViewSettings()
        self.changed = threading.Event()
        """Set after every change, so that the publisher need not wait for its next tick."""

    def change(self, **fields: Any) -> None:
        """Replace the named fields of the settings; the latest change wins."""
        self.settings = replace(self.settings, **fields)
        self.changed.set()
