"""What moves by itself while one looks: values only, which callbacks replace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Motion = Literal["still", "orbit", "tour"]

REPLAY_FPS = 10.0
"""Frames per second at which the growth is shown again."""
REPLAY_SEC = 30.0
"""A longer growth takes more frames at a time: nobody waits longer."""


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

    def stopped(self, now_sec: float) -> Clock:
        """The same clock, standing."""
        return Clock(self.at(now_sec))

    def started(self, now_sec: float) -> Clock:
        """The same clock, going."""
        return Clock(self.at(now_sec), now_sec)


@dataclass(frozen=True)
class Presentation:
    """How a page is presented to people in a room."""

    on: bool = False
    """The page begins with captions and the orbit in place of the panel."""
    title: str = ""
    logo_text: str = ""
    folder: Path | None = None
    """Of the recording, where the tour is kept; None where there is none."""


@dataclass(frozen=True)
class ShowSettings:
    """How the scene is presented to people in a room."""

    presenting: bool = False
    """Captions in place of the panel."""
    keys_shown: bool = False
    motion: Motion = "still"
    """How the view of every browser moves."""
    motion_clock: Clock = Clock()
    replaying: bool = False
    """The growth is shown again; the shown frame follows `replay_clock`."""
    replay_clock: Clock = Clock()

    def still(self) -> ShowSettings:
        """Let the view stand, and end its motion."""
        return replace(self, motion="still", motion_clock=Clock())

    def toggled_motion(self, motion: Motion, now_sec: float) -> ShowSettings:
        """Begin this motion at its beginning, or end it where it is the one that goes on."""
        if self.motion == motion:
            return self.still()
        return replace(self, motion=motion, motion_clock=Clock(0.0, now_sec))

    def replayed(self, now_sec: float) -> ShowSettings:
        """Show the growth again from the first frame on."""
        return replace(self, replaying=True, replay_clock=Clock(0.0, now_sec))

    def moving(self, frame_count: int, now_sec: float) -> bool:
        """Whether anything moves by itself: the view, or the shown frame."""
        growing = self.replaying and self.replay_clock.going
        growing = growing and self.replay_position(frame_count, now_sec) < frame_count - 1
        return growing or (self.motion != "still" and self.motion_clock.going)

    def stopped(self, now_sec: float) -> ShowSettings:
        """Let everything stand where it is."""
        return replace(
            self,
            motion_clock=self.motion_clock.stopped(now_sec),
            replay_clock=self.replay_clock.stopped(now_sec),
        )

    def started(self, now_sec: float) -> ShowSettings:
        """Let everything go on from where it stands."""
        moves = self.motion != "still"
        return replace(
            self,
            motion_clock=self.motion_clock.started(now_sec) if moves else self.motion_clock,
            replay_clock=self.replay_clock.started(now_sec),
        )

    def replay_position(self, frame_count: int, now_sec: float) -> int:
        """Return the frame, from 0, that the growth has come to; -1 where there is none."""
        rate = max(REPLAY_FPS, frame_count / REPLAY_SEC)
        return min(int(self.replay_clock.at(now_sec) * rate), frame_count - 1)
