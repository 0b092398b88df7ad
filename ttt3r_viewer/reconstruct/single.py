"""One reconstruction under one rule: `Lanes` of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.types import Frame, FrameResult


class Session:
    """Pictures in, numpy out, under one rule.

    `size` is the long side in pixels that pictures are prepared to (default: the network's own).
    `reset_every` n > 0 puts the state back to its start after every n-th frame, and chains the
    poses.
    """

    def __init__(
        self,
        network: ReconstructionNetwork,
        rule: UpdateRule,
        *,
        size: int | None = None,
        reset_every: int = 0,
    ) -> None:
        self._lanes = Lanes(network, (rule,), size=size, reset_every=reset_every)

    def restart(self) -> None:
        """Forget everything that was seen."""
        self._lanes.restart()

    def process(self, image: NDArray[np.uint8] | Frame) -> FrameResult:
        """Take the next picture, (height, width, 3) uint8 RGB of any size, or a `Frame`.

        Raises `FrameError` where the picture cannot be prepared or the network's numbers for it are
        not finite (the state is as before; behind three such in a row as at the start),
        `ReconstructionError` where memory runs out or no number was ever finite, and `RuleError`
        where the rule fails.
        """
        return self._lanes.process(image)[0]
