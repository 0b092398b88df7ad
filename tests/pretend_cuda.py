"""A CUDA device that is played on the CPU, for builds of torch without CUDA.

Its tensors say that they are on `cuda:0` and hold a tensor of the CPU, so that every number is the
CPU's. It refuses what a GPU refuses or punishes later: tensors of two devices in one call; a stream
that reads what another has not finished; memory that is freed while another stream may read it;
pinned memory read before the copy into it was waited for (it holds NaN until then). It counts how
often the host waits for the device, and copies from or to memory that is not pinned.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

CARD, META = torch.device("cuda", 0), torch.device("meta")
Network = TypeVar("Network", bound=torch.nn.Module)
aten = torch.ops.aten
WAITS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default}
"""What makes the host wait for its result."""


class PretendError(AssertionError):
    """A GPU would have refused this, or given wrong numbers."""


class PretendStream:
    """Calls that the device works off in their order."""

    def __init__(self, card: "PretendCuda", name: str = "another") -> None:
        self.card, self.name = card, name
        self.calls = 0
        self.finished = 0
        """Calls that the host has waited for."""
        self.after: dict[PretendStream, int] = {}
        """Calls of other streams that this one waits for."""
        self.copies: list[tuple[Tensor, Tensor]] = []
        """Into pinned memory, which are not there yet."""

    def synchronize(self) -> None:
        """Let the host wait for all calls so far."""
        self.card.waits += 1
        self.finish()

    def finish(self) -> None:
        """Count all calls so far as done."""
        self.finished = self.calls
        for target, source in self.copies:
            target.copy_(source)
        self.copies.clear()

    def wait_stream(self, other: "PretendStream") -> None:
        """Begin later calls after the other stream's calls so far."""
        self.after[other] = other.calls

    def has_seen(self, other: "PretendStream", call: int) -> bool:
        """Whether a call of another stream is over before this stream's next one."""
        return other is self or call <= max(other.finished, self.after.get(other, 0))


@dataclass(eq=False)
class Memory:
    """A piece of the device's memory: who wrote it last, and who has read it."""

    stream: PretendStream
    call: int
    readers: dict[PretendStream, int] = field(default_factory=dict)

    def __del__(self) -> None:
        for reader, call in self.readers.items():
            if not self.stream.has_seen(reader, call):
                self.stream.card.freed_early += 1


class PretendTensor(Tensor):
    """A tensor on the pretended card."""

    held: Tensor
    memory: Memory
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore
    device = property(lambda _: CARD)  # pyright: ignore[reportAssignmentType]
    is_cuda = property(lambda _: True)  # pyright: ignore[reportAssignmentType]

    @staticmethod
    def __new__(cls, held: Tensor, memory: Memory) -> "PretendTensor":
        # On "meta", because torch without CUDA refuses to index a tensor on a card.
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=META
        )
        tensor.held, tensor.memory = held, memory
        return tensor

    @classmethod
    def __torch_dispatch__(cls, call: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return PretendCuda.here.run(call, args, kwargs or {})


class Mode(TorchDispatchMode):
    """Sends calls to the card that have no tensor of it yet, in one thread."""

    def __torch_dispatch__(self, call: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return PretendCuda.here.run(call, args, kwargs or {})


class PretendCuda:
    """The card, and what `torch.cuda` says while it is there."""

    here: "PretendCuda"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.waits = 0
        """Times that the host waited for the device."""
        self.unpinned = 0
        """Copies from or to memory that is not pinned."""
        self.launches = 0
        """Calls that gave or changed a tensor on the card, views left out."""
        self.freed_early = 0
        self.streams: list[PretendStream] = []
        self.usual = self.new_stream("the usual one")
        self.pinned: dict[int, Tensor] = {}
        """By address; kept, so that no address is given out twice."""
        self.local = threading.local()

    def new_stream(self, name: str = "another") -> PretendStream:
        """Make a stream."""
        self.streams.append(PretendStream(self, name))
        return self.streams[-1]

    def current_stream(self, _device: Any = None) -> PretendStream:
        """Return the calling thread's stream."""
        return getattr(self.local, "stream", self.usual)

    @contextmanager
    def stream(self, stream: PretendStream) -> Iterator[None]:
        """Take a stream as the calling thread's own."""
        before, self.local.stream = self.current_stream(), stream
        try:
            yield
        finally:
            self.local.stream = before

    def synchronize(self, _device: Any = None) -> None:
        """Wait for all streams."""
        self.waits += 1
        for stream in self.streams:
            stream.finish()

    def put(self, tensor: Tensor) -> PretendTensor:
        """Put a tensor of the host on the card, on the usual stream."""
        self.usual.calls += 1
        return PretendTensor(tensor.detach().clone(), Memory(self.usual, self.usual.calls))

    def pin(self, tensor: Tensor) -> Tensor:
        """Copy a tensor of the host into pinned memory."""
        with self.lock:
            copy = tensor.clone()
            self.pinned[copy.data_ptr()] = copy
            return copy

    def run(self, call: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute on the CPU what the device would, or what the host does."""
        with self.lock:
            return self._run(call, args, kwargs)

    def _run(self, call: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        ours = [one for one in given if isinstance(one, PretendTensor)]
        stream, target = self.current_stream(), kwargs.pop("device", None)
        pins = kwargs.pop("pin_memory", False)
        copies = call is aten.copy_.default
        waits = not (kwargs.get("non_blocking") or (copies and args[2:] == (True,)))
        self._check(call, given, ours, stream)
        plain_args, plain = tree_map_only(PretendTensor, lambda one: one.held, (args, kwargs))
        if target is not None:
            plain["device"] = torch.device("cpu")
        if copies and ours and not isinstance(args[0], PretendTensor):
            return self._copy_to_host(args[0], ours[0], stream, waits=waits)
        result = call(*plain_args, **plain)
        on_card = bool(ours) if target is None else torch.device(target).type == "cuda"
        if not on_card:
            if ours:
                self._wait(stream)
                result = tree_map_only(Tensor, torch.clone, result)
                self.unpinned += call is not aten._local_scalar_dense.default
            return tree_map_only(Tensor, self.pin, result) if pins else result
        if target is not None and given and not ours:
            (source,) = given
            pinned = source.data_ptr() in self.pinned
            self.unpinned += not pinned
            if not pinned or waits:
                self._wait(stream)
        if call in WAITS:
            self._wait(stream)
        return self._wrap(call, ours, result, stream)

    def _check(
        self, call: Any, given: list[Tensor], ours: list[PretendTensor], stream: PretendStream
    ) -> None:
        mixed = [one for one in given if not isinstance(one, PretendTensor) and one.dim()]
        if ours and mixed and call is not aten.copy_.default:
            raise PretendError(f"{call}: tensors of the host and of the card in one call")
        for one in ours:
            if not stream.has_seen(one.memory.stream, one.memory.call):
                raise PretendError(
                    f"{call} on {stream.name} stream reads what {one.memory.stream.name} may not "
                    "have written yet"
                )

    def _wait(self, stream: PretendStream) -> None:
        self.waits += 1
        stream.finish()

    def _copy_to_host(
        self, target: Tensor, source: PretendTensor, stream: PretendStream, *, waits: bool
    ) -> Tensor:
        stream.calls += 1
        source.memory.readers[stream] = stream.calls
        if target.data_ptr() not in self.pinned:
            self.unpinned += 1
            waits = True
        if waits:
            self._wait(stream)
            return target.copy_(source.held)
        target.fill_(float("nan") if target.is_floating_point() else 77)
        stream.copies.append((target, source.held.clone()))
        return target

    def _wrap(
        self, call: Any, ours: list[PretendTensor], result: Any, stream: PretendStream
    ) -> Any:
        stream.calls += 1
        by_address = {one.held.untyped_storage().data_ptr(): one.memory for one in ours}
        changed = {id(one.held): one for one in ours} if call._schema.is_mutable else {}
        for one in ours:
            one.memory.readers[stream] = stream.calls
        fresh = False

        def wrapped(one: Tensor) -> Tensor:
            nonlocal fresh
            same = changed.get(id(one))
            memory = by_address.get(one.untyped_storage().data_ptr())
            if memory is None or same is not None:
                fresh = True
            if same is not None:  # changed in place
                same.memory.stream, same.memory.call = stream, stream.calls
                return same
            return PretendTensor(one, memory or Memory(stream, stream.calls))

        found = tree_map_only(Tensor, wrapped, result)
        self.launches += fresh
        return found


@torch.inference_mode()
def to_card(module: Network) -> Network:
    """Put a module's parameters on the card, and wait until they are there."""
    card, shared = PretendCuda.here, dict[int, torch.nn.Parameter]()
    for part in module.modules():
        for name, one in part._parameters.items():
            if one is not None and not isinstance(one, PretendTensor):
                if id(one) not in shared:
                    shared[id(one)] = torch.nn.Parameter(card.put(one.data), requires_grad=False)
                part._parameters[name] = shared[id(one)]
    torch.cuda.synchronize()
    return module


@contextmanager
def pretend_cuda() -> Iterator[PretendCuda]:
    """Have the card while the block runs, in every thread that it starts."""
    card = PretendCuda.here = PretendCuda()
    plain_run: Callable[[threading.Thread], None] = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        with Mode():
            plain_run(thread)

    with pytest.MonkeyPatch.context() as patch, Mode():
        patch.setattr(threading.Thread, "run", run)
        patch.setattr(Tensor, "pin_memory", lambda one: card.pin(one))
        for name, what in {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "is_bf16_supported": lambda **_: True,
            "current_stream": card.current_stream,
            "Stream": lambda _device=None: card.new_stream(),
            "stream": card.stream,
            "synchronize": card.synchronize,
            "empty_cache": lambda: None,
        }.items():
            patch.setattr(torch.cuda, name, what)
        yield card
