"""From the name of weights to a network that is ready to run."""

import os
from pathlib import Path

import torch

from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.system.machine import is_out_of_memory
from ttt3r_viewer.system.options import DeviceName, DtypeName
from ttt3r_viewer.weights.fetch import locate
from ttt3r_viewer.weights.weights_file import load_into, meta_network, read_weights, why_no_queries

_BFLOAT16_FLAGS = frozenset(("amx_bf16", "avx512_bf16"))


def choose_device(name: DeviceName) -> torch.device:
    """`auto` takes CUDA, else Apple's GPU, else the CPU; one that is asked for must be there."""
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cuda", *(f"cuda:{card}" for card in range(cards))] if cards else []
    there += ["mps", "cpu"] if torch.backends.mps.is_available() else ["cpu"]
    if name == "auto":
        return torch.device(there[0])
    if name not in there:
        raise ReconstructionError(
            f"device {name}: torch {torch.__version__} finds none here (there is: "
            f"{', '.join(there)}); take --device auto"
        )
    return torch.device(name)


def cpu_multiplies_bfloat16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has AMX or AVX512-BF16, as Linux tells it; False where nothing tells.

    Other CPUs compute bfloat16 too, but more slowly than float32.
    """
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return not _BFLOAT16_FLAGS.isdisjoint(flags)


def cuda_multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the card has instructions for it; those before Ampere emulate it, slowly."""
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def choose_dtype(name: DtypeName, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on GPUs and CPUs that multiply it, and float32 elsewhere."""
    if name == "auto":
        if device.type == "cuda":
            fast = cuda_multiplies_bfloat16(device)
        else:
            fast = device.type == "cpu" and cpu_multiplies_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def share_cpu(network: ReconstructionNetwork) -> None:
    """Let a small network on the CPU use one thread, so that encoding ahead has another core.

    Its products are too small to gain from more, and on a busy machine the threads wait for each
    other. Larger networks, and a number that the user set (`OMP_NUM_THREADS`), stay as they are.
    """
    if network.device.type == "cpu" and network.is_small and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def load_network(
    weights: str | Path = "miniature",
    *,
    device: DeviceName = "auto",
    dtype: DtypeName = "auto",
) -> ReconstructionNetwork:
    """Load weights by path or known name (`miniature`, `cut3r-512`, `cut3r-224`), ready to run.

    float32 is computed as such: TF32 is switched off for the whole process on CUDA.

    Raises `WeightsError` where the file is missing, damaged, or of another network, and
    `ReconstructionError` where the device is not there or has too little memory.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda":  # float32 is float32: no TF32, whose products have 10 bits
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    path = locate(str(weights))
    checkpoint = read_weights(path)
    network = meta_network(checkpoint.config()).keep_in(choose_dtype(dtype, chosen))
    load_into(network, checkpoint.tensors, str(path))
    network.cannot_query = why_no_queries(checkpoint.metadata)
    try:
        network = network.to(chosen).for_inference()
        if chosen.type == "cuda":
            torch.cuda.synchronize(chosen)  # whatever stream reads the weights, they are there
        return network
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ReconstructionError(
            f"{chosen}: too little memory for the weights; free some, or take --device cpu"
        ) from error
