"""Orbit and tour: motions of the view in all browsers, except those whose user moves the view.

The orbit is also what a page opens with; keys fit the view again, or look from another side.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.export.film.camera_path import FOV_Y_RAD
from ttt3r_viewer.export.film.opening import (
    ELEVATION_RAD,
    TURN_RAD,
    PageView,
    SceneBox,
    Window,
    fitted_view,
)
from ttt3r_viewer.viewer.cameras.camera_throttle import TURN_SEC, CameraThrottle
from ttt3r_viewer.viewer.cameras.client_cameras import move_browser, view_of
from ttt3r_viewer.viewer.cameras.fitted_box import FittedBox
from ttt3r_viewer.viewer.cameras.page_views import (
    APPROACH_SEC,
    approached,
    has_ended,
    tour_view,
)
from ttt3r_viewer.viewer.cameras.tour_recorder import TourRecorder
from ttt3r_viewer.viewer.server.clients import client_of
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.widgets import Widgets

Direction = tuple[float, float]
"""Azimuth and elevation, in radians, from which the scene is looked at."""
HOME: Direction = (TURN_RAD, ELEVATION_RAD)
DIRECTIONS: tuple[tuple[str, str, Direction], ...] = (
    ("Fit the view", "Home", HOME),
    ("From the front", "1", (0.0, 0.0)),
    ("From the side", "3", (-math.pi / 2, 0.0)),
    ("From the top", "7", (0.0, math.pi / 2)),
)
"""Keys that look at the whole scene in the browser where they are pressed."""
NO_UP = np.array([0.0, -1.0, 0.0])
"""Up before anything was seen: the first camera's y axis points down."""
LEVEL_RAD = math.radians(1)
"""Up that moves by less turns no view."""
SAME_SHARE = 1e-5
"""A browser reports exactly where it was put. One that is farther from every such place than this
share of its distance from what it looks at was moved by its user."""
SENT_KEPT = 750
"""Views that a browser may still answer with: half a minute of them."""

STEP_SEC, STEP_SHARE = 2.0, 0.15
"""A browser that waits for the orbit is fitted again after so long at the earliest, and where the
box has changed by so much: each image that it draws takes time from the run."""


@dataclass
class _Guided:
    """One browser during a motion."""

    joined_sec: float
    """When its motion began, by the motion's clock."""
    start: PageView | None
    """Where it was; None where it has not been anywhere yet and begins at the motion."""
    since_sec: float
    throttle: CameraThrottle
    destination: Direction | PageView | None = None
    """Where a key or a click sent it: it goes there and stays."""
    answered: bool = False
    """It has been where it was put; its earlier reports are of where it was before."""
    taken: bool = False
    """Its user moved the view."""
    waiting: "_Waiting | None" = None
    """Set while the orbit stands in it."""
    unsent: PageView | None = None
    """Where it would be but for a pause; it goes there where the motion ends meanwhile."""


@dataclass
class _Waiting:
    """What a browser shows while its orbit stands so that the run goes on faster."""

    orbit_sec: float
    """Where in the orbit it stands."""
    box: SceneBox
    """What it was fitted to,"""
    window: Window
    """in which window,"""
    fitted_sec: float
    """and when."""


class GuidedCameras(Part):
    """Moves the views of all browsers during a motion; called by the publisher only.

    A page opens with the orbit, which fits the scene as it grows until a user moves the view. In a
    browser that draws in software it waits until the run pauses or ends.
    """

    def __init__(self, server: viser.ViserServer, tour: TourRecorder) -> None:
        self._server = server
        self._tour = tour
        self._guided: dict[int, _Guided] = {}
        self._joined_sec: dict[int, float] = {}
        """When each browser joined the orbit, by the motion's clock."""
        self._up = NO_UP
        self._asked: dict[int, Direction | PageView] = {}
        """Browsers in which a key was pressed or a camera clicked, and where it sends them;
        callbacks add to it."""
        self._sent: deque[NDArray[np.float64]] = deque(maxlen=SENT_KEPT)
        """Places (3,) that browsers were put to, in one list for all: the panes of a twin view pass
        them on to each other."""
        self._motion: object = None
        self._page_box, self._pane_box = FittedBox(), FittedBox()
        """Of the lanes in whole pages, and in panes of the twin view, each of which has its lane in
        the middle."""
        first = PageView(np.array([0.0, -0.45, -0.75]), np.array([0.0, 0.0, 1.0]), NO_UP)
        server.initial_camera.position = first.position
        server.initial_camera.look_at = first.look_at
        server.initial_camera.up = first.up
        server.initial_camera.fov = FOV_Y_RAD
        server.on_client_connect(self._listen)
        widgets = Widgets(server.gui)
        for label, key, direction in DIRECTIONS:
            widgets.key(label, key, partial(self._ask, direction))

    def box_in(self, client_id: int) -> SceneBox | None:
        """Return the box around what a browser shows, as it was fitted last; None before anything
        was seen.
        """
        return self._box_of(client_id).fitted

    def _box_of(self, client_id: int) -> FittedBox:
        pane = client_of(self._server, client_id).lane is not None
        return self._pane_box if pane and self._pane_box.fitted else self._page_box

    def probe(self) -> dict[str, object]:
        """Return the number of browsers whose users moved the view."""
        return {"taken": sum(one.taken for one in self._guided.values())}

    def update(self, tick: Tick) -> None:
        """Put every browser's view where the motion is now.

        A browser whose user moves the view is left alone until a motion starts or resumes.
        """
        show, clients = tick.settings.show, self._server.get_clients()
        # Each start of the clock is another motion, also where it resumes after a pause.
        motion = (show.motion, show.motion_clock, tick.settings.follow_camera)
        if motion != self._motion:
            for client_id in self._guided.keys() & clients.keys():
                self._finish(self._guided[client_id], clients[client_id], tick.now_sec)
            self._guided.clear()
        self._motion = motion
        self.moves = False
        if tick.snapshot.frames:
            self._fit(tick, clients)
            self._answer_keys(tick, clients)
            self._level(tick, clients)
            for client_id, client in clients.items():
                self._guide(client_id, client, tick)
        for client_id in self._guided.keys() - clients.keys():
            del self._guided[client_id]
        for client_id in self._joined_sec.keys() - clients.keys():
            del self._joined_sec[client_id]

    def _fit(self, tick: Tick, clients: Mapping[int, viser.ClientHandle]) -> None:
        """Fit the boxes to a scene that has grown."""
        chosen = tick.drawn.chosen_lanes(tick.lane_count) or (0,)
        turns = self._page_box.update(tick, chosen, [tick.offsets[k] for k in chosen])
        panes = {client_of(self._server, client_id).lane for client_id in clients}
        shown = [k for k in range(tick.lane_count) if k in panes]
        if shown:
            turns |= self._pane_box.update(tick, shown, [0.0] * len(shown))
        if turns:
            self._approach_again(tick.now_sec)

    def _level(self, tick: Tick, clients: Mapping[int, viser.ClientHandle]) -> None:
        """Turn the views of users who took them upright where up has become known better."""
        if self._up @ tick.up < math.cos(LEVEL_RAD):
            self._up = tick.up
            for client_id, client in clients.items():
                one = self._guided.get(client_id)
                if one is None or one.taken:
                    client.camera.up_direction = tick.up

    def _approach_again(self, now_sec: float) -> None:
        """Let browsers come smoothly to an orbit that goes another way from now on."""
        clients = self._server.get_clients()
        for client_id, one in self._guided.items():
            if client_id in clients:
                one.start, one.since_sec = view_of(clients[client_id]), now_sec

    def _answer_keys(self, tick: Tick, clients: Mapping[int, viser.ClientHandle]) -> None:
        """Send the browsers in which a key was pressed on their way."""
        while self._asked:
            client_id, where = self._asked.popitem()
            if client_id in clients:
                one = self._begin(client_id, clients[client_id], tick)
                orbits = tick.settings.show.motion == "orbit" and _goes(tick)
                one.destination = None if where is HOME and orbits else where

    def _begin(self, client_id: int, client: viser.ClientHandle, tick: Tick) -> _Guided:
        start = view_of(client) if client_id in self._joined_sec else None
        whole = client_of(self._server, client_id).lane is None
        # Each page opens on the same shot; the panes of a twin view move together.
        time_sec = tick.settings.show.motion_clock.at(tick.now_sec) if whole else 0.0
        joined_sec = min(self._joined_sec.get(client_id, math.inf), time_sec)
        self._joined_sec[client_id] = joined_sec
        one = _Guided(joined_sec, start, tick.now_sec, CameraThrottle(tick.now_sec + TURN_SEC))
        self._guided[client_id] = one
        if start is not None:
            self._sent.append(start.position)
        return one

    def _goal(self, one: _Guided, client: viser.ClientHandle, tick: Tick) -> PageView | None:
        """Return the view that a browser is to have now; None where nothing guides it."""
        show, tour, box = tick.settings.show, self._tour.tour, self._box_of(client.client_id).now
        assert box is not None
        time_sec = show.motion_clock.at(tick.now_sec)
        window = self._window(client, tick)
        # A view that stands needs no more than its way and the answer to it.
        done = tick.now_sec - one.since_sec > APPROACH_SEC + TURN_SEC
        if isinstance(one.destination, PageView):
            return None if done else one.destination
        if one.destination is not None:
            return None if done else fitted_view(box, *one.destination, FOV_Y_RAD, window)
        if show.motion == "orbit" and _goes(tick):
            azimuth_rad = box.turned(time_sec - one.joined_sec)
            return fitted_view(box, azimuth_rad, ELEVATION_RAD, FOV_Y_RAD, window)
        if show.motion == "tour" and tour is not None and not has_ended(tour, time_sec):
            return tour_view(tour, time_sec - APPROACH_SEC, tick.snapshot.layout.median_depth)
        return None

    def _guide(self, client_id: int, client: viser.ClientHandle, tick: Tick) -> None:
        one = self._guided.get(client_id)
        if one is None:
            if not _goes(tick):
                self._joined_sec.setdefault(client_id, math.inf)
                return
            one = self._begin(client_id, client, tick)
        if not one.taken and one.destination is None and self._waits(client_id, tick):
            self._wait(one, client, tick)
            return
        if one.waiting is not None:
            one.start, one.since_sec, one.waiting = view_of(client), tick.now_sec, None
        goal = None if one.taken else self._goal(one, client, tick)
        if goal is None:
            self._finish(one, client, tick.now_sec)
            return
        self.moves = True
        if one.throttle.pauses(tick.now_sec):
            one.unsent = goal
            return
        self._put(one, client, goal, tick.now_sec)

    def _window(self, client: viser.ClientHandle, tick: Tick) -> Window:
        camera, who = client.camera, client_of(self._server, client.client_id)
        panel = who.lane is None and not tick.settings.show.presenting
        size = camera.image_width, camera.image_height
        return Window.of(*size, who.pixel_ratio, panel=panel)

    def _waits(self, client_id: int, tick: Tick) -> bool:
        """Whether the opening's orbit would take this browser's time from the run."""
        show = tick.settings.show
        opens = show.motion == "orbit" and not show.motion_asked and _goes(tick)
        runs = tick.snapshot.status.phase in ("starting", "running")
        return opens and runs and not client_of(self._server, client_id).on_gpu

    def _wait(self, one: _Guided, client: viser.ClientHandle, tick: Tick) -> None:
        """Let the orbit stand in a browser, and fit its view again in rare steps."""
        time_sec = tick.settings.show.motion_clock.at(tick.now_sec)
        box, window = self._box_of(client.client_id), self._window(client, tick)
        waiting, due = one.waiting, True
        assert box.fitted is not None
        assert box.now is not None
        if waiting is None:
            # It begins where the orbit is, with the box that the orbit goes round.
            waiting = _Waiting(time_sec - one.joined_sec, box.now, window, tick.now_sec)
            one.waiting = waiting
        elif window != waiting.window or (
            tick.now_sec - waiting.fitted_sec >= STEP_SEC
            and waiting.box.differs(box.fitted) >= STEP_SHARE
        ):
            waiting.box, waiting.window, waiting.fitted_sec = box.fitted, window, tick.now_sec
        else:
            due = one.start is not None
        one.joined_sec = self._joined_sec[client.client_id] = time_sec - waiting.orbit_sec
        if due:
            azimuth_rad = waiting.box.turned(waiting.orbit_sec)
            goal = fitted_view(waiting.box, azimuth_rad, ELEVATION_RAD, FOV_Y_RAD, window)
            self._put(one, client, goal, tick.now_sec)
        if tick.now_sec - one.since_sec >= APPROACH_SEC:
            one.start = None

    def _put(
        self, one: _Guided, client: viser.ClientHandle, goal: PageView, now_sec: float
    ) -> None:
        view = approached(one.start or goal, goal, now_sec - one.since_sec)
        one.unsent = None
        self._sent.append(view.position)
        move_browser(client, view)

    def _finish(self, one: _Guided, client: viser.ClientHandle, now_sec: float) -> None:
        """Put a slow browser where its motion has ended during a pause."""
        if one.unsent is not None and not one.taken:
            self._put(one, client, one.unsent, now_sec)

    def fly_to(
        self, client: viser.ClientHandle, offset: float, view_at: Callable[[float], PageView]
    ) -> None:
        """Send one browser on its way to a view of a lane; from any thread.

        `view_at` gives it for where the lane stands on the x axis: at `offset`, or in the middle of
        a pane of the twin view.
        """
        who = client_of(self._server, client.client_id)
        self._asked[client.client_id] = view_at(who.offset_of(offset))

    def _ask(self, direction: Direction, client: viser.ClientHandle | None) -> None:
        if client is not None:
            self._asked[client.client_id] = direction

    async def _listen(self, client: viser.ClientHandle) -> None:
        @client.camera.on_update
        async def _(camera: viser.CameraHandle) -> None:
            one = self._guided.get(client.client_id)
            if one is None or one.taken:
                return
            # A browser that has just begun goes to its first view by itself, and may do so late.
            first = np.array(self._server.initial_camera.position, np.float64)
            put = was_sent_there(camera.position, camera.look_at, (first, *self._sent))
            one.taken = one.answered and not put
            one.answered = one.answered or put
            if put:
                one.throttle.answer(time.monotonic())


def _goes(tick: Tick) -> bool:
    """Whether a motion goes on for all browsers."""
    return tick.settings.show.motion_clock.going and not tick.settings.follow_camera


def was_sent_there(
    position: NDArray[np.float64],
    look_at: NDArray[np.float64],
    sent: Sequence[NDArray[np.float64]],
) -> bool:
    """Whether a browser at a position (3,) was put there: at any of the places that were sent.

    Browsers answer late; the latest place is the last of `sent`.
    """
    near = SAME_SHARE * max(float(np.linalg.norm(position - look_at)), 1e-6)
    return any(np.abs(place - position).max() <= near for place in reversed(sent))
