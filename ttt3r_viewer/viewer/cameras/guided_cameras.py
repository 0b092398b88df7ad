"""The views that move by themselves: slowly round the scene, or along a tour; alike in all
browsers, but for those where a person has taken the view."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import viser
from numpy.typing import NDArray

from ttt3r_viewer.recording.tour import Tour
from ttt3r_viewer.scene.store import LaneScene
from ttt3r_viewer.viewer.cameras.throttle import TURN_SEC, CameraThrottle
from ttt3r_viewer.viewer.cameras.tour_recorder import TourRecorder
from ttt3r_viewer.viewer.tick import WORLD_UP as UP
from ttt3r_viewer.viewer.tick import Part, Tick

ORBIT_SEC = 48.0
"""Once round the scene: slow enough to speak over."""
ELEVATION_RAD = math.radians(24)
SWING_RAD = math.radians(50)
"""A scene that was seen from one side is swung round so far to the left and to the right."""
SIDE_SWING_RAD = math.radians(18)
"""The same for lanes that stand side by side: from the side one would hide the other."""
ONE_SIDED = 0.5
"""Length of the mean of all cameras' unit looks: 1 where all looked the same way, 0 all round."""
ORBIT_PERCENTILE = 90
"""The orbit keeps this share of the points within the smaller side of the page."""
FOCUS_SEC = 2.0
"""After this time the orbit has come 63 % of its way to the middle of a scene that has grown."""
APPROACH_SEC = 1.5
"""A view comes from where it was to where it shall be in this time."""
FOCUS_FRAMES, FOCUS_POINTS = 60, 200
"""So many frames, and points of each, say where the scene is."""

LINGER_SEC = 1.0
"""So long after its last view a tour lets go of the browsers' views."""
SPAN_BACK = 0.35
"""Lanes that stand side by side are seen from so much farther off, as a share of their span."""

SAME_SHARE = 1e-5
"""A browser says exactly where it was put; one that is farther from every such place than this
share of its distance from what it looks at was moved by a person."""
SENT_KEPT = 750
"""Views that a browser may still answer with: half a minute of them."""


@dataclass(frozen=True, eq=False)
class GuidedView:
    """Where a browser looks from (3,), at what (3,), what is up (3,), and how wide; world."""

    position: NDArray[np.float64]
    look_at: NDArray[np.float64]
    up: NDArray[np.float64]
    fov_y_rad: float


@dataclass(frozen=True, eq=False)
class Focus:
    """What the orbit goes round."""

    centre: NDArray[np.float64]
    """(3,) world."""
    radius: float
    ahead: NDArray[np.float64]
    """(3,) level unit vector, the way that the first camera looked."""
    all_round: bool = True
    """The scene was seen from all sides; else what is behind it is nothing to look at."""
    swing_rad: float = SWING_RAD
    """How far the view then goes to either side."""


def focus_of(lane: LaneScene) -> Focus:
    """Find the middle of a lane's points, how far they reach, and where its first camera looked."""
    chosen = np.linspace(0, len(lane.frames) - 1, FOCUS_FRAMES).astype(int)
    frames = [lane.frames[k] for k in sorted(set(chosen.tolist()))]
    points = np.concatenate([one.points.points_world[:FOCUS_POINTS] for one in frames])
    if not len(points):
        points = np.stack([one.camera.T_world_camera[:3, 3] for one in frames])
    centre = np.median(points, axis=0).astype(np.float64)
    reach = float(np.percentile(np.linalg.norm(points - centre, axis=1), ORBIT_PERCENTILE))
    level = frames[0].camera.T_world_camera[:3, 2] * [1.0, 0.0, 1.0]
    length = float(np.linalg.norm(level))
    ahead = level / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    looks = np.stack([one.camera.T_world_camera[:3, 2] for one in lane.frames])
    all_round = float(np.linalg.norm(looks.mean(axis=0))) < ONE_SIDED
    return Focus(centre, reach or 1.0, ahead, all_round)


def between(before: Focus, after: Focus, share: float) -> Focus:
    """Give what lies so far on the way from one focus to another."""
    centre = before.centre + share * (after.centre - before.centre)
    radius = before.radius + share * (after.radius - before.radius)
    return replace(after, centre=centre, radius=radius)


def orbit_view(focus: Focus, time_sec: float, fov_y_rad: float) -> GuidedView:
    """Give the view then: it begins behind the first camera, and goes round the centre, or to and
    fro where the scene was seen from one side only; after `ORBIT_SEC` it is back.
    """
    turn = 2 * math.pi * time_sec / ORBIT_SEC
    angle = turn if focus.all_round else focus.swing_rad * math.sin(turn)
    aside = np.cross(focus.ahead, UP)
    outward = -math.cos(angle) * focus.ahead + math.sin(angle) * aside
    lifted = math.cos(ELEVATION_RAD) * outward + math.sin(ELEVATION_RAD) * UP
    distance = focus.radius / math.sin(fov_y_rad / 2)
    return GuidedView(focus.centre + distance * lifted, focus.centre, UP, fov_y_rad)


def tour_view(tour: Tour, time_sec: float, distance: float) -> GuidedView:
    """Give the view then; what it looks at is `distance` away."""
    view = tour.at(time_sec)
    right_down_forward = view.T_world_camera[:3, :3]
    position = view.T_world_camera[:3, 3]
    look_at = position + distance * right_down_forward[:, 2]
    return GuidedView(position, look_at, -right_down_forward[:, 1], view.fov_y_rad)


def approached(start: GuidedView, goal: GuidedView, time_sec: float) -> GuidedView:
    """Give the view on its way from a start, at rest, to a goal that may move."""
    u = min(max(time_sec / APPROACH_SEC, 0.0), 1.0)
    if u == 1.0:
        return goal
    share = u * u * (3 - 2 * u)
    up = start.up + share * (goal.up - start.up)
    length = float(np.linalg.norm(up))
    return GuidedView(
        start.position + share * (goal.position - start.position),
        start.look_at + share * (goal.look_at - start.look_at),
        up / length if length > 1e-6 else goal.up,
        start.fov_y_rad + share * (goal.fov_y_rad - start.fov_y_rad),
    )


def has_ended(tour: Tour, time_sec: float) -> bool:
    """Whether a tour lets go of the views, so long after it was begun."""
    return time_sec > APPROACH_SEC + tour.duration_sec + LINGER_SEC


@dataclass
class _Guided:
    """One browser while its view moves."""

    start: GuidedView
    since_sec: float
    turns: CameraThrottle
    answered: bool = False
    """It has been where it was put; what it said before is where it was."""
    taken: bool = False
    """A person moved its view."""


class GuidedCameras(Part):
    """Moves the views of all browsers while a motion is on; called by the publisher only."""

    def __init__(self, server: viser.ViserServer, tour: TourRecorder) -> None:
        self._server = server
        self._tour = tour
        self._guided: dict[int, _Guided] = {}
        self._sent: deque[NDArray[np.float64]] = deque(maxlen=SENT_KEPT)
        """Places (3,) that browsers were put to; one for all, since panes of the twin view pass
        them on to each other."""
        self._home: NDArray[np.float64] | None = None
        self._motion: object = None
        self._fov_y_rad = float(server.initial_camera.fov)
        self._found: Focus | None = None
        self._found_key: object = None
        self._focus: Focus | None = None
        """On its way to the one that was found last."""
        self._last_sec = 0.0
        server.on_client_connect(self._listen)

    def probe(self) -> dict[str, object]:
        """Say how many browsers are left alone because a user moved their view."""
        return {"taken": sum(one.taken for one in self._guided.values())}

    def update(self, tick: Tick) -> None:
        """Put every browser's view where the motion is now.

        A browser whose view a person moves is left alone until a motion is begun or goes on again.
        """
        show, now_sec = tick.settings.show, tick.now_sec
        home = np.array(self._server.initial_camera.position, np.float64)
        if self._home is None or not np.array_equal(home, self._home):
            # A browser that has not been moved yet goes to a new first view by itself.
            self._home = home
            self._sent.append(home)
        goal = None
        if show.motion_clock.going and tick.snapshot.frames:
            goal = self._goal(tick)
        # Each start of the clock is another motion, also where it goes on after a pause.
        motion = (show.motion, show.motion_clock)
        if goal is None or motion != self._motion:
            self._guided.clear()
        self._motion, self._last_sec = motion, now_sec
        if goal is None:
            return
        clients = self._server.get_clients()
        for client_id, client in clients.items():
            self._guide(client_id, client, goal, now_sec)
        for client_id in self._guided.keys() - clients.keys():
            del self._guided[client_id]

    def _goal(self, tick: Tick) -> GuidedView | None:
        """Give where the views shall be; None where they are let go."""
        show, tour = tick.settings.show, self._tour.tour
        time_sec = show.motion_clock.at(tick.now_sec)
        if show.motion == "orbit":
            focus = self._find_focus(tick)
            return orbit_view(focus, time_sec, self._fov_y_rad)
        if show.motion == "tour" and tour is not None:
            goal = tour_view(tour, time_sec - APPROACH_SEC, tick.snapshot.layout.median_depth)
            return None if has_ended(tour, time_sec) else goal
        return None

    def _find_focus(self, tick: Tick) -> Focus:
        """Give what the orbit goes round; the scene is measured anew where it has grown a lot."""
        snapshot = tick.snapshot
        key = (snapshot.epoch, snapshot.layout.frames_scale)
        if self._found is None or key != self._found_key:
            self._found, self._found_key = focus_of(snapshot.lanes[0]), key
        span = tick.geometry.span
        wanted = Focus(
            self._found.centre + np.array([span / 2, 0.0, 0.0]),
            self._found.radius + SPAN_BACK * span,
            self._found.ahead,
            self._found.all_round and not span,
            SIDE_SWING_RAD if span else SWING_RAD,
        )
        share = 1.0 - math.exp(-(tick.now_sec - self._last_sec) / FOCUS_SEC)
        self._focus = wanted if self._focus is None else between(self._focus, wanted, share)
        return self._focus

    def _guide(
        self, client_id: int, client: viser.ClientHandle, goal: GuidedView, now_sec: float
    ) -> None:
        camera = client.camera
        one = self._guided.get(client_id)
        if one is None:
            start = GuidedView(
                camera.position, camera.look_at, camera.up_direction, float(camera.fov)
            )
            one = self._guided[client_id] = _Guided(
                start, now_sec, CameraThrottle(now_sec + TURN_SEC)
            )
            self._sent.append(start.position)
        if one.taken or one.turns.pauses(now_sec):
            return
        view = approached(one.start, goal, now_sec - one.since_sec)
        self._sent.append(view.position)
        with client.atomic():
            camera.position, camera.look_at = view.position, view.look_at
            camera.up_direction, camera.fov = view.up, view.fov_y_rad

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
                one.turns.answer(time.monotonic())


def was_put(
    position: NDArray[np.float64],
    look_at: NDArray[np.float64],
    sent: Sequence[NDArray[np.float64]],
) -> bool:
    """Tell whether a browser that looks from a position (3,) was put there: it answers late, and
    so with any of the places that were sent, the latest being the last, but with no other.
    """
    near = SAME_SHARE * max(float(np.linalg.norm(position - look_at)), 1e-6)
    return any(np.abs(place - position).max() <= near for place in reversed(sent))
