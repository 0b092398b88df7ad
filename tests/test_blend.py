"""Weights between those before a training and those after it."""

import dataclasses

import pytest
import torch

from tests.weights_files import LINEAR
from training import blend
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.weights.weights_file import CONFIG_KEY, read_weights, save_weights


def written(path, config=LINEAR, **metadata):
    """A weights file in float16, and its tensors."""
    state = {k: v.half() for k, v in ReconstructionNetwork(config).state_dict().items()}
    save_weights(path, state, config, metadata)
    return state


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_blend_lies_on_the_straight_line_between_two_files(tmp_path, share):
    before = written(tmp_path / "before", stage="first")
    after = written(tmp_path / "after", stage="second")
    paths = [str(tmp_path / name) for name in ("before", "after", "out")]
    assert blend.main([*paths, "--share", str(share)]) == 0
    made = read_weights(tmp_path / "out")
    assert made.tensors.keys() == before.keys()
    for name, tensor in made.tensors.items():
        wanted = (1 - share) * before[name].double() + share * after[name].double()
        assert tensor.dtype == torch.float16
        assert torch.allclose(tensor.double(), wanted, rtol=1e-3, atol=1e-6)
    assert made.config() == LINEAR
    assert made.metadata.keys() == {"stage", "blend", "format", CONFIG_KEY}
    assert (made.metadata["stage"], made.metadata["blend"]) == ("second", f"{share:g}")


@pytest.mark.parametrize(
    ("share", "told"),
    [("0.5", "of networks of two sizes"), ("1.5", "--share 1.5: "), ("nan", "nan")],
)
def test_a_blend_of_what_does_not_belong_together_is_refused(tmp_path, capsys, share, told):
    written(tmp_path / "before")
    written(tmp_path / "after", dataclasses.replace(LINEAR, state_size=7))
    paths = [str(tmp_path / name) for name in ("before", "after", "out")]
    assert blend.main([*paths, "--share", share]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
