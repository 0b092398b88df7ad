"""The recurrent step as compiled code: made in the background while the plain one runs."""

import logging
import threading
import warnings
from collections.abc import Callable, Set
from typing import Any

import torch

from ttt3r_viewer.errors import in_a_line
from ttt3r_viewer.model.evidence import Watch
from ttt3r_viewer.model.layers import ImageTokens
from ttt3r_viewer.model.network import NO_EVIDENCE, ReconstructionNetwork
from ttt3r_viewer.state import EvidenceKind, Proposal, TokenState

log = logging.getLogger(__name__)

Backend = str | Callable[..., Any]
"""Of `torch.compile`."""
Step = Callable[..., Proposal]
Kind = tuple[torch.Size, torch.Size, torch.dtype, frozenset[EvidenceKind]]
"""What the code is made for: shapes of state and image tokens, and the evidence."""


class CompiledStep:
    """`network.propose`, faster once its code is there (`torch.compile`, static shapes).

    The first call for each shape and evidence begins to compile in a thread; until that is done,
    where it fails, for the first frame, and where each layer is watched, the plain step runs. Both
    give the same numbers to rounding, so that a run repeats exactly only without compiling.
    """

    THREAD = "compile"

    def __init__(self, network: ReconstructionNetwork, backend: Backend = "inductor") -> None:
        self._network = network
        self._backend = backend
        self._changed = threading.Condition()
        """Guards the three fields below."""
        self._ready: dict[Kind, Step | None] = {}
        """None while it is being made, and where it could not be."""
        self._compiling = 0
        self.failure = ""
        """Why code could not be made; empty where it could."""

    @property
    def note(self) -> str:
        """Say for the status line how steps are taken now."""
        with self._changed:
            if self.failure:
                return f"plain step ({self.failure})"
            return "compiling the step" if self._compiling or not self._ready else "compiled step"

    def wait(self) -> None:
        """Wait until nothing is being compiled."""
        with self._changed:
            self._changed.wait_for(lambda: not self._compiling)

    def __call__(
        self,
        state: TokenState,
        image: ImageTokens,
        *,
        evidence: Set[EvidenceKind] = NO_EVIDENCE,
        watch: Watch | None = None,
    ) -> Proposal:
        """One recurrent step, as `ReconstructionNetwork.propose` has it."""
        if watch is not None or state.fresh:
            return self._network.propose(state, image, evidence=evidence, watch=watch)
        wanted = frozenset(evidence)
        kind = (state.tokens.shape, image.tokens.shape, image.tokens.dtype, wanted)
        with self._changed:
            begin = kind not in self._ready
            if begin:
                self._ready[kind] = None
                self._compiling += 1
            step = self._ready[kind]
        if begin:
            threading.Thread(
                target=self._compile, args=(kind, state, image), name=self.THREAD, daemon=True
            ).start()
        return (step or self._network.propose)(state, image, evidence=wanted)

    def _compile(self, kind: Kind, state: TokenState, image: ImageTokens) -> None:
        """Make the code by taking a step with it; the inputs are not changed by that."""
        step, failure = None, ""
        # The cached functions are pure, so that tracing through their caches changes nothing.
        warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_c")
        try:
            compiled = torch.compile(
                self._network.propose, backend=self._backend, dynamic=False, fullgraph=True
            )
            with torch.inference_mode():
                compiled(state, image, evidence=kind[-1])
            step = compiled
        except Exception as error:
            log.info("the step could not be compiled", exc_info=True)
            failure = f"compiling failed: {in_a_line(error, 120)}"
        with self._changed:
            self._ready[kind] = step
            self._compiling -= 1
            self.failure = self.failure or failure
            self._changed.notify_all()
