"""The loop for several rules at once: one network, one stream of images, a state for each rule.

Network + rules + states: images in, numpy out. No threads; page, batch runs and scripts share it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt3r_viewer.errors import FrameError, ReconstructionError, RuleError
from ttt3r_viewer.frames.live import LiveSource
from ttt3r_viewer.frames.preprocess import prepare_image
from ttt3r_viewer.geometry import focal_from_points
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct import device, loop, prefetch
from ttt3r_viewer.reconstruct.compiled import CompiledNetwork
from ttt3r_viewer.reconstruct.history import FrameHistory, StepSettings, recorded_settings
from ttt3r_viewer.reconstruct.messages import Adjustment, SetParameter, SetResetEvery, SetRules
from ttt3r_viewer.reconstruct.prefetch import OnDemand, Prefetcher, PreparedFrame
from ttt3r_viewer.reconstruct.queries import ask, inspect
from ttt3r_viewer.reconstruct.state_dict import check_fits, pack, unpack
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.rules import registry
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.system.machine import is_out_of_memory
from ttt3r_viewer.types import (
    Camera,
    Expectation,
    Frame,
    FrameResult,
    Inspection,
    SkippedFrame,
    Status,
)

_text_of = lru_cache(registry.text_of)


class Lanes:
    """One to four reconstructions of the same images, each under a rule of its own.

    The encoder runs once for all, the decoder once with the lanes as its batch; what a lane gives
    is what it would give alone, to rounding. `size` is the long side in pixels that images are
    prepared to (default: the network's own). `reset_every` n > 0 resets every state after n frames,
    and chains the poses. `history` keeps what frames are replayed from (default: in memory).
    `compiled` proposes in place of the network where it is given.
    """

    def __init__(
        self,
        network: ReconstructionNetwork,
        rules: Sequence[UpdateRule],
        *,
        size: int | None = None,
        reset_every: int = 0,
        history: FrameHistory | None = None,
        compiled: CompiledNetwork | None = None,
    ) -> None:
        self.network = network
        self.compiled = compiled
        self.size = size or network.config.long_side
        self.reset_every = _checked_interval(reset_every)
        self.rules = _checked_count(tuple(rules))
        self._history = history or FrameHistory()
        self._batch = prefetch.BATCH if network.gains_from_batches else 1
        self._adaptive = device.AdaptiveBatch(network.device, self._batch)
        self.restart()

    @torch.inference_mode()
    def restart(self) -> None:
        """Forget every frame; rules and parameters stay as they are now."""
        self._state = loop.initial_state(self.network, self.rules)
        self._history.clear()
        self._adaptive.restart()

    def describe(self, status: Status) -> Status:
        """Return `status` updated with active rules, available rules, and device."""
        return replace(
            status,
            rule=", ".join(map(str, self.rules)),
            lanes=tuple(map(registry.describe, self.rules)),
            known_rules=registry.catalogue(),
            reset_every=self.reset_every,
            state_columns=self.network.config.state_columns,
            metric=self.network.config.metric,
            device=self.device_text,
            cannot_ask=self.network.cannot_query,
        )

    @property
    def device_text(self) -> str:
        """Device and dtype of the network, whether it is compiled, and how far it spares memory."""
        note = self.compiled.note if self.compiled is not None else ""
        parts = (f"{self.network.device} {self._dtype}", note, self._adaptive.note)
        return ", ".join(filter(None, parts))

    @property
    def _dtype(self) -> str:
        return str(self.network.dtype).removeprefix("torch.")

    def adjust(self, message: Adjustment) -> None:
        """Change a parameter or the reset interval from the next frame on, or restart with other
        rules.

        Raises `RuleError` or `ReconstructionError`; everything is then as before.
        """
        match message:
            case SetParameter(lane, name, value):
                self._check_lane(lane, RuleError)
                changed = registry.with_parameter(self.rules[lane], name, value)
                self.rules = (*self.rules[:lane], changed, *self.rules[lane + 1 :])
            case SetResetEvery(frames):
                self.reset_every = _checked_interval(frames)
            case SetRules(texts):
                rules = _checked_count(tuple(map(registry.rule_from_text, texts)))
                with torch.inference_mode():
                    loop.initial_state(self.network, rules)  # may fail: then nothing has changed
                self.rules = rules
                self.restart()
            case _:
                assert_never(message)

    def process(self, image: NDArray[np.uint8] | Frame) -> tuple[FrameResult, ...]:
        """Process the next image, (height, width, 3) uint8 RGB, or a `Frame`; a result per lane.

        Raises what `step` and `prepare` raise; after the latter the states are as before.
        """
        if not isinstance(image, Frame):
            number = self._state.frames
            image = Frame(number, float(number), f"frame {number}", image)
        (encoded,) = self.encode([self.prepare(image)])
        return self.step(encoded)

    def prefetch(self, source: Iterable[Frame | SkippedFrame]) -> Prefetcher | OnDemand:
        """Iterate over a source, its frames ready before `step` needs them; of a live one, then."""
        if isinstance(source, LiveSource):
            return prefetch.on_demand(source.watch(), self.prepare, self.encode)
        begun = self._state.frames > 0
        return Prefetcher(source, self.prepare, self.encode, self._batch, begun)

    def ends_batch(self, taken: int) -> bool:
        """Whether a run resumed after `taken` items has the batches of one that was not cut."""
        return prefetch.ends_batch(taken, self._batch)

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs: tensors on the host, and plain values.

        Raises `ReconstructionError` where a rule's running value cannot be written.
        """
        tensors, state = pack(self._state, self.rules)
        return tensors, {
            "rules": list(map(registry.text_of, self.rules)),
            "reset_every": self.reset_every,
            "size": self.size,
            "dtype": self._dtype,
            "moment": state,
        }

    @torch.inference_mode()
    def restore(
        self, tensors: Mapping[str, Tensor], saved: Mapping[str, Any], recording: Recording
    ) -> None:
        """Resume from what `saved` gave; earlier frames are replayed from the `recording`.

        Raises `ReconstructionError` where size, dtype or network differ, and what `remember`
        raises; everything is then as before.
        """
        for name, now in (("size", self.size), ("dtype", self._dtype)):
            if saved[name] != now:
                raise ReconstructionError(
                    f"the recording was made with {name} {saved[name]}, and this is {now}: "
                    f"give --{name} {saved[name]}"
                )
        rules = _checked_count(tuple(map(registry.rule_from_text, saved["rules"])))
        state = unpack(tensors, saved["moment"], rules, self.network.device)
        check_fits(state.state, self.network.initial_state(len(rules)))
        self.remember(recording, range(state.frames))
        self.rules, self.reset_every, self._state = rules, saved["reset_every"], state

    @torch.inference_mode()
    def remember(self, recording: Recording, sequences: Sequence[int]) -> None:
        """Let recorded frames be inspected under their recorded rules, which become these lanes'.

        The history's recording has their images. Raises as `recorded_settings` does.
        """
        settings = recorded_settings(recording, sequences)
        first, last = settings[sequences[0]], settings[sequences[-1]]
        self.rules, self.reset_every = last.rules, last.reset_every
        self._history.remember(loop.initial_state(self.network, first.rules), settings)

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Bring an image to the network's grid. Raises `FrameError`."""
        started = time.perf_counter()
        image, crop = prepare_image(frame.image, self.size, self.network.config.patch_size)
        return PreparedFrame(
            index=frame.index,
            time_sec=frame.time_sec,
            name=frame.name,
            image=image,
            crop=crop,
            seconds=time.perf_counter() - started,
        )

    def encode(self, frames: Sequence[PreparedFrame]) -> list[PreparedFrame]:
        """Encode images of one shape at once, once for all lanes, fewer where memory runs out;
        nothing is remembered, so any thread may do it.

        Raises `ReconstructionError` where it runs out for one.
        """
        encoded: list[PreparedFrame] = []
        while rest := frames[len(encoded) :]:
            encoded += self._adaptive.sparing(partial(self._encode_at_once, rest))
        return encoded

    def _encode_at_once(self, frames: Sequence[PreparedFrame], batch: int) -> list[PreparedFrame]:
        frames = frames[:batch]
        started = time.perf_counter()
        images = [frame.image for frame in frames]
        encode = None if self.compiled is None else self.compiled.encode
        beside = device.second_stream(self.network.device)
        with torch.inference_mode(), self._memory_errors_named(images[0]), beside:
            tokens = loop.encode(self.network, images, encode)
        share = (time.perf_counter() - started) / len(frames)
        return [
            replace(frame, tokens=own, seconds=frame.seconds + share)
            for frame, own in zip(frames, tokens, strict=True)
        ]

    def step(self, frame: PreparedFrame) -> tuple[FrameResult, ...]:
        """Make the recurrent step with the next encoded frame; one result per lane.

        Raises `FrameError` where the network's numbers for it are not finite: it is skipped, and
        the states are as before or, after three in a row, reset. Raises `ReconstructionError` where
        memory runs out, or where no number was ever finite, and `RuleError` where a rule fails.
        """
        started = time.perf_counter()
        before = self._state
        try:
            result = self._adaptive.sparing(lambda _: self._step(frame))
        except FrameError as error:
            with torch.inference_mode():
                self._state = loop.skip_frame(self.network, self.rules, before)
            kept = "its state is kept as it was before"
            if self._state.segment > before.segment:
                kept = f"number {loop.MOST_BAD} in a row, so the state is reset"
            raise FrameError(f"{error}; {kept}") from error
        gain, state_change, points_camera, confidence = result.maps
        assert points_camera is not None
        assert confidence is not None
        settings = StepSettings(self.rules, self.reset_every, before.segment)
        self._history.add(before, frame.image, settings)
        self._state = result.next
        poses, (height, width) = result.next.T_world_latest, frame.image.shape[:2]
        compute_sec = frame.seconds + time.perf_counter() - started
        return tuple(
            FrameResult(
                sequence=before.frames,
                index=frame.index,
                time_sec=frame.time_sec,
                name=frame.name,
                image=frame.image,
                crop=frame.crop,
                points_camera=points_camera[lane],
                confidence=confidence[lane],
                camera=Camera(poses[lane], focal_from_points(points_camera[lane]), width, height),
                gain=gain[lane],
                segment=before.segment,
                compute_sec=compute_sec,
                state_change=float(state_change[lane]),
                rule=str(rule),
                rule_text=_text_of(rule),
                reset_every=self.reset_every,
            )
            for lane, rule in enumerate(self.rules)
        )

    def _step(self, frame: PreparedFrame) -> loop.StepResult:
        """Compute the step; the state stays."""
        assert frame.tokens is not None, "the frame is not encoded"
        propose = None if self.compiled is None else self.compiled.propose
        with self._computing(frame.image):
            return loop.step(
                self.network,
                self.rules,
                self.reset_every,
                self._state,
                frame.tokens,
                propose=propose,
            )

    def inspect(
        self, lane: int, sequence: int, on_progress: Callable[[int, int], object] | None = None
    ) -> Inspection:
        """Replay frame `sequence` to see what lane `lane` did in its step.

        `on_progress` is given how many of how many frames are done. Raises `ReconstructionError`
        where the frame is no longer kept, or memory runs out.
        """
        self._check_lane(lane, ReconstructionError)
        self._history.path_to(sequence)
        with self._computing(self._history.image(sequence)):
            return inspect(self.network, self._history, lane, sequence, on_progress=on_progress)

    def ask(self, T_world_camera: NDArray[np.float64], fov_y_rad: float) -> tuple[Expectation, ...]:
        """Return what every lane's state, as it is now, expects a camera to see.

        The image has the size of the latest frame's. Raises `ReconstructionError` where the weights
        cannot be asked, no frame was processed yet, or memory runs out.
        """
        if self.network.cannot_query:
            raise ReconstructionError(self.network.cannot_query)
        if not self._state.frames:
            raise ReconstructionError("no frame was taken yet, so there is no state to ask")
        latest = self._history.image(self._state.frames - 1)
        with self._computing(latest):
            return ask(self.network, self._state, T_world_camera, fov_y_rad, latest.shape[:2])

    def _check_lane(self, lane: int, error: type[RuleError | ReconstructionError]) -> None:
        if not 0 <= lane < len(self.rules):
            raise error(f"lane {lane + 1}: there are {len(self.rules)}")

    @contextmanager
    def _computing(self, prepared: NDArray[np.uint8]) -> Iterator[None]:
        """Compute with a prepared image, without gradients. Raises `LowMemoryError`."""
        alone = device.alone(self.network.device)
        with torch.inference_mode(), self._memory_errors_named(prepared), alone:
            yield

    @contextmanager
    def _memory_errors_named(self, prepared: NDArray[np.uint8]) -> Iterator[None]:
        """Turn every way in which torch runs out of memory into one error that says what to lower.

        Raises `LowMemoryError`.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            fewer = "take fewer lanes, " if len(self.rules) > 1 else ""
            raise device.LowMemoryError(
                f"out of memory on {self.network.device} at {prepared.shape[1]}x"
                f"{prepared.shape[0]} pixels: lower --size (now {self.size}), {fewer}or take "
                "--device cpu"
            ) from error


def _checked_interval(reset_every: int) -> int:
    if reset_every < 0:
        raise ReconstructionError(f"a reset every {reset_every} frames: take 0 for never, or more")
    return reset_every


def _checked_count(rules: tuple[UpdateRule, ...]) -> tuple[UpdateRule, ...]:
    if not 1 <= len(rules) <= registry.MOST_LANES:
        raise RuleError(f"{len(rules)} lanes: take 1 to {registry.MOST_LANES}")
    return rules


class Session:
    """Images in, numpy out, under one rule: `Lanes` of one, with its `size` and `reset_every`."""

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
        """Forget every frame."""
        self._lanes.restart()

    def process(self, image: NDArray[np.uint8] | Frame) -> FrameResult:
        """Process the next image, (height, width, 3) uint8 RGB of any size, or a `Frame`.

        Raises as `Lanes.process` does.
        """
        return self._lanes.process(image)[0]
