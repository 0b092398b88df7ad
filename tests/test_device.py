"""What a network is computed in and with, and copies from the device: the same numbers."""

import numpy as np
import pytest
import torch

from tests.golden_cases import golden_case, relative_error
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.model.config import PRESETS
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.device import all_as_numpy, as_numpy, second_stream
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.ttt3r import TTT3R
from ttt3r_viewer.system.assets import with_demos
from ttt3r_viewer.types import Frame
from ttt3r_viewer.weights.load import (
    choose_dtype,
    cpu_multiplies_bfloat16,
    load_network,
    share_cpu,
)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[needs_cuda, pytest.mark.gpu])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_copies_together_are_copies_one_by_one(device, dtype):
    values = [torch.randn(shape, device=device).to(dtype) for shape in [(2, 3), (5,), (1, 4, 2)]]
    together = all_as_numpy(*values)
    for ours, one in zip(together, values, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, as_numpy(one))


@pytest.mark.parametrize("device", DEVICES)
def test_work_in_a_stream_of_its_own_is_done_when_the_block_ends(device):
    with second_stream(torch.device(device)):
        product = torch.ones(512, 512, device=device) @ torch.ones(512, 512, device=device)
    assert float(product[0, 0]) == 512


@needs_cuda
@pytest.mark.gpu
def test_looking_ahead_on_cuda_is_the_plain_loop():
    case = golden_case("dpt-small")
    network = case.network().to("cuda")
    frames = case.arrays["frames"]
    source = [Frame(k, float(k), str(k), image) for k, image in enumerate(frames)]
    plain, ahead = Lanes(network, (TTT3R(),)), Lanes(network, (TTT3R(),))
    expected = [plain.process(frame)[0] for frame in source]
    got = [ahead.step(encoded)[0] for encoded in ahead.prefetch(source)]  # pyright: ignore[reportArgumentType]
    for ours, theirs in zip(got, expected, strict=True):
        assert relative_error(ours.points_camera, theirs.points_camera) < 1e-4


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("fpu avx512f amx_bf16 amx_tile", True), ("fpu avx512_bf16", True), ("fpu avx2 f16c", False)],
)
def test_a_cpu_is_asked_for_its_flags(tmp_path, flags, fast):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: amx_bf16\n")
    assert cpu_multiplies_bfloat16(info) is fast


def test_where_nothing_tells_float32_is_taken(tmp_path, monkeypatch):
    assert not cpu_multiplies_bfloat16(tmp_path / "none")
    monkeypatch.setattr("ttt3r_viewer.weights.load.cpu_multiplies_bfloat16", lambda: False)
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_auto_is_bfloat16_where_it_is_fast(monkeypatch):
    monkeypatch.setattr("ttt3r_viewer.weights.load.cpu_multiplies_bfloat16", lambda: True)
    assert choose_dtype("auto", torch.device("cpu")) == torch.bfloat16
    for multiplies, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(
            "ttt3r_viewer.weights.load.cuda_multiplies_bfloat16", lambda _, is_so=multiplies: is_so
        )
        assert choose_dtype("auto", torch.device("cuda", 1)) == dtype
    assert choose_dtype("auto", torch.device("mps")) == torch.float32
    assert choose_dtype("float32", torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(
    ("preset", "set_by_user", "threads"),
    [("miniature", False, 1), ("miniature", True, 2), ("cut3r-512", False, 2)],
)
def test_a_small_network_takes_one_thread_unless_the_user_said_more(
    preset, set_by_user, threads, monkeypatch
):
    if set_by_user:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    else:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    with torch.device("meta"):
        network = ReconstructionNetwork(PRESETS[preset])
    monkeypatch.setattr(ReconstructionNetwork, "device", torch.device("cpu"))
    try:
        torch.set_num_threads(2)
        share_cpu(network)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_bfloat16_stays_beside_float32_over_300_frames():
    """What a state carries from frame to frame is summed in float32: in bfloat16 the memory was 16
    to 23 % away after 300 frames, and farther with every one.
    """
    images = [one.image for one in open_source(with_demos("demo:walk")) if isinstance(one, Frame)]
    images = [*images, *images[-2::-1]][:300]
    runs = {}
    for dtype in ("float32", "bfloat16"):
        lanes = Lanes(load_network("miniature", device="cpu", dtype=dtype), (TTT3R(),), size=112)
        centers = [lanes.process(one)[0].camera.T_world_camera[:3, 3] for one in images]
        memory = lanes.saved()[0]["memory"].float()
        runs[dtype] = np.array(centers), memory / memory.norm()
    (exact, memory), (rounded, other) = runs.values()
    assert np.linalg.norm(exact - rounded, axis=1).mean() < 0.01, "metres"
    assert float((memory - other).norm()) < 0.02
