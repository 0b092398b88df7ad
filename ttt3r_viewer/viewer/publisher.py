"""The publisher: the one thread that brings the page to what the store and the settings say."""

import logging
import operator
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import viser

from ttt3r_viewer.scene.budget import SURE_BINS
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer import html
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import ViewControls
from ttt3r_viewer.viewer.widgets import assign_changed

TICK_SEC = 0.1
MOVE_SEC = 0.04
"""A view moves in steps of this, which the eye takes for smooth."""
IDLE_AFTER_SEC, IDLE_TICK_SEC = 5.0, 1.0
"""After so long without a change the parts are due less often, until the next one."""
SHORTEST_TICK_SEC = 0.03
"""However fast a slider is dragged, the page is not brought up to date more often than this."""

STOP_SEC = 0.5

logger = logging.getLogger(__name__)


class Publisher:
    """Reads the store and the settings about ten times a second and updates every part; once a
    second after nothing has changed for a while.
    """

    def __init__(
        self,
        store: SceneStore,
        controls: ViewControls,
        parts: Sequence[Part],
        probe: viser.GuiHtmlHandle,
    ) -> None:
        """`parts` are updated in their order; `probe` says what they show to programs."""
        self._store = store
        self._controls = controls
        self.parts = tuple(parts)
        self.probe = probe
        self._trouble = self._found = ""
        """What the page shows of an error, and what this tick has found."""
        self.report = ""
        """An error's text from outside that the page shows; one thread replaces it."""
        self._changed_sec = time.monotonic()
        """When something was last seen to differ; whoever wakes it replaces it too."""
        self._seen: tuple[object, ...] = ()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page-publisher", daemon=True)

    def start(self) -> None:
        """Begin to keep the page up to date."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait a moment for it; it is a daemon, should it be busy."""
        self._stopping.set()
        self._controls.changed.set()
        self._thread.join(STOP_SEC)

    def wake(self) -> None:
        """Update the parts often again, because a browser came or moved its camera."""
        self._changed_sec = time.monotonic()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._controls.changed.clear()
            self._found = ""
            with self._guarded():
                self._tick(time.monotonic())
            self._trouble = self._found
            self._stopping.wait(SHORTEST_TICK_SEC)
            self._wait_for_tick()

    def _wait_for_tick(self) -> None:
        """Wait until all parts are due; what moves by itself is moved meanwhile."""
        begun_sec = time.monotonic()
        while not self._controls.changed.is_set():
            moving = [part for part in self.parts if part.moves]
            for part in moving:
                with self._guarded():
                    part.update(self._new_tick(time.monotonic()))
            now_sec = time.monotonic()
            rest_sec = IDLE_TICK_SEC if self._idle(now_sec) and not moving else TICK_SEC
            left_sec = begun_sec + rest_sec - now_sec
            if left_sec <= 0:
                return
            self._controls.changed.wait(min(left_sec, MOVE_SEC if moving else TICK_SEC))
        self.wake()

    def _idle(self, now_sec: float) -> bool:
        """Whether nothing has changed for a while, and nothing does by the clock alone."""
        settings = self._controls.settings
        seen = (self._store.snapshot(), settings, self.report, self._trouble)
        same = len(seen) == len(self._seen) and all(map(operator.is_, seen, self._seen))
        if not same or settings.show.replaying:
            self._seen, self._changed_sec = seen, now_sec
        return now_sec - self._changed_sec > IDLE_AFTER_SEC

    def _new_tick(self, now_sec: float) -> Tick:
        trouble = self.report or self._trouble
        return Tick(self._store.snapshot(), self._controls.settings, now_sec, trouble)

    def _tick(self, now_sec: float) -> None:
        tick = self._new_tick(now_sec)
        state = state_of(tick)
        for part in self.parts:
            # What one part cannot draw must not freeze the others.
            with self._guarded():
                part.update(tick)
                state |= part.probe()
        assign_changed(self.probe, content=html.probe(state))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Keep a tick's first error for the page, logged where it is not the one before; go on."""
        try:
            yield
        except Exception as error:
            trouble = f"The page could not be brought up to date: {error!r}"
            if not self._found and trouble != self._trouble:
                logger.exception(trouble)
            self._found = self._found or trouble


def state_of(tick: Tick) -> dict[str, object]:
    """Say what the page was updated from."""
    snapshot, settings, drawn = tick.snapshot, tick.settings, tick.drawn
    return {
        "phase": snapshot.status.phase,
        "frames_done": snapshot.status.frames_done,
        "frames_seen": len(snapshot.frames),
        "position": tick.position,
        "live": settings.live,
        "extent": settings.extent,
        "percentile": 100 * settings.hidden_bins // SURE_BINS,
        "color_by": settings.color_by,
        "points": snapshot.point_count,
        "lanes": tick.lane_count,
        "arrangement": drawn.arrangement,
        "blink_lane": drawn.blink_lane,
        "visible_lanes": tick.visible_lanes,
        "rules": [rule.text for rule in snapshot.status.lanes],
        "presenting": settings.show.presenting,
        "motion": settings.show.motion,
        "motion_going": settings.show.motion_clock.going,
        "replaying": settings.show.replaying,
    }
