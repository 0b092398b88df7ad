"""Views of all browsers: a first one, one that follows the camera, and the orbit or tour."""

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.viewer.cameras.page_views import (
    APPROACH_SEC,
    PageOrbit,
    PageView,
    approached,
    beside,
    has_ended,
    tour_view,
    view_behind,
)
from ttt3r_viewer.viewer.cameras.tour_recorder import TourRecorder
from ttt3r_viewer.viewer.tick import WORLD_UP, Part, Tick

FOLLOW_SEC = 0.6
"""Time in which a followed view covers 63 % of its way to the camera."""

MAX_FITTED_SCALE = 4
"""Only the first scales of the scene refit the first view: later moves would distract."""

REFIT_SEC = 2.0
"""Time in which the orbit covers 63 % of its way to the middle of a scene that has grown."""
SAME_SHARE = 1e-5
"""A browser reports exactly where it was put. One that is farther from every such place than this
share of its distance from what it looks at was moved by its user."""
SENT_KEPT = 750
"""Views that a browser may still answer with: half a minute of them."""

TURN_SEC = 1.5
"""Shortest time of guiding before the drawing speed is measured."""
SLOW_SEC = 0.1
"""Time per image above which a browser is slow: it then always has unapplied views."""
PAUSE_IMAGES = 3
"""Length of a slow browser's pause in its images; the first may still show a view sent before."""
LONGEST_PAUSE_SEC = 3.0
"""Limit of a pause: a hidden tab seems to have drawn one image all the while."""


def move_browser(client: viser.ClientHandle, view: PageView) -> None:
    """Move a browser to a viewpoint."""
    with client.atomic():
        client.camera.position = view.position
        client.camera.look_at = view.look_at
        client.camera.up_direction = view.up
        if view.fov_y_rad is not None:
            client.camera.fov = view.fov_y_rad


class ClientCameras(Part):
    """Moves the browsers' viewpoints; called by the publisher only."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._first_view = PageView(np.array([0.0, -0.45, -0.75]), np.array([0.0, 0.0, 1.0]))
        """The view of the first lane alone."""
        self._home = self._first_view
        self._fitted_to: tuple[int, int] | None = None
        self._following: dict[int, PageView] = {}
        self._last_sec = 0.0
        server.initial_camera.up = tuple(WORLD_UP)
        self._fit_home(0.0, motion=False)

    def update(self, tick: Tick) -> None:
        """Fit the first view to the scene's first frames, then follow the camera where chosen."""
        snapshot, position, span = tick.snapshot, tick.position, tick.span
        elapsed_sec, self._last_sec = tick.now_sec - self._last_sec, tick.now_sec
        fit = (snapshot.epoch, snapshot.layout.frames_scale)
        refit = position >= 0 and fit != self._fitted_to and fit[1] <= MAX_FITTED_SCALE
        if refit:
            self._fitted_to = fit
            depth = snapshot.layout.median_depth
            self._first_view = view_behind(snapshot.frames[0].camera, depth, back=0.75, up=0.45)
        if refit or span != self._span:
            self._fit_home(span, motion=tick.settings.show.motion_clock.going)
        if position < 0 or not tick.settings.follow_camera:
            self._following.clear()
            return
        # The same lane while lanes blink, or the view would move and hide what differs.
        k = min(tick.drawn.chosen_lanes(tick.lane_count), default=0)
        lane = snapshot.lanes[k]
        camera, depth = lane.frames[position].camera, lane.layout.median_depth
        target = view_behind(camera, depth, back=0.5, up=0.25)
        target = target.moved(np.array([tick.offsets[k], 0.0, 0.0]))
        self._follow(target, 1.0 - math.exp(-elapsed_sec / FOLLOW_SEC))

    def _fit_home(self, span: float, *, motion: bool) -> None:
        """Fit the first view to lanes side by side over `span`; during a motion move no browser."""
        before = self._home
        self._span, self._home = span, beside(self._first_view, span)
        self._server.initial_camera.position = self._home.position
        self._server.initial_camera.look_at = self._home.look_at
        for client in self._server.get_clients().values():
            # Users who have moved the view keep theirs.
            if not motion and np.allclose(client.camera.position, before.position, atol=1e-3):
                move_browser(client, self._home)

    def _follow(self, target: PageView, share: float) -> None:
        before, self._following = self._following, {}
        for client_id, client in self._server.get_clients().items():
            start = PageView(client.camera.position, client.camera.look_at)
            view = before.get(client_id, start).blended(target, share)
            self._following[client_id] = view
            move_browser(client, view)


@dataclass
class CameraThrottle:
    """Alternates between guiding one browser's camera and pausing; times are monotonic seconds.

    A browser applies the views that it is sent before it draws. One that draws fewer images than it
    is sent views would overwrite every movement of its user, and never report it.
    """

    ends_sec: float
    """Earliest end of the current turn."""
    paused: bool = False
    answers: list[float] = field(default_factory=list)
    """Times in this turn at which the browser has drawn a view that it was sent."""

    def pauses(self, now_sec: float) -> bool:
        """Whether no view is sent now; called before each view that would be sent."""
        if now_sec < self.ends_sec or (not self.paused and len(self.answers) < 2):
            return self.paused
        pause_sec = 0.0 if self.paused else self._pause_sec()
        self.paused = pause_sec > 0
        self.ends_sec = now_sec + (pause_sec or TURN_SEC)
        self.answers.clear()
        return self.paused

    def _pause_sec(self) -> float:
        image_sec = (self.answers[-1] - self.answers[0]) / (len(self.answers) - 1)
        slow = image_sec > SLOW_SEC
        return min(PAUSE_IMAGES * image_sec, LONGEST_PAUSE_SEC) if slow else 0.0


@dataclass
class _Guided:
    """One browser during a motion."""

    start: PageView
    since_sec: float
    throttle: CameraThrottle
    answered: bool = False
    """It has been where it was put; its earlier reports are of where it was before."""
    taken: bool = False
    """Its user moved the view."""


class GuidedCameras(Part):
    """Moves the views of all browsers during a motion; called by the publisher only."""

    def __init__(self, server: viser.ViserServer, tour: TourRecorder) -> None:
        self._server = server
        self._tour = tour
        self._guided: dict[int, _Guided] = {}
        self._sent: deque[NDArray[np.float64]] = deque(maxlen=SENT_KEPT)
        """Places (3,) that browsers were put to, in one list for all: the panes of a twin view pass
        them on to each other."""
        self._home: NDArray[np.float64] | None = None
        self._motion: object = None
        self._fov_y_rad = float(server.initial_camera.fov)
        self._fitted: PageOrbit | None = None
        self._fitted_key: object = None
        self._orbit: PageOrbit | None = None
        """On its way to the one that was fitted last."""
        self._last_sec = 0.0
        server.on_client_connect(self._listen)

    def probe(self) -> dict[str, object]:
        """Return the number of browsers whose users moved the view."""
        return {"taken": sum(one.taken for one in self._guided.values())}

    def update(self, tick: Tick) -> None:
        """Put every browser's view where the motion is now.

        A browser whose user moves the view is left alone until a motion starts or resumes.
        """
        show = tick.settings.show
        home = np.array(self._server.initial_camera.position, np.float64)
        if self._home is None or not np.array_equal(home, self._home):
            # A browser that has not been moved yet goes to a new first view by itself.
            self._home = home
            self._sent.append(home)
        goal = None
        if show.motion_clock.going and tick.snapshot.frames:
            goal = self._goal(tick)
        # Each start of the clock is another motion, also where it resumes after a pause.
        motion = (show.motion, show.motion_clock)
        if goal is None or motion != self._motion:
            self._guided.clear()
        self._motion, self._last_sec = motion, tick.now_sec
        if goal is None:
            return
        clients = self._server.get_clients()
        for client_id, client in clients.items():
            self._guide(client_id, client, goal, tick.now_sec)
        for client_id in self._guided.keys() - clients.keys():
            del self._guided[client_id]

    def _goal(self, tick: Tick) -> PageView | None:
        """Return the motion's view; None where it has ended."""
        show, tour = tick.settings.show, self._tour.tour
        time_sec = show.motion_clock.at(tick.now_sec)
        if show.motion == "orbit":
            return self._fit_orbit(tick).view(time_sec, self._fov_y_rad)
        if show.motion == "tour" and tour is not None and not has_ended(tour, time_sec):
            return tour_view(tour, time_sec - APPROACH_SEC, tick.snapshot.layout.median_depth)
        return None

    def _fit_orbit(self, tick: Tick) -> PageOrbit:
        """Fit the orbit to a scene that has grown a lot, and approach it smoothly."""
        key = (tick.snapshot.epoch, tick.snapshot.layout.frames_scale)
        if self._fitted is None or key != self._fitted_key:
            self._fitted, self._fitted_key = PageOrbit.around_lane(tick.snapshot.lanes[0]), key
        goal = self._fitted.widened(tick.span)
        share = 1.0 - math.exp(-(tick.now_sec - self._last_sec) / REFIT_SEC)
        self._orbit = goal if self._orbit is None else self._orbit.blended(goal, share)
        return self._orbit

    def _guide(
        self, client_id: int, client: viser.ClientHandle, goal: PageView, now_sec: float
    ) -> None:
        one = self._guided.get(client_id)
        if one is None:
            at = client.camera
            start = PageView(at.position, at.look_at, at.up_direction, float(at.fov))
            one = _Guided(start, now_sec, CameraThrottle(now_sec + TURN_SEC))
            self._guided[client_id] = one
            self._sent.append(start.position)
        if one.taken or one.throttle.pauses(now_sec):
            return
        view = approached(one.start, goal, now_sec - one.since_sec)
        self._sent.append(view.position)
        move_browser(client, view)

    async def _listen(self, client: viser.ClientHandle) -> None:
        @client.camera.on_update
        async def _(camera: viser.CameraHandle) -> None:
            one = self._guided.get(client.client_id)
            if one is None or one.taken:
                return
            put = was_put(camera.position, camera.look_at, tuple(self._sent))
            one.taken = one.answered and not put
            one.answered = one.answered or put
            if put:
                one.throttle.answers.append(time.monotonic())


def was_put(
    position: NDArray[np.float64],
    look_at: NDArray[np.float64],
    sent: Sequence[NDArray[np.float64]],
) -> bool:
    """Whether a browser at a position (3,) was put there: at any of the places that were sent.

    Browsers answer late; the latest place is the last of `sent`.
    """
    near = SAME_SHARE * max(float(np.linalg.norm(position - look_at)), 1e-6)
    return any(np.abs(place - position).max() <= near for place in reversed(sent))
