"""The compiled step: a twin of the plain one, which goes on until the code is there, or without."""

import threading

import pytest
import torch

from tests.golden_cases import relative_error
from ttt3r_viewer.model.compiled import CompiledStep
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
    expected = cameras(Lanes(network, RULES, reset_every=4), frames)
    step = CompiledStep(network, TRACED)
    lanes = Lanes(network, RULES, reset_every=4, compiled=step)
    got = cameras(lanes, frames[:2])
    step.wait()
    assert step.note == "compiled step"
    assert lanes.device_text.endswith("float32, compiled step")
    plain = network.propose
    calls = []

    def counted(state, image, **keywords):
        calls.append(state.fresh)
        return plain(state, image, **keywords)

    monkeypatch.setattr(network, "propose", counted)
    got += cameras(lanes, frames[2:])
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

    step = CompiledStep(network, slow)
    lanes = Lanes(network, RULES, compiled=step)
    cameras(lanes, frames)
    assert step.note == "compiling the step"
    gate.set()
    step.wait()
    assert step.note == "compiled step"


def test_where_compiling_fails_the_plain_step_goes_on_and_the_status_says_so(case, network):
    def broken(_module, _examples):
        raise RuntimeError("no compiler here\nand more lines")

    step = CompiledStep(network, broken)
    lanes = Lanes(network, RULES, compiled=step)
    frames = case.arrays["frames"]
    got = cameras(lanes, frames[:3])
    step.wait()
    got += cameras(lanes, frames[3:])
    for ours, theirs in zip(got, cameras(Lanes(network, RULES), frames), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert relative_error(a, b) == 0
    assert "plain step (compiling failed: " in lanes.device_text
    assert "\n" not in lanes.device_text


def test_looking_inside_takes_the_plain_step(case, network):
    step = CompiledStep(network, TRACED)
    lanes, twin = Lanes(network, RULES, compiled=step), Lanes(network, RULES)
    for frame in case.arrays["frames"][:3]:
        lanes.process(frame)
        twin.process(frame)
        step.wait()
    seen, expected = lanes.inspect(1, 2), twin.inspect(1, 2)
    assert relative_error(seen.gain, expected.gain) < 1e-5


def test_the_end_of_the_program_does_not_wait_for_the_compiler():
    assert CompiledStep.THREAD in Worker.THREADS
