"""The sizes of a network: presets known by name, and any sizes as text in a weights file."""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, cast

from ttt3r_viewer.errors import WeightsError


@dataclass(frozen=True)
class ModelConfig:
    """Every number that decides the shapes, or as head counts do the meaning, of the weights."""

    image_size: tuple[int, int]
    """(height, width) in pixels that the network was trained at; other sizes work too."""
    patch_size: int
    encoder_width: int
    encoder_depth: int
    encoder_heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    """Heads of the image stream, of the local memory and of the world-view transform."""
    state_heads: int
    state_size: int
    """Count of state tokens."""
    memory_size: int
    """Slots of the local memory that pose tokens are read from."""
    head: Literal["dpt", "linear"]
    memory_depth: int = 2
    """Blocks of the local memory's reader, and of its writer."""
    ray_map_depth: int = 2
    ray_map_heads: int = 16
    rope_base: float = 100.0
    dpt_channels: tuple[int, int, int, int] = (96, 192, 384, 768)
    """Channels of the DPT head's four maps, fine to coarse."""
    dpt_fused: int = 256
    """Channels with which the maps are fused."""
    dpt_last: int = 128
    """Channels at full resolution, before those of the map itself."""
    metric: bool = True
    """Lengths come out in metres, as those of the released weights do; else in a unit of the
    scene's own."""

    def __post_init__(self) -> None:
        for name, width, heads in (
            ("encoder", self.encoder_width, self.encoder_heads),
            ("decoder", self.decoder_width, self.decoder_heads),
            ("state", self.decoder_width, self.state_heads),
            ("ray map", self.encoder_width, self.ray_map_heads),
        ):
            if heads < 1 or width % (4 * heads):
                raise WeightsError(
                    f"{name} width {width} with {heads} heads: "
                    "each head needs a multiple of 4 channels for its two-dimensional positions"
                )
        if self.head == "dpt" and self.patch_size != 16:
            raise WeightsError(f"a dpt head with {self.patch_size}-pixel patches: it needs 16")

    @property
    def state_columns(self) -> int:
        """Columns of the grid on which the state tokens sit: floor(sqrt(S)), made even upwards."""
        columns = int(self.state_size**0.5)
        return columns + columns % 2

    @property
    def long_side(self) -> int:
        """The `--size` at which the network is at home."""
        return max(self.image_size)


_CUT3R_512 = ModelConfig(
    image_size=(384, 512), patch_size=16,
    encoder_width=1024, encoder_depth=24, encoder_heads=16,
    decoder_width=768, decoder_depth=12, decoder_heads=12,
    state_heads=16, state_size=768, memory_size=256, head="dpt",
)  # fmt: skip
PRESETS: dict[str, ModelConfig] = {
    "cut3r-512": _CUT3R_512,
    "cut3r-224": replace(_CUT3R_512, image_size=(224, 224), head="linear"),
    "miniature": ModelConfig(
        image_size=(128, 160), patch_size=16,
        encoder_width=192, encoder_depth=5, encoder_heads=6,
        decoder_width=128, decoder_depth=4, decoder_heads=4,
        state_heads=4, state_size=96, memory_size=64, head="linear",
        memory_depth=1, ray_map_depth=1, ray_map_heads=6,
    ),
}  # fmt: skip
"""Known networks; the keys are what `--weights` and `weights fetch` take."""

_MOST = (
    {"patch_size": 256, "state_size": 65536, "memory_size": 65536}
    | dict.fromkeys(("encoder_depth", "decoder_depth", "memory_depth", "ray_map_depth"), 128)
    | dict.fromkeys(("encoder_heads", "decoder_heads", "state_heads", "ray_map_heads"), 256)
    | dict.fromkeys(("image_size", "encoder_width", "decoder_width"), 16384)
    | dict.fromkeys(("dpt_channels", "dpt_fused", "dpt_last"), 16384)
)
"""Far above any network of this kind; keeps a wrong file from asking for all memory."""
_COUNTS = {"image_size": 2, "dpt_channels": 4}
"""Fields of several numbers."""
_MAY_LACK = {"dpt_channels", "dpt_fused", "dpt_last", "metric"}
"""Fields that files of earlier versions do not have."""
_LONGEST_TEXT = 10_000


def config_to_text(config: ModelConfig) -> str:
    """JSON of the config's fields."""
    return json.dumps(asdict(config))


def config_from_text(text: str) -> ModelConfig:
    """The config that `config_to_text` wrote.

    Errors: `WeightsError` where the text is no JSON object, a field is unknown or missing, or a
    value is out of bounds.
    """
    try:
        given = json.loads(text) if len(text) <= _LONGEST_TEXT else None
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise WeightsError("the network's config in the file is not a JSON object of its sizes")
    known = {field.name for field in fields(ModelConfig)}
    unknown, missing = sorted(given.keys() - known), sorted(known - given.keys() - _MAY_LACK)
    if unknown or missing:
        raise WeightsError(
            "the network's config in the file has unknown fields "
            f"{[name[:40] for name in unknown[:5]]} "
            f"and lacks {missing[:5]}: it was written by another version"
        )
    values = {name: _value(name, value) for name, value in given.items()}
    # Each value has just been checked for its own field, which the type checker cannot follow
    # through a dict.
    return ModelConfig(**cast("dict[str, int]", values))  # type: ignore[arg-type]


def _value(name: str, value: object) -> object:
    """One field, checked."""
    if isinstance(value, list) and len(value) == _COUNTS.get(name):
        return tuple(_whole(name, side) for side in value)
    if name == "head" and value in ("dpt", "linear"):
        return value
    if name == "metric" and isinstance(value, bool):
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
