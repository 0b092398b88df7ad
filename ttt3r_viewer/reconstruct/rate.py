"""How fast a run is."""

from __future__ import annotations

RATE_WINDOW_SEC = 2.0
"""The frame rate is the mean over about so long."""


class FrameRate:
    """Frames per second of the time spent running, smoothed."""

    def __init__(self) -> None:
        self.per_second = 0.0

    def add(self, seconds: float) -> None:
        """One more frame, which took so long."""
        now = 1 / max(seconds, 1e-6)
        share = min(1.0, max(seconds / RATE_WINDOW_SEC, 0.02))
        self.per_second = (
            now if self.per_second == 0 else (1 / ((1 - share) / self.per_second + share / now))
        )
