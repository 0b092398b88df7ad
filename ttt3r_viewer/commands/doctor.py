"""`ttt3r-view doctor`: what is here, what will be slow or not work, and what to do about it."""

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ttt3r_viewer.commands.parser import Command, Echo, Given
from ttt3r_viewer.errors import ViewerError, ViewerServerError, WeightsError
from ttt3r_viewer.settings import PageOptions
from ttt3r_viewer.system.options import Options, option_like
from ttt3r_viewer.system.terminal import labelled, line_width
from ttt3r_viewer.system.version import __version__

DISTRIBUTION = "ttt3r-viewer"
LITTLE_DISK_BYTES = 2 * 10**9
LITTLE_MEMORY_BYTES = 4 * 10**9
BROWSER = (
    "for smooth point clouds the browser should draw with the graphics card: chrome://gpu or "
    "about:support must not say 'software' beside WebGL; without one take --max-points 100000"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    text: str
    advice: str = ""
    """What to do; empty where all is well."""
    fatal: bool = False
    """The program cannot run like this."""


@dataclass(frozen=True)
class AddressOptions(Options):
    """Where the page would be served."""

    host: str = option_like(PageOptions, "host", help_text="address to try")
    port: int = option_like(PageOptions, "port", help_text="port to try")


def execute(given: Given, echo: Echo, _warn: Echo) -> int:
    """Look at everything; one line per finding, its advice below."""
    fatal, page, width = False, given[AddressOptions], line_width()
    for finding in findings(page.host, page.port):
        mark = "!!" if finding.fatal else "! " if finding.advice else "  "
        found = labelled(f"{mark} {finding.topic}", finding.text, 15, width)
        advice = labelled("", f"-> {finding.advice}", 15, width) if finding.advice else ()
        echo("\n".join((*found, *advice)))
        fatal = fatal or finding.fatal
    return 1 if fatal else 0


def findings(host: str, port: int) -> Iterator[Finding]:
    """Look at one thing after another."""
    yield Finding("program", f"ttt3r-viewer {__version__}, from {Path(__file__).parents[2]}")
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield from map(package_finding, required_packages())
    yield from torch_findings()
    yield from weights_findings()
    yield from disk_findings()
    yield from memory_findings()
    yield port_finding(host, port)
    yield Finding("browser", BROWSER)


def required_packages() -> list[tuple[str, str]]:
    """The distributions that the program needs, without extras, and their allowed versions."""
    required = importlib.metadata.requires(DISTRIBUTION) or []
    plain = (line for line in required if "extra ==" not in line)
    matches = (re.match(r"([A-Za-z0-9._-]+)\s*(.*)", line) for line in plain)
    return [(match[1], match[2]) for match in matches if match]


def package_finding(package: tuple[str, str]) -> Finding:
    """Whether a package is there, in a version that is allowed."""
    name, allowed = package
    advice = f'pip install "{name}{allowed}"'
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", advice, fatal=True)
    if not version_fits(version, allowed):
        return Finding(name, f"{version}, tested with {allowed}", advice)
    return Finding(name, version)


def version_fits(version: str, allowed: str) -> bool:
    """Whether `1.2.3` fits `<1.3,>=1.2`; only these two kinds of bounds are in our own list."""
    bounds = re.findall(r"(>=|<) *([0-9.]+)", allowed)
    own = _numbers(version)
    return all((own >= _numbers(bound)) == (sign == ">=") for sign, bound in bounds)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without zeros at the end."""
    match = re.match(r"[0-9.]+", version)
    numbers = [int(part) for part in (match[0] if match else "").split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def torch_findings() -> Iterator[Finding]:
    """The device that `auto` takes, its number formats, and other devices."""
    try:
        torch = importlib.import_module("torch")
        load = importlib.import_module("ttt3r_viewer.weights.load")
    except (ImportError, OSError) as error:
        what = f"torch cannot be imported ({type(error).__name__}: {error})"
        yield Finding("device", what, "install torch again, see README", fatal=True)
        return
    device = load.choose_device("auto")
    dtype = str(load.choose_dtype("auto", device)).removeprefix("torch.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{device.type}, computing in {dtype}; {cores} CPU cores"
    advice = ""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        text = f"cuda ({name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free), {dtype}"
        if free < LITTLE_MEMORY_BYTES:
            advice = "close what uses it, or take --device cpu"
    elif device.type == "mps":
        advice = "Apple's GPU: not tried by the authors of this program"
    else:
        text += (
            ": fine for the miniature; the released weights take seconds per frame without a GPU"
        )
        if shutil.which("nvidia-smi") is not None:
            advice = (
                f"an NVIDIA driver is here, but torch {torch.__version__} does not use it: "
                "install a CUDA build of torch (README)"
            )
    yield Finding("device", text, advice)


def weights_findings() -> Iterator[Finding]:
    """Which weights can be named."""
    from ttt3r_viewer.weights.fetch import MINIATURE, RELEASES, locate, weights_folder

    for name in (MINIATURE, *RELEASES):
        try:
            path = locate(name)
        except WeightsError:
            yield Finding("weights", f"{name}: not fetched (ttt3r-view weights fetch {name})")
        except ViewerError as error:
            yield Finding("weights", str(error), "install the program again", fatal=True)
        else:
            yield Finding("weights", f"{name}: {path} ({path.stat().st_size / 1e6:,.1f} MB)")
    yield Finding("cache", f"fetched weights go to {weights_folder()}")


def disk_findings() -> Iterator[Finding]:
    """Where frames in full go beside the page."""
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free in {folder}, where frames go for the time of a run"
    few = "set TMPDIR to a larger disk, or --archive-gb 0" if free < LITTLE_DISK_BYTES else ""
    yield Finding("disk", text, few)


def memory_findings(memory_info: Path = Path("/proc/meminfo")) -> Iterator[Finding]:
    """Free memory, where Linux shows it."""
    text = memory_info.read_text() if memory_info.exists() else ""
    match = re.search(r"MemAvailable:\s+(\d+) kB", text)
    if match is not None:
        free = int(match[1]) * 1024
        few = "close other programs: the released weights take 3 GB"
        advice = few if free < LITTLE_MEMORY_BYTES else ""
        yield Finding("memory", f"{free / 1e9:.1f} GB free", advice)


def port_finding(host: str, port: int) -> Finding:
    """Whether the page could be served where it would be."""
    from ttt3r_viewer.viewer.server.address import free_port

    try:
        found = free_port(host, port)
    except ViewerServerError as error:
        return Finding("page", f"cannot be served at {host}:{port}", str(error), fatal=True)
    if port and found != port:
        return Finding("page", f"port {port} of {host} is busy: {found} would be taken instead")
    return Finding("page", f"can be served at {host}:{found}")


COMMAND = Command(
    "Say what this machine has (versions, device, number formats, ports, weights, disk), and what "
    "to do about what is missing. The exit code is 1 where something keeps it from running.",
    (AddressOptions,),
    execute,
)
