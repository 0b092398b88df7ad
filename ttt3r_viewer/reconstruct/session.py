"""The loop for several rules at once: one network, one stream of pictures, a state for each rule.

Network + rules + states: pictures in, numpy out. No threads; view, run, tests and scripts share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
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
from ttt3r_viewer.model.compiled import CompiledStep
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.device import (
    AdaptiveBatch,
    all_as_numpy,
    memory_errors_named,
    own_stream,
)
from ttt3r_viewer.reconstruct.history import (
    FrameHistory,
    KeptFrame,
    RecordedFrames,
    StepSettings,
    recorded_rules,
)
from ttt3r_viewer.reconstruct.loop import (
    MOST_BAD,
    StepResult,
    encode,
    initial_state,
    skip_frame,
    take,
)
from ttt3r_viewer.reconstruct.messages import Adjustment, SetParameter, SetResetEvery, SetRules
from ttt3r_viewer.reconstruct.prefetch import (
    BATCH,
    EncodedFrame,
    OnDemand,
    Prefetcher,
    PreparedFrame,
    ends_batch,
)
from ttt3r_viewer.reconstruct.queries import ask, inspect
from ttt3r_viewer.reconstruct.state_dict import pack, unpack
from ttt3r_viewer.rules.registry import catalogue, describe, rule_from_text, text_of
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.types import (
    Camera,
    Expectation,
    Frame,
    FrameResult,
    Inspection,
    SkippedFrame,
    Status,
)
from ttt3r_viewer.weights.load import gains_from_batches

MOST_LANES = 4
_text_of = lru_cache(text_of)


class Lanes:
    """One to four reconstructions of the same pictures, each under a rule of its own.

    The encoder runs once for all, the decoder once with the lanes as its batch; what a lane gives
    is what it would give alone, to rounding. `size` is the long side in pixels that pictures are
    prepared to (default: the network's own). `reset_every` n > 0 puts every state back to its start
    after n frames, and chains the poses. `recall` keeps what frames are taken again with (default:
    in memory). `step` takes the recurrent steps where it is given, else the network itself.
    """

    def __init__(
        self,
        network: ReconstructionNetwork,
        rules: Sequence[UpdateRule],
        *,
        size: int | None = None,
        reset_every: int = 0,
        recall: FrameHistory | None = None,
        step: CompiledStep | None = None,
    ) -> None:
        self.network = network
        self._step = step
        self.size = size or network.config.long_side
        self.reset_every = _checked_interval(reset_every)
        self.rules = _checked_count(tuple(rules))
        self._recall = recall or FrameHistory()
        self._batch = BATCH if gains_from_batches(network) else 1
        self._thrift = AdaptiveBatch(network.device, self._batch)
        self.restart()

    @torch.inference_mode()
    def restart(self) -> None:
        """Forget everything that was seen; rules and parameters stay as they are now."""
        self._moment = initial_state(self.network, self.rules)
        self._recall.clear()
        self._thrift.restart()

    def describe(self, status: Status) -> Status:
        """The same status with these rules, what they could be, and the device."""
        return replace(
            status,
            rule=", ".join(map(str, self.rules)),
            lanes=tuple(map(describe, self.rules)),
            known_rules=catalogue(),
            reset_every=self.reset_every,
            state_columns=self.network.config.state_columns,
            device=self.device_text,
            cannot_ask=self.network.cannot_query,
        )

    @property
    def device_text(self) -> str:
        """Where and in what the network computes, whether by compiled code, and what it spares."""
        note = self._step.note if self._step is not None else ""
        said = filter(None, (f"{self.network.device} {self._dtype}", note, self._thrift.note))
        return ", ".join(said)

    @property
    def _dtype(self) -> str:
        return str(self.network.dtype).removeprefix("torch.")

    def adjust(self, command: Adjustment) -> None:
        """Change a parameter or the reset interval from the next frame on, or restart with other
        rules.

        Raises `RuleError` or `ReconstructionError`; everything is then as before.
        """
        match command:
            case SetParameter(lane, name, value):
                self._set_parameter(lane, name, value)
            case SetResetEvery(frames):
                self.reset_every = _checked_interval(frames)
            case SetRules(texts):
                rules = _checked_count(tuple(map(rule_from_text, texts)))
                with torch.inference_mode():
                    initial_state(self.network, rules)  # a rule may fail: then those of now stay
                self.rules = rules
                self.restart()
            case _:
                assert_never(command)

    def process(self, image: NDArray[np.uint8] | Frame) -> tuple[FrameResult, ...]:
        """Take the next picture, (height, width, 3) uint8 RGB of any size, or a `Frame`; one result
        per lane.

        Raises `FrameError` where the picture cannot be prepared (the states are as before), and
        what `take` raises.
        """
        frame = image if isinstance(image, Frame) else self._unnamed(image)
        (encoded,) = self.encode([self.prepare(frame)])
        return self.take(encoded)

    def prefetch(self, source: Iterable[Frame | SkippedFrame]) -> Prefetcher | OnDemand:
        """The frames of a source, decoded, prepared and encoded before `take` needs them; those of
        a live one only then.
        """
        if isinstance(source, LiveSource):
            return OnDemand(source.watch(), self.prepare, self.encode)
        begun = self._moment.frames > 0
        return Prefetcher(source, self.prepare, self.encode, self._batch, begun)

    def ends_batch(self, taken: int) -> bool:
        """Whether `prefetch` ends a batch with the `taken`-th item of a source: a run that is
        resumed behind it has the batches, and so the rounding, of one that was not cut.
        """
        return ends_batch(taken, self._batch)

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that `restore` needs: tensors on the host, and plain values.

        Raises `ReconstructionError` where a rule's running value cannot be written.
        """
        tensors, moment = pack(self._moment, self.rules)
        return tensors, {
            "rules": list(map(text_of, self.rules)),
            "reset_every": self.reset_every,
            "size": self.size,
            "dtype": self._dtype,
            "moment": moment,
        }

    @torch.inference_mode()
    def restore(
        self, tensors: Mapping[str, Tensor], session: Mapping[str, Any], frames: RecordedFrames
    ) -> None:
        """Go on from what `saved` gave; `frames` has the frames before, to look into them.

        Raises `ReconstructionError` where size, dtype or network are not those of then, and what
        `remember` raises; everything is then as before.
        """
        for name, now, mend in (("size", self.size, "--size"), ("dtype", self._dtype, "--dtype")):
            if session[name] != now:
                raise ReconstructionError(
                    f"the session was recorded with {name} {session[name]}, and this is {now}: "
                    f"give {mend} {session[name]}"
                )
        rules = _checked_count(tuple(map(rule_from_text, session["rules"])))
        moment = unpack(tensors, session["moment"], rules, self.network.device)
        fresh = self.network.initial_state(len(rules))
        for was, now in (
            (moment.state.tokens, fresh.tokens),
            (moment.state.memory, fresh.memory),
        ):
            if (was.shape, was.dtype) != (now.shape, now.dtype):
                raise ReconstructionError(
                    f"the session's state is {tuple(was.shape)} {was.dtype}, and this network's "
                    f"{tuple(now.shape)} {now.dtype}: give the weights that it was recorded with"
                )
        self.remember(frames, range(moment.frames))
        self.rules, self.reset_every, self._moment = rules, session["reset_every"], moment

    @torch.inference_mode()
    def remember(self, frames: RecordedFrames, sequences: Sequence[int]) -> None:
        """Let recorded frames be looked into, with the rules of then, which become these lanes'.

        Their pictures come from the recall's archive. Raises as `recorded_rules` does.
        """
        step_settings = recorded_rules(frames, sequences)
        first, last = step_settings[sequences[0]], step_settings[sequences[-1]]
        self.rules, self.reset_every = last.rules, last.reset_every
        self._recall.remember(initial_state(self.network, first.rules), step_settings)

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Bring a picture to the network's grid. Raises `FrameError`."""
        started = time.perf_counter()
        image = prepare_image(frame.image, self.size, self.network.config.patch_size)
        seconds = time.perf_counter() - started
        return PreparedFrame(frame.index, frame.time_sec, frame.name, image, seconds)

    def encode(self, frames: Sequence[PreparedFrame]) -> list[EncodedFrame]:
        """Encode pictures of one shape at once, once for all lanes, fewer where memory runs out;
        nothing is remembered, so any thread may do it.

        Raises `ReconstructionError` where it runs out for one.
        """
        encoded: list[EncodedFrame] = []
        while rest := frames[len(encoded) :]:
            encoded += self._thrift.sparing(partial(self._encode_at_once, rest))
        return encoded

    def _encode_at_once(self, frames: Sequence[PreparedFrame], batch: int) -> list[EncodedFrame]:
        frames = frames[:batch]
        started = time.perf_counter()
        images = [frame.image.image for frame in frames]
        telling, stream = self._memory_errors_named(images[0]), own_stream(self.network.device)
        with torch.inference_mode(), telling, stream:
            tokens = encode(self.network, images)
        share = (time.perf_counter() - started) / len(frames)
        return [
            EncodedFrame(frame, own, frame.seconds + share)
            for frame, own in zip(frames, tokens, strict=True)
        ]

    def take(self, encoded: EncodedFrame) -> tuple[FrameResult, ...]:
        """The recurrent part: take the next frame; one result per lane.

        Raises `FrameError` where the network's numbers for it are not finite: it is passed over,
        and the states are as before or, behind three in a row, at their start. Raises
        `ReconstructionError` where memory runs out, or where no number was ever finite, and
        `RuleError` where a rule fails.
        """
        started = time.perf_counter()
        frame, picture, before = encoded.prepared, encoded.prepared.image, self._moment
        try:
            maps, taken = self._thrift.sparing(lambda _: self._take(encoded))
        except FrameError as error:
            with torch.inference_mode():
                self._moment = skip_frame(self.network, self.rules, before)
            kept = "its state is kept as it was before"
            if self._moment.segment > before.segment:
                kept = f"number {MOST_BAD} in a row, so the state begins anew"
            raise FrameError(f"{error}; {kept}") from error
        points_camera, confidence, gain, state_change = maps
        step_settings = StepSettings(self.rules, self.reset_every, before.segment)
        self._recall.add(before, KeptFrame(picture.image, step_settings))
        self._moment = taken.next
        height, width = picture.image.shape[:2]
        cameras = [
            Camera(T_world_camera, focal_from_points(points), width, height)
            for T_world_camera, points in zip(taken.T_world_camera, points_camera, strict=True)
        ]
        compute_sec = encoded.seconds + time.perf_counter() - started
        return tuple(
            FrameResult(
                sequence=before.frames,
                index=frame.index,
                time_sec=frame.time_sec,
                name=frame.name,
                image=picture.image,
                crop=picture.crop,
                points_camera=points_camera[number],
                confidence=confidence[number],
                camera=cameras[number],
                gain=gain[number],
                segment=before.segment,
                compute_sec=compute_sec,
                state_change=float(state_change[number]),
                rule=str(rule),
                rule_text=_text_of(rule),
                reset_every=self.reset_every,
            )
            for number, rule in enumerate(self.rules)
        )

    def _take(self, encoded: EncodedFrame) -> tuple[tuple[NDArray[np.float32], ...], StepResult]:
        """Points, confidence, gain and change of all lanes, and the step; nothing is kept."""
        with torch.inference_mode(), self._memory_errors_named(encoded.prepared.image.image):
            taken = take(
                self.network,
                self.rules,
                self.reset_every,
                self._moment,
                encoded.tokens,
                propose=self._step,
            )
            maps = all_as_numpy(
                taken.proposal.prediction.points_self,
                taken.proposal.prediction.confidence_self,
                torch.cat([update.gain for update in taken.updates]),
                relative_change(self._moment.state.tokens, taken.after.tokens),
            )
        return maps, taken

    def inspect(
        self, lane: int, sequence: int, on_progress: Callable[[int, int], object] | None = None
    ) -> Inspection:
        """Look into what lane `lane` did with frame `sequence`, by taking it again.

        `tell` hears how many of how many frames are done. Raises `ReconstructionError` where the
        frame is no longer kept, or memory runs out.
        """
        if not 0 <= lane < len(self.rules):
            raise ReconstructionError(f"lane {lane + 1}: there are {len(self.rules)}")
        self._recall.way_to(sequence)
        with self._memory_errors_named(self._recall.frame(sequence).image):
            return inspect(self.network, self._recall, lane, sequence, on_progress=on_progress)

    def ask(self, T_world_camera: NDArray[np.float64], fov_y_rad: float) -> tuple[Expectation, ...]:
        """What every lane's state, as it is now, expects a camera to see; nothing is changed.

        The picture has the size of the latest frame's. Raises `ReconstructionError` where the
        weights cannot be asked, no frame was taken yet, or memory runs out.
        """
        if self.network.cannot_query:
            raise ReconstructionError(self.network.cannot_query)
        if not self._moment.frames:
            raise ReconstructionError("no frame was taken yet, so there is no state to ask")
        latest = self._recall.frame(self._moment.frames - 1).image
        with self._memory_errors_named(latest):
            return ask(self.network, self._moment, T_world_camera, fov_y_rad, latest.shape[:2])

    def _set_parameter(self, lane: int, name: str, value: float) -> None:
        if not 0 <= lane < len(self.rules):
            raise RuleError(f"lane {lane + 1}: there are {len(self.rules)}")
        info = describe(self.rules[lane])
        known = {one.name: one for one in info.parameters}
        if name not in known:
            raise RuleError(
                f"rule {info.name} has no {name!r}; it has {', '.join(known) or 'no parameters'}"
            )
        wanted = round(value) if known[name].whole else value
        rule = replace(self.rules[lane], **{name: wanted})  # pyright: ignore[reportArgumentType]
        self.rules = (*self.rules[:lane], rule, *self.rules[lane + 1 :])

    def _memory_errors_named(self, prepared: NDArray[np.uint8]) -> AbstractContextManager[None]:
        fewer = "take fewer lanes, " if len(self.rules) > 1 else ""
        return memory_errors_named(
            f"{self.network.device} at {prepared.shape[1]}x{prepared.shape[0]} pixels",
            f"lower --size (now {self.size}), {fewer}or take --device cpu",
        )

    def _unnamed(self, image: NDArray[np.uint8]) -> Frame:
        number = self._moment.frames
        return Frame(index=number, time_sec=float(number), name=f"frame {number}", image=image)


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """|after - before| / |before| of each lane's state (lane, state, width): (lane,)."""
    return (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)


def _checked_interval(reset_every: int) -> int:
    if reset_every < 0:
        raise ReconstructionError(f"a reset every {reset_every} frames: take 0 for never, or more")
    return reset_every


def _checked_count(rules: tuple[UpdateRule, ...]) -> tuple[UpdateRule, ...]:
    if not 1 <= len(rules) <= MOST_LANES:
        raise RuleError(f"{len(rules)} lanes: take 1 to {MOST_LANES}")
    return rules


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
