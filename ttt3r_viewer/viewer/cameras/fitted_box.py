"""The box that views are fitted to: found again as the scene grows, and approached smoothly."""

import math
from collections.abc import Sequence

from ttt3r_viewer.export.film.opening import SceneBox, box_of_lanes
from ttt3r_viewer.viewer.tick import Tick

FIT_SEC = 1.0
"""Shortest time between two fits to a scene that grows."""
FIT_FRAMES = 1000
"""Frames a second of a longer run, because all of them are looked through."""
REFIT_SEC = 2.0
"""Time in which the box covers 63 % of its way to that of a scene that has grown."""


class FittedBox:
    """The box around some lanes where they stand in a page; used by the publisher only."""

    def __init__(self) -> None:
        self.fitted: SceneBox | None = None
        """As it was fitted last; None before anything was seen."""
        self.now: SceneBox | None = None
        """On its way there."""
        self._key: object = None
        self._fitted_sec = self._last_sec = -math.inf

    def update(self, tick: Tick, lanes: Sequence[int], offsets: Sequence[float]) -> bool:
        """Fit the box to a scene that has grown, of `lanes` that stand `offsets` on the x axis.

        Returns whether the orbit goes another way from now on.
        """
        seen = (tick.snapshot.epoch, tick.snapshot.layout, len(tick.snapshot.frames))
        key = (tuple(lanes), tuple(offsets), tick.drawn.hidden_bins, seen)
        before, frames = self.fitted, len(tick.snapshot.frames)
        due = tick.now_sec - self._fitted_sec >= max(FIT_SEC, frames / FIT_FRAMES)
        if before is None or (due and key != self._key):
            shown = [tick.snapshot.lanes[k] for k in lanes]
            self.fitted = box_of_lanes(shown, offsets, tick.up, tick.drawn.hidden_bins)
            self._key, self._fitted_sec = key, tick.now_sec
        assert self.fitted is not None
        share = 1.0 - math.exp(-(tick.now_sec - self._last_sec) / REFIT_SEC)
        self.now = self.now.blended(self.fitted, share) if self.now else self.fitted
        self._last_sec = tick.now_sec
        return before is not None and before.all_round != self.fitted.all_round
