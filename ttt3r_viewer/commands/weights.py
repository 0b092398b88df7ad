"""`ttt3r-view weights info | convert | fetch`. Torch is imported only by what needs it."""

from __future__ import annotations

from collections import Counter
from dataclasses import MISSING, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.system.options import Options, option
from ttt3r_viewer.weights.fetch import LICENCE_NOTE, RELEASES, http_download, locate
from ttt3r_viewer.weights.fetch import fetch as fetch_release

if TYPE_CHECKING:
    from torch import Tensor

    from ttt3r_viewer.model.config import ModelConfig

FileDtype = Literal["float32", "bfloat16", "float16"]
MINIATURE_NOTE = (
    "the miniature: trained on procedural rooms only, it shows how the program works; real footage "
    "wants the released weights (`ttt3r-view weights fetch cut3r-512`)"
)


@dataclass(frozen=True, kw_only=True)
class FileOptions(Options):
    """Which weights."""

    file: str = option(
        MISSING,
        f"a weights file, or miniature, {', '.join(RELEASES)}",
        metavar="FILE",
        positional=True,
    )


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(Options):
    """What is written."""

    out: Path = option(MISSING, "where", metavar="OUT.safetensors", positional=True)
    dtype: FileDtype | None = option(None, "what to keep numbers in (default: as in FILE)")
    overwrite: bool = option(False, "replace an existing OUT")


@dataclass(frozen=True, kw_only=True)
class FetchOptions(Options):
    """Which weights, and where they come from."""

    name: str = option(
        MISSING,
        " or ".join(RELEASES),
        metavar="NAME",
        choices=tuple(RELEASES),
        positional=True,
    )
    url: str | None = option(None, "a mirror that has the released file (http or https)")


def info(path: Path) -> str:
    """What a weights file holds, as lines: network, sizes, numbers, licence.

    Errors: `WeightsError` where the file cannot be used, by its names, shapes or values.
    """
    from ttt3r_viewer.weights.config_text import config_to_text
    from ttt3r_viewer.weights.weights_file import (
        CONFIG_KEY,
        check_finite,
        count_parameters,
        read_weights,
    )

    checkpoint = read_weights(path)
    config = checkpoint.config()
    check_finite(checkpoint.tensors, str(path))
    dtypes = Counter(
        str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.tensors.values()
    )
    lines = [
        f"file        {path} ({checkpoint.kind}, {path.stat().st_size:,} bytes)",
        f"network     {_network_name(config)}",
        f"parameters  {count_parameters(config):,} in {len(checkpoint.tensors):,} names",
        f"numbers     {', '.join(dtypes)}; all finite",
        f"config      {config_to_text(config)}",
        f"licence     {' '.join(_licence(config, checkpoint.metadata).split())[:_LONGEST]}",
    ]
    lines += [
        f"metadata    {key!r}: {value[:200]!r}"
        for key, value in sorted(checkpoint.metadata.items())
        if key not in (CONFIG_KEY, _LICENCE_KEY)
    ]
    if _network_name(config) == "miniature":
        lines.append(f"note        {MINIATURE_NOTE}")
    return "\n".join(lines)


def convert(
    src: Path, dst: Path, dtype: FileDtype | None = None, *, overwrite: bool = False
) -> None:
    """Write `src` as safetensors that carry their config, in `dtype` or as they are.

    Errors: `WeightsError` where `src` cannot be used, or has values too large for `dtype`;
    `OutputError` where `dst` exists, is no .safetensors, or cannot be written.
    """
    import torch

    from ttt3r_viewer.weights.weights_file import (
        CONFIG_KEY,
        check_finite,
        read_weights,
        save_weights,
    )

    if dst.suffix != ".safetensors":
        raise OutputError(
            f"{dst} does not end in .safetensors, which is what is written: name it so"
        )
    if dst.exists() and not overwrite:
        raise OutputError(f"{dst} exists: give another name, or --overwrite")
    checkpoint = read_weights(src)
    config = checkpoint.config()
    check_finite(checkpoint.tensors, str(src))
    tensors: dict[str, Tensor] = checkpoint.tensors
    if dtype is not None:
        wanted = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        tensors = {name: tensor.to(wanted[dtype]) for name, tensor in tensors.items()}
        check_finite(tensors, f"as {dtype}, the weights of {src}")
    remarks = {key: value for key, value in checkpoint.metadata.items() if key != CONFIG_KEY}
    save_weights(dst, tensors, config, {_LICENCE_KEY: _licence(config, remarks), **remarks})


def fetch(name: str, echo: Echo, url: str | None = None) -> Path:
    """Bring released weights into the cache folder, with a progress bar; the file's path.

    Errors: those of `model.fetch.fetch`.
    """
    if url is None:
        return fetch_release(name, echo=echo)
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(name, total=None)

        def advance(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        downloader = partial(http_download, progress=advance)
        return fetch_release(name, echo=echo, downloader=downloader, url=url)


_LICENCE_KEY = "licence"
_LONGEST = 1000


def _network_name(config: ModelConfig) -> str:
    from ttt3r_viewer.model.config import PRESETS

    names = [name for name, preset in PRESETS.items() if preset == config]
    return names[0] if names else "of its own sizes"


def _licence(config: ModelConfig, metadata: dict[str, str]) -> str:
    """What the file says of itself, or what is known of the released weights."""
    if _LICENCE_KEY in metadata:
        return metadata[_LICENCE_KEY]
    return LICENCE_NOTE if _network_name(config) in RELEASES else "the file does not say"


def _info(given: Given, echo: Echo, _warn: Echo) -> int:
    echo(info(locate(given[FileOptions].file)))
    return 0


def _convert(given: Given, echo: Echo, _warn: Echo) -> int:
    chosen = given[ConvertOptions]
    path = locate(given[FileOptions].file)
    convert(path, chosen.out, chosen.dtype, overwrite=chosen.overwrite)
    echo(f"wrote {chosen.out} ({chosen.out.stat().st_size:,} bytes)")
    return 0


def _fetch(given: Given, echo: Echo, _warn: Echo) -> int:
    chosen = given[FetchOptions]
    echo(f"ready: {fetch(chosen.name, echo, chosen.url)}")
    return 0


COMMAND = Command(
    "Look at, convert or fetch a network's weights.",
    parts={
        "info": Command("Print what a weights file holds.", (FileOptions,), _info),
        "convert": Command(
            "Write weights as safetensors.", (FileOptions, ConvertOptions), _convert
        ),
        "fetch": Command(
            f"Bring released weights into the cache folder. {LICENCE_NOTE}",
            (FetchOptions,),
            _fetch,
        ),
    },
)
