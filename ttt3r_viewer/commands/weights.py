"""`ttt3r-view weights info | convert | fetch`. Torch is imported only by what needs it."""

from collections import Counter
from dataclasses import MISSING, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ttt3r_viewer.commands.page import MINIATURE_NOTICE
from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.system.options import Options, option
from ttt3r_viewer.system.terminal import labelled, line_width
from ttt3r_viewer.weights.fetch import LICENCE_NOTE, MINIATURE, RELEASES, http_download, locate
from ttt3r_viewer.weights.fetch import fetch as fetch_release

if TYPE_CHECKING:
    from ttt3r_viewer.model.config import ModelConfig

KNOWN = (MINIATURE, *RELEASES)
LICENCE_KEY = "licence"
LONGEST_LICENCE = 1000
FileDtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class FileOptions(Options):
    """Which weights."""

    file: str = option(MISSING, f"a file, or {', '.join(KNOWN)}", metavar="FILE", positional=True)


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(FileOptions):
    """What is written of which weights."""

    out: Path = option(MISSING, "the new file", metavar="OUT.safetensors", positional=True)
    dtype: FileDtype | None = option(None, "what to keep numbers in (default: as in FILE)")
    overwrite: bool = option(False, "replace an existing OUT")


@dataclass(frozen=True, kw_only=True)
class FetchOptions(Options):
    """Which weights, and where they come from."""

    name: str = option(MISSING, "the release", choices=tuple(RELEASES), positional=True)
    url: str | None = option(None, "a mirror that has the released file (http or https)")


def info(given: Given, echo: Echo, _warn: Echo) -> int:
    """Print what a weights file holds: network, sizes, numbers, licence.

    Raises `WeightsError` where the file cannot be used, by its names, shapes or values.
    """
    from ttt3r_viewer.model.config import config_to_text
    from ttt3r_viewer.weights import weights_file

    path = locate(given[FileOptions].file)
    weights = weights_file.read_weights(path)
    config, metadata = weights.config(), weights.metadata
    weights_file.check_finite(weights.tensors, str(path))
    dtypes = Counter(str(one.dtype).removeprefix("torch.") for one in weights.tensors.values())
    count = weights_file.count_parameters(config)
    rows = [
        ("file", f"{path} ({weights.kind}, {path.stat().st_size:,} bytes)"),
        ("network", _network_name(config)),
        ("parameters", f"{count:,} in {len(weights.tensors):,} names"),
        ("numbers", f"{', '.join(dtypes)}; all finite"),
        ("config", config_to_text(config)),
        ("licence", " ".join(_licence(config, metadata).split())[:LONGEST_LICENCE]),
    ]
    rows += [
        ("metadata", f"{key!r}: {value[:200]!r}")
        for key, value in sorted(metadata.items())
        if key not in (weights_file.CONFIG_KEY, LICENCE_KEY)
    ]
    if _network_name(config) == MINIATURE:
        rows.append(("note", MINIATURE_NOTICE))
    for label, text in rows:
        echo("\n".join(labelled(label, text, 12, line_width())))
    return 0


def convert(given: Given, echo: Echo, _warn: Echo) -> int:
    """Write weights as safetensors that carry their config, in another dtype or as they are.

    Raises `WeightsError` where the weights cannot be used, or have values too large for the dtype;
    `OutputError` where the new file exists, is no .safetensors, or cannot be written.
    """
    import torch

    from ttt3r_viewer.weights import weights_file

    options = given[ConvertOptions]
    path, out, dtype = locate(options.file), options.out, options.dtype
    if out.suffix != ".safetensors":
        raise OutputError(
            f"{out} does not end in .safetensors, which is what is written: name it so"
        )
    if out.exists() and not options.overwrite:
        raise OutputError(f"{out} exists: give another name, or --overwrite")
    weights = weights_file.read_weights(path)
    config, tensors = weights.config(), weights.tensors
    weights_file.check_finite(tensors, str(path))
    if dtype is not None:
        tensors = {name: one.to(getattr(torch, dtype)) for name, one in tensors.items()}
        weights_file.check_finite(tensors, f"as {dtype}, the weights of {path}")
    kept = {key: text for key, text in weights.metadata.items() if key != weights_file.CONFIG_KEY}
    weights_file.save_weights(out, tensors, config, {LICENCE_KEY: _licence(config, kept), **kept})
    echo(f"wrote {out} ({out.stat().st_size:,} bytes)")
    return 0


def fetch(given: Given, echo: Echo, _warn: Echo) -> int:
    """Bring released weights into the cache folder, from a mirror with a progress bar.

    Raises what `weights.fetch.fetch` raises.
    """
    options = given[FetchOptions]
    if options.url is None:
        echo(f"ready: {fetch_release(options.name, echo=echo)}")
        return 0
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(options.name, total=None)

        def advance(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        download = partial(http_download, progress=advance)
        path = fetch_release(options.name, echo=echo, downloader=download, url=options.url)
    echo(f"ready: {path}")
    return 0


def _network_name(config: "ModelConfig") -> str:
    from ttt3r_viewer.model.config import PRESETS

    names = [name for name, preset in PRESETS.items() if preset == config]
    return names[0] if names else "of its own sizes"


def _licence(config: "ModelConfig", metadata: dict[str, str]) -> str:
    """What the file says of itself, or what is known of the released weights."""
    if LICENCE_KEY in metadata:
        return metadata[LICENCE_KEY]
    return LICENCE_NOTE if _network_name(config) in RELEASES else "the file does not say"


COMMAND = Command(
    "Look at, convert or fetch a network's weights.",
    parts={
        "info": Command("Print what a weights file holds.", (FileOptions,), info),
        "convert": Command("Write weights as safetensors.", (ConvertOptions,), convert),
        "fetch": Command(
            f"Bring released weights into the cache folder. {LICENCE_NOTE}",
            (FetchOptions,),
            fetch,
        ),
    },
)
