"""The scene's budget of points: browsers say how they draw, and the owners' GPUs raise it."""

import gzip

import pytest

from tests.made_up_run import room_result
from tests.page_client import CAMERA, cookie_for, echo, get, join
from tests.ticks import tick_of
from tests.waiting import wait_for
from ttt3r_viewer.commands.page import gpu_points_of
from ttt3r_viewer.reconstruct.messages import SetBudget
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import GPU_POINTS, PAGE_POINTS
from ttt3r_viewer.viewer.panels.run import RunPanel, points_html
from ttt3r_viewer.viewer.server.access import access_for
from ttt3r_viewer.viewer.server.clients import client_of, pixel_ratio_of
from ttt3r_viewer.viewer.server.gate import SCRIPT_TAG
from ttt3r_viewer.viewer.server.point_budget import PointBudget

TOKEN = "a-token-for-tests"
GPU, SOFTWARE = "ttt3r-draws=gpu", "ttt3r-draws=software"


@pytest.fixture
def page(show):
    """A paused run, and its page with an owner and guests, which may keep 50,000 points."""
    access = access_for("127.0.0.1", token=TOKEN, guests=True)
    return show(3, {"access": access, "gpu_points": 150_000}, paused=True)


@pytest.fixture
def connect(page):
    """Join as an owner or a guest with a word on how the browser draws; wait until it counts."""
    _, viewer = page
    opened = []

    def one(draws: str, *, guest: bool = False):
        token = viewer.door.access.guest_token if guest else TOKEN
        cookie = cookie_for(viewer.port, token)
        before = set(viewer.server.get_clients())
        opened.append(join(viewer.port, headers={"Cookie": f"{cookie}; {draws}"}))
        echo(opened[-1], CAMERA)
        (new,) = wait_for(lambda: set(viewer.server.get_clients()) - before, "the browser")
        return client_of(viewer.server, new), opened[-1]

    yield one
    for socket in opened:
        socket.close()


def budgets(run) -> list[int]:
    return [one.max_points for one in run.seen_commands if isinstance(one, SetBudget)]


def test_the_page_loads_our_script_before_its_own(page):
    _, viewer = page
    cookie = {"Cookie": cookie_for(viewer.port, TOKEN)}
    for path in ("/", "/index.html"):
        _, _, plain = get(viewer.port, path, cookie)
        _, headers, zipped = get(viewer.port, path, {**cookie, "Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(zipped) == plain
        assert plain.index(SCRIPT_TAG) == plain.index(b"<script")
    status, headers, script = get(viewer.port, "/page.js", cookie)
    assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert headers["Content-Security-Policy"] == "frame-ancestors 'self'"
    assert b"ttt3r-draws" in script
    assert b"ttt3r-pixels" in script
    assert get(viewer.port, "/page.js")[0] == 403


@pytest.mark.parametrize(
    ("draws", "on_gpu"),
    [
        (GPU, True),
        (SOFTWARE, False),
        ("ttt3r-draws=phone", False),
        ("ttt3r-draws=9999999999", False),
        ("x=gpu", False),
    ],
)
def test_a_browsers_word_comes_with_its_connection_and_has_two_values(connect, draws, on_gpu):
    assert connect(draws)[0].on_gpu is on_gpu


@pytest.mark.parametrize(
    ("said", "ratio"),
    [
        *(("1.25", 1.25), ("3.000", 3.0), ("0.5", 0.5), ("99", 1.0), ("nan", 1.0), ("0", 1.0)),
        *(("1e1", 1.0), ("-2", 1.0), ("2.0; x", 2.0), ("\N{ARABIC-INDIC DIGIT TWO}", 1.0)),
    ],
)
def test_the_pixels_of_a_browsers_screen_come_likewise_and_within_bounds(connect, said, ratio):
    if said.isascii():
        assert connect(f"ttt3r-pixels={said}")[0].pixel_ratio == ratio
    else:
        assert pixel_ratio_of(said) == ratio


def test_an_owners_gpu_raises_the_budget_once(page, connect):
    run, viewer = page
    connect(GPU)
    wait_for(lambda: budgets(run), "the budget")
    connect(SOFTWARE)
    connect(GPU)
    viewer.part(PointBudget).update(tick_of(run.store))
    assert budgets(run) == [150_000]


def test_guests_do_not_count_and_one_owner_in_software_is_enough(page, connect):
    run, viewer = page
    budget = viewer.part(PointBudget)
    connect(GPU, guest=True)
    budget.update(tick_of(run.store))
    software, socket = connect(SOFTWARE)
    assert not software.on_gpu
    connect(GPU)
    connect(SOFTWARE, guest=True)
    budget.update(tick_of(run.store))
    assert budgets(run) == []
    socket.close()
    wait_for(lambda: budgets(run) == [150_000], "the owner without a GPU to go")


def test_a_given_number_always_wins_and_the_panel_says_why(show):
    run, viewer = show(3, {"gpu_points": None}, paused=True)
    with join(viewer.port, headers={"Cookie": GPU}) as socket:
        echo(socket, CAMERA)
        wait_for(viewer.server.get_clients, "the browser")
        viewer.part(PointBudget).update(tick_of(run.store))
        assert budgets(run) == []
    status = viewer.part(RunPanel)._status
    wait_for(lambda: 'title="As --max-points says">at most 100 k<' in status.content, "the limit")


def test_the_panel_says_what_the_limit_is_and_why():
    budget = PointBudget.__new__(PointBudget)
    budget._gpu_points = GPU_POINTS
    store = SceneStore(PAGE_POINTS)
    text = points_html(tick_of(store), 0, budget.limit_html(store.snapshot().max_points))
    assert "at most 600 k (no GPU)" in text
    store.set_budget(GPU_POINTS)
    text = points_html(tick_of(store), 0, budget.limit_html(store.snapshot().max_points))
    assert ">at most 2.5 M<" in text
    assert "stay merged until Restart" in text


def test_an_explicit_number_of_points_is_kept_to():
    assert gpu_points_of(None) == GPU_POINTS
    assert gpu_points_of(9) is None


def test_a_scene_keeps_more_after_its_budget_rose_and_what_was_merged_stays_merged():
    store = SceneStore(1000, points_per_frame=300, one_per_voxel=True)
    for sequence in range(40):
        store.add(room_result(sequence, 32, 24))
    before = store.snapshot()
    assert before.max_points == 1000
    store.set_budget(4000)
    for sequence in range(40, 80):
        store.add(room_result(sequence, 32, 24))
    after = store.snapshot()
    assert after.max_points == 4000
    assert before.point_count <= 1000 < after.point_count <= 4000
    assert after.layout.voxel_side == before.layout.voxel_side
    store.clear()
    for sequence in range(40):
        store.add(room_result(sequence, 32, 24))
    again = store.snapshot()
    assert again.layout.voxel_side < before.layout.voxel_side
    assert again.point_count > 2 * before.point_count
