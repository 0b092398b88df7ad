"""The curriculum: what is trained, on what, for how long. `configs/miniature.yaml` is this, written
down.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.model.config import PRESETS, ModelConfig

NETWORKS: dict[str, ModelConfig] = {
    **PRESETS,
    "miniature2": ModelConfig(
        image_size=(192, 256), patch_size=16,
        encoder_width=192, encoder_depth=5, encoder_heads=6,
        decoder_width=128, decoder_depth=4, decoder_heads=4,
        state_heads=4, state_size=240, memory_size=64, head="dpt",
        memory_depth=1, ray_map_depth=1, ray_map_heads=6,
        dpt_channels=(32, 48, 64, 64), dpt_fused=48, dpt_last=24,
    ),
    "toy": ModelConfig(
        image_size=(32, 48), patch_size=16,
        encoder_width=32, encoder_depth=1, encoder_heads=2,
        decoder_width=32, decoder_depth=4, decoder_heads=2,
        state_heads=2, state_size=8, memory_size=4, head="dpt",
        memory_depth=1, ray_map_depth=1, ray_map_heads=2,
        dpt_channels=(8, 8, 8, 8), dpt_fused=8, dpt_last=8,
    ),
}  # fmt: skip
"""What can be trained, by name; `toy` is for trying a machine."""


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum with clips of one kind."""

    name: str
    steps: int
    frames: int
    """Frames of a clip."""
    batch: int
    """Clips of a step."""
    learning_rate: float
    """Reached after `warm_up` steps, then falling along a half cosine to a tenth."""
    weights: Mapping[str, float]
    """Weight of each loss by its name in `losses.py` and `auxiliary.py`."""
    keep_gradient_frames: int = 4
    """The state's gradient is cut after so many frames."""
    path_stride: int = 1
    """Clips take every k-th pose of a camera path, k drawn from 1 to this, the smaller the oftener
    (`pages.draw_strides`).
    """
    singles: int = 0
    """Images of a step, each of a room of its own, that are seen alone, beside the clips."""
    dense_every: int = 1
    """Dense maps are made for the last of so many frames of a clip; they take half of the time."""
    warm_up: int = 200
    learns: str = "all"
    """`all`; `head`, with the rest of the network as it is; or `read-outs` of the auxiliary losses
    alone: for stages in front of one that goes on from weights which lack a head or read-outs.
    """

    def __post_init__(self) -> None:
        """Raise `SettingsError` where losses of single pictures would teach nothing."""
        if self.learns not in ("all", "head", "read-outs"):
            raise SettingsError(f"stage {self.name!r}: learns: give all, head or read-outs")
        if not 1 <= self.dense_every <= self.frames:
            raise SettingsError(f"stage {self.name!r}: dense_every: give 1 to {self.frames}")
        alone = sorted(name for name in self.weights if name.startswith("alone"))
        if alone and not self.singles:
            raise SettingsError(
                f"stage {self.name!r}: {', '.join(alone)}: losses of single pictures, of which it "
                "has none; give singles, 48 say"
            )


DEPTH = {
    "self": 1.0, "translation": 0.1, "quaternion": 0.1,
    "match": 0.2, "store": 0.1, "store_point": 0.1,
}  # fmt: skip
PAIRS = {
    "self": 1.0, "world": 2.0, "translation": 0.3, "quaternion": 0.3,
    "match": 0.2, "store": 0.1, "store_point": 0.2, "locate": 0.3,
}  # fmt: skip
CAMERAS = {
    "self": 1.0, "world": 1.5, "translation": 2.0, "quaternion": 3.0,
    "match": 0.1, "store": 0.05, "store_point": 0.1, "locate": 0.2,
}  # fmt: skip
MOTION = {
    "self": 1.0, "world": 1.0, "translation": 1.0, "quaternion": 2.0,
    "match": 0.1, "store": 0.05, "store_point": 0.1, "locate": 0.3,
}  # fmt: skip
SETTLE = MOTION | {"translation": 2.0, "quaternion": 4.0}
CLIPS = {
    "self": 0.4, "world": 0.4, "translation": 2.0, "quaternion": 4.0,
    "match": 0.05, "store": 0.03, "store_point": 0.1, "locate": 0.2,
}  # fmt: skip
STEPS = CLIPS | {"step_translation": 4.0, "step_quaternion": 8.0}
LONGER = CLIPS | {
    "translation": 3.0, "quaternion": 6.0, "step_translation": 8.0, "step_quaternion": 24.0,
}  # fmt: skip
ROOMS = LONGER | {
    "self": 1.0, "world": 0.5, "translation": 2.0, "quaternion": 4.0,
    "step_translation": 2.0, "step_quaternion": 4.0, "match": 0.1, "store": 0.05,
    "store_point": 0.1, "locate": 0.3, "keep": 0.2, "keep_point": 0.15, "lens": 1.0,
}  # fmt: skip
KEEPING = LONGER | {
    "self": 0.8, "translation": 2.5, "quaternion": 5.0, "step_translation": 4.0,
    "step_quaternion": 10.0, "keep": 0.15, "keep_point": 0.1, "lens": 0.7, "alone": 0.6,
}  # fmt: skip
WIDE = LONGER | {"self": 0.8, "keep": 0.15, "keep_point": 0.1, "lens": 0.7, "alone": 1.0}
SLOW = WIDE | {"self": 1.0, "step_translation": 12.0, "step_quaternion": 36.0}
RAYS = KEEPING | {
    "translation": 3.0, "quaternion": 6.0, "step_translation": 6.0, "step_quaternion": 16.0,
    "alone": 0.8, "rays": 5.0, "world_rays": 8.0, "alone_rays": 4.0,
}  # fmt: skip
SHIFT = SLOW | {
    "translation": 4.0, "rays": 5.0, "world_rays": 3.0, "ray_shift": 10.0, "alone_rays": 4.0,
}  # fmt: skip
MANY = SHIFT | {"alone_lens": 0.7}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, beside the code."""

    preset: str = "miniature"
    stages: tuple[Stage, ...] = (
        Stage("depth", 800, 2, 16, 6e-4, DEPTH, path_stride=6),
        Stage("pairs", 2000, 2, 16, 5e-4, PAIRS, path_stride=8),
        Stage("cameras", 1500, 2, 16, 4e-4, CAMERAS, path_stride=8),
        Stage("motion", 2200, 2, 16, 4e-4, MOTION, path_stride=30, warm_up=100),
        Stage("settle", 700, 2, 16, 3e-4, SETTLE, path_stride=24, warm_up=30),
        Stage("settle longer", 420, 2, 16, 2e-4, SETTLE, path_stride=24, warm_up=10),
        Stage("clips of four", 3000, 4, 8, 3e-4, CLIPS, path_stride=10, warm_up=50),
        Stage("clips of eight", 800, 8, 4, 3e-4, CLIPS, path_stride=8, warm_up=50),
        Stage("clips of twelve", 370, 12, 3, 3e-4, CLIPS, path_stride=6, warm_up=50),
        Stage("steps of twelve", 450, 12, 3, 3e-4, STEPS, 6, path_stride=6, warm_up=50),
        Stage("clips of sixteen", 2000, 16, 12, 5e-4, LONGER, 8, path_stride=6, warm_up=30),
        Stage("open rooms", 600, 4, 48, 6e-4, ROOMS, path_stride=16, warm_up=20),
        Stage("keep eight", 650, 8, 24, 5e-4, KEEPING, 8, path_stride=12, warm_up=10, singles=48),
        Stage("wide sixteen", 600, 16, 12, 5e-4, WIDE, 8, path_stride=10, warm_up=10, singles=48),
        Stage("slow sixteen", 270, 16, 12, 4e-4, SLOW, 8, path_stride=3, warm_up=5, singles=48),
        Stage("rays of eight", 332, 8, 24, 6e-4, RAYS, 8, path_stride=6, warm_up=10, singles=48),
        Stage(
            "rays of sixteen", 1248, 16, 12, 5e-4, SHIFT, 8, path_stride=3, warm_up=10, singles=48
        ),
        Stage("many rooms", 1300, 16, 12, 5e-4, MANY, 8, path_stride=3, warm_up=20, singles=48),
        Stage(
            "many rooms again", 1400, 16, 12, 5e-4, MANY, 8, path_stride=3, warm_up=20, singles=48
        ),
        Stage("far ways", 1150, 16, 12, 5e-4, MANY, 8, path_stride=16, warm_up=40, singles=48),
        Stage("near again", 190, 16, 12, 4e-4, MANY, 8, path_stride=3, warm_up=5, singles=48),
        Stage(
            "read-outs",
            100,
            16,
            12,
            1e-3,
            MANY,
            8,
            path_stride=3,
            warm_up=5,
            singles=48,
            learns="read-outs",
        ),
        Stage("near rooms", 900, 16, 12, 5e-4, MANY, 8, path_stride=3, warm_up=60, singles=48),
    )
    weight_decay: float = 0.02
    muon_rate: float = 2.5
    """Learning rate of the blocks' matrices (Muon), as a multiple of the stage's."""
    clip_gradient: float = 1.0
    average_decay: float = 0.995
    """Of the exponential moving average whose weights are shipped."""
    clips_per_page: int = 96
    page_uses: int = 3
    """Steps that each clip serves."""
    single_uses: int = 2
    """Steps that each single image serves."""
    validate_every: int = 500
    validation_rooms: int = 32
    checkpoint_every: int = 250
    seed: int = 0
    """Of the first weights; the clips' seeds follow from stage and step."""


def recipe_from(path: Path) -> Recipe:
    """Read a recipe from YAML or JSON; a key that is not a field is an error that names the known
    ones. JSON is for machines without yaml.
    """
    try:
        if path.suffix == ".json":
            given = json.loads(path.read_text(encoding="utf-8"))
        else:
            from ttt3r_viewer.system.yaml_file import read_yaml

            given = read_yaml(path)
    except (SettingsError, OSError, ValueError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise SettingsError(f"{path}: not a readable {kind} file ({error})") from error
    values = _known(Recipe, given, path)
    if "stages" in values:
        values["stages"] = tuple(Stage(**_known(Stage, stage, path)) for stage in values["stages"])
    return Recipe(**values)


def _known(kind: type, given: Any, path: Path) -> dict[str, Any]:
    names = [one.name for one in fields(kind)]
    if not isinstance(given, dict):
        raise SettingsError(
            f"{path}: a {type(given).__name__}; {kind.__name__} takes fields by name"
        )
    if unknown := sorted(set(given) - set(names)):
        raise SettingsError(f"{path}: {unknown}: {kind.__name__} takes {', '.join(names)}")
    return dict(given)
