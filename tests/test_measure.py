"""Measuring: which point a ray picks, and what the reading says."""

from dataclasses import replace

import numpy as np
import pytest

from tests.made_up_run import MadeUpRun
from tests.ticks import tick_of
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.panels.measure import length_of, mark_segments, pick, reading_html
from ttt3r_viewer.viewer.view_settings import ViewSettings

ALL = ViewSettings(hidden_bins=0, arrangement="side by side")


@pytest.fixture(scope="module")
def run() -> MadeUpRun:
    return MadeUpRun(SceneStore(max_points=100_000, points_per_frame=200), lanes=2).gone(5)


def aim(tick, lane: int, frame: int, point: int) -> tuple[np.ndarray, np.ndarray]:
    """A ray from shortly before a point, and the point (3,)."""
    scene = tick.snapshot.lanes[lane].frames[frame]
    target = scene.points.points_world[point].astype(np.float64)
    way = target - scene.camera.T_world_camera[:3, 3]
    return target - 0.05 * way, target


@pytest.mark.parametrize(("lane", "frame"), [(0, 0), (0, 3), (1, 4)])
def test_a_ray_picks_the_point_with_its_lane_frame_and_confidence(run, lane, frame):
    tick = tick_of(run.store, ALL)
    origin, target = aim(tick, lane, frame, 7)
    # Of the other lane, the ray begins far from every point.
    origins = [origin if k == lane else np.full(3, 1e3) for k in range(2)]
    found = pick(tick, (0, 1), origins, target - origin)
    assert found is not None
    assert (found.lane, found.frame) == (lane, frame)
    np.testing.assert_allclose(found.position, target, atol=1e-6)
    points = tick.snapshot.lanes[lane].frames[frame].points
    assert found.confidence == pytest.approx(float(points.confidence[7]))


def test_only_what_is_shown_can_be_picked(run):
    tick = tick_of(run.store, ALL)
    points = tick.snapshot.lanes[0].frames[3].points
    least = int(points.sureness.argmin())
    origin, target = aim(tick, 0, 3, least)

    def picked(settings: ViewSettings) -> bool:
        found = pick(tick_of(run.store, settings), (0,), [origin], target - origin)
        return found is not None and bool(np.allclose(found.position, target, atol=1e-6))

    assert picked(ALL)
    assert not picked(replace(ALL, hidden_bins=9))
    assert not picked(replace(ALL, live=False, position=2))
    assert picked(replace(ALL, live=False, position=3, extent="one"))
    assert not picked(replace(ALL, live=False, position=4, extent="one"))
    assert pick(tick, (0,), [origin], origin - target) is None
    assert pick(tick_of(SceneStore(), ALL), (0,), [origin], target - origin) is None


def test_the_reading_has_the_length_with_its_unit_and_says_where_there_is_no_scale(run):
    tick = tick_of(run.store, ALL)
    picked = []
    for point in (3, 90):
        origin, target = aim(tick, 1, 2, point)
        found = pick(tick, (1,), [origin], target - origin)
        assert found is not None
        picked.append(found)
    length = float(np.linalg.norm(picked[0].position - picked[1].position))
    assert length_of(tuple(picked)) == pytest.approx(length)
    text = reading_html(tick, tuple(picked), "")
    assert f"{length:.3g} m" in text
    assert text.count("frame 3 · confidence") == 2
    assert "no scale" not in text
    status = replace(tick.snapshot.status, metric=False)
    other = tick_of(replace(tick.snapshot, status=status), ALL)
    text = reading_html(other, tuple(picked), "")
    assert f"{length:.3g} units" in text
    assert "no scale" in text
    lines = mark_segments(tuple(picked), 0.1)
    assert lines.shape == (7, 2, 3)
    np.testing.assert_allclose(lines[-1], [one.position for one in picked], rtol=1e-6)
