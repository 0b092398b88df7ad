"""One variant in a process of its own: makes its network, takes turns, reports its memory."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from ttt3r_viewer.bench import plain
from ttt3r_viewer.bench.made_up import decode_frame, made_up_frames, made_up_network
from ttt3r_viewer.bench.plain import PlainLanes
from ttt3r_viewer.bench.variant import MADE_UP, Facts, StageSeconds, Turn, Variant
from ttt3r_viewer.bench.work import flop_per_frame, peak_flop_per_sec
from ttt3r_viewer.errors import ReconstructionError
from ttt3r_viewer.model.config import PRESETS
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct import loop, session
from ttt3r_viewer.reconstruct.compiled import CALLS_BEFORE, CompiledNetwork
from ttt3r_viewer.reconstruct.prefetch import PreparedFrame
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import rule_from_text
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.settings import PAGE_POINTS
from ttt3r_viewer.system.machine import device_peak_bytes, host_peak_bytes, name_of
from ttt3r_viewer.system.memory import keep_few_arenas
from ttt3r_viewer.types import Frame, FrameResult
from ttt3r_viewer.weights.load import choose_device, choose_dtype, load_network, share_cpu

DISTINCT_FRAMES = 8
"""So many images are made up, and repeated."""
WARM_UP_FRAMES = {"cpu": 1, "cuda": 5, "mps": 5}
PROFILED_ROWS = 25
Place = tuple[Any, str, str]
"""(owner, name of its function, stage): calls of `owner.name` are that stage."""
PLACES: tuple[Place, ...] = (
    (plain, "prepare_image", "prepare"),
    (session, "prepare_image", "prepare"),
    # All that it does but the network's own encode.
    (plain, "encode", "copy"),
    (loop, "encode", "copy"),
    (plain, "as_numpy", "copy"),
    (loop, "all_as_numpy", "copy"),
)
"""Those of both ways; neither calls the other's."""


class VariantRun:
    """A network with its loop and its scene, made up or loaded, and warmed up."""

    def __init__(self, variant: Variant) -> None:
        began = time.perf_counter()
        self.variant = variant
        if variant.way != "plain":
            keep_few_arenas()  # as the program does
        self.device = choose_device(variant.device)
        self.wait = torch.get_device_module(self.device).synchronize
        self.network = self._network()
        share_cpu(self.network)
        rules = (rule_from_text(variant.rule),) * variant.lanes
        step = CompiledNetwork(self.network) if variant.way == "compiled" else None
        self.lanes = (
            PlainLanes(self.network, rules)
            if variant.way == "plain"
            else Lanes(self.network, rules, compiled=step)
        )
        self.store = SceneStore(max_points=PAGE_POINTS)
        self.store.clear(variant.lanes)
        self.clock = StageClock(self.wait)
        files = itertools.cycle(made_up_frames(self.network.config, DISTINCT_FRAMES))
        self._frames = (
            Frame(number, number / 30, f"frame {number}", decode_frame(file))
            for number, file in enumerate(files)
        )
        for _ in range(WARM_UP_FRAMES[self.device.type]):
            self._one_by_one()
        if step is not None:
            self._wait_for_code(step)
        self.start_sec = time.perf_counter() - began

    def _wait_for_code(self, step: CompiledNetwork) -> None:
        """Take frames until the compiled step takes over. Raises `ReconstructionError`."""
        for _ in range(1 + CALLS_BEFORE):  # the first is a fresh start
            self._one_by_one()
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

    def finish(self, profile: bool) -> Facts:
        """Memory first, because what comes after takes some of its own."""
        host_bytes, device_bytes = host_peak_bytes(), device_peak_bytes(self.device)
        latest = self.store.snapshot().latest
        assert latest is not None
        height, width = latest.image.shape[:2]
        return Facts(
            device=name_of(self.device),
            device_type=self.device.type,
            dtype=str(self.network.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            start_sec=self.start_sec,
            image_height=height,
            image_width=width,
            torch=torch.__version__,
            host_peak_bytes=host_bytes,
            device_peak_bytes=device_bytes,
            flop_per_frame=flop_per_frame(
                self.network.config,
                self.variant.way,
                self.lanes.rules[0].needs,
                self.variant.lanes,
                (height, width),
            ),
            peak_flop_per_sec=peak_flop_per_sec(self.device, self.network.dtype, self.wait),
            profile=self._profile() if profile else "",
        )

    def _network(self) -> ReconstructionNetwork:
        variant, dtype = self.variant, choose_dtype(self.variant.dtype, self.device)
        if variant.weights == MADE_UP:
            network = made_up_network(PRESETS[variant.preset], self.device, dtype)
            return network if variant.way == "plain" else network.for_inference()
        return load_network(variant.weights, device=variant.device, dtype=variant.dtype)

    def _one_by_one(self) -> None:
        """A whole frame, nothing ahead of it: what live input costs."""
        with self.clock.stage("rest"):
            with self.clock.stage("decode"):
                frame = next(self._frames)
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
        source = itertools.islice(self._frames, self.variant.frames)
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
        if self.variant.way == "compiled":
            # Its code takes the whole step, heads too; what it was made from must stay as it is.
            assert isinstance(self.lanes, Lanes)
            compiled = self.lanes.compiled
            steps = ((compiled, "propose", "decode-state"), (compiled, "encode", "encode"))
        else:
            steps = (
                (self.network, "propose", "decode-state"),
                (self.network, "_predict", "heads"),
                (self.network, "encode", "encode"),
            )
        return (*PLACES, *steps)

    def _profile(self) -> str:
        on_cuda = self.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
        sort_by = "self_device_time_total" if on_cuda else "self_cpu_time_total"
        with profile(activities=activities) as seen:
            self._one_by_one()
        return seen.key_averages().table(sort_by=sort_by, row_limit=PROFILED_ROWS)


class StageClock:
    """Adds up seconds by stage; an inner stage's time is not the outer one's.

    `wait` returns when the device has done all that it was asked for, so that work which was only
    begun in a stage is counted there.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait
        self._open: list[str] = []
        self._since = 0.0
        self.seconds: StageSeconds = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What happens until the end is the stage `name`, but for the stages inside it."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    @contextmanager
    def watching(self, places: Sequence[Place]) -> Iterator[None]:
        """Count each call of these functions as a stage; they are put back at the end."""
        with ExitStack() as put_back:
            for owner, name, stage in places:
                call = getattr(owner, name)
                if name in vars(owner):
                    put_back.callback(setattr, owner, name, call)
                else:  # a method of the class, which shows again when the instance has none
                    put_back.callback(delattr, owner, name)
                setattr(owner, name, self.stage(stage)(call))
            yield

    def take(self) -> StageSeconds:
        """What was counted since it was last taken."""
        taken, self.seconds = self.seconds, {}
        return taken

    def _charge(self) -> None:
        """Give the time since the last change to the stage that was open."""
        self._wait()
        now = time.perf_counter()
        if self._open:
            stage = self._open[-1]
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
