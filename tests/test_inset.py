"""The inset: the shown frame's image and depth, and how both come to browsers."""

import asyncio
import base64
import io
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.made_up_run import MadeUpRun, room_result
from tests.page_client import get
from tests.ticks import tick_of
from tests.waiting import wait_for
from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.context import PageContext
from ttt3r_viewer.viewer.layers.maps import JPEG_PX, jpeg_url
from ttt3r_viewer.viewer.panels.inset import (
    SHOWN_SEC,
    InsetPanel,
    depth_image,
    depth_range,
    thinned,
)
from ttt3r_viewer.viewer.server import overlay
from ttt3r_viewer.viewer.server.overlay import Overlay
from ttt3r_viewer.viewer.view_settings import ShowSettings, ViewSettings


def picture(url: str) -> np.ndarray:
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def inset_of(page: PageContext) -> Any:
    return json.loads(page.overlay.content()).get("inset")


@pytest.fixture
def store():
    return MadeUpRun(SceneStore(), width=64, height=48).gone(5).store


@pytest.fixture
def page(server):
    return PageContext(server)


def test_the_newest_frame_has_its_image_and_its_depth_with_a_range_in_metres(store, page):
    panel, last = InsetPanel(page), room_result(4)
    panel.update(tick_of(store))
    image, depth = inset_of(page)["figures"]
    assert image["text"] == "frame 5"
    assert np.abs(picture(image["image"]).astype(int) - last.image).mean() < 8
    metres = last.points_camera[..., 2]
    assert depth["text"] == "depth"
    ends = [float(text.removesuffix(" m")) for text in depth["range"]]
    assert ends == pytest.approx(np.percentile(metres, (2, 98)), abs=0.06)
    # Near is bright.
    brightness = picture(depth["image"]).mean(axis=-1)
    assert np.corrcoef(brightness.ravel(), metres.ravel())[0, 1] < -0.7


def test_an_older_frame_is_read_in_full_where_it_was_recorded(store, page):
    class Recorded(dict):
        def lane(self, sequence, lane):
            assert lane == 0
            if sequence == 2:
                raise RecordingError("it is gone")
            return self[sequence]

    store.set_recording(Recorded({1: room_result(1), 2: None}))
    panel = InsetPanel(page)
    counts = []
    for position in (0, 1, 2):
        settings = ViewSettings(live=False, position=position)
        panel.update(tick_of(store, settings, now_sec=10.0 * position))
        figures = inset_of(page)["figures"]
        assert figures[0]["text"] == f"frame {position + 1}"
        counts.append(len(figures))
    assert counts == [1, 2, 1]


def test_the_inset_comes_four_times_a_second_at_most_and_goes_when_it_is_switched_off(store, page):
    panel, versions = InsetPanel(page), set()
    for now_sec in np.arange(0.0, 2.0, 0.05):
        store.add(replace(room_result(len(store.snapshot().frames)), gain=np.zeros(16, "f4")))
        panel.update(tick_of(store, now_sec=now_sec))
        versions.add(page.overlay.content())
    assert 6 <= len(versions) <= 2.0 / SHOWN_SEC + 1
    assert max(map(len, versions)) < 40_000
    talk = ViewSettings(show=ShowSettings(presenting=True))
    panel.update(tick_of(store, talk, now_sec=9.0))
    assert inset_of(page)["talk"] is True
    panel.update(tick_of(store, ViewSettings(show_inset=False), now_sec=9.01))
    assert inset_of(page) is None


def test_depths_behind_the_camera_or_unknown_have_no_colour_and_the_range_moves_slowly():
    depth = np.linspace(1, 3, 12, dtype=np.float32).reshape(3, 4)
    depth[0, 0], depth[2, 3] = -5.0, np.nan
    scale = depth_range(depth, None)
    assert 1.0 < scale[0] < scale[1] < 3.0
    colors = depth_image(depth, scale)
    assert np.array_equal(colors[0, 0], colors[2, 3])
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) > 8
    low, high = depth_range(2 * depth, scale)
    assert scale[0] < low < 2 * scale[0]
    assert scale[1] < high < 2 * scale[1]
    assert depth_range(np.full((2, 2), np.nan, np.float32), scale) == scale


def test_large_images_become_small():
    large = np.zeros((384, 1024, 3), np.uint8)
    assert picture(jpeg_url(large)).shape == (120, JPEG_PX, 3)
    assert thinned(large).shape[1] <= JPEG_PX


def test_a_browser_waits_for_what_is_new_and_is_answered_after_a_while(show, monkeypatch):
    _, viewer = show(0, paused=True)
    monkeypatch.setattr(overlay, "WAIT_SEC", 0.4)
    # The last part of an update.
    wait_for(lambda: b'"twin"' in get(viewer.port, "/overlay")[2], "all parts")
    status, headers, body = get(viewer.port, "/overlay")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    version = json.loads(body)["version"]
    begin = time.monotonic()
    assert json.loads(get(viewer.port, f"/overlay?have={version}")[2])["version"] == version
    assert time.monotonic() - begin >= 0.4
    assert get(viewer.port, "/overlay", {"Origin": "http://evil.example"})[0] == 403


def read(overlay_: Overlay, have: str = "", page: str = "") -> dict[str, Any]:
    return json.loads(overlay_.content(have, page))


def test_who_waits_gets_all_that_one_update_replaces_as_soon_as_it_is_there():
    parts = Overlay()
    have = read(parts)["version"]

    def update() -> None:
        parts.show("a", {"n": 1})
        parts.show("b", {"n": 2})

    async def wait() -> dict[str, Any]:
        async with asyncio.timeout(overlay.WAIT_SEC / 2):
            waiting = asyncio.create_task(parts.newer(have))
            await asyncio.sleep(0)
            await asyncio.to_thread(update)
            return json.loads(await waiting)

    got = asyncio.run(wait())
    assert (got["a"], got["b"]) == ({"n": 1}, {"n": 2})
    assert parts._waiting == {}


def test_versions_differ_from_those_of_a_program_before():
    first, second = Overlay(), Overlay()
    assert read(first)["version"] != read(second)["version"]
    before = read(first)["version"]
    first.show("a", {"b": 1})
    second.show("a", {"b": 2})
    again = read(first)["version"]
    assert again != before
    assert read(second, again)["a"] == {"b": 2}
    first.show("a", {"b": 1})
    assert read(first)["version"] == again


def test_only_what_was_replaced_comes_and_what_is_for_one_page_comes_to_no_other():
    parts = Overlay()
    parts.show("a", {"large": "x" * 1000})
    parts.show("b", {"n": 1})
    have = read(parts)["version"]
    parts.show("b", {"n": 2})
    parts.show("own", {"n": 3}, page="one")
    now = read(parts)["version"]
    assert read(parts, have) == {"version": now, "b": {"n": 2}}
    assert read(parts, have, "one") == {"version": now, "b": {"n": 2}, "own": {"n": 3}}
    parts.show("b", None)
    parts.show("never there", None)
    assert set(read(parts, now)) == {"version", "b"}
    for number in range(200):
        parts.show("own", {"n": 0}, page=str(number))
    assert len(parts._parts) <= 2 + overlay.MOST_OWN_PARTS
