"""One variant in a process of its own: makes its network, takes turns, reports its memory."""

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection

import torch
from torch.profiler import ProfilerActivity, profile

from ttt3r_viewer.bench import plain
from ttt3r_viewer.bench.clock import Place, StageClock
from ttt3r_viewer.bench.made_up import decode_frame, made_up_frames, made_up_network
from ttt3r_viewer.bench.plain import PlainLanes
from ttt3r_viewer.bench.variant import (
    MADE_UP,
    Failed,
    Finish,
    Finished,
    StageSeconds,
    Started,
    TakeTurn,
    Turn,
    Variant,
)
from ttt3r_viewer.bench.work import flop_per_frame, peak_flop_per_sec
from ttt3r_viewer.errors import ReconstructionError, ViewerError
from ttt3r_viewer.model.compiled import CompiledStep
from ttt3r_viewer.model.config import PRESETS
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct import loop, session
from ttt3r_viewer.reconstruct.prefetch import PreparedFrame
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import rule_from_text
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.system.machine import (
    device_peak_bytes,
    host_peak_bytes,
    is_out_of_memory,
    name_of,
    waiter,
)
from ttt3r_viewer.system.memory import keep_few_arenas
from ttt3r_viewer.types import Frame, FrameResult
from ttt3r_viewer.weights.load import (
    choose_device,
    choose_dtype,
    load_network,
    share_cpu,
)

DISTINCT_FRAMES = 8
"""So many images are made up, and repeated."""
WARM_UP_FRAMES = {"cpu": 1, "cuda": 5, "mps": 5}
PAGE_POINTS = 600_000
"""What the scene keeps, as the page does."""
PROFILED_ROWS = 25


def serve(pipe: Connection, variant: Variant) -> None:
    """The process: say that it is ready, then do as asked until asked for the end.

    What a user can correct is sent as `Failed`; anything else ends the process with its traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: the parent ends this one
    try:
        run = VariantRun(variant)
        pipe.send(run.started)
        while isinstance(ask := pipe.recv(), TakeTurn):
            pipe.send(run.turn())
        assert isinstance(ask, Finish)
        pipe.send(run.finish(ask))
    except ViewerError as error:
        pipe.send(Failed(str(error)))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        pipe.send(Failed("out of memory: take fewer lanes, a smaller --preset, or --device cpu"))


class VariantRun:
    """A network with its loop and its scene, made up or loaded, and warmed up."""

    def __init__(self, variant: Variant) -> None:
        began = time.perf_counter()
        self.variant = variant
        if variant.way != "plain":
            keep_few_arenas()  # as the program does
        self.device = choose_device(variant.device)  # pyright: ignore[reportArgumentType]
        self.wait = waiter(self.device)
        self.network = self._network()
        share_cpu(self.network)
        rules = (rule_from_text(variant.rule),) * variant.lanes
        step = CompiledStep(self.network) if variant.way == "compiled" else None
        self.lanes = (
            PlainLanes(self.network, rules)
            if variant.way == "plain"
            else Lanes(self.network, rules, compiled=step)
        )
        self.store = SceneStore(max_points=PAGE_POINTS)
        self.store.clear(variant.lanes)
        self.clock = StageClock(self.wait)
        self._files = made_up_frames(self.network.config, DISTINCT_FRAMES)
        self._decoded = 0
        for _ in range(WARM_UP_FRAMES[self.device.type]):
            self._one_by_one()
        if step is not None:
            self._wait_for_code(step)
        latest = self.store.snapshot().latest
        assert latest is not None
        self.started = Started(
            device=name_of(self.device),
            device_type=self.device.type,
            dtype=str(self.network.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            image_size=(latest.image.shape[0], latest.image.shape[1]),
            seconds=time.perf_counter() - began,
        )

    def _wait_for_code(self, step: CompiledStep) -> None:
        """Take frames until the compiled step takes over. Raises `ReconstructionError`."""
        self._one_by_one()  # the first that is no fresh start begins the compiling
        step.wait()
        if step.failure:
            raise ReconstructionError(f"--compile: {step.failure}; leave it out")
        self._one_by_one()

    def turn(self) -> Turn:
        """The frames of one turn as they run, and the same number stage by stage.

        The plain way on a CPU does the same in both, so that one pass is enough.
        """
        if isinstance(self.lanes, PlainLanes) and self.device.type == "cpu":
            stages = self._staged()
            return Turn(tuple(sum(one.values()) for one in stages), stages)
        return Turn(self._as_it_runs(), self._staged())

    def finish(self, ask: Finish) -> Finished:
        """Memory first, because what comes after takes some of its own."""
        host_bytes, device_bytes = host_peak_bytes(), device_peak_bytes(self.device)
        return Finished(
            host_peak_bytes=host_bytes,
            device_peak_bytes=device_bytes,
            flop_per_frame=flop_per_frame(
                self.network.config,
                self.variant.way,
                self.lanes.rules[0].needs,
                self.variant.lanes,
                self.started.image_size,
            ),
            peak_flop_per_sec=peak_flop_per_sec(self.device, self.network.dtype, self.wait),
            profile=self._profile() if ask.profile else "",
        )

    def _network(self) -> ReconstructionNetwork:
        dtype = choose_dtype(self.variant.dtype, self.device)  # pyright: ignore[reportArgumentType]
        if self.variant.weights == MADE_UP:
            network = made_up_network(PRESETS[self.variant.preset], self.device, dtype)
            return network if self.variant.way == "plain" else network.for_inference()
        return load_network(
            self.variant.weights,
            device=self.device.type,  # pyright: ignore[reportArgumentType]
            dtype=self.variant.dtype,  # pyright: ignore[reportArgumentType]
        )

    def _decode(self) -> Frame:
        number = self._decoded
        self._decoded += 1
        image = decode_frame(self._files[number % len(self._files)])
        return Frame(number, number / 30, f"frame {number}", image)

    def _one_by_one(self) -> None:
        """A whole frame, nothing ahead of it: what live input costs."""
        with self.clock.stage("rest"):
            with self.clock.stage("decode"):
                frame = self._decode()
            results = self.lanes.process(frame)
            with self.clock.stage("scene"):
                self.store.add(*results)

    def _as_it_runs(self) -> tuple[float, ...]:
        """Seconds from frame to frame, the first from the start; as the worker takes them."""
        seconds = []
        before = time.perf_counter()
        for results in self._results():
            self.store.add(*results)
            now = time.perf_counter()
            seconds.append(now - before)
            before = now
        return tuple(seconds)

    def _results(self) -> Iterator[tuple[FrameResult, ...]]:
        source = (self._decode() for _ in range(self.variant.frames))
        if isinstance(self.lanes, PlainLanes):
            yield from map(self.lanes.process, source)
            return
        with closing(self.lanes.prefetch(source)) as frames:
            for frame in frames:
                assert isinstance(frame, PreparedFrame), "a made-up frame cannot be skipped"
                yield self.lanes.step(frame)

    def _staged(self) -> tuple[StageSeconds, ...]:
        stages = []
        self.clock.take()
        with self.clock.watching(self._places()):
            for _ in range(self.variant.frames):
                self._one_by_one()
                stages.append(self.clock.take())
        return tuple(stages)

    def _places(self) -> tuple[Place, ...]:
        plainly = isinstance(self.lanes, PlainLanes)
        module, copy = (plain, "as_numpy") if plainly else (session, "all_as_numpy")
        steps: tuple[Place, ...] = (
            (self.network, "propose", "decode-state"),
            (self.network, "_predict", "heads"),
        )
        if self.variant.way == "compiled":
            # Its code takes the whole step, heads too; what it was made from must stay as it is.
            steps = ((self.lanes, "_compiled", "decode-state"),)
        return (
            (module, "prepare_image", "prepare"),
            # All that it does but the network's own encode.
            (plain if plainly else loop, "encode", "copy"),
            (self.network, "encode", "encode"),
            *steps,
            (module, copy, "copy"),
            (loop, "as_numpy", "copy"),
        )

    def _profile(self) -> str:
        on_cuda = self.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
        sort_by = "self_device_time_total" if on_cuda else "self_cpu_time_total"
        with profile(activities=activities) as seen:
            self._one_by_one()
        return seen.key_averages().table(sort_by=sort_by, row_limit=PROFILED_ROWS)
