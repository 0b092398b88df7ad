"""What a user chose to look at: one value that callbacks replace and the publisher reads."""

import threading
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from ttt3r_viewer.scene.budget import HIDDEN_BINS
from ttt3r_viewer.scene.crop_box import CropBox
from ttt3r_viewer.scene.edges import DEFAULT_EDGE_FILTER
from ttt3r_viewer.viewer.layers.colors import COLOR_MODES, DEFAULT_COLOR_MODE

Extent = Literal["all", "one"]
Arrangement = Literal["overlay", "side by side", "blink"]
ExpectedColor = Literal["image", "confidence"]
Motion = Literal["still", "orbit", "tour"]

REPLAY_FPS = 10.0
"""Frames per second at which frames are played."""
REPLAY_SEC = 30.0
"""A longer growth takes more frames at a time: nobody waits longer."""


NOT_PICKED = -1
"""What is inspected begins at the middle of the image, and with the token that moves most."""


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
    token: int = NOT_PICKED
    layer: int = 0
    """From 1; 0 is the mean of all layers."""
    row: int = NOT_PICKED
    column: int = NOT_PICKED
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
class Clock:
    """A stopwatch that is a value; times are those of `time.monotonic`."""

    before_sec: float = 0.0
    """What had passed when it was last started or stopped."""
    since_sec: float | None = None
    """When it was last started; None while it stands."""

    @property
    def going(self) -> bool:
        """Whether time passes."""
        return self.since_sec is not None

    def at(self, now_sec: float) -> float:
        """What has passed by then."""
        return self.before_sec + (0.0 if self.since_sec is None else now_sec - self.since_sec)

    def stopped(self, now_sec: float) -> "Clock":
        """The same clock, standing."""
        return Clock(self.at(now_sec))

    def started(self, now_sec: float) -> "Clock":
        """The same clock, going."""
        return Clock(self.at(now_sec), now_sec)


@dataclass(frozen=True)
class ShowSettings:
    """How the scene is presented to people in a room."""

    presenting: bool = False
    """Captions in place of the panel."""
    keys_shown: bool = False
    motion: Motion = "still"
    """How the view of every browser moves."""
    motion_clock: Clock = Clock()
    motion_asked: bool = False
    """A user asked for the motion; the one that a page opens with may have to wait."""
    replaying: bool = False
    """Frames are played; the shown frame follows `replay_clock`."""
    replay_clock: Clock = Clock()
    replay_start: int = 0
    """The frame, from 0, that is shown where this clock begins."""
    speed: float = 1.0
    """How many times as fast as usual frames are played."""
    loop: bool = False
    """After the last frame comes the first again."""

    def still(self) -> Self:
        """Let the view stand, and end its motion."""
        return replace(self, motion="still", motion_clock=Clock(), motion_asked=False)

    def toggled_motion(self, motion: Motion, now_sec: float) -> Self:
        """Begin this motion at its beginning, or end it where it is the one that goes on."""
        if self.motion == motion:
            return self.still()
        return replace(self, motion=motion, motion_clock=Clock(0.0, now_sec), motion_asked=True)

    def replayed(self, now_sec: float) -> Self:
        """Show the growth again from the first frame on."""
        return self.played(0, now_sec)

    def played(self, start: int, now_sec: float) -> Self:
        """Play the frames from this one on."""
        clock = Clock(0.0, now_sec)
        return replace(self, replaying=True, replay_clock=clock, replay_start=start)

    def at_pace(self, frame_count: int, now_sec: float, **pace: float | bool) -> Self:
        """Replace `speed` or `loop`, and go on from the frame that was played last."""
        if not self.replaying:
            return replace(self, **pace)
        start, clock = self.replay_position(frame_count, now_sec), self.replay_clock
        going = Clock(0.0, now_sec if clock.going else None)
        return replace(self, replay_clock=going, replay_start=max(start, 0), **pace)

    def moving(self, frame_count: int, now_sec: float) -> bool:
        """Whether anything moves by itself: the view, or the shown frame."""
        plays = self.plays(frame_count, now_sec)
        return plays or (self.motion != "still" and self.motion_clock.going)

    def plays(self, frame_count: int, now_sec: float) -> bool:
        """Whether frames are played, and more are to come."""
        if not (self.replaying and self.replay_clock.going):
            return False
        return self.loop or self.replay_position(frame_count, now_sec) < frame_count - 1

    def stopped(self, now_sec: float) -> Self:
        """Let everything stand where it is."""
        return replace(
            self,
            motion_clock=self.motion_clock.stopped(now_sec),
            replay_clock=self.replay_clock.stopped(now_sec),
        )

    def started(self, now_sec: float) -> Self:
        """Let everything go on from where it stands."""
        moves = self.motion != "still"
        return replace(
            self,
            motion_clock=self.motion_clock.started(now_sec) if moves else self.motion_clock,
            replay_clock=self.replay_clock.started(now_sec),
        )

    def replay_position(self, frame_count: int, now_sec: float) -> int:
        """Return the frame, from 0, that is played now; -1 where there is none."""
        rate = self.speed * max(REPLAY_FPS, frame_count / REPLAY_SEC)
        position = self.replay_start + int(self.replay_clock.at(now_sec) * rate)
        if self.loop and frame_count:
            return position % frame_count
        return min(position, frame_count - 1)


@dataclass(frozen=True)
class ViewSettings:
    """The state of every widget that changes the view and not the run."""

    live: bool = True
    """Show the newest frame, whatever `position` says."""
    position: int = 0
    """Which of the seen frames is shown, from 0."""
    extent: Extent = "all"
    """All frames up to the shown one, or that one only."""
    hidden_bins: int = HIDDEN_BINS
    """How many of the least sure tenths are hidden."""
    color_by: str = DEFAULT_COLOR_MODE
    """One of `COLOR_MODES`."""
    edge_filter: float = DEFAULT_EDGE_FILTER
    """Points where the depth changes by more, as a logarithm, are hidden; 0 hides none."""
    point_size: float | None = None
    """Side of a point in the scene's unit; None follows the scene's size."""
    show_cameras: bool = True
    show_path: bool = True
    show_grid: bool = True
    show_axes: bool = False
    """Right, up and back, at the scale bar."""
    ceiling_cut: bool = True
    """Points near the ceiling are hidden where the scene is looked at from outside."""
    show_inset: bool = True
    """The shown frame's image and depth, in a corner of the scene."""
    near_wall_cut: bool = True
    """Walls between the eye and a scene that was seen all round are hidden."""
    crop: CropBox | None = None
    """Points outside are hidden in the page; None hides none."""
    show_truth: bool = True
    """The true path, where it is known."""
    show_true_cloud: bool = False
    """The true surface, where depth is known."""
    opening: Motion = "orbit"
    """How the view moves from the start, until a user moves it."""
    follow_camera: bool = False
    arrangement: Arrangement = "side by side"
    """All lanes in one place, set apart along the world's x axis, or one at a time."""
    spacing: float = 0.15
    """Gap between the boxes of neighbours that are side by side, as a share of the widest one."""
    hidden_lanes: frozenset[int] = frozenset()
    blink_lane: int = 0
    """Which lane is shown where one at a time is."""
    inspect: InspectSettings = InspectSettings()
    ask: AskSettings = AskSettings()
    show: ShowSettings = ShowSettings()

    @property
    def cuts_ceiling(self) -> bool:
        """Whether the ceiling is hidden: never while the view is that of the camera."""
        return self.ceiling_cut and not self.follow_camera and self.extent == "all"

    @property
    def cuts_near_walls(self) -> bool:
        """Whether near walls are hidden from outside, likewise."""
        return self.near_wall_cut and not self.follow_camera and self.extent == "all"

    def within(self, lane_count: int, *, metric: bool = True) -> Self:
        """Return what holds for this many lanes: with one, nothing that only several can have; and
        without `metric` weights nothing that is measured in metres.
        """
        if not metric and (self.show_true_cloud or COLOR_MODES[self.color_by].needs_depth):
            needs_depth = COLOR_MODES[self.color_by].needs_depth
            color_by = DEFAULT_COLOR_MODE if needs_depth else self.color_by
            return replace(self, show_true_cloud=False, color_by=color_by).within(lane_count)
        if lane_count == 1:
            compares_lanes = COLOR_MODES[self.color_by].compares_lanes
            return replace(
                self,
                color_by=DEFAULT_COLOR_MODE if compares_lanes else self.color_by,
                arrangement="overlay",
                hidden_lanes=frozenset(),
                blink_lane=0,
                inspect=replace(self.inspect, lane=0, difference=False),
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


FIRST_SETTINGS = ViewSettings()
"""What a page begins with."""


class ViewControls:
    """The mailbox between callbacks, which replace the settings, and the publisher.

    Callbacks are `async`, so all run in order on viser's own loop: one writer needs no lock.
    """

    def __init__(self, settings: ViewSettings = FIRST_SETTINGS) -> None:
        """`settings` are those that the page begins with."""
        self.settings = settings
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


class GuestControls(ViewControls):
    """What one guest's page shows by itself; of its settings the timeline alone counts, where it is
    not live: then the guest sees what the owner sees.
    """

    page = ""
    """The page's name in the overlay; empty until it has said it."""
