"""The playback bar along the bottom of the page, and which of the seen frames is shown.

The bar itself is HTML of ours (`server/playback.js`): viser has no place below the scene. It gets
what it shows through the overlay, and says through the page's channel what a user did in it.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import viser

from ttt3r_viewer.reconstruct.messages import Mailbox, Pause, Play
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.scene.store import SceneSnapshot
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers.maps import jpeg_url
from ttt3r_viewer.viewer.panels.frame_marks import FrameMarks
from ttt3r_viewer.viewer.server.clients import client_of
from ttt3r_viewer.viewer.tick import Part, Tick
from ttt3r_viewer.viewer.view_settings import Extent, ViewControls, ViewSettings
from ttt3r_viewer.viewer.widgets import FieldWidgets

FOLLOW_SEC = 0.5
"""While frames come, the bar is brought up to date so often at most."""
MOST_THUMBNAILS, THUMBNAIL_PX = 32, 64
THUMBNAIL_SEC = 1.0
"""While frames come, one small image is sent so often at most."""
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
EXTENTS: dict[str, Extent] = {"All up to here": "all", "This frame only": "one"}


class PlaybackPanel(Part):
    """The bar, its keys, and the choice between all frames up to the shown one and that alone."""

    def __init__(self, page: PageContext) -> None:
        self._page = page
        self._controls, self._overlay = page.controls, page.overlay
        self._tick: Tick | None = None
        """The latest one."""
        self._due_sec = 0.0
        self._chosen: list[ViewSettings] = []
        """The settings that the bars show: everybody's, then guests' own."""
        self._is_behind = False
        """Whether the bars do not show all of the scene yet."""
        self._own_pages: set[str] = set()
        self._marks = FrameMarks()
        self._thumbnails = Thumbnails(page.overlay.show)
        page.channel.on_action(self._act)
        fields = FieldWidgets(page.server.gui, page.controls.settings, page.controls.change)
        fields.choice("Show", "extent", EXTENTS, hint="Which frames' points are drawn")
        fields.key("One frame back", "J", lambda _: self._step(-1))
        fields.key("One frame forward", "K", lambda _: self._step(1))
        what = "Stay at the newest frame"
        fields.key("Live", "L", lambda _: self._flip_live(), description=what)

    def _tick_of(self, controls: ViewControls) -> Tick | None:
        """Return the latest tick with what these controls say now."""
        if self._tick is None:
            return None
        return replace(self._tick, settings=controls.settings, now_sec=time.monotonic())

    def _position(self, controls: ViewControls) -> int:
        tick = self._tick_of(controls)
        return -1 if tick is None else tick.position

    def _step(self, frames: int) -> None:
        self._go_to(self._controls, self._position(self._controls) + frames)

    def _flip_live(self) -> None:
        live, position = not self._controls.settings.live, self._position(self._controls)
        self._controls.stand_at(live=live, position=max(position, 0))

    def _go_to(self, controls: ViewControls, position: int) -> None:
        count = len(self._tick.snapshot.frames) if self._tick else 0
        controls.stand_at(live=False, position=min(max(position, 0), max(count - 1, 0)))

    def _act(self, client: viser.ClientHandle, page: str, action: str, value: Any) -> None:
        """Do what a user did in the bar: an owner for all, a guest for their own page alone."""
        owner = client_of(self._page.server, client.client_id).role == "owner"
        controls = self._controls
        if not owner:
            if client.client_id not in self._page.guest_controls:
                return
            controls = self._page.guest_controls[client.client_id]
            controls.page = page
        tick, position = self._tick_of(controls), self._position(controls)
        if tick is None:
            return
        followed = self._tick_of(self._controls) if controls.settings.live else tick
        assert followed is not None
        count, show = len(tick.snapshot.frames), controls.settings.show
        match action, value:
            case "go", int() if not isinstance(value, bool):
                self._go_to(controls, value)
            case "live", None:
                controls.stand_at(live=True, position=max(position, 0))
            case "play", None:
                play_or_pause(controls, followed, self._page.mailbox if owner else None)
            case "speed", int() | float() if value in SPEEDS:
                controls.change(show=show.at_pace(count, tick.now_sec, speed=float(value)))
            case "loop", bool():
                controls.change(show=show.at_pace(count, tick.now_sec, loop=value))
            case "camera", None if followed.position >= 0:
                self._page.fly(client, followed)
            case "talk", None if owner:
                controls.change(show=replace(show, presenting=not show.presenting))
        self._controls.changed.set()

    def update(self, tick: Tick) -> None:
        """Tell the bars where the page stands, and those of guests where their own stands."""
        before, self._tick = self._tick, tick
        own = [one for one in list(self._page.guest_controls.values()) if one.page]
        chosen = [tick.settings, *(one.settings for one in own)]
        asked = len(chosen) != len(self._chosen) or any(
            now is not then for now, then in zip(chosen, self._chosen, strict=True)
        )
        plays = any(one.show.replaying for one in chosen)
        new = before is None or tick.snapshot is not before.snapshot or self._is_behind
        self._is_behind = new and tick.now_sec < self._due_sec
        if not (asked or plays or (new and not self._is_behind)):
            return
        self._chosen, self._due_sec = chosen, tick.now_sec + FOLLOW_SEC
        self._overlay.show("playback", {"channel": self._page.channel.name, **state_of_bar(tick)})
        self._show_own(tick, {one.page: one.settings for one in own})
        if new:
            self._is_behind = False
            self._overlay.show("marks", {"marks": self._marks.update(tick.snapshot)})
            self._is_behind = self._thumbnails.update(tick.snapshot, tick.now_sec)

    def _show_own(self, tick: Tick, own: Mapping[str, ViewSettings]) -> None:
        for page in self._own_pages - own.keys():
            self._overlay.show("own", None, page=page)
        self._own_pages = own.keys() | set()
        for page, settings in own.items():
            state = state_of_bar(replace(tick, settings=settings))
            self._overlay.show("own", None if settings.live else state, page=page)


def play_or_pause(controls: ViewControls, tick: Tick, run: Mailbox | None) -> None:
    """Stop what moves the shown frame, the run where that is `run`; else play on from there."""
    show, count, phase = tick.settings.show, len(tick.snapshot.frames), tick.snapshot.status.phase
    if show.plays(count, tick.now_sec):
        controls.stand_at(live=False, position=max(tick.position, 0))
    elif run is not None and tick.settings.live and phase in ("starting", "running"):
        run.put(Pause())
    elif run is not None and tick.settings.live and phase == "paused":
        run.put(Play())
    else:
        ended = tick.position >= count - 1
        own = controls.settings.show.played(0 if ended else tick.position, tick.now_sec)
        controls.change(show=own, live=False)


def state_of_bar(tick: Tick) -> dict[str, object]:
    """Say what the bar shows of a timeline; frames are counted from 0."""
    snapshot, settings, position = tick.snapshot, tick.settings, tick.position
    count, phase = len(snapshot.frames), snapshot.status.phase
    plays = settings.show.plays(count, tick.now_sec)
    return {
        "epoch": snapshot.epoch,
        "count": count,
        "total": tick.frame_total or count,
        "title": title_of(tick),
        "position": position,
        "text": text_of(snapshot.frames[position]) if position >= 0 else "no frame yet",
        "live": settings.live,
        "playing": plays or (settings.live and phase in ("starting", "running")),
        "run": settings.live and not plays and snapshot.status.goes_on,
        "loop": settings.show.loop,
        "speed": settings.show.speed,
        "talk": settings.show.presenting,
    }


def title_of(tick: Tick) -> str:
    """Say what is shown, for the tab of the browser: the frame, the input, and what keeps the run
    from going on, if anything.
    """
    status = tick.snapshot.status
    phase = "" if status.phase == "running" else f" ({status.phase})"
    parts = (tick.frame_text if tick.position >= 0 else "", status.source or "ttt3r-viewer")
    return " - ".join(filter(None, parts)) + phase


def text_of(frame: FrameSummary) -> str:
    """Name a frame with its time, and its segment where there was a reset."""
    name = frame.name if len(frame.name) <= 80 else f"{frame.name[:79]}…"
    after = f" · after reset {frame.segment}" if frame.segment else ""
    return f"{name} · {frame.time_sec:.2f} s{after}"


class Thumbnails:
    """At most `MOST_THUMBNAILS` small images of frames, evenly spaced, each in a slot of its own.

    Where frames become too many, every second one gives its slot to a later one, so that over a
    long run few images are sent.
    """

    def __init__(self, show: Callable[[str, Mapping[str, object] | None], object]) -> None:
        self._show = show
        self._frames: dict[int, int] = {}
        """The frame of each slot."""
        self._epoch = -1
        self._due_sec = 0.0

    def update(self, snapshot: SceneSnapshot, now_sec: float) -> bool:
        """Fill one slot while frames come, and all when none come; return whether any is left."""
        if snapshot.epoch != self._epoch:
            self._epoch = snapshot.epoch
            self._clear(self._frames)
            self._due_sec = 0.0
        wanted = wanted_frames(len(snapshot.frames))
        missing = sorted(set(wanted) - set(self._frames.values()))
        runs = snapshot.status.phase == "running"
        if runs and missing and now_sec < self._due_sec:
            return True
        self._due_sec = now_sec + THUMBNAIL_SEC
        for frame in missing[:1] if runs else missing:
            slot = next(k for k in range(MOST_THUMBNAILS) if self._frames.get(k) not in wanted)
            self._frames[slot] = frame
            image = jpeg_url(snapshot.frames[frame].image, THUMBNAIL_PX)
            self._show(f"thumb{slot}", {"frame": frame, "image": image})
        if not runs:
            self._clear([k for k, frame in self._frames.items() if frame not in wanted])
        return runs and len(missing) > 1

    def _clear(self, slots: Iterable[int]) -> None:
        for slot in list(slots):
            del self._frames[slot]
            self._show(f"thumb{slot}", None)


def wanted_frames(count: int) -> range:
    """Return the frames of which there should be small images: every one, second, fourth ..."""
    stride = 1
    while count > stride * MOST_THUMBNAILS:
        stride *= 2
    return range(0, count, stride)
