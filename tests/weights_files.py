"""Small networks, files of weights around any pickle, and what training needs of torch."""

import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from ttt3r_viewer.model.config import ModelConfig

needs_muon = pytest.mark.skipif(
    not hasattr(torch.optim, "Muon"), reason="torch before 2.9 cannot train the miniature"
)
"""Besides, workers now and then stand still at their end under torch 2.6 (gloo)."""
LINEAR = ModelConfig(
    image_size=(32, 48), patch_size=16, encoder_width=32, encoder_depth=1, encoder_heads=2,
    decoder_width=16, decoder_depth=1, decoder_heads=1, state_heads=2, state_size=6, memory_size=4,
    head="linear", memory_depth=1, ray_map_depth=1, ray_map_heads=2,
)  # fmt: skip
"""A network that is made and saved in no time."""


def zipped(
    path: Path,
    members: Iterable[tuple[str, bytes | str]],
    *,
    kind: int = zipfile.ZIP_STORED,
    mode: int = 0,
) -> Path:
    """A zip of these members, even of two of one name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with zipfile.ZipFile(path, "w", kind) as file:
            for name, content in members:
                info = zipfile.ZipInfo(name)
                info.compress_type, info.external_attr = kind, mode << 16
                file.writestr(info, content)
    return path


class Trap:
    """Pickles as a call of `function` with `arguments`, with state and items behind it."""

    def __init__(self, function: Any, *arguments: Any, extra: tuple[Any, ...] = ()) -> None:
        self.parts = (function, arguments, *extra)

    def __reduce__(self) -> Any:
        return self.parts

    def __call__(self) -> None:
        """Never called: pickle wants something callable where a trap stands for a function."""
