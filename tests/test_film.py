"""Films and recordings: the renderer, the ways of the camera, and what other readers find."""

import itertools
import math
from typing import Any

import av
import imageio.v3 as iio
import msgspec
import numpy as np
import pytest
import zstandard
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from tests.made_up_run import look_at, pose_at
from tests.refusals import error_line
from tests.test_export_formats import FRAMES, make_session, silent
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.export.film import camera_path
from ttt3r_viewer.export.film import film as films
from ttt3r_viewer.export.film.encode import shown_at
from ttt3r_viewer.export.film.film import Film
from ttt3r_viewer.export.film.footage import Growth, read_growth
from ttt3r_viewer.export.film.opening import SceneBox, orbit_view
from ttt3r_viewer.export.film.render import NEAR, Lines, Points, Renderer
from ttt3r_viewer.export.known_formats import export_recording
from ttt3r_viewer.export.lane_source import Source, StepCount, Thinning
from ttt3r_viewer.geometry import invert_pose, transform_points, upright_axes
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.recording.tour import Keyframe, Tour, View, write_tour
from ttt3r_viewer.types import Camera

SMALL = Film(size="96x64", fps=10, seconds=1.5)


@pytest.fixture
def footage(source) -> Growth:
    return read_growth(source, Thinning(max_points=100_000), StepCount(silent))


def test_an_mp4_plays_everywhere(tmp_path, source):
    done = export_recording(source, "mp4", tmp_path / "a.mp4", silent, film=SMALL)
    assert (done.count, done.unit) == (15, "images")
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.codec_context.width, stream.codec_context.height) == (96, 64)
        assert stream.average_rate == 10
        times = [frame.time for frame in container.decode(stream)]
    assert np.allclose(times, np.arange(15) / 10)
    images = iio.imread(tmp_path / "a.mp4", plugin="pyav")
    assert images.shape == (15, 64, 96, 3)
    assert (images[-1].max(-1) > 60).mean() > 0.2


def test_a_gif_has_its_images_its_colours_and_goes_on(tmp_path, source):
    export_recording(source, "gif", tmp_path / "a.gif", silent, film=SMALL)
    with Image.open(tmp_path / "a.gif") as gif:
        assert isinstance(gif, GifImageFile)
        assert gif.n_frames == 15
        assert gif.info["loop"] == 0
        assert gif.info["duration"] == 100
        gif.seek(14)
        last = np.asarray(gif.convert("RGB")).astype(int)
    export_recording(source, "mp4", tmp_path / "a.mp4", silent, film=SMALL)
    same = iio.imread(tmp_path / "a.mp4", plugin="pyav")[-1].astype(int)
    assert np.abs(last - same).mean() < 16
    with pytest.raises(SettingsError, match="--fps 60: a GIF shows at most 50; take fewer"):
        export_recording(source, "gif", tmp_path / "b.gif", silent, film=Film(fps=60))
    assert not (tmp_path / "b.gif").exists()


def test_the_cloud_grows_or_is_whole_from_the_start(footage):
    def shown(film: Film, count: int = 41) -> list[int]:
        return [shown_at(footage, film, k, count) for k in range(count)]

    growing = shown(Film())
    assert growing[0] == 1
    assert growing == sorted(growing)
    assert growing[35:] == [FRAMES] * 6
    assert shown(Film(growth=False)) == [FRAMES] * 41
    following = shown(Film(path="follow"))
    assert following[-2:] == [FRAMES - 1, FRAMES]


def test_the_points_and_cameras_of_some_frames_are_those_of_all(footage):
    parts = [footage.points_of(k, k + 1) for k in range(FRAMES)]
    together = np.concatenate([part.positions_world for part in parts])
    assert np.array_equal(together, footage.points.positions_world)
    lines = [footage.past_cameras(k, k + 1).ends_world for k in range(FRAMES)]
    whole = footage.past_cameras(0, FRAMES).ends_world
    assert sorted(map(repr, np.concatenate(lines))) == sorted(map(repr, whole))


def test_a_film_follows_the_tour_of_the_session(tmp_path):
    folder = make_session(tmp_path / "s", 2)
    source = Source(Recording.open(folder))
    film = Film("keyframes", "64x48", 10)
    with pytest.raises(SettingsError, match=r"--path keyframes: .*s holds no tour.json; save one"):
        export_recording(source, "mp4", tmp_path / "a.mp4", silent, film=film)
    views = (look_at([0, 0, -1], [0, 0, 4]), look_at([1, 0, -1], [0, 0, 4]))
    tour = Tour(tuple(Keyframe(pose, 1.0, 0.8) for pose in views))
    write_tour(folder / "tour.json", tour)
    for path in (folder, folder / "archive"):
        source = Source(Recording.open(path))
        done = export_recording(source, "mp4", tmp_path / f"{path.name}.mp4", silent, film=film)
        assert done.count == 8
    write_tour(tmp_path / "other.json", Tour(tour.keyframes[:1]))
    other = Film("keyframes", "64x48", 10, 0.5, tour=tmp_path / "other.json")
    still = export_recording(source, "gif", tmp_path / "a.gif", silent, film=other)
    assert still.count == 5


def read_recording(content: bytes) -> tuple[dict, list[bytes]]:
    """Take a `.viser` file apart: its messages and its arrays, all behind each other."""
    size = int.from_bytes(content[:8], "little")
    inner = zstandard.ZstdDecompressor().decompress(content[8:], max_output_size=size)
    assert len(inner) == size
    length = int.from_bytes(inner[:8], "little")
    return msgspec.msgpack.decode(inner[8 : 8 + length]), [inner[8 + length :]]


def test_a_recording_grows_step_by_step(tmp_path, source):
    done = export_recording(source, "viser", tmp_path / "a.viser", silent, film=Film(seconds=8))
    growth = read_growth(
        source, Thinning(max_points=500_000, min_confidence_percentile=20.0), StepCount(silent)
    )
    assert (done.count, done.unit) == (len(growth.points.colors), "points")
    document, _ = read_recording((tmp_path / "a.viser").read_bytes())
    assert document["durationSeconds"] == pytest.approx(10)
    clouds = [
        (time_sec, message["name"])
        for time_sec, message in document["messages"]
        if message["type"] == "PointCloudMessage"
    ]
    assert clouds == [(2.0 * k, f"/points/{k:04d}") for k in range(FRAMES)]
    lengths = document["binaryBufferLengths"]
    counts = np.diff(growth.ends, prepend=0)
    assert all(2 * 3 * count in lengths and 3 * count in lengths for count in counts)
    kinds = {message["type"] for _, message in document["messages"]}
    assert "SetCameraLookAtMessage" in kinds
    assert not any("Gui" in kind for kind in kinds)


def test_a_recording_has_few_nodes_however_many_frames(tmp_path, source, monkeypatch):
    from ttt3r_viewer.export.film import viser_recording as recording
    from ttt3r_viewer.export.formats import films as formats

    monkeypatch.setattr(formats, "MOST_STEPS", 3)
    every = Thinning(max_points=400, min_confidence_percentile=0.0)
    export_recording(source, "viser", tmp_path / "a.viser", silent, every)
    document, _ = read_recording((tmp_path / "a.viser").read_bytes())
    kinds = [message["type"] for _, message in document["messages"]]
    assert kinds.count("PointCloudMessage") == 3
    assert document["durationSeconds"] == pytest.approx(films.SECONDS + recording.REST_SEC)


def test_a_page_asks_for_nothing_from_elsewhere(tmp_path, source):
    few = Thinning(max_points=100)
    export_recording(source, "html", tmp_path / "a.html", silent, few)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "__VISER_EMBED_DATA__" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_an_unknown_way_of_the_camera_is_refused():
    path: Any = "spiral"
    with pytest.raises(SettingsError, match="--path spiral: take one of orbit, follow, keyframes"):
        Film(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--path", "spiral"], "--path: invalid choice: 'spiral' (choose from"),
        (["--size", "large"], "--size large: wanted width and height in pixels, such as 1280x720"),
        (["--size", "641x360"], "--size 641x360: films need even numbers; take 640x360"),
        (["--size", "8x8"], "--size 8x8: take 16 to 8192 pixels"),
        (["--fps", "0"], "--fps 0: take 1 to 120"),
        (["--seconds", "-1"], "--seconds -1: take more than 0"),
        (["--seconds", "90000"], "more than 100,000 images"),
        (["--point-size", "99"], "--point-size 99: take 1 to 32 pixels"),
        (["--tour", "t.json"], "--tour t.json: only --path keyframes follows it"),
    ],
)
def test_wrong_words_are_one_line(session, words, said, capsys):
    assert said in error_line(capsys, "export", str(session), "--to", "mp4", *words)
    assert not (session / "export").exists()


def test_what_means_nothing_to_a_format_is_refused(tmp_path, source):
    with pytest.raises(SettingsError, match="--size means nothing to html, only to mp4, gif:"):
        export_recording(source, "html", tmp_path / "a", silent, film=Film(size="640x720"))
    with pytest.raises(SettingsError, match="--seconds means nothing to ply, only to viser, html"):
        export_recording(source, "ply", tmp_path / "a", silent, film=Film(seconds=3))


def test_the_command_films(tmp_path, session, capsys):
    out = tmp_path / "film.mp4"
    words = ["--size", "64X48", "--fps", "5", "--seconds", "1", "--path", "follow", "--no-growth"]
    assert main(["export", str(session), "--to", "mp4", "--output", str(out), *words]) == 0
    assert "wrote Film (.mp4): 5 images" in capsys.readouterr().out
    assert len(iio.imread(out, plugin="pyav")) == 5


BLACK = (0, 0, 0)
RED = np.array([[255, 0, 0]], np.uint8)
NO_POINTS = Points(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
SIZE = Renderer(40, 30, point_px=1, background=BLACK)


def front() -> View:
    return View(np.eye(4), math.pi / 2)


def plain(view: View, points: Points, side: int, width: int, height: int) -> np.ndarray:
    """Draw point after point, the farthest first."""
    image = np.zeros((height, width, 3), np.uint8)
    camera = transform_points(invert_pose(view.T_world_camera), points.positions_world)
    focal_px = height / 2 / math.tan(view.fov_y_rad / 2)
    for k in np.argsort(-camera[:, 2], kind="stable"):
        x, y, z = camera[k]
        if z <= NEAR:
            continue
        reach = (side - 1) / 2
        left = math.floor(x / z * focal_px + width / 2 - reach)
        upper = math.floor(y / z * focal_px + height / 2 - reach)
        for row, column in itertools.product(range(side), repeat=2):
            inside = math.hypot(row - reach, column - reach) <= side / 2
            if inside and 0 <= upper + row < height and 0 <= left + column < width:
                image[upper + row, left + column] = points.colors[k]
    return image


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8])
def test_it_is_what_a_plain_loop_draws(side):
    random = np.random.default_rng(side)
    positions = random.uniform([-3, -3, -1], [3, 3, 4], (400, 3)).astype(np.float32)
    points = Points(positions, random.integers(1, 256, (400, 3), dtype=np.uint8))
    view = View(look_at([0.2, -0.1, -1.5], [0.1, 0.3, 2.0]), 1.1)
    drawn = Renderer(64, 48, point_px=side, background=BLACK).draw(view, points)
    expected = plain(view, points, side, 64, 48)
    # A point on the edge of a pixel may fall to either side of it.
    assert (drawn != expected).any(-1).mean() < 0.01
    assert expected.any()


def test_each_point_has_its_own_size():
    positions = np.array([[-0.5, 0, 1], [1, 0, 2], [0.2, 0, 1]], np.float32)
    diameters = np.array([0.4, 0.4, 0.001], np.float32)
    drawn = SIZE.draw(front(), Points(positions, RED.repeat(3, 0), diameters)).max(-1) > 0
    focal_px = 15
    assert abs(drawn[:, :18].any(1).sum() - 0.4 * focal_px) <= 1
    assert abs(drawn[:, 25:].any(1).sum() - 0.4 * focal_px / 2) <= 1
    assert drawn[:, 22:24].sum() == 1


def test_a_line_runs_without_a_gap_and_is_cut_where_it_comes_from_behind():
    ends = np.array([[[-0.5, 0, 1], [0.5, 0, 3]]], np.float32)
    drawn = SIZE.draw(front(), NO_POINTS, Lines(ends, RED)).any(-1)
    columns = np.flatnonzero(drawn.any(0))
    assert np.array_equal(columns, np.arange(columns[0], columns[-1] + 1))
    assert columns[0] <= 20 - 7
    assert columns[-1] >= 20 + 2
    behind = np.array([[[0, 0, -1], [0.5, 0, 1]], [[1, 0, -1], [0, 0, -2]]], np.float32)
    drawn = SIZE.draw(front(), NO_POINTS, Lines(behind, RED.repeat(2, 0)))
    assert drawn[:, 20:].any()
    assert not drawn[:, :19].any()


def test_a_near_point_stands_before_a_line_and_behind_one():
    line = Lines(np.array([[[-1, 0, 2], [1, 0, 2]]], np.float32), RED)
    for z, wanted in ((1.0, [0, 255, 0]), (3.0, [255, 0, 0])):
        green = Points(np.array([[0, 0, z]], np.float32), np.array([[0, 255, 0]], np.uint8))
        assert SIZE.draw(front(), green, line)[15, 20].tolist() == wanted


def test_a_scene_that_is_not_in_sight_is_the_background():
    points = Points(
        np.array([[0, 0, -1], [np.nan, 0, 1], [1e9, 0, 1]], np.float32), RED.repeat(3, 0)
    )
    drawn = Renderer(20, 10, background=(1, 2, 3)).draw(front(), points)
    assert drawn.shape == (10, 20, 3)
    assert (drawn == (1, 2, 3)).all()


def cameras(count: int = 30) -> list[Camera]:
    return [Camera(pose_at(k), 50.0, 64, 48) for k in range(count)]


def test_an_orbit_keeps_the_whole_box_in_the_image_and_comes_round():
    axes = upright_axes(np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    box = SceneBox(np.array([1.0, 0.0, 3.0]), np.array([2.0, 1.0, 1.5]), axes)
    views = [orbit_view(box, share, 16 / 9) for share in np.arange(8) / 8]
    upper = math.tan(camera_path.FOV_Y_RAD / 2)
    for view in views:
        x, y, z = transform_points(invert_pose(view.T_world_camera), box.corners()).T
        assert (z > 0).all()
        assert np.abs(y / z).max() < upper
        assert np.abs(x / z).max() < upper * 16 / 9
        # -y is up, and the orbit is above.
        assert view.T_world_camera[1, 1] > 0.5
        assert view.T_world_camera[1, 3] < box.centre[1]
    again = orbit_view(box, 1.0, 16 / 9)
    assert np.allclose(again.T_world_camera, views[0].T_world_camera)


def test_the_follower_sees_the_camera_ahead():
    views = camera_path.follow(cameras(), 2.0, 30)
    for view, camera in zip(views, cameras(), strict=True):
        seen = transform_points(invert_pose(view.T_world_camera), camera.T_world_camera[:3, 3])
        assert seen[2] > 0.5
        assert np.abs(seen[:2] / seen[2]).max() < math.tan(view.fov_y_rad / 2)
    steps = np.diff([view.T_world_camera[:3, 3] for view in views], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 0.5


def test_one_camera_is_enough():
    assert len(camera_path.follow(cameras(1), 1.0, 5)) == 5


def test_a_tour_is_taken_from_its_beginning_to_its_end():
    ends = (look_at([0, 0, 0], [0, 0, 1]), look_at([1, 0, 0], [0, 0, 1]))
    tour = Tour(tuple(Keyframe(pose, 1.0, 3.0) for pose in ends))
    views = camera_path.along(tour, 5)
    assert np.allclose(views[0].T_world_camera, ends[0])
    assert np.allclose(views[-1].T_world_camera, ends[1])


def test_upright_agrees_with_the_test_camera():
    assert np.allclose(
        camera_path.upright([1, 2, 3], [0, 0, 9], [0, -1, 0]), look_at([1, 2, 3], [0, 0, 9])
    )
