"""Copies from the device, and the stream of its own: the same numbers as the plain way."""

import numpy as np
import pytest
import torch

from tests.golden_cases import golden_case, relative_error
from ttt3r_viewer.reconstruct.device import all_as_numpy, as_numpy, own_stream
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.ttt3r import TTT3R
from ttt3r_viewer.types import Frame

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
    with own_stream(torch.device(device)):
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
    got = [ahead.take(encoded)[0] for encoded in ahead.prefetch(source)]  # pyright: ignore[reportArgumentType]
    for ours, theirs in zip(got, expected, strict=True):
        assert relative_error(ours.points_camera, theirs.points_camera) < 1e-4
