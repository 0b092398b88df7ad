"""What a user chose to look at: one value that callbacks replace and the publisher reads."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ttt3r_viewer.viewer.layers.colors import COLOR_MODES, DEFAULT_COLOR_MODE
from ttt3r_viewer.viewer.presentation import ShowSettings

Extent = Literal["all", "one"]
Arrangement = Literal["overlay", "side by side", "blink"]
ExpectedColor = Literal["image", "confidence"]


@dataclass(frozen=True)
class InspectSettings:
    """What a user chose to inspect."""

    on: bool = False
    """Nothing is asked of the run, and nothing computed, while this is off."""
    lane: int = 0
    difference: bool = False
    """Gains are those of lane 1 less those of lane 2."""
    mode: str = "gain"
    """Name of the state map."""
    threshold: float = 0.5
    """Of the gain, for the age and the share of tokens above it."""
    token: int = 0
    layer: int = 0
    """From 1; 0 is the mean of all layers."""
    row: int = 0
    column: int = 0
    """The picked patch."""
    image: str = "alignment"
    """Name of the patch map over the image."""
    opacity: float = 0.6
    points: str = "none"
    """Name of the patch map that colours the points of the shown frame."""
    by_mean: bool = False
    """The history's tokens are in the order of their mean gain."""


@dataclass(frozen=True)
class AskSettings:
    """How what the states expect is shown."""

    removed: int = 0
    """Answers to questions up to this number have been taken away."""
    hidden_percent: float = 0.0
    """This share of each lane's points is hidden: those with the lowest confidence."""
    tint: float = 0.5
    """How far the points take on the colour that tells them from what was observed."""
    color_by: ExpectedColor = "image"


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
    color_by: str = DEFAULT_COLOR_MODE
    """One of `COLOR_MODES`."""
    point_size: float | None = None
    """Side of a point in the scene's unit; None follows the scene's size."""
    show_cameras: bool = True
    show_path: bool = True
    follow_camera: bool = False
    arrangement: Arrangement = "overlay"
    """All lanes in one place, set apart along the world's x axis, or one at a time."""
    spacing: float = 1.0
    """Distance between neighbours that are side by side, as a share of the scene's width."""
    hidden_lanes: frozenset[int] = frozenset()
    blink_lane: int = 0
    """Which lane is shown where one at a time is."""
    inspect: InspectSettings = InspectSettings()
    ask: AskSettings = AskSettings()
    show: ShowSettings = field(default_factory=ShowSettings)

    def within(self, lane_count: int) -> ViewSettings:
        """Return what holds for this many lanes: with one, nothing that only several can have."""
        if lane_count == 1:
            compares_lanes = COLOR_MODES[self.color_by].compares_lanes
            return replace(
                self,
                color_by=DEFAULT_COLOR_MODE if compares_lanes else self.color_by,
                arrangement="overlay",
                hidden_lanes=frozenset(),
                blink_lane=0,
            )
        chosen = self.chosen_lanes(lane_count)
        if not chosen or self.blink_lane in chosen:
            return self
        return replace(self, blink_lane=chosen[0])

    def chosen_lanes(self, lane_count: int) -> tuple[int, ...]:
        """Return the lanes that are switched on."""
        return tuple(k for k in range(lane_count) if k not in self.hidden_lanes)

    def visible_lanes(self, lane_count: int) -> tuple[int, ...]:
        """Return the lanes that are drawn now: of those switched on, all or the one that blinks."""
        chosen = self.chosen_lanes(lane_count)
        if self.arrangement != "blink":
            return chosen
        return tuple(k for k in chosen if k == self.blink_lane)


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

    def change_inspect(self, **fields: Any) -> None:
        """Replace the named fields of what is inspected."""
        self.change(inspect=replace(self.settings.inspect, **fields))

    def stand_at(self, *, live: bool, position: int) -> None:
        """Show the newest frame or this one, whatever was shown by itself."""
        show = replace(self.settings.show, replaying=False)
        self.change(live=live, position=position, show=show)

    def change_ask(self, **fields: Any) -> None:
        """Replace the named fields of how what the states expect is shown."""
        self.change(ask=replace(self.settings.ask, **fields))
