"""Weights files: read without running code, recognised, checked, written whole or not at all."""

import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ttt3r_viewer.errors import OutputError, WeightsError, in_a_line
from ttt3r_viewer.model.config import PRESETS, ModelConfig, config_from_text, config_to_text
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.system.files import atomic_path
from ttt3r_viewer.weights.torch_zip import ZIP_MAGIC, read_archive, shown

CONFIG_KEY = "ttt3r_viewer.config"
"""Names the config among a safetensors file's metadata."""
QUERIES_KEY, NOT_TRAINED = "queries", "not trained"
"""Metadata of weights whose ray-map encoder is as it was drawn."""
_LONGEST_HEADER = 100_000_000
"""Bytes; the safetensors format's own bound."""


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """A weights file's content; the tensors are views of the file, read when they are used."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    path: Path
    kind: Literal["safetensors", "pth"]

    def config(self) -> ModelConfig:
        """The sizes of its network, as `recognise_config` tells them. Errors: `WeightsError`."""
        return recognise_config(self.tensors, self.metadata, str(self.path))


def read_weights(path: Path) -> WeightsFile:
    """Open a `.safetensors` or a `torch.save` zip; its content decides which, not its name.

    Errors: `WeightsError` where it is absent, damaged, cut off, or no weights file.
    """
    kind = _kind(path)
    tensors, metadata = read_archive(path) if kind == "pth" else _read_safetensors(path)
    return WeightsFile(tensors, metadata, path, kind)


def recognise_config(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], name: str = "the weights"
) -> ModelConfig:
    """The sizes of the network that tensors belong to.

    They are what the metadata say, or else those of the preset with just these names and shapes:
    shapes do not tell how many heads a layer has. `name` stands in the error's text.
    Errors: `WeightsError` that says what differs from the config, or from the nearest preset.
    """
    if CONFIG_KEY in metadata:
        config = config_from_text(metadata[CONFIG_KEY])
        count, differences = _differences(tensors, expected_shapes(config))
        if count:
            raise WeightsError(f"{name} differ from the config that they carry: {differences}")
        return config
    found = {
        preset: _differences(tensors, expected_shapes(config)) for preset, config in PRESETS.items()
    }
    nearest = min(found, key=lambda preset: found[preset][0])
    count, differences = found[nearest]
    if count:
        raise WeightsError(
            f"{name} are of no known network ({', '.join(PRESETS)}); they differ from the nearest, "
            f"{nearest}: {differences}"
        )
    return PRESETS[nearest]


def why_no_queries(metadata: Mapping[str, str]) -> str:
    """Why weights cannot be asked what an unseen camera sees, one line; empty where they can."""
    if metadata.get(QUERIES_KEY) != NOT_TRAINED:
        return ""
    return (
        "these weights were never trained to be asked about a camera; the released ones "
        "(cut3r-512, cut3r-224) were"
    )


def load_into(network: nn.Module, tensors: Mapping[str, Tensor], name: str = "the weights") -> None:
    """Put tensors into a network, whose dtype and device stay as they are.

    A network that was built on the `meta` device takes the tensors themselves: on the CPU, and
    without a copy where their dtype is the network's. `name` stands in the error's text.

    Errors: `WeightsError` that lists missing, unexpected and misshapen names; or names tensors with
    NaN or infinite values; or names two that must be one tensor and are not.
    """
    parameters = network.state_dict(keep_vars=True)
    shapes = {key: tuple(value.shape) for key, value in parameters.items()}
    count, differences = _differences(tensors, shapes)
    if count:
        raise WeightsError(f"{name} do not fit the network: {differences}")
    converted = {key: tensors[key].to(parameters[key].dtype) for key in parameters}
    check_finite(converted, name)
    first_names: dict[int, str] = {}
    for key, parameter in parameters.items():
        first = first_names.setdefault(id(parameter), key)
        if first != key and not torch.equal(tensors[first], tensors[key]):
            raise WeightsError(
                f"{name}: {first} and {key} are one tensor in this network, but differ"
            )
    on_meta = any(parameter.is_meta for parameter in parameters.values())
    network.load_state_dict(converted, strict=True, assign=on_meta)


def check_finite(tensors: Mapping[str, Tensor], name: str = "the weights") -> None:
    """Raise `WeightsError` that names the tensors with NaN or infinite values, if there are any."""
    bad = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise WeightsError(
            f"{name} have NaN or infinite values in {len(bad)} tensors ({_some(bad)}): give an "
            "undamaged file"
        )


def save_weights(
    path: Path,
    state_dict: Mapping[str, Tensor],
    config: ModelConfig,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write safetensors that carry their config.

    An existing file is replaced, once the new one is whole on disk. A tensor with two names is
    written twice, so that every name can be read by any program.
    Errors: `OutputError` where the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in state_dict.items():
        tensor = value.detach().cpu().contiguous()
        # The format refuses tensors that share memory.
        if tensor.untyped_storage().nbytes() != tensor.nbytes or tensor.data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.data_ptr())
        tensors[key] = tensor
    metadata = {**metadata, "format": "pt", CONFIG_KEY: config_to_text(config)}
    try:
        with atomic_path(path) as part:
            mode = part.stat().st_mode
            save_file(tensors, part, metadata)
            part.chmod(mode)  # the library's own choice is the owner alone
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{path} cannot be written ({in_a_line(error)}): give another place"
        ) from error


@cache
def expected_shapes(config: ModelConfig) -> Mapping[str, tuple[int, ...]]:
    """Every name in the state dict of such a network, with its shape; allocates no weights."""
    return MappingProxyType(
        {name: tuple(tensor.shape) for name, tensor in meta_network(config).state_dict().items()}
    )


def count_parameters(config: ModelConfig) -> int:
    """How many numbers such a network has; a tensor with two names counts once."""
    return sum(parameter.numel() for parameter in meta_network(config).parameters())


def meta_network(config: ModelConfig) -> ReconstructionNetwork:
    """A network without numbers: for its shapes, or for `load_into` to fill without a copy."""
    with torch.device("meta"):
        return ReconstructionNetwork(config)


def _differences(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> tuple[int, str]:
    """How many tensors are missing, unexpected or not floats of the wanted shape; and which."""
    misshapen = []
    for name, shape in wanted.items():
        if name not in tensors:
            continue
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            misshapen.append(f"{name} is {_shape(tensor.shape)}, wanted {_shape(shape)}")
        elif not tensor.is_floating_point():
            misshapen.append(f"{name} is {tensor.dtype}, wanted a floating-point dtype")
    found = {
        "missing": [name for name in wanted if name not in tensors],
        "unexpected": [shown(name) for name in tensors if name not in wanted],
        "of another shape": misshapen,
    }
    parts = (f"{len(names)} {what} ({_some(names)})" for what, names in found.items() if names)
    return sum(len(names) for names in found.values()), "; ".join(parts)


def _some(names: Sequence[str]) -> str:
    """The first three of a list, and whether there are more."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _shape(shape: Iterable[int]) -> str:
    return "x".join(str(side) for side in shape) or "a single number"


def _kind(path: Path) -> Literal["safetensors", "pth"]:
    """What a file is, by its first bytes."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise WeightsError(f"{path} is a folder: give a .safetensors or .pth file in it")
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError(f"{path} is no plain file: give a .safetensors or .pth file")
        with path.open("rb") as stream:
            head = stream.read(16)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WeightsError(
            f"no weights file {path}: give a path, or one of {', '.join(PRESETS)}"
        ) from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error})") from error
    if status.st_size == 0:
        raise WeightsError(f"{path} is empty (0 bytes): fetch or copy it again")
    if head.startswith(ZIP_MAGIC):
        return "pth"
    header_bytes = int.from_bytes(head[:8], "little")
    if len(head) > 8 and 2 <= header_bytes <= _LONGEST_HEADER and head[8:9] == b"{":
        return "safetensors"
    if head.startswith(b"\x80"):
        raise WeightsError(
            f"{path} is a bare pickle, as torch.save wrote before version 1.6, which cannot be "
            "read safely: save it again with a current torch"
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise WeightsError(f"{path} is a web page, not weights: fetch it again")
    raise WeightsError(
        f"{path} is no weights file, or its beginning is damaged: give a .safetensors file, or a "
        ".pth by torch.save"
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = in_a_line(error, 120)
        raise WeightsError(
            f"{path} is damaged or cut off ({reason}): fetch or copy it again"
        ) from error
    if not tensors:
        raise WeightsError(f"{path} holds no tensors: give a file with a network's weights")
    return tensors, metadata
