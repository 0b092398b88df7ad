"""Weights files: recognised, loaded strictly, refused with a text that helps, written whole."""

import argparse
import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.refusals import refusal
from tests.weights_files import LINEAR
from ttt3r_viewer.commands import weights as weights_command
from ttt3r_viewer.commands.parser import parse
from ttt3r_viewer.errors import InputError, OutputError, WeightsError
from ttt3r_viewer.model.config import PRESETS, config_from_text, config_to_text
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.system.assets import asset_path
from ttt3r_viewer.weights import weights_file as weights
from ttt3r_viewer.weights.weights_file import (
    CONFIG_KEY,
    check_finite,
    count_parameters,
    expected_shapes,
    load_into,
    meta_network,
    read_weights,
    recognise_config,
    save_weights,
)

refused = partial(refusal, WeightsError)
DPT = dataclasses.replace(LINEAR, head="dpt", decoder_depth=4)


@pytest.fixture(scope="module")
def dpt_state() -> dict[str, Tensor]:
    return ReconstructionNetwork(DPT).state_dict()


@pytest.fixture
def linear_state() -> dict[str, Tensor]:
    return ReconstructionNetwork(LINEAR).state_dict()


def assert_same(a: Any, b: Any) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_the_content_decides_what_a_file_is(tmp_path, linear_state):
    save_weights(tmp_path / "a.pth", linear_state, LINEAR, {"step": "7"})
    torch.save({"model": linear_state, "step": 7}, tmp_path / "b.safetensors")
    checkpoints = [read_weights(tmp_path / name) for name in ("a.pth", "b.safetensors")]
    assert [checkpoint.kind for checkpoint in checkpoints] == ["safetensors", "pth"]
    assert [checkpoint.metadata["step"] for checkpoint in checkpoints] == ["7", "7"]
    for checkpoint in checkpoints:
        assert_same(checkpoint.tensors, linear_state)


@pytest.mark.parametrize(
    ("kind", "make_network"), [("safetensors", ReconstructionNetwork), ("pth", meta_network)]
)
def test_what_is_saved_loads_strictly_with_every_alias(tmp_path, dpt_state, kind, make_network):
    path, network = tmp_path / "net", make_network(DPT)
    if kind == "pth":
        torch.save({"model": dpt_state, CONFIG_KEY: config_to_text(DPT)}, path)
    else:
        save_weights(path, dpt_state, DPT)
    checkpoint = read_weights(path)
    assert recognise_config(checkpoint.tensors, checkpoint.metadata) == DPT
    load_into(network, checkpoint.tensors)
    assert_same(network.state_dict(), dpt_state)
    assert all(parameter.requires_grad for parameter in network.parameters())
    scratch = network.get_submodule("downstream_head.dpt_rgb.scratch")
    assert scratch.get_parameter("layer2_rn.weight") is scratch.get_parameter("layer_rn.1.weight")


def test_training_goes_on_after_loading_without_a_copy(tmp_path, linear_state):
    """The tensors are views of the file, which must not change."""
    path = tmp_path / "net.safetensors"
    save_weights(path, linear_state, LINEAR)
    before = path.read_bytes()
    network = meta_network(LINEAR)
    load_into(network, read_weights(path).tensors)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert path.read_bytes() == before


def test_a_network_keeps_its_dtype(linear_state):
    half = {name: tensor.half() for name, tensor in linear_state.items()}
    for network in (ReconstructionNetwork(LINEAR), meta_network(LINEAR)):
        load_into(network, half)
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
        assert_same(network.state_dict(), {name: tensor.float() for name, tensor in half.items()})


def test_a_config_written_before_heads_had_sizes_has_the_released_ones():
    fields = json.loads(config_to_text(DPT))
    small = dataclasses.replace(DPT, dpt_channels=(8, 8, 16, 16), dpt_fused=8, dpt_last=4)
    assert config_from_text(config_to_text(small)) == small
    for name in ("dpt_channels", "dpt_fused", "dpt_last", "metric"):
        del fields[name]
    old = config_from_text(json.dumps(fields))
    assert old.dpt_channels == (96, 192, 384, 768)
    assert old.metric


OWN_UNIT = dataclasses.replace(LINEAR, metric=False)


@pytest.mark.parametrize("config", [LINEAR, OWN_UNIT, DPT, *PRESETS.values()])
def test_a_config_survives_as_text(config):
    assert config_from_text(config_to_text(config)) == config


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"patch_size": 0}, "patch_size = 0: wanted 1 to 256"), ({"patch_size": True}, "= True"),
        ({"encoder_depth": 10**9}, "wanted 1 to 128"), ({"encoder_width": 16.0}, "= 16.0"),
        ({"state_size": "6"}, "state_size = 6"), ({"image_size": [32]}, "image_size"),
        ({"image_size": [32, -1]}, "image_size = -1"), ({"head": "other"}, "head = other"),
        ({"head": ["dpt"]}, "head = "), ({"rope_base": 0}, "rope_base = 0"),
        ({"rope_base": float("nan")}, "rope_base = nan"), ({"extra": 1}, "unknown fields .'extra'"),
        ({"encoder_heads": 3}, "encoder width 32 with 3 heads"), ({"patch_size": None}, "None"),
        ({"metric": 1}, "metric = 1"),
    ],
)  # fmt: skip
def test_wrong_configs_are_refused(change, text):
    fields = dataclasses.asdict(LINEAR) | change
    with pytest.raises(WeightsError, match=text):
        config_from_text(json.dumps(fields))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "nonsense", "[" * 9000, "1" * 9000, "{" + " " * 9**6]
)
def test_config_texts_that_are_none(text):
    refused(config_from_text, text)


def test_a_missing_field_is_named():
    fields = dataclasses.asdict(LINEAR)
    del fields["rope_base"]
    assert "lacks ['rope_base']" in refused(config_from_text, json.dumps(fields))


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_are_recognised_by_names_and_shapes(preset):
    tensors = meta_network(PRESETS[preset]).state_dict()
    assert recognise_config(tensors, {}) == PRESETS[preset]


@pytest.mark.parametrize(
    ("preset", "parameters", "names"),
    [("cut3r-512", 793_307_858, 1_248), ("cut3r-224", 748_443_655, 1_056)],
)
def test_released_sizes(preset, parameters, names):
    config = PRESETS[preset]
    assert (count_parameters(config), len(expected_shapes(config))) == (parameters, names)
    network = meta_network(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert len(network.state_dict()) == names


def test_an_unknown_network_is_compared_with_the_nearest():
    tensors = dict(meta_network(PRESETS["cut3r-224"]).state_dict())
    tensors["pose_token"] = torch.zeros(1, 1, 640)
    del tensors["enc_norm.bias"]
    text = refused(recognise_config, tensors, {})
    assert "nearest, cut3r-224" in text
    assert "1 missing (enc_norm.bias)" in text
    assert "1 of another shape (pose_token is 1x1x640, wanted 1x1x768)" in text
    assert all(preset in text for preset in PRESETS)


def test_weights_that_contradict_their_config(linear_state):
    wider = dataclasses.replace(LINEAR, state_size=7)
    text = refusal(
        WeightsError, recognise_config, linear_state, {CONFIG_KEY: config_to_text(wider)}, "a.pth"
    )
    assert "a.pth differ from the config" in text
    assert "register_tokens.weight is 6x32, wanted 7x32" in text


def test_one_error_lists_every_kind_of_misfit(linear_state):
    network = ReconstructionNetwork(LINEAR)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors = {name: tensor for name, tensor in linear_state.items() if "enc_blocks.0" not in name}
    tensors["extra\nname"] = torch.zeros(1)
    tensors["pose_token"] = torch.zeros(2)
    tensors["decoder_embed.bias"] = torch.zeros(16, dtype=torch.int64)
    text = refused(load_into, network, tensors, "net.pth")
    assert "net.pth do not fit" in text
    assert "12 missing (enc_blocks.0.norm1.weight, enc_blocks.0.norm1.bias" in text
    assert "1 unexpected ('extra\\nname')" in text
    assert "pose_token is 2, wanted 1x1x16" in text
    assert "decoder_embed.bias is torch.int64" in text
    assert_same(network.state_dict(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers_are_named(linear_state, value):
    check_finite(linear_state)
    linear_state["enc_norm.bias"][3] = value
    for call in (check_finite, lambda tensors: load_into(ReconstructionNetwork(LINEAR), tensors)):
        text = refused(call, linear_state)
        assert "NaN or infinite values in 1 tensors (enc_norm.bias)" in text


def test_values_too_large_for_the_networks_dtype(linear_state):
    tensors = {name: tensor.double() for name, tensor in linear_state.items()}
    tensors["enc_norm.bias"][0] = 1e300
    assert "enc_norm.bias" in refusal(
        WeightsError, load_into, ReconstructionNetwork(LINEAR), tensors
    )


def test_aliases_that_differ_are_refused(dpt_state):
    name = "downstream_head.dpt_self.scratch.layer3_rn.weight"
    tensors = dpt_state | {name: dpt_state[name] + 1}
    assert "layer3_rn.weight and" in refusal(
        WeightsError, load_into, ReconstructionNetwork(DPT), tensors
    )


def test_paths_that_are_no_weights_file(tmp_path):
    text = refused(read_weights, tmp_path / "none.pth")
    assert all(name in text for name in ("none.pth", "miniature", "cut3r-512", "cut3r-224"))
    assert "is a folder" in refused(read_weights, tmp_path)
    contents = {
        b"": "is empty",
        b"hello, this is text": "is no weights file",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": "bare pickle",
        b"\n<!DOCTYPE html><html>": "web page",
        b"PK\x03\x04": "damaged or cut off",
        b"\x10\0\0\0\0\0\0\0{": "damaged or cut off",
        b"\x02\0\0\0\0\0\0\0{}": "holds no tensors",
        b"x": "is no weights file",
    }
    for content, expected in contents.items():
        path = tmp_path / "file"
        path.write_bytes(content)
        assert expected in refused(read_weights, path)
    legacy = tmp_path / "legacy.pth"
    torch.save({"a": torch.zeros(1)}, legacy, _use_new_zipfile_serialization=False)
    assert "bare pickle" in refused(read_weights, legacy)
    assert "no weights file" in refused(read_weights, legacy / "inside")


def test_safetensors_cut_anywhere_are_refused(tmp_path, linear_state):
    path = tmp_path / "net.safetensors"
    save_weights(path, linear_state, LINEAR)
    data = path.read_bytes()
    for cut in [*range(40), *range(40, len(data), 997), len(data) - 1]:
        path.write_bytes(data[:cut])
        refused(read_weights, path)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, linear_state, monkeypatch):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"precious")

    def save_half(tensors: object, part: Path, metadata: object) -> None:
        del tensors, metadata
        part.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(weights, "save_file", save_half)
    assert "No space left" in refusal(OutputError, save_weights, path, linear_state, LINEAR)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_saving_into_a_folder_that_is_not_there(tmp_path, linear_state):
    path = tmp_path / "none" / "net.safetensors"
    assert str(path) in refusal(OutputError, save_weights, path, linear_state, LINEAR)


def run(*words: str) -> str:
    """What a `weights` command prints."""
    lines: list[str] = []
    command, given = parse("ttt3r-view weights", weights_command.COMMAND, words, lines.append)
    assert command.execute is not None
    assert command.execute(given, lines.append, lines.append) == 0
    return "\n".join(lines)


def test_info_of_a_networks_file(tmp_path, linear_state):
    path = tmp_path / "net.safetensors"
    save_weights(path, linear_state, LINEAR, {"made by": "a test", "licence": "none"})
    text = run("info", str(path))
    assert f"{path.stat().st_size:,} bytes" in text
    numbers = sum(tensor.numel() for tensor in linear_state.values())
    assert f"{numbers:,} in {len(linear_state):,} names" in text
    assert "of its own sizes" in text
    assert "float32; all finite" in text
    assert "'made by': 'a test'" in text
    assert "licence     none" in text
    assert "procedural rooms" not in text


def test_info_of_the_miniature_says_what_it_is_for(tmp_path):
    path = tmp_path / "net.safetensors"
    config = PRESETS["miniature"]
    save_weights(path, ReconstructionNetwork(config).half().state_dict(), config)
    text = run("info", str(path))
    assert "network     miniature" in text
    assert "float16" in text
    assert "procedural rooms" in text
    assert "released weights" in text


def test_convert_from_a_released_kind_of_file(tmp_path, monkeypatch, linear_state):
    monkeypatch.setitem(PRESETS, "cut3r-512", LINEAR)
    src, dst = tmp_path / "released.pth", tmp_path / "out.safetensors"
    torch.save({"model": linear_state, "args": argparse.Namespace(model="Net()"), "epoch": 4}, src)
    assert "wrote" in run("convert", str(src), str(dst))
    converted = read_weights(dst)
    assert_same(converted.tensors, linear_state)
    assert recognise_config(converted.tensors, converted.metadata) == LINEAR
    assert "CC BY-NC-SA 4.0" in converted.metadata["licence"]
    assert converted.metadata["epoch"] == "4"

    assert "exists" in refusal(OutputError, run, "convert", str(src), str(dst))
    run("convert", str(src), str(dst), "--overwrite", "--dtype", "bfloat16")
    assert {tensor.dtype for tensor in read_weights(dst).tensors.values()} == {torch.bfloat16}
    run("convert", str(dst), str(dst), "--overwrite", "--dtype", "float32")
    assert {tensor.dtype for tensor in read_weights(dst).tensors.values()} == {torch.float32}
    assert "does not end in" in refusal(OutputError, run, "convert", str(src), "out.pth")


def test_convert_refuses_what_float16_cannot_hold(tmp_path, linear_state):
    linear_state["enc_norm.bias"][0] = 1e6
    src, dst = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_weights(src, linear_state, LINEAR)
    text = refused(run, "convert", str(src), str(dst), "--dtype", "float16")
    assert "as float16" in text
    assert not dst.exists()


def test_assets_are_found_or_named():
    assert "none.safetensors" in refusal(InputError, asset_path, "none.safetensors")
