"""Looking into a step: what is found is what the run used, for any frame, within the budget."""

import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from tests.golden_cases import golden_case, relative_error
from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.reconstruct.history import LATEST, FrameHistory, bytes_of
from ttt3r_viewer.reconstruct.messages import SetParameter, SetResetEvery
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.types import FrameResult, Status

CASE = "linear-small"


def run(lanes: Lanes, images: np.ndarray, count: int) -> list[tuple[FrameResult, ...]]:
    return [lanes.process(images[k % len(images)]) for k in range(count)]


def test_what_is_found_is_what_the_run_used_through_changes_and_resets(case, network):
    lanes = Lanes(network, rules_from_text("ttt3r,constant:0.5,ttsa3r"), reset_every=4)
    images = case.arrays["frames"]
    results = run(lanes, images, 5)
    lanes.adjust(SetParameter(0, "multiplier", 0.5))
    lanes.adjust(SetResetEvery(3))
    results += run(lanes, images, 4)
    for number, frame in enumerate(results):
        for lane, result in enumerate(frame):
            seen = lanes.inspect(lane, number)
            assert (seen.lane, seen.sequence, seen.frames_replayed) == (lane, number, 0)
            assert np.abs(seen.gain - result.gain).max() < 1e-5
    first = lanes.inspect(0, 1)
    assert np.abs(first.gain - 1 / (1 + np.exp(-first.state_logit))).max() < 1e-5


def test_the_maps_are_those_of_the_published_network():
    # The pictures of this case come through the preparation as they are.
    case = golden_case("dpt-small")
    lanes = Lanes(case.network(), rules_from_text("constant:1.0"))
    run(lanes, case.arrays["frames"], len(case.arrays["frames"]))
    seen = lanes.inspect(0, len(case.arrays["frames"]) - 1)
    image = case.arrays["cut3r/logit_mean_per_image_token"][-1][1:]
    state = case.arrays["cut3r/logit_mean_per_state_token"][-1]
    assert relative_error(seen.patch_logit, image) < 2e-4
    assert relative_error(seen.state_logit, state) < 2e-4
    height, width = case.arrays["frames"].shape[1:3]
    assert (seen.rows, seen.columns) == (height // 16, width // 16)
    patches, config = seen.rows * seen.columns, case.config
    assert seen.writes.shape == (config.decoder_depth, config.state_size, 1 + patches)
    assert seen.reads.shape == (config.decoder_depth, 1 + patches, config.state_size)
    for rows in (seen.writes, seen.reads):
        assert np.abs(rows.astype(np.float32).sum(-1) - 1).max() < 2e-3  # float16
    # |dS| per token adds up to the change of the whole state.
    start = lanes.inspect(0, 0)
    assert np.allclose(start.state_change, start.from_start, atol=1e-6)


def test_an_old_frame_is_found_by_taking_the_ones_before_it_again(case, network):
    lanes = Lanes(network, rules_from_text("ttt3r,filt3r"), reset_every=7)
    moment = lanes._state
    lanes._history = FrameHistory(state_bytes=(LATEST + 4) * bytes_of(moment))
    results = run(lanes, case.arrays["frames"], 48)
    kept = lanes._history._states
    assert LATEST < len(kept) <= LATEST + 4
    old = next(k for k in range(1, 48) if k not in kept)
    told: list[tuple[int, int]] = []
    for lane in (0, 1):
        seen = lanes.inspect(lane, old, lambda done, total: told.append((done, total)))
        assert seen.frames_replayed > 0
        assert np.abs(seen.gain - results[old][lane].gain).max() < 1e-5
    assert told[0] == (0, seen.frames_replayed + 1)


def test_images_stay_within_their_budget_and_what_is_too_old_says_so(case, network):
    lanes = Lanes(network, rules_from_text("ttt3r"))
    size = run(lanes, case.arrays["frames"], 1)[0][0].image.nbytes
    lanes.restart()
    lanes._history = FrameHistory(image_bytes=5 * size)
    run(lanes, case.arrays["frames"], 12)
    assert lanes._history.image_bytes == 5 * size
    with pytest.raises(ReconstructionError, match=r"frame 3 cannot be looked into.*from 7 on"):
        lanes.inspect(0, 3)
    assert lanes.inspect(0, 7).sequence == 7
    with pytest.raises(ReconstructionError, match="frame 12"):
        lanes.inspect(0, 12)
    with pytest.raises(ReconstructionError, match="lane 2: there are 1"):
        lanes.inspect(1, 7)


def test_older_images_come_from_the_archive_as_far_as_it_goes(case, network, tmp_path):
    images = case.arrays["frames"]
    size = run(Lanes(network, rules_from_text("ttt3r")), images, 1)[0][0].image.nbytes
    writer = RecordingWriter(tmp_path, source="", settings={})
    writer.begin(Status())
    history = FrameHistory(image_bytes=5 * size, recording=writer)
    lanes = Lanes(network, rules_from_text("ttt3r"), history=history)
    results = []
    for k in range(20):
        results.append(lanes.process(images[k % len(images)]))
        if k < 8:  # then the disk is full
            writer.add(*results[-1])
    assert history.image_bytes == 5 * size
    for number in (0, 3, 7, 15, 19):
        found = lanes.inspect(0, number)
        assert np.abs(found.gain - results[number][0].gain).max() < 1e-5
    kept = "frames 0 to 7 and 15 to 19 are kept"
    with pytest.raises(ReconstructionError, match=f"frame 8 cannot be looked into: .* {kept}"):
        lanes.inspect(0, 8)
    for number in (*range(1, 8), *range(15, 18)):  # the way to 17 then leads over what is gone
        del history._states[number]
    assert lanes.inspect(0, 6).frames_replayed == 6
    with pytest.raises(ReconstructionError, match="frame 8, which has to be replayed before it"):
        lanes.inspect(0, 17)
    writer.close()


def test_looking_leaves_the_run_as_it_was(case, network):
    images = case.arrays["frames"]
    plain, looked = (Lanes(network, rules_from_text("ttsa3r"), reset_every=3) for _ in range(2))
    for image in images:
        (expected,), (result,) = plain.process(image), looked.process(image)
        looked.inspect(0, 0)
        assert np.array_equal(result.points_camera, expected.points_camera)
        assert np.array_equal(result.gain, expected.gain)


class Counting(TorchDispatchMode):
    """Counts every torch operation."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_a_run_that_nobody_looks_into_computes_nothing_more(case, network, monkeypatch):
    def operations() -> int:
        lanes = Lanes(network, rules_from_text("ttt3r"))
        with Counting() as counting:
            run(lanes, case.arrays["frames"], 3)
        return counting.count

    kept = operations()
    monkeypatch.setattr(FrameHistory, "add", lambda *_: None)
    assert operations() == kept > 100
