"""When a browser that draws slowly is sent no views."""

from dataclasses import dataclass

TURN_SEC = 1.5
"""Shortest time of guiding before the drawing speed is measured."""
SLOW_SEC = 0.1
"""Time per image above which a browser is slow: it then always has unapplied views."""
PAUSE_IMAGES = 3
"""Length of a slow browser's pause in its images; the first may still show a view sent before."""
LONGEST_PAUSE_SEC = 3.0
"""Limit of a pause: a hidden tab seems to have drawn one image all the while."""


@dataclass
class CameraThrottle:
    """Alternates between guiding one browser's camera and pausing; times are monotonic seconds.

    A browser applies the views that it is sent before it draws. One that draws fewer images than it
    is sent views would overwrite every movement of its user, and never report it.
    """

    ends_sec: float
    """Earliest end of the current turn."""
    paused: bool = False
    first_sec: float = 0.0
    last_sec: float = 0.0
    """First and latest answer of the browser in this turn."""
    answers: int = 0

    def answer(self, now_sec: float) -> None:
        """Record that the browser has drawn a view that it was sent."""
        self.first_sec = now_sec if not self.answers else self.first_sec
        self.last_sec = now_sec
        self.answers += 1

    def pauses(self, now_sec: float) -> bool:
        """Whether no view is sent now; called before each view that would be sent."""
        if now_sec < self.ends_sec or (not self.paused and self.answers < 2):
            return self.paused
        pause_sec = 0.0 if self.paused else self._pause_sec()
        self.paused = pause_sec > 0
        self.ends_sec = now_sec + (pause_sec or TURN_SEC)
        self.answers = 0
        return self.paused

    def _pause_sec(self) -> float:
        image_sec = (self.last_sec - self.first_sec) / (self.answers - 1)
        slow = image_sec > SLOW_SEC
        return min(PAUSE_IMAGES * image_sec, LONGEST_PAUSE_SEC) if slow else 0.0
