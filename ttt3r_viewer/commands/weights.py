"""`ttt3r-view weights info | convert | fetch`. Torch is imported only by what needs it."""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ttt3r_viewer.commands.parser import Echo, Parser
from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.weights.fetch import LICENCE_NOTE, RELEASES, http_download, locate
from ttt3r_viewer.weights.fetch import fetch as fetch_release

if TYPE_CHECKING:
    from torch import Tensor

    from ttt3r_viewer.model.config import ModelConfig

DtypeName = Literal["float32", "bfloat16", "float16"]
DESCRIPTION = "Look at, convert or fetch a network's weights."
MINIATURE_NOTE = (
    "the miniature: trained on procedural rooms only, it shows how the program works; real footage "
    "wants the released weights (`ttt3r-view weights fetch cut3r-512`)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands; each sets `handler(arguments, say)` as a default."""
    commands = parser.add_subparsers(
        dest="weights_command", required=True, metavar="COMMAND", parser_class=Parser
    )
    file_help = f"a weights file, or miniature, {', '.join(RELEASES)}"

    info_parser = commands.add_parser("info", help="say what a weights file holds")
    info_parser.add_argument("file", metavar="FILE", help=file_help)
    info_parser.set_defaults(handler=_handle_info)

    convert_parser = commands.add_parser("convert", help="write weights as safetensors")
    convert_parser.add_argument("file", metavar="FILE", help=file_help)
    convert_parser.add_argument("out", metavar="OUT.safetensors", type=Path)
    convert_parser.add_argument(
        "--dtype", choices=get_args(DtypeName), help="what to keep numbers in (default: as in FILE)"
    )
    convert_parser.add_argument("--overwrite", action="store_true", help="replace an existing OUT")
    convert_parser.set_defaults(handler=_handle_convert)

    fetch_parser = commands.add_parser(
        "fetch", help="bring released weights into the cache folder", description=LICENCE_NOTE
    )
    fetch_parser.add_argument(
        "name", metavar="NAME", choices=tuple(RELEASES), help=" or ".join(RELEASES)
    )
    fetch_parser.add_argument("--url", help="a mirror that has the released file (http or https)")
    fetch_parser.set_defaults(handler=_handle_fetch)


def execute(given: argparse.Namespace, echo: Echo, _warn: Echo) -> int:
    """Do what the subcommand says. Raises `WeightsError` and `OutputError`."""
    given.handler(given, echo)
    return 0


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
    src: Path, dst: Path, dtype: DtypeName | None = None, *, overwrite: bool = False
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


def _handle_info(arguments: argparse.Namespace, echo: Echo) -> None:
    echo(info(locate(arguments.file)))


def _handle_convert(arguments: argparse.Namespace, echo: Echo) -> None:
    convert(locate(arguments.file), arguments.out, arguments.dtype, overwrite=arguments.overwrite)
    echo(f"wrote {arguments.out} ({arguments.out.stat().st_size:,} bytes)")


def _handle_fetch(arguments: argparse.Namespace, echo: Echo) -> None:
    echo(f"ready: {fetch(arguments.name, echo, arguments.url)}")
