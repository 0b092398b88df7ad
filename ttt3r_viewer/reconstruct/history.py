"""What is kept of a run so that any frame of it can be taken again, within a stated budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.reconstruct.loop import LoopState
from ttt3r_viewer.recording.reader import in_words
from ttt3r_viewer.rules.registry import rule_from_text
from ttt3r_viewer.rules.rule import UpdateRule


class StepSettings(NamedTuple):
    """How a frame was taken."""

    rules: tuple[UpdateRule, ...]
    """Those that were in force."""
    reset_every: int
    segment: int
    """Resets before it."""


class RecordedFrames(Protocol):
    """What is needed of an `Recording`."""

    @property
    def sequences(self) -> tuple[int, ...]:
        """The numbers of the frames that are there, rising."""
        ...

    def facts(self, sequence: int) -> Mapping[str, Any]:
        """Give a frame's plain values. Raises `RecordingError`."""
        ...


def recorded_rules(frames: RecordedFrames, sequences: Iterable[int]) -> dict[int, StepSettings]:
    """How each frame was taken.

    Raises `RecordingError` where a record cannot be read, `RuleError` where a rule is not to be had
    here, and `ReconstructionError` where a record does not say its rule exactly.
    """
    make = cache(rule_from_text)
    found = {}
    for sequence in sequences:
        lanes = frames.facts(sequence)["lanes"]
        texts = [lane.get("rule_text", "") for lane in lanes]
        if not all(texts):
            raise ReconstructionError(
                f"frame {sequence} cannot be taken again: its record does not say the exact "
                f"parameters of its rule ({lanes[0]['rule']}); run the input again"
            )
        rules = tuple(map(make, texts))
        found[sequence] = StepSettings(rules, lanes[0]["reset_every"], lanes[0]["segment"])
    return found


MOMENT_BYTES = 512 * 2**20
"""Budget for states, on the device that the network runs on."""
IMAGE_BYTES = 512 * 2**20
"""Budget for prepared pictures, on the host."""
MOMENT_BYTES_BESIDE_ARCHIVE = 128 * 2**20
IMAGE_BYTES_BESIDE_ARCHIVE = 2 * 2**20
"""The same where an archive has the older pictures: a run of any length then takes no more."""
MOST_MOMENTS = 64
"""However small they are: of 3,000 frames at most 32 are then taken again to look into one."""
LATEST = 16
"""So many latest moments are all kept; older ones every so many frames."""


class ImageArchive(Protocol):
    """Has prepared pictures by the number of their frame."""

    def __contains__(self, sequence: int) -> bool: ...

    def image(self, sequence: int) -> NDArray[np.uint8]:
        """Give a picture that is there. Raises a `ViewerError` where it cannot be read."""
        ...


@dataclass(frozen=True, eq=False)
class KeptFrame:
    """What a frame is taken again with, beside the moment before it."""

    image: NDArray[np.uint8]
    """(height, width, 3) prepared."""
    step_settings: StepSettings


class FrameHistory:
    """The moments before frames, and their pictures.

    Moments are kept as they are, so keeping one costs no computation. Where the budget is reached,
    every second of the older ones goes. Of the pictures the oldest leave the memory; those that are
    in the `archive` are read from there, and frames whose picture is nowhere can no longer be taken
    again.
    """

    def __init__(
        self,
        moment_bytes: int = MOMENT_BYTES,
        image_bytes: int = IMAGE_BYTES,
        archive: ImageArchive | None = None,
    ) -> None:
        self._moment_bytes, self._image_bytes = moment_bytes, image_bytes
        self._archive = archive
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._moments: dict[int, LoopState] = {}
        self._taken_by: dict[int, StepSettings] = {}
        """Of every frame that has a picture, here or in the archive."""
        self._pictures: dict[int, NDArray[np.uint8]] = {}
        self._stride = 1
        self._bytes = 0
        """Of all pictures that are kept here."""

    @property
    def moments(self) -> tuple[int, ...]:
        """Frames before which the moment is kept, rising."""
        return tuple(self._moments)

    @property
    def moment_bytes(self) -> int:
        """What the kept moments' states take."""
        return sum(map(state_bytes, self._moments.values()))

    @property
    def image_bytes(self) -> int:
        """What the kept pictures take."""
        return self._bytes

    def remember(self, initial_state: LoopState, step_settings: Mapping[int, StepSettings]) -> None:
        """Forget everything but frames of the archive, and the moment before the first of all."""
        self.clear()
        self._moments[initial_state.frames] = initial_state
        self._taken_by.update(step_settings)

    def offer(self, moment: LoopState) -> None:
        """Keep a moment that was found again on the way to a later one, if it fits the budget."""
        number = moment.frames
        if number % self._stride or number in self._moments:
            return
        self._moments = dict(sorted({**self._moments, number: moment}.items()))
        self._fit(max(self._taken_by, default=number), state_bytes(moment))

    def add(self, moment: LoopState, frame: KeptFrame) -> None:
        """Keep the moment before a frame, and the frame."""
        number = moment.frames
        self._moments[number] = moment
        before = next(reversed(self._taken_by.values()), frame.step_settings)
        self._taken_by[number] = before if before == frame.step_settings else frame.step_settings
        self._pictures[number] = frame.image
        self._bytes += frame.image.nbytes
        while self._bytes > self._image_bytes and len(self._pictures) > 1:
            oldest = next(iter(self._pictures))
            self._bytes -= self._pictures.pop(oldest).nbytes
            if self._archive is None or oldest not in self._archive:
                del self._taken_by[oldest]
                self._moments.pop(oldest, None)
        leaving = number - LATEST
        if leaving % self._stride:
            self._moments.pop(leaving, None)
        self._fit(number, state_bytes(moment))

    def _fit(self, newest: int, each_bytes: int) -> None:
        most = min(MOST_MOMENTS, self._moment_bytes // max(each_bytes, 1))
        while len(self._moments) > most and self._thin(newest):
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

    def way_to(self, number: int) -> tuple[LoopState, range]:
        """The nearest kept moment at or before frame `number`, and the frames from it to that one.

        Raises `ReconstructionError` where the frame was not seen, or is too old.
        """
        if number not in self._taken_by:
            raise ReconstructionError(
                f"frame {number} cannot be looked into: of the frames of this run {self._kept()} "
                "are kept"
            )
        starts = [start for start in self._moments if start <= number]
        if not starts:
            raise ReconstructionError(
                f"frame {number} cannot be looked into: no state before it is kept any more; "
                f"frame {next(iter(self._moments))} and later ones can"
            )
        way = range(max(starts), number + 1)
        gone = next((between for between in way if between not in self._taken_by), None)
        if gone is not None:
            raise ReconstructionError(
                f"frame {number} cannot be looked into: frame {gone}, which has to be taken again "
                f"before it, is gone; of the frames of this run {self._kept()} are kept"
            )
        return self._moments[way.start], way

    def frame(self, number: int) -> KeptFrame:
        """A frame of such a way, its picture read from the archive where it is not kept here.

        Raises a `ViewerError` where it cannot be read.
        """
        image = self._pictures.get(number)
        if image is None:
            assert self._archive is not None
            image = self._archive.image(number)
        return KeptFrame(image, self._taken_by[number])

    def _kept(self) -> str:
        numbers = tuple(self._taken_by)
        if not numbers:
            return "none"
        through = numbers[-1] - numbers[0] == len(numbers) - 1
        return f"those from {numbers[0]} on" if through else in_words(numbers)


def state_bytes(moment: LoopState) -> int:
    """What a moment's tensors take, all lanes together, without the rules' own."""
    tensors = (moment.state.tokens, moment.state.memory)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
