"""The playback bar's side in the program: what it is told, and what is done in its name."""

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.made_up_run import MadeUpRun, room_result
from tests.page_client import CAMERA, cookie_for, echo, join, set_value
from tests.ticks import tick_of
from tests.waiting import wait_for
from ttt3r_viewer.reconstruct.messages import Mailbox, Pause, Play
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.panels.frame_marks import MOST_PLACES, FrameMarks, left_out
from ttt3r_viewer.viewer.panels.playback import (
    FOLLOW_SEC,
    MOST_THUMBNAILS,
    THUMBNAIL_SEC,
    PlaybackPanel,
    play_or_pause,
    state_of_bar,
    title_of,
    wanted_frames,
)
from ttt3r_viewer.viewer.panels.run import RunPanel, status_html
from ttt3r_viewer.viewer.server.access import access_for
from ttt3r_viewer.viewer.view_settings import ShowSettings, ViewControls, ViewSettings


@pytest.fixture
def page(server) -> PageContext:
    return PageContext(server)


def parts_of(page: PageContext, have: str = "") -> dict[str, Any]:
    return json.loads(page.overlay.content(have))


def thumbnails(parts: dict[str, Any]) -> list[int]:
    """The frames that have small images."""
    found = [one for name, one in parts.items() if name.startswith("thumb") and one]
    return sorted(one["frame"] for one in found)


def test_frames_are_played_from_one_on_at_a_pace_and_again_and_again():
    show = ShowSettings().played(10, 100.0)
    assert show.replay_position(60, 100.0) == 10
    assert show.replay_position(60, 101.0) == 20
    twice = show.at_pace(60, 101.0, speed=2.0)
    assert [twice.replay_position(60, sec) for sec in (101.0, 102.0, 110.0)] == [20, 40, 59]
    assert twice.plays(60, 102.0)
    assert not twice.plays(60, 110.0)
    again = twice.at_pace(60, 102.0, loop=True)
    assert [again.replay_position(60, sec) for sec in (102.0, 103.0)] == [40, 0]
    assert again.plays(60, 1000.0)
    assert ShowSettings(loop=True, replaying=True).replay_position(0, 1.0) == -1
    # What stands goes on standing there.
    stopped = twice.stopped(102.0).at_pace(60, 200.0, speed=0.25)
    assert stopped.replay_position(60, 300.0) == 40


@pytest.mark.parametrize(
    ("phase", "settings", "message", "starts"),
    [
        ("running", ViewSettings(), Pause, None),
        ("paused", ViewSettings(), Play, None),
        ("finished", ViewSettings(), None, 0),
        ("running", ViewSettings(live=False, position=2), None, 2),
        ("paused", ViewSettings(live=False, position=4), None, 0),
    ],
)
def test_the_button_pauses_the_run_where_that_is_shown_and_else_plays(
    phase, settings, message, starts
):
    run = MadeUpRun(SceneStore()).gone(5)
    run.echo(phase=phase)
    controls, mailbox = ViewControls(settings), Mailbox()
    play_or_pause(controls, tick_of(run.store, settings, 10.0), mailbox)
    assert [type(one) for one in mailbox.waiting()] == ([message] if message else [])
    show = controls.settings.show
    assert (show.replay_start if show.replaying else None) == starts
    if starts is not None:
        play_or_pause(controls, tick_of(run.store, controls.settings, 10.15), mailbox)
        assert not controls.settings.show.replaying
        assert (controls.settings.live, controls.settings.position) == (False, starts + 1)


def test_the_bar_follows_a_run_slowly_and_a_user_at_once(page):
    run, panel = MadeUpRun(SceneStore(), total=100), PlaybackPanel(page)
    seen = []
    for now_sec in np.arange(10.0, 13.0, 0.1):
        run.add_frame()
        panel.update(tick_of(run.store, page.controls.settings, float(now_sec)))
        seen.append(parts_of(page)["playback"]["count"])
    assert len(set(seen)) <= 3.0 / FOLLOW_SEC + 1
    assert parts_of(page)["playback"]["total"] == 100
    page.controls.stand_at(live=False, position=3)
    panel.update(tick_of(run.store, page.controls.settings, 13.01))
    bar = parts_of(page)["playback"]
    assert (bar["position"], bar["live"], bar["count"]) == (3, False, 30)
    assert "room_0_0003.png" in bar["text"]
    # An idle page is told nothing more.
    run.echo(phase="paused")
    panel.update(tick_of(run.store, page.controls.settings, 14.0))
    before = parts_of(page)
    for now_sec in (14.1, 15.0, 16.0):
        panel.update(tick_of(run.store, page.controls.settings, now_sec))
    assert parts_of(page) == before


def test_title_bar_and_status_count_frames_alike_and_say_what_the_input_is():
    run = MadeUpRun(SceneStore(max_points=1000), total=40).gone(3)
    live, second = ViewSettings(), ViewSettings(live=False, position=1)
    for phase, total, skipped, shown, titles in (
        ("running", 4, 0, "frame 3 of 4", ("frame 3 of 4 - desk.mp4", "frame 2 of 4 - desk.mp4")),
        ("paused", 40, 2, "frame 3 of 38", ("frame 3 of 38 - desk.mp4 (paused)",)),
        ("running", None, 2, "frame 3 of ?", ("frame 3 - desk.mp4", "frame 2 of 3 - desk.mp4")),
        ("finished", 5, 2, "frame 3 of 3", ("frame 3 of 3 - desk.mp4 (finished)",)),
    ):
        run.echo(phase=phase, frames_total=total, frames_done=3, skipped=skipped, source="desk.mp4")
        snapshot = run.store.snapshot()
        assert shown in status_html(snapshot.status, "")
        for settings, title in zip((live, second), titles, strict=False):
            tick = tick_of(snapshot, settings)
            bar = state_of_bar(tick)
            assert bar["title"] == title_of(tick) == title
            assert bar["total"] == (tick.frame_total or 3)
    assert title_of(tick_of(SceneStore(9).snapshot(), live)) == "ttt3r-viewer (starting)"


def test_at_the_end_the_runs_button_shows_all_frames_again(show):
    run, viewer = show(4, paused=True)
    panel = viewer.part(RunPanel)
    wait_for(lambda: panel._play.label == "Play", "the pause")
    run.echo(phase="finished")
    wait_for(lambda: panel._play.label == "Play again", "the end")
    assert not panel._play.disabled
    assert panel._step.disabled
    panel._toggle()
    settings = viewer.controls.settings
    assert (settings.live, settings.show.replaying, settings.show.replay_start) == (False, True, 0)
    assert run.seen_commands == []


def test_thousands_of_frames_have_few_small_images_and_they_come_slowly_while_frames_come(page):
    run, panel = MadeUpRun(SceneStore(points_per_frame=4), total=None), PlaybackPanel(page)
    have, sent, size = "", 0, 0
    for now_sec in np.arange(0.0, 60.0, 0.1):
        run.add_frame()
        panel.update(tick_of(run.store, page.controls.settings, float(now_sec)))
        new = page.overlay.content(have)
        parts = json.loads(new)
        have = parts["version"]
        sent += len(thumbnails(parts))
        size += len(new) if len(parts) > 1 else 0
    assert MOST_THUMBNAILS / 2 <= sent <= 60.0 / THUMBNAIL_SEC + 1
    assert size / 60.0 < 4_000
    run.echo(phase="finished")
    panel.update(tick_of(run.store, page.controls.settings, 61.0))
    parts = parts_of(page)
    assert thumbnails(parts) == list(wanted_frames(600)) == list(range(0, 600, 32))
    assert len(page.overlay.content()) < 100_000
    run.store.clear()
    panel.update(tick_of(run.store, page.controls.settings, 70.0))
    assert thumbnails(parts_of(page)) == []


def test_marks_say_resets_changes_and_frames_that_were_left_out():
    store = SceneStore()
    marks = FrameMarks()
    for k, index in enumerate((0, 5, 10, 20, 25, 30)):
        rule = "one" if k < 4 else "other"
        store.add(replace(room_result(k, 16, 12), index=index, segment=k // 5, rule=rule))
    found = marks.update(store.snapshot())
    assert [(one["frame"], one["kind"], one["text"]) for one in found] == [
        (3, "skipped", "1 frame left out before it"),
        (4, "change", "other"),
        (5, "reset", ""),
    ]
    store.clear()
    assert marks.update(store.snapshot()) == []
    assert left_out([0]) == left_out([]) == left_out([0, 7, 14]) == []


def test_marks_that_nobody_could_tell_apart_are_one():
    store, marks = SceneStore(points_per_frame=4), FrameMarks()
    for k in range(10 * MOST_PLACES):
        store.add(replace(room_result(0, 4, 3), sequence=k, index=k, segment=k))
    found = marks.update(store.snapshot())
    assert len(found) <= MOST_PLACES
    assert "times near here" in str(found[5]["text"])


def test_what_browsers_say_is_read_as_data_and_a_guest_moves_only_their_own_page(show):
    access = access_for("127.0.0.1", token="a-token", guests=True)
    _, viewer = show(5, {"access": access}, paused=True)
    panel = viewer.part(PlaybackPanel)
    handle, controls = panel._page.channel._handle, viewer.controls
    before = controls.settings

    numbers = itertools.count()

    def say(socket, action, value=None):
        set_value(socket, handle, json.dumps(["page", next(numbers), action, value]))

    def own() -> Any:
        return json.loads(viewer.gate._overlay.content("", "page")).get("own")

    with join(
        viewer.port, headers={"Cookie": cookie_for(viewer.port, access.guest_token or "")}
    ) as one:
        echo(one, CAMERA)
        wait_for(lambda: panel._page.guest_controls and panel._tick, "the guest")
        say(one, "talk")
        say(one, "speed", 2.0)
        say(one, "go", 1)
        wait_for(lambda: own() and own()["position"] == 1, "the guest's own frame")
        say(one, "play")
        wait_for(lambda: own()["position"] == 4, "the guest's own end")
        say(one, "live")
        wait_for(lambda: own() is None, "the owner's view")
        assert controls.settings is before
    with join(viewer.port, headers={"Cookie": cookie_for(viewer.port, "a-token")}) as one:
        echo(one, CAMERA)
        wait_for(viewer.server.get_clients, "the owner")
        for text in ("", "[", "[1, 2]", '["p", 1, "go", 1.5]', '["p", 2, "go", true]', "[" * 999):
            set_value(one, handle, text)
        for action, value in (("go", "1"), ("speed", 1e9), ("loop", 3), ("nothing", None)):
            say(one, action, value)
        say(one, "go", 10**9)
        wait_for(lambda: not controls.settings.live, "the last frame")
        assert controls.settings.position == 4
        assert controls.settings.show == before.show
        say(one, "loop", True)
        wait_for(lambda: controls.settings.show.loop, "the loop")
