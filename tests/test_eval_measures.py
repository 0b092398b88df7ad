"""Measures of `eval` by laws and by hand: depth, points, which pixels count, means."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ttt3r_viewer.errors import EvaluationError
from ttt3r_viewer.evaluate.plot import plot_curves
from ttt3r_viewer.evaluate.records import Record
from ttt3r_viewer.evaluate.tables import markdown, means, means_csv, records_csv
from ttt3r_viewer.frames.preprocess import prepare_image
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.metrics.dense import depth_measures, point_measures, sample_truth
from ttt3r_viewer.types import Crop

WHOLE = Crop((1.0, 1.0), (0, 0), 8, 6)
"""A picture of 8 x 6 pixels that was prepared to itself."""


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_true_depth_is_perfect():
    true = np.linspace(0.5, 9, 50, dtype=np.float32)
    kinds = ("aligned", "metric")
    perfect = {f"abs_rel_{kind}": 0 for kind in kinds} | {f"delta_{kind}": 1 for kind in kinds}
    assert depth_measures(true, true) == perfect


def test_depth_errors_by_hand():
    # The ratios 1, 2, 1 have the median 1, so that alignment changes nothing.
    numbers = depth_measures(floats(1, 2, 4), floats(1, 1, 4))
    assert numbers["abs_rel_aligned"] == numbers["abs_rel_metric"] == pytest.approx(0.5 / 3)
    assert numbers["delta_aligned"] == numbers["delta_metric"] == pytest.approx(2 / 3)
    # Twice as deep: alignment forgives it, the metres do not.
    doubled = depth_measures(floats(1, 2, 4), floats(2, 4, 8))
    assert doubled["abs_rel_aligned"] == 0
    assert (doubled["abs_rel_metric"], doubled["delta_metric"]) == (1, 0)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 100))
def test_aligned_depth_does_not_see_scale(seed, scale):
    rng = np.random.default_rng(seed)
    true = rng.uniform(0.5, 10, 101).astype(np.float32)
    predicted = (true * rng.lognormal(0, 0.3, 101)).astype(np.float32)
    here = depth_measures(true, predicted)
    there = depth_measures(true, (scale * predicted).astype(np.float32))
    assert there["abs_rel_aligned"] == pytest.approx(here["abs_rel_aligned"], rel=1e-4)


def test_depth_that_is_no_depth_counts_as_wrong():
    numbers = depth_measures(floats(2, 2, 2, 2), floats(2, np.nan, -1, np.inf))
    assert numbers["delta_metric"] == 0.25
    assert numbers["abs_rel_metric"] == pytest.approx(0.75, abs=1e-4)


def test_depth_without_truth_is_an_error():
    with pytest.raises(EvaluationError, match="no pixel has a true depth"):
        depth_measures(floats(), floats())


def bumpy(count: int = 40) -> np.ndarray:
    """Points (count * count, 3) of a hilly surface, 1 cm apart."""
    x, y = np.meshgrid(np.arange(count) * 0.01, np.arange(count) * 0.01)
    return np.stack([x, y, 0.02 * np.sin(20 * x) * np.cos(15 * y)], axis=-1).reshape(-1, 3)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_points_do_not_see_a_similarity(seed):
    rng = np.random.default_rng(seed)
    true = bumpy()
    R = pose_from_vector([0, 0, 0, *rng.normal(size=4)])[:3, :3]
    predicted = rng.uniform(0.1, 10) * true @ R.T + rng.normal(size=3)
    numbers = point_measures(true, predicted)
    assert max(numbers["accuracy_mean_m"], numbers["completeness_mean_m"]) < 1e-6
    assert numbers["normal_consistency_mean"] == pytest.approx(1, abs=1e-6)


def test_points_off_a_plane_by_hand():
    x, y = np.meshgrid(np.arange(60) * 0.01, np.arange(60) * 0.01)
    true = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    # Every second point 1 mm above, the others 1 mm below: nothing can be aligned away.
    sign = (np.indices(x.shape).sum(axis=0) % 2 * 2 - 1).ravel()
    predicted = true + np.stack([0 * sign, 0 * sign, 0.001 * sign], axis=1)
    numbers = point_measures(true, predicted)
    for name in ("accuracy_mean_m", "accuracy_median_m", "completeness_mean_m"):
        assert numbers[name] == pytest.approx(0.001, rel=1e-3), name
    assert numbers["normal_consistency_median"] > 0.99


def test_what_is_not_seen_costs_completeness_and_not_accuracy():
    true = bumpy(60)
    # All predictions lie on the true left half, as far as they can be told apart.
    half = true.copy()
    right = true[:, 0] > 0.3
    half[right] = true[~right][: right.sum()]
    numbers = point_measures(
        np.concatenate([true, true[~right]]), np.concatenate([half, true[~right]])
    )
    assert numbers["completeness_mean_m"] > 2 * numbers["accuracy_mean_m"]


def test_too_few_points_are_an_error():
    with pytest.raises(EvaluationError, match="3 points have a true place"):
        point_measures(np.eye(3), np.eye(3))


def test_a_sample_of_the_whole_image_is_each_of_its_pixels():
    depth = np.arange(1, 49, dtype=np.float32).reshape(6, 8)
    depth[2, 3] = np.nan
    depth[0, 0] = 0
    intrinsics = np.array([[2.0, 0, 4], [0, 2.0, 3], [0, 0, 1]])
    pose = pose_from_vector([10, 20, 30, 1, 0, 0, 0])
    sample = sample_truth(
        depth, WHOLE, (6, 8), 0, farthest_m=47, intrinsics=intrinsics, T_world_camera=pose
    )
    assert len(sample.rows) == 45
    np.testing.assert_array_equal(depth[sample.rows, sample.columns], sample.depth_m)
    assert sample.points_world is not None
    # Pixel (x, y) = (6, 5) has depth 47: 47 * ((6 - 4) / 2, (5 - 3) / 2, 1), moved.
    place = np.flatnonzero((sample.columns == 6) & (sample.rows == 5))[0]
    np.testing.assert_allclose(sample.points_world[place], [57, 67, 77])


@pytest.mark.parametrize("size", [(640, 480), (1296, 968), (1216, 352), (300, 301)])
@pytest.mark.parametrize("true_size", [None, (320, 240)])
def test_a_sample_lies_where_the_crop_says(size, true_size):
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    prepared, crop = prepare_image(image, 160)
    shape = prepared.shape[:2]
    true_width, true_height = true_size or size
    # The map holds the place of its own pixels in the original picture.
    rows, columns = np.indices((true_height, true_width)) + 0.5
    across = (columns * width / true_width).astype(np.float32)
    down = (rows * height / true_height).astype(np.float32)
    for axis, truth in ((0, across), (1, down)):
        sample = sample_truth(truth, crop, shape, 7)
        pixels = np.stack([sample.columns, sample.rows], axis=1).astype(np.float64)
        back = crop.to_original(pixels)[:, axis] + 0.5
        # Half a prepared pixel at most: the nearest one was taken.
        half = 0.5 / crop.scale_xy[axis]
        assert np.abs(back - sample.depth_m).max() <= half + 1e-3


def test_the_same_frame_gives_the_same_sample():
    depth = np.random.default_rng(0).uniform(1, 5, (60, 80)).astype(np.float32)
    crop = Crop((1.0, 1.0), (0, 0), 80, 60)
    first, again = (sample_truth(depth, crop, (60, 80), 3, most=100) for _ in range(2))
    other = sample_truth(depth, crop, (60, 80), 4, most=100)
    assert len(first.rows) == 100
    np.testing.assert_array_equal(first.depth_m, again.depth_m)
    assert (first.depth_m != other.depth_m).any()


def record(sequence: str, rule: str, length: str, **numbers: float) -> Record:
    frames = 500 if length == "all" else int(length)
    return Record(sequence, rule, length, frames, False, numbers, "cpu float32")


RECORDS = [
    record("a", "constant", "100", ate_m=1.0, path_m=5.0),
    record("b", "constant", "100", ate_m=2.0, path_m=5.0),
    record("a", "ttt3r", "100", ate_m=0.5, path_m=5.0),
    record("b", "ttt3r", "100", ate_m=3.0, path_m=5.0),
    record("c", "ttt3r", "100", ate_m=7.0, path_m=5.0),
    record("a", "ttt3r", "50", ate_m=0.25),
    record("a", "ttt3r", "all", ate_m=9.0),
]


def test_means_and_ratios_by_hand():
    rows = means(RECORDS, ["ttt3r", "constant"], "constant")
    ate = [row for row in rows if row.measure == "ate_m"]
    assert [(row.length, row.rule) for row in ate] == [
        *(("50", "ttt3r"), ("100", "ttt3r"), ("100", "constant"), ("all", "ttt3r"))
    ]
    ttt3r = ate[1]
    assert (ttt3r.sequences, ttt3r.mean, ttt3r.median) == (3, 3.5, 3.0)
    # Paired: 0.5 / 1 and 3 / 2; sequence c has no reference.
    assert ttt3r.ratio == 1.0
    assert (ttt3r.ratio_low, ttt3r.ratio_high) == (0.5, 1.5)
    assert ate[2].ratio is None
    assert all(row.ratio is None for row in rows if row.measure == "path_m")


def test_tables_say_what_is_in_them_and_what_is_not():
    rows = means(RECORDS, ["ttt3r", "constant"], "constant")
    text = markdown(rows, "constant", {"d": "it has\n40 frames, not 50"}, ["a note"])
    assert "| 100 | ttt3r | 3 | 3.5 | 5 |" in text
    assert "| 100 | ttt3r | 1.000 [0.500, 1.500] |" in text
    assert text.endswith("* a note\n* left out: d: it has 40 frames, not 50\n")
    table = list(csv.DictReader(io.StringIO(means_csv(rows))))
    assert float(table[1]["mean"]) == 3.5
    every = list(csv.DictReader(io.StringIO(records_csv(RECORDS))))
    assert [row["length"] for row in every if row["sequence"] == "a"] == ["100", "50", "100", "all"]
    assert every[0]["abs_rel_metric"] == ""


def test_curves_take_two_lengths(tmp_path):
    rows = means(RECORDS, ["ttt3r", "constant"], "constant")
    assert plot_curves(tmp_path / "curves.png", rows, ["ttt3r", "constant"], "tum")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size[0] > 1000
    one = [row for row in rows if row.length in ("100", "all")]
    assert not plot_curves(tmp_path / "none.png", one, ["ttt3r"], "tum")
    assert not (tmp_path / "none.png").exists()
