"""What is kept of a run so that any frame of it can be taken again, within a stated budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.reconstruct.loop import Moment
from ttt3r_viewer.rules.rule import UpdateRule

MOMENT_BYTES = 512 * 2**20
"""Budget for states, on the device that the network runs on."""
PICTURE_BYTES = 512 * 2**20
"""Budget for prepared pictures, on the host."""
LATEST = 16
"""So many latest moments are all kept; older ones every so many frames."""


@dataclass(frozen=True, eq=False)
class KeptFrame:
    """What a frame is taken again with, beside the moment before it."""

    picture: NDArray[np.uint8]
    """(height, width, 3) prepared."""
    rules: tuple[UpdateRule, ...]
    """Those that were in force."""
    reset_every: int


class Recall:
    """The moments before frames, and their pictures.

    Moments are kept as they are, so keeping one costs no computation. Where the budget is reached,
    every second of the older ones goes; of the pictures the oldest go, and frames before them can
    no longer be taken again.
    """

    def __init__(
        self, moment_bytes: int = MOMENT_BYTES, picture_bytes: int = PICTURE_BYTES
    ) -> None:
        self._moment_bytes, self._picture_bytes = moment_bytes, picture_bytes
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._moments: dict[int, Moment] = {}
        self._frames: dict[int, KeptFrame] = {}
        self._stride = 1
        self._bytes = 0
        """Of all pictures."""

    @property
    def moments(self) -> tuple[int, ...]:
        """Frames before which the moment is kept, rising."""
        return tuple(self._moments)

    @property
    def moment_bytes(self) -> int:
        """What the kept moments' states take."""
        return sum(map(state_bytes, self._moments.values()))

    @property
    def picture_bytes(self) -> int:
        """What the kept pictures take."""
        return self._bytes

    def add(self, moment: Moment, frame: KeptFrame) -> None:
        """Keep the moment before a frame, and the frame."""
        number = moment.frames
        self._moments[number] = moment
        self._frames[number] = frame
        self._bytes += frame.picture.nbytes
        while self._bytes > self._picture_bytes and len(self._frames) > 1:
            oldest = next(iter(self._frames))
            self._bytes -= self._frames.pop(oldest).picture.nbytes
            self._moments.pop(oldest, None)
        leaving = number - LATEST
        if leaving % self._stride:
            self._moments.pop(leaving, None)
        while len(self._moments) * state_bytes(moment) > self._moment_bytes and self._thin(number):
            pass

    def _thin(self, newest: int) -> bool:
        """Let every second of the older moments go; whether there were any."""
        old = [number for number in self._moments if number <= newest - LATEST]
        if len(old) < 2:
            return False
        self._stride *= 2
        for number in old:
            if number % self._stride:
                del self._moments[number]
        return True

    def way_to(self, number: int) -> tuple[Moment, list[KeptFrame]]:
        """The nearest kept moment at or before frame `number`, and the frames from it to that one.

        Raises `ReconstructionError` where the frame was not seen, or is too old.
        """
        if number not in self._frames:
            kept = f"those from {next(iter(self._frames))} on" if self._frames else "none"
            raise ReconstructionError(
                f"frame {number} cannot be looked into: of the frames of this run {kept} are kept"
            )
        starts = [start for start in self._moments if start <= number]
        if not starts:
            raise ReconstructionError(
                f"frame {number} cannot be looked into: no state before it is kept any more; "
                f"frame {next(iter(self._moments))} and later ones can"
            )
        start = max(starts)
        return self._moments[start], [self._frames[k] for k in range(start, number + 1)]


def state_bytes(moment: Moment) -> int:
    """What a moment's tensors take, all lanes together, without the rules' own."""
    tensors = (moment.state.tokens, moment.state.memory)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
