"""tokens.npz and the table of statistics: what is written is what was seen, frame by frame."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.made_up_run import room_result
from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.export import tokens as token_files
from ttt3r_viewer.export.results import write_results
from ttt3r_viewer.scene.store import LaneScene, SceneStore

GAINS = st.lists(st.floats(0, 1, width=16), min_size=2, max_size=40)


def lane(count: int, state: int = 16) -> LaneScene:
    store = SceneStore(points_per_frame=20)
    for k in range(count):
        gain = np.random.default_rng(k).random(state).astype(np.float32)
        result = replace(
            room_result(k), gain=gain, state_change=0.1 * k, rule=f"rule {k}, né", segment=k // 2
        )
        store.add(result)
    return store.snapshot().lanes[0]


def test_npz_holds_every_gain_and_needs_no_pickle(tmp_path):
    path, seen = tmp_path / "tokens.npz", lane(5)
    path.write_bytes(token_files.tokens_npz(seen, state_columns=4))
    with np.load(path, allow_pickle=False) as tokens:
        assert tokens["gain"].dtype == np.float16
        assert np.array_equal(tokens["gain"], np.stack([frame.gain for frame in seen.frames]))
        assert tokens["name"].tolist() == [frame.name for frame in seen.frames]
        assert tokens["rule"].tolist() == [f"rule {k}, né" for k in range(5)]
        assert tokens["segment"].tolist() == [0, 0, 1, 1, 2]
        assert tokens["sequence"].tolist() == tokens["index"].tolist() == list(range(5))
        assert np.allclose(tokens["time_sec"], np.arange(5) / 30)
        assert int(tokens["state_columns"]) == 4
        assert len(tokens.files) == 8


def test_a_run_without_frames_gives_files_without_rows():
    with np.load(io.BytesIO(token_files.tokens_npz(lane(0), 4))) as tokens:
        assert tokens["gain"].shape == (0, 0)
    assert token_files.statistics_csv(()).decode() == ",".join(token_files.COLUMNS) + "\n"


def test_statistics_are_those_of_the_gains():
    seen = lane(4)
    text = token_files.statistics_csv(seen.frames, threshold=0.25).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == token_files.COLUMNS
    for row, frame in zip(rows, seen.frames, strict=True):
        gain = frame.gain.astype(np.float64)
        assert row["name"] == frame.name
        assert row["rule"] == frame.rule
        assert float(row["gain_mean"]) == pytest.approx(gain.mean(), rel=1e-3)
        assert float(row["share_above"]) == pytest.approx((gain > 0.25).mean())
        assert float(row["gain_entropy"]) == pytest.approx(token_files.gain_entropy(gain), rel=1e-5)
        assert float(row["state_change"]) == pytest.approx(frame.state_change)
        assert (row["threshold"], row["segment"]) == ("0.25", str(frame.segment))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match="gone"):
        write_results(tmp_path / "gone", SceneStore().snapshot(), {"inspect": True}, {})


@given(GAINS)
def test_entropy_is_between_0_and_1_whatever_the_gains_scale(gains):
    entropy = token_files.gain_entropy(gains)
    assert 0 <= entropy <= 1
    assert token_files.gain_entropy([3 * gain for gain in gains]) == pytest.approx(
        entropy, abs=1e-9
    )
    assert token_files.gain_entropy(gains[::-1]) == pytest.approx(entropy, abs=1e-9)


@given(st.floats(0.01, 1), st.integers(2, 900))
def test_entropy_is_1_for_equal_gains_and_0_where_one_token_has_all(gain, count):
    assert token_files.gain_entropy(np.full(count, gain)) == pytest.approx(1.0)
    assert token_files.gain_entropy(np.eye(count)[0]) == pytest.approx(0.0)


def test_entropy_of_two_and_share_by_hand():
    # 3/4 and 1/4: -(0.75 log2 0.75 + 0.25 log2 0.25) bits of at most one.
    assert token_files.gain_entropy([0.6, 0.2]) == pytest.approx(0.811278, abs=1e-6)
    assert token_files.gain_entropy([0.0, 0.0]) == 1.0
    assert token_files.share_above([0.1, 0.5, 0.6, 0.7], 0.5) == 0.5
