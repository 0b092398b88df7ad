"""What a network is computed in and with, chosen by what there is."""

import pytest
import torch

from ttt3r_viewer.model.config import PRESETS
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.weights.load import choose_dtype, cpu_multiplies_bfloat16, share_cpu


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
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
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
