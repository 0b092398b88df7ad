"""The sizes of a network, and the presets that are known by name."""

from dataclasses import dataclass
from typing import Literal

from ttt3r_viewer.errors import WeightsError


@dataclass(frozen=True)
class ModelConfig:
    """Every number that decides the shapes, or as head counts do the meaning, of the weights."""

    image_size: tuple[int, int]
    """(height, width) in pixels that the network was trained at; other sizes work, by the rotary
    positions.
    """
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


PRESETS: dict[str, ModelConfig] = {
    "cut3r-512": ModelConfig(
        image_size=(384, 512), patch_size=16,
        encoder_width=1024, encoder_depth=24, encoder_heads=16,
        decoder_width=768, decoder_depth=12, decoder_heads=12,
        state_heads=16, state_size=768, memory_size=256, head="dpt",
    ),
    "cut3r-224": ModelConfig(
        image_size=(224, 224), patch_size=16,
        encoder_width=1024, encoder_depth=24, encoder_heads=16,
        decoder_width=768, decoder_depth=12, decoder_heads=12,
        state_heads=16, state_size=768, memory_size=256, head="linear",
    ),
    "miniature": ModelConfig(
        image_size=(128, 160), patch_size=16,
        encoder_width=192, encoder_depth=5, encoder_heads=6,
        decoder_width=128, decoder_depth=4, decoder_heads=4,
        state_heads=4, state_size=96, memory_size=64, head="linear",
        memory_depth=1, ray_map_depth=1, ray_map_heads=6,
    ),
}  # fmt: skip
"""Known networks; the keys are what `--weights` and `weights fetch` take."""
