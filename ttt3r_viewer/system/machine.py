"""The machine's own part: names, and the most memory that was held."""

import platform
import re
import sys
from pathlib import Path

import torch

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory; CPU, MPS and cuBLAS say so only in a RuntimeError's text."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def name_of(device: torch.device) -> str:
    """What people call the processor or GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    if info.exists() and (
        model := re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
    ):
        return model[1]
    return platform.processor() or platform.machine()


def host_peak_bytes() -> int | None:
    """The most memory that this process held; None where the system does not report it.

    On Linux the kernel's own mark (VmHWM) rather than getrusage's, which a process takes over from
    the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        mark = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        if mark:
            return int(mark[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource  # Windows has none

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def device_peak_bytes(device: torch.device) -> int | None:
    """The most that torch's tensors held on the GPU; None for a CPU, and where no mark is kept."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
