"""One tick of the page: what every part is updated from, measured before any part is drawn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.viewer.view_settings import ViewSettings

if TYPE_CHECKING:
    from ttt3r_viewer.scene.store import SceneSnapshot


@dataclass(frozen=True, eq=False)
class Tick:
    """Everything that the page's parts are updated from."""

    snapshot: "SceneSnapshot"
    settings: ViewSettings
    """As they were chosen, whatever the number of lanes."""
    now_sec: float
    """Of `time.monotonic`."""
    trouble: str = ""
    """An error of the page itself; empty without one."""

    @cached_property
    def position(self) -> int:
        """The frame that the page stands at, from 0, or -1 while there is none."""
        last = len(self.snapshot.frames) - 1
        if self.settings.show.replaying:
            return self.settings.show.replay_position(last + 1, self.now_sec)
        return last if self.settings.live else min(max(self.settings.position, 0), last)

    @property
    def frame_total(self) -> int | None:
        """How many frames there are or will be; None while nobody can know."""
        status, seen = self.snapshot.status, len(self.snapshot.frames)
        if not status.goes_on:
            return seen
        if status.frames_expected is None:
            return None if self.settings.live else seen
        return max(status.frames_expected, seen)

    @property
    def frame_text(self) -> str:
        """Which frame is shown, of how many: "frame 120 of 300"."""
        if self.position < 0:
            return "no frame yet"
        of_total = "" if self.frame_total is None else f" of {self.frame_total:,}"
        return f"frame {self.position + 1:,}{of_total}"

    @cached_property
    def drawn(self) -> ViewSettings:
        """The settings that hold for this number of lanes and the weights' unit."""
        return self.settings.within(self.lane_count, metric=self.metric)

    @property
    def lane_count(self) -> int:
        """Number of lanes, at least 1."""
        return len(self.snapshot.lanes)

    @property
    def visible_lanes(self) -> tuple[int, ...]:
        """The lanes that are drawn now."""
        return self.drawn.visible_lanes(self.lane_count)

    @cached_property
    def lane_names(self) -> tuple[str, ...]:
        """Each lane's label; its number before that is known."""
        return self.snapshot.lane_labels

    @property
    def unit(self) -> str:
        """What lengths are written with: "m" where the weights are metric."""
        return "m" if self.metric else "units"

    @property
    def metric(self) -> bool:
        """Whether the weights' lengths are metres, and can be set beside those of the truth."""
        return self.snapshot.status.metric

    @property
    def up(self) -> NDArray[np.float64]:
        """Up (3,), a unit vector in the world's frame, as far as it is known."""
        return self.snapshot.layout.up

    @cached_property
    def offsets(self) -> tuple[float, ...]:
        """Where each lane's root stands on the world's x axis; side by side, the boxes of all lanes
        stand apart by the chosen share of the widest one.
        """
        if self.drawn.arrangement != "side by side":
            return (0.0,) * self.lane_count
        boxes = [lane.layout.across for lane in self.snapshot.lanes]
        gap = self.settings.spacing * max(high - low for low, high in boxes)
        steps = [left[1] + gap - right[0] for left, right in pairwise(boxes)]
        return tuple(accumulate(steps, initial=0.0))


class Part(ABC):
    """Something in the page that the publisher keeps up to date."""

    moves = False
    """It moves by itself, and is updated more often than the others."""

    @abstractmethod
    def update(self, tick: Tick) -> None:
        """Assign what differs; called by the publisher only."""

    def probe(self) -> dict[str, object]:
        """Say what is shown, for programs that read the page."""
        return {}
