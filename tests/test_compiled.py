"""The compiled step: a twin of the plain one, which goes on until the code is there, or without."""

import threading

import numpy as np
import pytest
import torch

from tests.golden_cases import relative_error
from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.reconstruct.compiled import CALLS_BEFORE, CompiledNetwork
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.rules.constant import Constant
from ttt3r_viewer.rules.ttt3r import TTT3R

CASE = "linear-small"
RULES = (TTT3R(), Constant(0.3))
TRACED = "aot_eager"
"""Goes through all of torch's compiler but the making of machine code, which takes minutes."""


@pytest.fixture(autouse=True)
def dataclasses_that_can_be_compiled(monkeypatch):
    shapes = pytest.importorskip("tests.shapes")
    for kind, bare in shapes.BARE.items():
        monkeypatch.setattr(kind, "__init__", bare)


def cameras(lanes: Lanes, frames) -> list:
    return [[one.camera.T_world_camera for one in lanes.process(frame)] for frame in frames]


def test_a_compiled_run_is_the_plain_run(case, network, monkeypatch):
    frames = case.arrays["frames"]
    expected = cameras(Lanes(network, RULES, reset_every=5), frames)
    step = CompiledNetwork(network, TRACED)
    lanes = Lanes(network, RULES, reset_every=5, compiled=step)
    got = cameras(lanes, frames[:3])
    step.wait()
    got += cameras(lanes, frames[3:4])
    assert step.note == "compiled step"
    assert lanes.device_text.endswith("float32, compiled step")
    plain = network.propose
    calls = []

    def counted(state, image, **keywords):
        calls.append(state.fresh)
        return plain(state, image, **keywords)

    monkeypatch.setattr(network, "propose", counted)
    got += cameras(lanes, frames[4:])
    # Only the frame that a reset begins with goes the plain way from here on.
    assert calls == [True]
    for ours, theirs in zip(got, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert relative_error(a, b) < 1e-5


def test_frames_do_not_wait_for_the_compiler(case, network):
    frames, gate = case.arrays["frames"], threading.Event()

    def slow(module: torch.fx.GraphModule, _examples):
        gate.wait()
        return module.forward

    step = CompiledNetwork(network, slow)
    lanes = Lanes(network, RULES, compiled=step)
    cameras(lanes, frames)
    assert step.note == "compiling the step"
    gate.set()
    step.wait()
    cameras(lanes, frames[:1])
    assert step.note == "compiled step"


def test_where_compiling_fails_the_plain_step_goes_on_and_the_status_says_so(case, network):
    def broken(_module, _examples):
        raise RuntimeError("no compiler here\nand more lines")

    step = CompiledNetwork(network, broken)
    lanes = Lanes(network, RULES, compiled=step)
    frames = case.arrays["frames"]
    got = cameras(lanes, frames[:4])
    step.wait()
    got += cameras(lanes, frames[4:])
    for ours, theirs in zip(got, cameras(Lanes(network, RULES), frames), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert relative_error(a, b) == 0
    assert "plain step (compiling failed: " in lanes.device_text
    assert "\n" not in lanes.device_text


def of_size(frames, height: int, width: int):
    """Frames of another shape, made from the upper left corner of these, repeated."""
    return [np.tile(one, (2, 2, 1))[:height, :width] for one in frames]


def eager(graph: torch.fx.GraphModule, _examples):
    return graph.forward


def test_a_shape_with_as_many_tokens_has_code_of_its_own(case, network):
    """Rows and columns count: a portrait image has the number of tokens of a landscape one."""
    threads, frames = [], case.arrays["frames"]

    def told(graph: torch.fx.GraphModule, _examples):
        threads.append(threading.current_thread().name)
        return graph.forward

    step = CompiledNetwork(network, told)
    lanes, twin = Lanes(network, RULES, compiled=step), Lanes(network, RULES)
    for height, width in [(48, 64), (64, 48)]:
        for image in of_size(frames[:5], height, width):
            for ours, theirs in zip(lanes.process(image), twin.process(image), strict=True):
                assert relative_error(ours.points_camera, theirs.points_camera) < 1e-4
            step.wait()
        assert step.note == "compiled step"
    assert set(threads) == {CompiledNetwork.THREAD}
    assert len(threads) == 4, "step and encoder, twice"


@torch.inference_mode()
def test_kinds_of_call_have_no_limit(case, network):
    """Torch itself keeps eight for one code object."""
    compiled = CompiledNetwork(network, eager)
    for batch in range(1, 13):
        images = case.images[:1].expand(batch, -1, -1, -1)
        for _ in range(CALLS_BEFORE):
            compiled.encode(images)
        compiled.wait()
        ours, theirs = compiled.encode(images).tokens, network.encode(images).tokens
        assert relative_error(ours.numpy(), theirs.numpy()) < 1e-5
    assert not compiled.failure
    codes = compiled._codes.values()
    assert len(codes) == 12
    assert all(one.ready for one in codes)


def test_code_that_fails_when_it_runs_gives_way_to_the_plain_step(case, network):
    frames, broken = case.arrays["frames"], threading.Event()

    def breaks(graph: torch.fx.GraphModule, _examples):
        def run(*given):
            if broken.is_set():
                raise RuntimeError("an illegal instruction\nand more lines")
            return graph(*given)

        return run

    step = CompiledNetwork(network, breaks)
    lanes, twin = Lanes(network, RULES, compiled=step), Lanes(network, RULES)
    got = cameras(lanes, frames[:3])
    step.wait()
    got += cameras(lanes, frames[3:4])
    assert step.note == "compiled step"
    broken.set()
    got += cameras(lanes, frames[4:])
    for ours, theirs in zip(got, cameras(twin, frames), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert relative_error(a, b) < 1e-5
    assert "plain step (compiled code failed: " in step.note
    assert "\n" not in step.note
    broken.clear()
    for image in of_size(frames[:4], 64, 48):
        lanes.process(image)
        step.wait()
    lanes.process(of_size(frames[:1], 64, 48)[0])
    assert step.note == "compiled step", "the failure was of another kind of call"


def test_where_memory_runs_out_in_compiled_code_the_step_says_so(case, network):
    frames, full = case.arrays["frames"], threading.Event()

    def fills(graph: torch.fx.GraphModule, _examples):
        def run(*given):
            if full.is_set():
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return graph(*given)

        return run

    step = CompiledNetwork(network, fills)
    lanes = Lanes(network, RULES, compiled=step)
    cameras(lanes, frames[:3])
    step.wait()
    full.set()
    with pytest.raises(ReconstructionError, match="out of memory"):
        lanes.process(frames[3])
    full.clear()
    lanes.process(frames[3])
    assert step.note == "compiled step"


def test_looking_inside_takes_the_plain_step(case, network):
    step = CompiledNetwork(network, TRACED)
    lanes, twin = Lanes(network, RULES, compiled=step), Lanes(network, RULES)
    for frame in case.arrays["frames"][:3]:
        lanes.process(frame)
        twin.process(frame)
        step.wait()
    seen, expected = lanes.inspect(1, 2), twin.inspect(1, 2)
    assert relative_error(seen.gain, expected.gain) < 1e-5


def test_the_end_of_the_program_does_not_wait_for_the_compiler():
    assert CompiledNetwork.THREAD in Worker.THREADS
