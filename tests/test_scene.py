"""The scene: budget, fair prefixes, percentiles, epochs, voxels; and the geometry beneath it."""

import gc
import itertools
import math
import threading
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from viser.transforms import SO3

from tests.made_up_run import ROOM_HIGH, ROOM_LOW, pose_at, room_result
from ttt3r_viewer.geometry import invert_pose, quaternion_wxyz_from_matrix, transform_points
from ttt3r_viewer.scene import budget, voxels
from ttt3r_viewer.scene import store as store_module
from ttt3r_viewer.scene.edges import (
    DEFAULT_EDGE_FILTER,
    STRONGEST,
    edge_strength,
    strongest_kept,
)
from ttt3r_viewer.scene.seen import thin_points
from ttt3r_viewer.scene.store import LaneScene, SceneStore
from ttt3r_viewer.scene.thinning import (
    DRIFT,
    FIRST_SIDE,
    drift_after,
    first_side,
    path_lengths,
)
from ttt3r_viewer.scene.voxels import CLEARLY_BETTER, FIRST_SLOTS, ROOM_MADE, VoxelGrid
from ttt3r_viewer.types import FrameResult, Status

unit = st.floats(-1, 1)
angles = st.floats(-np.pi, np.pi)


def random_pose(axis: tuple[float, float, float], angle: float) -> NDArray[np.float64]:
    vector = np.add(axis, [0, 0, 1.5])
    pose = np.eye(4)
    pose[:3, :3] = SO3.exp(vector / np.linalg.norm(vector) * angle).as_matrix()
    pose[:3, 3] = vector
    return pose


@given(st.tuples(unit, unit, unit), angles, st.tuples(unit, unit, unit), angles)
def test_poses_form_a_group_that_acts_on_points(axis_a, angle_a, axis_b, angle_b):
    T_a_b, T_b_c = random_pose(axis_a, angle_a), random_pose(axis_b, angle_b)
    points_c = np.random.default_rng(0).normal(size=(2, 5, 3))
    step_by_step = transform_points(T_a_b, transform_points(T_b_c, points_c))
    assert np.allclose(transform_points(T_a_b @ T_b_c, points_c), step_by_step)
    assert np.allclose(invert_pose(T_a_b) @ T_a_b, np.eye(4))
    assert np.allclose(invert_pose(T_a_b @ T_b_c), invert_pose(T_b_c) @ invert_pose(T_a_b))


@given(st.tuples(unit, unit, unit), angles)
def test_quaternion_gives_its_rotation_back_with_w_not_negative(axis, angle):
    R = random_pose(axis, angle)[:3, :3]
    quaternion = quaternion_wxyz_from_matrix(R)
    assert quaternion[0] >= 0
    assert np.linalg.norm(quaternion) == pytest.approx(1)
    assert np.allclose(SO3(quaternion).as_matrix(), R, atol=1e-9)


@pytest.mark.parametrize("axis", np.eye(3))
def test_quaternion_of_a_half_turn_is_its_axis(axis):
    quaternion = quaternion_wxyz_from_matrix(SO3.exp(np.pi * axis).as_matrix())
    assert np.abs(quaternion) == pytest.approx([0, *axis], abs=1e-7)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40), st.integers(1, 2000))
def test_halving_fits_the_budget_and_no_halving_was_needless(counts, max_points):
    share = budget.points_per_frame_within(counts, 256, max_points)
    assert sum(min(count, share) for count in counts) <= max_points
    assert share == 256 or sum(min(c, max(2 * share, 1)) for c in counts) > max_points


def test_chunks_grow_fourfold_and_never_exceed_their_number():
    size = budget.FIRST_FRAMES_PER_CHUNK
    for count in range(1, 3000):
        before, size = size, budget.frames_per_chunk_for(count, size, budget.MAX_CHUNKS)
        assert size in (before, 4 * before)
        assert -(-count // size) <= budget.MAX_CHUNKS


def test_bins_hold_equal_shares_of_the_samples():
    confidence = np.random.default_rng(1).exponential(size=10_000).astype(np.float32)
    bins = budget.bins_between(confidence, budget.tenths(confidence))
    count = budget.SURE_BINS
    assert np.bincount(bins, minlength=count).tolist() == [1000] * count
    assert confidence[bins == 0].max() < confidence[bins == 9].min()


def test_equal_confidence_everywhere_hides_nothing():
    confidence = np.full(100, 3.0, np.float32)
    assert set(budget.bins_between(confidence, budget.tenths(confidence))) == {budget.SURE_BINS - 1}


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_every_pixel_has_its_place_in_the_order(height, width, sequence):
    order = budget.pixel_order((height, width), sequence)
    assert np.array_equal(np.sort(order), np.arange(height * width))


@pytest.mark.parametrize("count", [300, 1000, 5000])
def test_the_first_pixels_of_an_order_lie_evenly_however_many(count):
    rows, columns = np.divmod(budget.pixel_order((96, 128), 7)[:count], 128)
    random_rows, random_columns = np.divmod(np.random.default_rng(0).permutation(96 * 128), 128)

    def unevenness(rows: np.ndarray, columns: np.ndarray) -> float:
        side = 16
        cells = np.bincount(rows // side * (128 // side) + columns // side, minlength=48)
        return float(np.std(cells[:48]))

    even = unevenness(rows, columns)
    assert even < 0.5 * unevenness(random_rows[:count], random_columns[:count])


def test_what_is_far_is_not_the_least_sure_for_that_and_the_sky_is():
    result = room_result(0)
    near, far = result.points_camera * 1.0, result.points_camera * 4.0
    # The error that a network expects grows with the distance.
    half = result.confidence.shape[0] // 2
    points = np.concatenate([far[:half], near[half:]])
    confidence = np.full(result.confidence.shape, 9.0, np.float32)
    confidence[:half] = 3.0
    points[:4] *= 50.0
    confidence[:4] = 1.01
    kept = thin_points(replace(result, points_camera=points, confidence=confidence), 10**6)
    least = np.percentile(kept.sureness, 30)
    shown = kept.shown(float(least), edge_filter=0.0)
    assert shown.confidence.min() > 1.5
    far_share = np.mean(kept.confidence == 3.0)
    assert np.mean(shown.confidence == 3.0) > 0.7 * far_share


def test_shrunken_image_keeps_its_mean_and_aspect():
    image = np.random.default_rng(3).integers(0, 256, (384, 512, 3), dtype=np.uint8)
    small = budget.shrink_image(image, 128)
    assert small.shape == (96, 128, 3)
    assert small.mean() == pytest.approx(image.mean(), abs=1)
    assert budget.shrink_image(image[:2, :300], 128).shape == (1, 150, 3)
    assert np.array_equal(budget.shrink_image(image[:5, :7], 128), image[:5, :7])


def test_kept_points_lie_where_the_camera_saw_them():
    result = room_result(17)
    points = thin_points(result, 500)
    assert len(points) == 500
    assert (points.points_world > ROOM_LOW - 1e-3).all()
    assert (points.points_world < ROOM_HIGH + 1e-3).all()
    everywhere = transform_points(pose_at(17), result.points_camera.reshape(-1, 3))
    distance = np.abs(everywhere[:, None] - points.points_world[None, :20]).max(-1)
    pixel = distance.argmin(0)
    assert distance.min(0).max() < 1e-5
    assert np.array_equal(result.image.reshape(-1, 3)[pixel], points.colors[:20])
    assert np.array_equal(result.confidence.reshape(-1)[pixel], points.confidence[:20])


def test_points_that_are_not_finite_are_dropped():
    result = room_result(0)
    result.points_camera[0, :, 0] = np.nan
    result.points_camera[1, :, 2] = np.inf
    result.confidence[2] = np.nan
    points = thin_points(result, 10**6)
    height, width = result.confidence.shape
    assert len(points) == (height - 3) * width
    assert np.isfinite(points.points_world).all()


def test_frame_without_a_usable_point_is_kept_with_its_camera():
    result = room_result(0)
    result.points_camera[:] = np.nan
    store = SceneStore()
    store.add(result)
    assert store.snapshot().point_count == 0
    assert len(store.snapshot().frames) == 1


def test_thinning_is_the_same_every_time():
    first, second = (thin_points(room_result(5), 300) for _ in range(2))
    assert np.array_equal(first.points_world, second.points_world)


def test_budget_holds_for_every_frame_and_thinning_is_a_prefix():
    store = SceneStore(max_points=5000, points_per_frame=400, max_image_bytes=200_000)
    originals, frames = [], ()
    for sequence in range(200):
        store.add(room_result(sequence, 32, 24))
        originals.append(thin_points(room_result(sequence, 32, 24), 400))
        frames = store.snapshot().frames
        assert store.snapshot().point_count == sum(len(one.points) for one in frames) <= 5000
        assert sum(frame.image.nbytes for frame in frames) <= 200_000
    # Arrays that are views would keep the memory of everything that they were cut from.
    assert all(frame.points.points_world.base is None for frame in frames)
    kept = store.snapshot().layout.points_per_frame
    assert kept == 25
    # The first twelve frames came before the first halving; later ones were chosen already fewer.
    for frame, original in zip(frames[:12], originals[:12], strict=True):
        assert np.array_equal(frame.points.points_world, original.points_world[:kept])


def test_images_grow_smaller_before_they_outgrow_their_budget():
    store = SceneStore(max_image_bytes=100_000)
    for sequence in range(20):
        store.add(room_result(sequence, 128, 96))
    sizes = {frame.image.shape for frame in store.snapshot().frames}
    assert sizes == {(24, 32, 3)}


def test_percentiles_follow_every_doubling_and_the_end():
    store = SceneStore()
    generations = []
    for sequence in range(6):
        store.add(room_result(sequence))
        generations.append(store.snapshot().layout.generation)
    assert generations == [1, 2, 2, 3, 3, 3]
    store.set_status(Status(phase="finished"))
    snapshot = store.snapshot()
    assert snapshot.layout.frames_scale == 6
    everything = np.concatenate([frame.points.confidence for frame in snapshot.frames])
    assert np.allclose(snapshot.layout.confidence_edges, budget.tenths(everything))


def test_median_depth_and_height_describe_the_room():
    store = SceneStore()
    store.add(room_result(0))
    layout = store.snapshot().layout
    low, high = layout.height_range
    assert -1.01 < low < -0.9
    assert 1.2 < high < 1.65
    depth = np.median(room_result(0).points_camera[..., 2])
    assert layout.median_depth == pytest.approx(depth, rel=0.05)


def test_clear_begins_a_new_epoch_and_keeps_the_status_or_takes_another_with_it():
    store = SceneStore(max_points=1000, points_per_frame=400)
    for sequence in range(5):
        store.add(room_result(sequence))
    store.set_status(Status(phase="paused", model="m"))
    before = store.snapshot()
    store.clear()
    after = store.snapshot()
    assert (after.epoch, after.frames, after.latest) == (before.epoch + 1, (), None)
    assert after.layout.generation > before.layout.generation
    assert after.layout.points_per_frame == 400
    assert after.status.model == "m"
    assert len(before.frames) == 5
    store.clear(2, Status(phase="starting"))
    assert store.snapshot().epoch == after.epoch + 1
    assert store.snapshot().status == Status(phase="starting")


def test_snapshots_never_change_while_another_thread_adds():
    store = SceneStore(max_points=3000, points_per_frame=300)

    def add_all() -> None:
        for sequence in range(60):
            store.add(room_result(sequence, 24, 18))

    writer = threading.Thread(target=add_all)
    writer.start()
    lengths = []
    while writer.is_alive():
        snapshot = store.snapshot()
        lengths.append(len(snapshot.frames))
        assert snapshot.point_count <= 3000
        if snapshot.frames:
            assert snapshot.latest is not None
            assert snapshot.latest.sequence == snapshot.frames[-1].sequence
    writer.join()
    assert lengths == sorted(lengths)


def test_result_itself_is_kept_for_the_newest_frame_only():
    store = SceneStore()
    results = [room_result(sequence) for sequence in range(3)]
    for result in results:
        store.add(result)
    assert store.snapshot().latest is results[-1]


def kept_points(lane: LaneScene) -> NDArray[np.float32]:
    return np.concatenate([frame.points.points_world for frame in lane.frames])


def standing_still(sequence: int) -> FrameResult:
    """What a camera that does not move sees: the same picture, another number."""
    return replace(room_result(0, 32, 24), sequence=sequence)


def far_off(result: FrameResult, scale: float) -> FrameResult:
    """The same frame in a world that is so many times as large."""
    pose = result.camera.T_world_camera.copy()
    pose[:3, 3] *= scale
    camera = replace(result.camera, T_world_camera=pose)
    return replace(result, points_camera=result.points_camera * np.float32(scale), camera=camera)


def test_camera_that_stands_still_adds_nothing_once_all_is_seen():
    store = SceneStore(points_per_frame=200, one_per_voxel=True)
    counts = []
    for sequence in range(500):
        store.add(standing_still(sequence))
        counts.append(store.snapshot().point_count)
    assert counts[0] <= 200
    assert 500 < counts[100] == counts[-1] <= 32 * 24
    # Later frames kept nothing, and what they say of themselves is true even so.
    last = store.snapshot().frames[-1]
    assert len(last.points) == 0
    assert last.median_depth == pytest.approx(store.snapshot().frames[0].median_depth, rel=0.1)


def test_camera_that_moves_uses_the_budget_and_voxels_grow_in_small_steps():
    max_points = 2500
    store = SceneStore(max_points, points_per_frame=300, one_per_voxel=True)
    sides, counts = [], []
    for sequence in range(150):
        store.add(room_result(sequence, 32, 24))
        scene = store.snapshot()
        sides.append(scene.layout.voxel_side)
        counts.append(scene.point_count)
        kept = kept_points(scene.lanes[0])
        assert scene.point_count == len(kept) <= max_points
    full = next(k for k, count in enumerate(counts) if count > 0.95 * max_points)
    assert min(counts[full:]) >= 0.85 * max_points
    steps = np.array(sides[1:]) / sides[:-1]
    assert steps.min() == 1.0
    assert 1.0 < steps.max() <= 1.26
    assert sides[-1] > 1.1 * sides[0]
    for frame in store.snapshot().frames:
        assert len(frame.points.confidence) == len(frame.points.colors) == len(frame.points)
        assert frame.points.points_world.base is None


def test_better_point_takes_the_place_of_the_first_and_stays_with_its_frame():
    store = SceneStore(points_per_frame=10**4, one_per_voxel=True)
    first = standing_still(0)
    surer = replace(standing_still(1), confidence=first.confidence * 2, image=255 - first.image)
    hardly = replace(standing_still(2), confidence=first.confidence * 2.2)
    for result in (first, surer, hardly):
        store.add(result)
    store.set_status(Status(phase="finished"))
    kept, _, last = (frame.points for frame in store.snapshot().frames)
    better = np.isin(kept.confidence, surer.confidence)
    assert better.sum() == kept.changes > 300
    assert np.isin(kept.colors[better], 255 - first.image).all()
    assert len(last) < len(kept) / 8


def test_points_at_edges_give_way_to_others_and_go_first():
    far_box = standing_still(0)
    far_box.points_camera[8:16, 10:20] *= 0.5  # it stands out, with a jump of depth all round
    points = thin_points(far_box, 10**4)
    at_edge = points.edge > strongest_kept(DEFAULT_EDGE_FILTER)
    assert 100 < at_edge.sum() < len(points) - 300
    store = SceneStore(len(points) - 50, points_per_frame=10**4, one_per_voxel=True)
    store.add(far_box)
    kept = store.snapshot().frames[0].points
    left = int((kept.edge > strongest_kept(DEFAULT_EDGE_FILTER)).sum())
    assert len(kept) - left == len(points) - at_edge.sum()
    assert 0 < left < at_edge.sum() - 40


def test_points_at_edges_stay_as_long_as_others_where_none_are_filtered():
    shares = []
    for edge_filter in (0.0, DEFAULT_EDGE_FILTER):
        store = SceneStore(600, points_per_frame=500, one_per_voxel=True, edge_filter=edge_filter)
        for number in range(6):
            store.add(room_result(number, 96, 64))
        edges = np.concatenate([one.points.edge for one in store.snapshot().lanes[0].frames])
        shares.append((edges > strongest_kept(DEFAULT_EDGE_FILTER)).mean())
    assert shares[0] > 2 * shares[1]


def test_points_that_went_are_told_from_points_that_changed():
    points = thin_points(room_result(0, 64, 48), 50)
    changed = points.replaced(np.array([1, 2]), points.at(np.array([3, 4])))
    assert changed.where(np.zeros(50, np.bool_)).changes == 2
    assert changed.first(0).changes == 2
    assert points.first(0).changes == 0


def test_drift_makes_far_frames_worth_less_but_not_without_end():
    depth = 2.0
    errors = [drift_after(path, depth) for path in (0.0, 1.0, 4.0, 1e6)]
    assert errors[0] == 1
    assert errors == sorted(errors)
    assert errors[-1] == errors[-2] == 1 + DRIFT
    frames = SceneStore(points_per_frame=9)
    for number in range(4):
        frames.add(room_result(number, 64, 48))
    kept = frames.snapshot().lanes[0].frames
    places = [one.camera.T_world_camera[:3, 3] for one in kept]
    steps = [math.dist(a, b) for a, b in itertools.pairwise(places)]
    assert np.allclose(path_lengths(kept), [0, *np.cumsum(steps)])
    assert len(path_lengths(())) == 0


def test_edges_are_where_neighbours_differ_in_depth_and_along_the_border():
    depth = np.full((12, 16), 2.0, np.float32)
    depth[:, 8:] = 2.0 * math.e**0.5
    strength = edge_strength(depth)
    assert set(strength[2:-2, 7:9].ravel()) == {50}
    assert not strength[2:-2, 2:7].any()
    assert not strength[2:-2, 9:-2].any()
    assert (strength[:, :2] == STRONGEST).all()
    assert (strength[-2:] == STRONGEST).all()
    depth[5, 4], depth[8, 12] = np.nan, -1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        strength = edge_strength(depth)
    assert (strength[4:7, 3:6] == STRONGEST).all()
    assert (strength[7:10, 11:14] == STRONGEST).all()
    assert np.array_equal(strength, edge_strength(depth.astype(np.float16).astype(np.float32)))
    pixels = np.array([100, 3, 77])
    assert np.array_equal(edge_strength(depth, pixels), strength.ravel()[pixels])


def test_lanes_have_voxels_and_budgets_of_their_own():
    store = SceneStore(max_points=900, points_per_frame=400, one_per_voxel=True)
    store.clear(3)
    for sequence in range(10):
        near, far = room_result(sequence, 32, 24), far_off(room_result(sequence, 32, 24), 50)
        store.add(near, far, near)
    first, second, third = store.snapshot().lanes
    assert 0 < max(lane.point_count for lane in (first, second, third)) <= 300
    assert second.layout.voxel_side > 20 * first.layout.voxel_side
    assert np.array_equal(kept_points(first), kept_points(third))
    store.clear(1)
    store.add(far_off(room_result(0, 32, 24), 0.01))
    assert store.snapshot().layout.voxel_side < 1e-3


def test_side_of_a_voxel_follows_a_first_frame_that_was_seen_too_far():
    store = SceneStore(points_per_frame=400, one_per_voxel=True)
    store.add(far_off(room_result(0, 32, 24), 30))
    first = store.snapshot().layout.voxel_side
    for sequence in range(1, 20):
        store.add(room_result(sequence, 32, 24))
    layout = store.snapshot().layout
    camera = store.snapshot().frames[0].camera
    assert layout.voxel_side < 2 * first_side(layout.median_depth, camera) < first / 10


@pytest.mark.parametrize("depth", [0.0, -1.0, np.nan, np.inf])
def test_depth_that_means_nothing_gives_a_side_even_so(depth):
    camera = room_result(0).camera
    assert first_side(depth, camera) == FIRST_SIDE / camera.width
    assert first_side(2.0, camera) == FIRST_SIDE * 2.0 / camera.focal_px


def test_poses_that_are_not_finite_keep_no_points_and_end_nothing():
    store = SceneStore(points_per_frame=400, one_per_voxel=True)
    lost = room_result(1, 32, 24)
    pose = np.full((4, 4), np.nan)
    store.add(replace(lost, camera=replace(lost.camera, T_world_camera=pose)))
    assert store.snapshot().point_count == 0
    store.add(room_result(2, 32, 24))
    assert store.snapshot().point_count > 300


def test_tiny_budget_holds_even_so():
    store = SceneStore(max_points=1, points_per_frame=400, one_per_voxel=True)
    for sequence in range(3):
        store.add(room_result(sequence, 32, 24))
    assert store.snapshot().point_count == 1


def test_percentiles_are_of_the_kept_points_where_early_frames_have_most(monkeypatch):
    monkeypatch.setattr(store_module, "SCALE_SAMPLES", 800)
    store = SceneStore(points_per_frame=700, one_per_voxel=True)
    for sequence in range(64):
        # The confidence of what is seen late is another one.
        result = room_result(sequence // 8, 32, 24)
        store.add(replace(result, sequence=sequence, confidence=result.confidence + sequence))
    store.set_status(Status(phase="finished"))
    frames = store.snapshot().frames
    assert len(frames[0].points) > 8 * len(frames[7].points)
    everything = np.concatenate([frame.points.confidence for frame in frames])
    shares = np.bincount(budget.bins_between(everything, store.snapshot().layout.confidence_edges))
    assert shares / len(everything) == pytest.approx(0.1, abs=0.04)


def test_frame_that_shows_nothing_new_costs_little_memory():
    store = SceneStore(max_points=3000, max_image_bytes=1, one_per_voxel=True)
    crop = room_result(0).crop

    def add_each(sequences: range) -> None:
        for sequence in sequences:
            store.add(replace(standing_still(sequence), crop=crop, rule=" ".join(("some", "rule"))))

    add_each(range(300))
    tracemalloc.start()
    try:
        add_each(range(300, 700))
        gc.collect()
        kept_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # The small picture (700 bytes), the camera, the gains and some twenty numbers; the normals of
    # a limited number of frames change their number a little.
    assert kept_bytes / 400 < 2400
    assert len({id(frame.rule) for frame in store.snapshot().frames}) == 1


SIDE = 0.25

coordinates = st.floats(-2, 2, width=32)
clouds = st.lists(st.tuples(coordinates, coordinates, coordinates), max_size=60)


def as_points(cloud: list[tuple[float, float, float]]) -> NDArray[np.float32]:
    return np.array(cloud, np.float32).reshape(-1, 3)


def random_points(count: int, seed: int, extent: float = 1.0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return generator.uniform(-extent, extent, (count, 3)).astype(np.float32)


def offered(grid: VoxelGrid, points: NDArray[np.float32], seed: int = 0) -> NDArray[np.bool_]:
    """Offer points of random worth, of which no two are equal; say which are new."""
    worth = np.random.default_rng(seed).permutation(len(points)) + 1.0
    return grid.offer(points, np.zeros(len(points), np.uint8), worth).new


@given(st.lists(st.tuples(clouds, st.integers(0, 2**32)), max_size=5))
def test_voxels_hold_what_the_plain_way_would_keep(parts):
    """The plain way: one voxel after another, and a dictionary of what each holds."""
    grid, held, worth_of = VoxelGrid(SIDE), {}, []
    for cloud, seed in parts:
        points, generator = as_points(cloud), np.random.default_rng(seed)
        worth = generator.uniform(1, 4, len(points)).astype(np.float32)
        level = generator.integers(0, 3, len(points)).astype(np.uint8)
        offer = grid.offer(points, level, worth)
        best: dict[tuple[int, ...], int] = {}
        for n, point in enumerate(points.tolist()):
            voxel = (int(level[n]), *(math.floor(v / SIDE) >> int(level[n]) for v in point))
            if voxel not in best or worth[n] > worth[best[voxel]]:
                best[voxel] = n
        new = {n: voxel for voxel, n in best.items() if voxel not in held}
        assert np.flatnonzero(offer.new).tolist() == sorted(new)
        better = {
            (n, held[voxel])
            for voxel, n in best.items()
            if voxel in held and worth[n] > np.float32(CLEARLY_BETTER) * worth_of[held[voxel]]
        }
        assert set(zip(offer.better.tolist(), offer.replaced.tolist(), strict=True)) == better
        for n, number in better:
            worth_of[number] = worth[n]
        for n in sorted(new):
            held[new[n]] = len(worth_of)
            worth_of.append(worth[n])
        assert len(grid) == len(held)


@given(st.integers(0, 2**32), st.lists(st.floats(0.3, 0.99), min_size=1, max_size=6))
def test_merging_in_steps_keeps_what_merging_at_once_would(seed, shares):
    points = random_points(600, seed)
    grid, at_once = VoxelGrid(0.02), VoxelGrid(0.02)
    kept = points[offered(grid, points, seed)]
    for share in shares:
        if len(grid) < 4:
            break
        most = max(int(share * len(grid)), 1)
        side = grid.side
        kept = kept[grid.coarsen(kept, most)]
        assert len(kept) == len(grid) <= most
        assert grid.side > side
    at_once._merged = grid._merged
    assert np.array_equal(kept, points[offered(at_once, points, seed)])


def test_budget_is_used_after_voxels_were_merged():
    generator = np.random.default_rng(3)
    # Dense: where most voxels are empty, merging them takes fewer points away for the same step.
    wall = generator.uniform(-1, 1, (200_000, 3)).astype(np.float32)
    wall[:, 2] = 0.5
    grid = VoxelGrid(0.01)
    kept = wall[offered(grid, wall)]
    while len(grid) > 500:
        before, most = grid.side, round(0.95 * len(grid))
        kept = kept[grid.coarsen(kept, most)]
        assert (1 - 1.5 * ROOM_MADE) * most < len(grid) <= most
        assert grid.side < 1.26 * before
    # A wall of 4 square units, with one point in each square.
    assert grid.side == pytest.approx(math.sqrt(4 / len(grid)), rel=0.15)


def test_many_points_find_their_voxels_while_the_table_grows():
    grid = VoxelGrid(0.02)
    parts = [random_points(3000, seed) for seed in range(20)]
    new = sum(int(offered(grid, part).sum()) for part in parts)
    cells = np.floor(np.concatenate(parts).astype(np.float64) / 0.02)
    assert new == len(grid) == len(np.unique(cells, axis=0))
    assert grid.nbytes > 12 * FIRST_SLOTS
    assert not any(offered(grid, part).any() for part in parts)


def test_crowded_slots_keep_every_key_apart(monkeypatch):
    monkeypatch.setattr(voxels, "_hash", lambda keys: keys & 3)
    grid = VoxelGrid(0.1)
    parts = [random_points(100, seed) for seed in range(3)]
    new = sum(int(offered(grid, part).sum()) for part in parts)
    cells = np.floor(np.concatenate(parts).astype(np.float64) / 0.1)
    assert new == len(np.unique(cells, axis=0))


def test_hash_spreads_the_voxels_of_a_wall():
    grid = VoxelGrid(0.01)
    wall = random_points(200_000, 0)
    wall[:, 2] = 0.5
    offered(grid, wall)
    keys = grid._table[grid._table != voxels.EMPTY]
    assert len(keys) == len(grid) > 30_000
    displaced = np.flatnonzero(grid._table != voxels.EMPTY)
    mask = len(grid._table) - 1
    probes = (displaced - voxels._hash(keys)) & mask
    # Linear probing at a load of two thirds needs one step more on average.
    assert probes.mean() < 1.5


def test_points_that_are_not_finite_are_never_let_in_and_far_ones_overflow_nothing():
    bad = [[np.nan, 0, 0], [0, np.inf, 0], [0, 0, -np.inf], [np.inf, -np.inf, 0]]
    far = [[3e38, 0, 0], [-3e38, 0, 0], [1e30, -1e30, 1e30], [0, 0, 2.0**30]]
    points = np.array([*bad, *far, [0, 0, 0]], np.float32)
    grid = VoxelGrid(1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert offered(grid, points).tolist() == [False] * 4 + [True] * 5
        assert not offered(grid, points).any()
        kept = points[4:]
        while len(grid) > 1:
            kept = kept[grid.coarsen(kept, len(grid) - 1)]
    assert len(kept) == 1


def test_same_surface_costs_no_memory_and_the_table_follows_what_is_kept():
    grid = VoxelGrid(0.05)
    points, kept = random_points(20_000, 1), np.ones(1, np.bool_)
    for _ in range(50):
        kept = offered(grid, points)
        assert grid.nbytes <= 41 * (len(grid) + len(points)) + 20 * FIRST_SLOTS
    points = points[offered(VoxelGrid(0.05), points)]
    points = points[grid.coarsen(points, len(grid) // 2)]
    grid.coarsen(points, len(grid) // 8)
    assert grid.nbytes <= 41 * len(grid) + 20 * FIRST_SLOTS
    assert not kept.any()


def test_no_points_are_no_trouble():
    grid = VoxelGrid(1.0)
    assert offered(grid, random_points(0, 0)).shape == (0,)
    assert grid.coarsen(random_points(0, 0), 1).shape == (0,)
    assert len(grid) == 0
