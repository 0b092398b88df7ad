"""The way between the host and a GPU: copies back, and a stream for work that runs beside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_own = threading.local()
"""Each thread's CUDA stream, once it has asked for one."""


def as_numpy(values: Tensor | None) -> NDArray[np.float32]:
    """As float32 on the host."""
    assert values is not None
    return values.float().cpu().numpy()


def all_as_numpy(*values: Tensor | None) -> tuple[NDArray[np.float32], ...]:
    """As float32 on the host; from CUDA at once through pinned memory, and waited for once."""
    if not any(one is not None and one.is_cuda for one in values):
        return tuple(map(as_numpy, values))
    copies = []
    for one in values:
        assert one is not None
        pinned = torch.empty(one.shape, dtype=torch.float32, pin_memory=True)
        copies.append(pinned.copy_(one.float(), non_blocking=True))
    torch.cuda.current_stream().synchronize()
    # A copy of the pinned memory, which is scarce, and which the scene would hold on to.
    return tuple(copy.numpy().copy() for copy in copies)


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Run what is inside on a CUDA stream of the calling thread's own, beside that of the others.

    It is done when the block ends, so that any thread may read the results. Elsewhere nothing
    changes.
    """
    if device.type != "cuda":
        yield
        return
    if not hasattr(_own, "stream"):
        _own.stream = torch.cuda.Stream(device)
    stream: torch.cuda.Stream = _own.stream
    with torch.cuda.stream(stream):
        yield
        stream.synchronize()
