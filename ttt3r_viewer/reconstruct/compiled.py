"""The network as compiled code: made in the background while the plain one runs."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Hashable, Set
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ttt3r_viewer.errors import in_a_line
from ttt3r_viewer.model.evidence import Watch
from ttt3r_viewer.model.heads import OutputKind
from ttt3r_viewer.model.layers import ImageTokens
from ttt3r_viewer.model.network import NO_EVIDENCE, SELF_VIEW, ReconstructionNetwork
from ttt3r_viewer.state import EvidenceKind, Proposal, TokenState
from ttt3r_viewer.system.machine import is_out_of_memory

if TYPE_CHECKING:
    from jaxtyping import Float

log = logging.getLogger(__name__)

Backend = str | Callable[..., Any]
"""Of `torch.compile`."""
CALLS_BEFORE = 2
"""Code is made for what is called so often: a single image of another shape is not worth it."""


@dataclass
class Code:
    """The code for one kind of call."""

    calls: int = 0
    making: bool = False
    ready: Callable[..., Any] | None = None
    failure: str = ""
    """Why there is none; the plain call serves this kind then."""


class CompiledNetwork:
    """`network.propose` and `network.encode`, faster once their code is there (`torch.compile`).

    Shapes are static: each kind of call (shapes, grid, evidence) has code of its own, without limit
    to their number. It is made in a thread when a kind comes again; until that is done, where it
    fails, for the first frame, and where each layer is watched, the plain call runs. Both give the
    same numbers to rounding, so that a run repeats exactly only without compiling.
    """

    THREAD = "compile"

    def __init__(self, network: ReconstructionNetwork, backend: Backend = "inductor") -> None:
        self._network = network
        self._backend = backend
        self._changed = threading.Condition()
        """Guards both fields below, and the codes in them."""
        self._codes: dict[Hashable, Code] = {}
        self._latest: dict[str, Code] = {}
        """What the latest call of the step and of the encoder ran."""

    @property
    def note(self) -> str:
        """Say for the status line how the latest frame was computed."""
        with self._changed:
            failures = [
                f"plain {of} ({one.failure})" for of, one in self._latest.items() if one.failure
            ]
            if failures:
                return ", ".join(failures)
            step = self._latest.get("step")
            return "compiled step" if step is not None and step.ready else "compiling the step"

    @property
    def failure(self) -> str:
        """Why code could not be made, or failed; empty where all is well."""
        with self._changed:
            return next((one.failure for one in self._codes.values() if one.failure), "")

    def wait(self) -> None:
        """Wait until nothing is being compiled."""
        with self._changed:
            self._changed.wait_for(lambda: not any(one.making for one in self._codes.values()))

    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> ImageTokens:
        """Encode images, as `ReconstructionNetwork.encode` has it."""
        return self._call("encoder", (images.shape,), self._network.encode, images)

    def propose(
        self,
        state: TokenState,
        image: ImageTokens,
        *,
        outputs: Set[OutputKind] = SELF_VIEW,
        evidence: Set[EvidenceKind] = NO_EVIDENCE,
        watch: Watch | None = None,
    ) -> Proposal:
        """Make one recurrent step, as `ReconstructionNetwork.propose` has it."""
        plain = self._network.propose
        if watch is not None or state.fresh or outputs != SELF_VIEW:
            return plain(state, image, outputs=outputs, evidence=evidence, watch=watch)
        tokens, wanted = image.tokens, frozenset(evidence)
        shapes = (state.tokens.shape, tokens.shape, image.rows, image.columns, tokens.dtype)
        return self._call("step", (*shapes, wanted), plain, state, image, evidence=wanted)

    def _call(
        self,
        name: str,
        kind: tuple[Hashable, ...],
        plain: Callable[..., Any],
        *given: Any,
        **named: Any,
    ) -> Any:
        with self._changed:
            code = self._latest[name] = self._codes.setdefault((name, *kind), Code())
            code.calls += 1
            ready, code.making = code.ready, code.making or code.calls == CALLS_BEFORE
            begin = code.calls == CALLS_BEFORE
        if begin:
            threading.Thread(
                target=self._make, args=(code, plain, given, named), name=self.THREAD, daemon=True
            ).start()
        if ready is None:
            return plain(*given, **named)
        try:
            return ready(*given, **named)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            log.warning("compiled code failed: the plain %s runs on", name, exc_info=True)
            self._finish(code, None, f"compiled code failed: {in_a_line(error, 120)}")
        return plain(*given, **named)

    def _make(
        self, code: Code, plain: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        """Make the code by a call of it, which changes nothing."""
        # The cached functions are pure, so that tracing through their caches changes nothing.
        warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_c")
        try:
            function = torch.compile(
                with_own_code(plain), backend=self._backend_here(), dynamic=False, fullgraph=True
            )
            with torch.inference_mode():
                function(*given, **named)
        except Exception as error:
            log.info("the network could not be compiled", exc_info=True)
            self._finish(code, None, f"compiling failed: {in_a_line(error, 120)}")
        else:
            self._finish(code, function, "")

    def _finish(self, code: Code, ready: Callable[..., Any] | None, failure: str) -> None:
        with self._changed:
            code.ready, code.failure, code.making = ready, failure, False
            self._changed.notify_all()

    def _backend_here(self) -> Callable[..., Any]:
        """Return the backend for this thread alone: a frame never waits for a compiler."""
        maker, thread = self._backend, threading.get_ident()
        compile_graph = torch._dynamo.lookup_backend(maker) if isinstance(maker, str) else maker

        def backend(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Any:
            if threading.get_ident() != thread:
                raise RuntimeError("the code does not fit this call, and is not made again")
            return compile_graph(graph, examples)

        return backend


def with_own_code(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a bound method with a code object of its own: torch keeps at most eight compiled
    versions for each code object.
    """
    function: Any = method.__func__  # pyright: ignore[reportFunctionMemberAccess]
    copy = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return MethodType(copy, method.__self__)  # pyright: ignore[reportFunctionMemberAccess]
