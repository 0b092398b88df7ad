"""History of a run, from which any frame can be replayed, within a stated budget of memory."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.recording.reader import Recording, in_words
from ttt3r_viewer.rules.registry import rule_from_text
from ttt3r_viewer.rules.rule import UpdateRule

if TYPE_CHECKING:
    from ttt3r_viewer.reconstruct.loop import LoopState
    from ttt3r_viewer.recording.writer import RecordingWriter

BYTES = (512 * 2**20, 512 * 2**20)
"""Budgets for states, on the network's device, and for prepared images, on the host."""
BYTES_BESIDE_RECORDING = (128 * 2**20, 2 * 2**20)
"""The same where a recording has the older images: a run of any length then takes no more."""
MOST_STATES = 64
"""However small they are: of 3,000 frames at most 32 are then replayed to inspect one."""
LATEST = 16
"""Number of latest states that are all kept; of older ones every n-th is."""


class StepSettings(NamedTuple):
    """Settings of the step that a frame was processed with."""

    rules: tuple[UpdateRule, ...]
    reset_every: int
    segment: int
    """Resets before the frame."""


class FrameHistory:
    """States before frames, the frames' images, and the settings of their steps.

    States are kept as they are, so keeping one costs no computation. Where the budget is reached,
    every second of the older ones is dropped. The oldest images leave memory first; those in the
    `recording` are read from there, and frames whose image is nowhere can no longer be replayed.
    """

    def __init__(
        self,
        recording: "Recording | RecordingWriter | None" = None,
        *,
        state_bytes: int | None = None,
        image_bytes: int | None = None,
    ) -> None:
        states, images = BYTES if recording is None else BYTES_BESIDE_RECORDING
        self._most_state_bytes = states if state_bytes is None else state_bytes
        self._most_image_bytes = images if image_bytes is None else image_bytes
        self._recording = recording
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._states: dict[int, LoopState] = {}
        """By the number of the frame that follows, in increasing order."""
        self.settings: dict[int, StepSettings] = {}
        """Of every frame that can be replayed: it has an image, here or in the recording."""
        self._images: dict[int, NDArray[np.uint8]] = {}
        self._stride = 1
        self.image_bytes = 0
        """Size of the images in memory."""

    def remember(self, initial_state: "LoopState", settings: Mapping[int, StepSettings]) -> None:
        """Replace everything by frames of the recording and the state before the first of all."""
        self.clear()
        self._states[initial_state.frames] = initial_state
        self.settings.update(settings)

    def offer(self, state: "LoopState") -> None:
        """Keep a state that was computed again on the way to a later one, if the budget allows."""
        number = state.frames
        if number % self._stride or number in self._states:
            return
        self._states = dict(sorted({**self._states, number: state}.items()))
        self._fit(max(self.settings, default=number), bytes_of(state))

    def add(self, state: "LoopState", image: NDArray[np.uint8], settings: StepSettings) -> None:
        """Keep the state before a frame, its prepared image (height, width, 3) and its settings."""
        number = state.frames
        self._states[number] = state
        self.settings[number] = settings
        self._images[number] = image
        self.image_bytes += image.nbytes
        while self.image_bytes > self._most_image_bytes and len(self._images) > 1:
            oldest = next(iter(self._images))
            self.image_bytes -= self._images.pop(oldest).nbytes
            if self._recording is None or oldest not in self._recording:
                del self.settings[oldest]
                self._states.pop(oldest, None)
        leaving = number - LATEST
        if leaving % self._stride:
            self._states.pop(leaving, None)
        self._fit(number, bytes_of(state))

    def _fit(self, newest: int, each_bytes: int) -> None:
        """Drop every second of the older states while they are too many."""
        most = min(MOST_STATES, self._most_state_bytes // max(each_bytes, 1))
        while len(self._states) > most:
            old = [number for number in self._states if number <= newest - LATEST]
            if len(old) < 2:
                return
            self._stride *= 2
            for number in old:
                if number % self._stride:
                    del self._states[number]

    def path_to(self, number: int) -> tuple["LoopState", range]:
        """Give the nearest kept state at or before a frame, and the frames from it to that one.

        Raises `ReconstructionError` where the frame was not seen, or is too old.
        """
        refused = f"frame {number} cannot be looked into"
        if number not in self.settings:
            raise ReconstructionError(
                f"{refused}: of the frames of this run {self._kept()} are kept"
            )
        starts = [start for start in self._states if start <= number]
        if not starts:
            raise ReconstructionError(
                f"{refused}: no state before it is kept any more; frame {next(iter(self._states))} "
                "and later ones can"
            )
        path = range(max(starts), number + 1)
        gone = next((between for between in path if between not in self.settings), None)
        if gone is not None:
            raise ReconstructionError(
                f"{refused}: frame {gone}, which has to be replayed before it, is gone; of the "
                f"frames of this run {self._kept()} are kept"
            )
        return self._states[path.start], path

    def image(self, number: int) -> NDArray[np.uint8]:
        """Give the prepared image of a frame on such a path, from the recording if need be.

        Raises a `ViewerError` where it cannot be read.
        """
        image = self._images.get(number)
        if image is None:
            assert self._recording is not None
            image = self._recording.image(number)
        return image

    def _kept(self) -> str:
        numbers = tuple(self.settings)
        if not numbers:
            return "none"
        through = numbers[-1] - numbers[0] == len(numbers) - 1
        return f"those from {numbers[0]} on" if through else in_words(numbers)


def bytes_of(state: "LoopState") -> int:
    """Size of a state's tensors, all lanes together, without the rules' own."""
    return sum(one.numel() * one.element_size() for one in (state.state.tokens, state.state.memory))


def recorded_settings(recording: Recording, sequences: Iterable[int]) -> dict[int, StepSettings]:
    """Recover the rules and reset settings that produced each recorded frame.

    Raises `RecordingError` where a record cannot be read, `RuleError` where a rule is not available
    here, and `ReconstructionError` where a record does not say its rule exactly.
    """
    make = cache(rule_from_text)
    found = {}
    for sequence in sequences:
        lanes = recording.facts(sequence)["lanes"]
        texts = [lane.get("rule_text", "") for lane in lanes]
        if not all(texts):
            raise ReconstructionError(
                f"frame {sequence} cannot be replayed: its record does not say the exact "
                f"parameters of its rule ({lanes[0]['rule']}); run the input again"
            )
        rules = tuple(map(make, texts))
        found[sequence] = StepSettings(rules, lanes[0]["reset_every"], lanes[0]["segment"])
    return found
