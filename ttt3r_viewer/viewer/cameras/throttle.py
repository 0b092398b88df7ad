"""A browser that draws slowly is left to the person before it, now and then, while its view moves.

A browser takes the views it is sent before it draws. One that draws fewer pictures than it is sent
views would put every view over what a person has just done, and never tell of it.
"""

from __future__ import annotations

from dataclasses import dataclass

TURN_SEC = 1.5
"""So long a browser is guided at least before it is asked how fast it draws."""
SLOW_SEC = 0.1
"""One that takes longer over a picture has views on its table at each: they come every 0.04 s."""
ALONE_IMAGES = 3
"""A slow one is left alone for so many of its pictures; the first still has a view before it."""
LONGEST_ALONE_SEC = 3.0
"""But for no longer: one whose tab was hidden seems to have drawn one picture all the while."""


@dataclass
class CameraThrottle:
    """Whose turn it is with one browser's view: the program's, or the person's before it."""

    ends_sec: float
    """When this turn may end; times are those of `time.monotonic`."""
    alone: bool = False
    """It is the person's."""
    first_sec: float = 0.0
    last_sec: float = 0.0
    """The browser's first and latest answer in this turn."""
    answers: int = 0

    def answer(self, now_sec: float) -> None:
        """The browser says that it has drawn a view it was sent."""
        self.first_sec = now_sec if not self.answers else self.first_sec
        self.last_sec = now_sec
        self.answers += 1

    def left_alone(self, now_sec: float) -> bool:
        """Whether the browser is left alone now; asked before each view that would be sent."""
        if now_sec < self.ends_sec or (not self.alone and self.answers < 2):
            return self.alone
        pause_sec = 0.0 if self.alone else self._pause_sec()
        self.alone = pause_sec > 0
        self.ends_sec = now_sec + (pause_sec or TURN_SEC)
        self.answers = 0
        return self.alone

    def _pause_sec(self) -> float:
        """How long the browser shall be left alone, by how fast it drew in this turn; 0: not."""
        image_sec = (self.last_sec - self.first_sec) / (self.answers - 1)
        slow = image_sec > SLOW_SEC
        return min(ALONE_IMAGES * image_sec, LONGEST_ALONE_SEC) if slow else 0.0
