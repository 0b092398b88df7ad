"""A `ModelConfig` as text in a weights file, and back."""

import dataclasses
import json
from typing import cast

from ttt3r_viewer.errors import WeightsError
from ttt3r_viewer.model.config import ModelConfig

_MOST = {
    "image_size": 16384,
    "patch_size": 256,
    "encoder_depth": 128,
    "decoder_depth": 128,
    "memory_depth": 128,
    "ray_map_depth": 128,
    "encoder_heads": 256,
    "decoder_heads": 256,
    "state_heads": 256,
    "ray_map_heads": 256,
    "encoder_width": 16384,
    "decoder_width": 16384,
    "state_size": 65536,
    "memory_size": 65536,
    "dpt_channels": 16384,
    "dpt_fused": 16384,
    "dpt_last": 16384,
}
"""Far above any network of this kind; keeps a wrong file from asking for all memory."""
_COUNTS = {"image_size": 2, "dpt_channels": 4}
"""Fields of several numbers."""
_MAY_LACK = {"dpt_channels", "dpt_fused", "dpt_last"}
"""Fields that files of earlier versions do not have."""
_LONGEST_TEXT = 10_000


def config_to_text(config: ModelConfig) -> str:
    """JSON of the config's fields."""
    return json.dumps(dataclasses.asdict(config))


def config_from_text(text: str) -> ModelConfig:
    """The config that `config_to_text` wrote.

    Errors: `WeightsError` where the text is no JSON object, a field is unknown or missing, or a
    value is out of bounds.
    """
    try:
        fields = json.loads(text) if len(text) <= _LONGEST_TEXT else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise WeightsError("the network's config in the file is not a JSON object of its sizes")
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    unknown, missing = sorted(fields.keys() - known), sorted(known - fields.keys() - _MAY_LACK)
    if unknown or missing:
        raise WeightsError(
            "the network's config in the file has unknown fields "
            f"{[name[:40] for name in unknown[:5]]} "
            f"and lacks {missing[:5]}: it was written by another version"
        )
    values = {name: _value(name, value) for name, value in fields.items()}
    # Each value has just been checked for its own field, which the type checker cannot follow
    # through a dict.
    return ModelConfig(**cast("dict[str, int]", values))  # type: ignore[arg-type]


def _value(name: str, value: object) -> object:
    """One field, checked."""
    if isinstance(value, list) and len(value) == _COUNTS.get(name):
        return tuple(_whole(name, side) for side in value)
    if name == "head" and value in ("dpt", "linear"):
        return value
    if name == "rope_base" and isinstance(value, int | float) and not isinstance(value, bool):
        if 1 < value <= 1e9:  # false for NaN too
            return float(value)
    elif name in _MOST and name not in _COUNTS:
        return _whole(name, value)
    raise WeightsError(f"the network's config in the file has {name} = {_shown(value)}")


def _whole(name: str, value: object) -> int:
    if type(value) is int and 1 <= value <= _MOST[name]:
        return value
    raise WeightsError(
        f"the network's config in the file has {name} = {_shown(value)}: wanted 1 to "
        f"{_MOST[name]:,}"
    )


def _shown(value: object) -> str:
    return " ".join(str(value).split())[:40]
