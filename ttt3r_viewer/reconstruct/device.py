"""The device: copies to the host, a stream per thread, and what is done when memory runs out."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt3r_viewer.errors import ReconstructionError

log = logging.getLogger(__name__)
Made = TypeVar("Made")
_lock = threading.Lock()
"""Guards `_streams`."""
_streams: dict[torch.device, torch.cuda.Stream] = {}
"""The second stream of each CUDA device, for whatever thread encodes: a stream of each thread would
hold on to memory of its own for ever."""
_mps = threading.RLock()
"""Held by the thread that computes on Apple's device: torch does not serve two there at once."""


def as_numpy(values: Tensor | None) -> NDArray[np.float32]:
    """As float32 on the host."""
    assert values is not None
    return values.float().cpu().numpy()


def all_as_numpy(*values: Tensor | None) -> tuple[NDArray[np.float32], ...]:
    """As float32 on the host; from CUDA at once through pinned memory, and waited for once."""
    device = next((one.device for one in values if one is not None and one.is_cuda), None)
    if device is None:
        return tuple(map(as_numpy, values))
    copies = []
    for one in values:
        assert one is not None
        pinned = torch.empty(one.shape, dtype=torch.float32, pin_memory=True)
        copies.append(pinned.copy_(one.float(), non_blocking=True))
    torch.cuda.current_stream(device).synchronize()
    # A copy of the pinned memory, which is scarce, and which the scene would hold on to.
    return tuple(copy.numpy().copy() for copy in copies)


def on_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to the device; to CUDA through pinned memory, without waiting for it."""
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def second_stream(device: torch.device) -> Iterator[None]:
    """Run what is inside beside what other threads compute, on CUDA; elsewhere as `alone`.

    It is done when the block ends: any thread may read the results.
    """
    if device.type != "cuda":
        with alone(device):
            yield
        return
    with _lock:
        stream = _streams.get(device) or _streams.setdefault(device, torch.cuda.Stream(device))
    with torch.cuda.stream(stream):
        yield
        stream.synchronize()


@contextmanager
def alone(device: torch.device) -> Iterator[None]:
    """Let no other thread compute on Apple's device meanwhile; elsewhere nothing changes."""
    if device.type != "mps":
        yield
        return
    with _mps:
        yield
        torch.mps.synchronize()


class LowMemoryError(ReconstructionError):
    """Memory ran out, and the text says what to lower."""


class AdaptiveBatch:
    """Number of images encoded at once: `most`, and half of that each time memory runs out.

    Several threads may use it: memory that one of them gives up serves all.
    """

    def __init__(self, device: torch.device, most: int) -> None:
        self._device, self._most = device, most
        self.batch = most
        """The number now, at least one."""

    @property
    def note(self) -> str:
        """The reduced number, where memory has run out; empty otherwise."""
        return "" if self.batch == self._most else f"prefetch reduced to {self.batch} (low memory)"

    def restart(self) -> None:
        """Try the whole number again: other rules may take less."""
        self.batch = self._most

    def sparing(self, work: Callable[[int], Made]) -> Made:
        """Run `work`, which is given how many images to encode, again with half while it fails.

        Raises `LowMemoryError` where one image is too much.
        """
        while True:
            batch = self.batch
            try:
                return work(batch)
            except LowMemoryError:
                if batch == 1:
                    raise
            # After the handler, whose traceback would hold on to the tensors.
            self.batch = min(self.batch, batch // 2)
            log.warning("out of memory: encoding %d images at once from now on", self.batch)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            elif self._device.type == "mps":
                torch.mps.empty_cache()
