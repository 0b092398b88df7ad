"""What `eval` does: rules run over the sequences of a data set, measured at every length."""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import (
    EvaluationError,
    FrameError,
    InputError,
    ReconstructionError,
    SettingsError,
)
from ttt3r_viewer.evaluate.datasets import DATASETS
from ttt3r_viewer.evaluate.datasets.base import Dataset, Measure, TrueFrame
from ttt3r_viewer.evaluate.records import ALL, Record
from ttt3r_viewer.geometry import transform_points
from ttt3r_viewer.metrics.dense import TrueSample, depth_measures, point_measures, sample_truth
from ttt3r_viewer.metrics.trajectory import FEWEST_POSES, Trajectory, ate, rpe
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.history import FrameHistory
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import MOST_LANES, rule_from_text
from ttt3r_viewer.system.machine import device_peak_bytes, host_peak_bytes
from ttt3r_viewer.system.options import DeviceName, DtypeName
from ttt3r_viewer.system.version import __version__
from ttt3r_viewer.types import Frame, FrameResult
from ttt3r_viewer.weights.fetch import locate
from ttt3r_viewer.weights.load import load_network, share_cpu
from ttt3r_viewer.weights.weights_file import read_weights

WARM_UP_FRAMES = 2
"""They are left out of the frame rate: the first calls prepare what all later ones use."""


@dataclass(frozen=True)
class EvalConfig:
    """What all records of a folder share."""

    dataset: str
    root: str
    """Folder of the data set; empty for the synthetic one."""
    weights: str
    device: DeviceName
    dtype: DtypeName
    size: int | None
    reset_every: int
    stride: int
    measures: tuple[Measure, ...]

    def on_disk(self) -> dict[str, Any]:
        """What decides the numbers: not the device, but the weights by name and content."""
        with locate(self.weights).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        values = asdict(self) | {"measures": list(self.measures)}
        del values["device"]
        return values | {"weights_sha256": digest, "program": __version__}


@dataclass(frozen=True)
class Job:
    """Some rules over one sequence, to be measured at some lengths; travels between processes."""

    config: EvalConfig
    sequence: str
    rules: tuple[str, ...]
    """One to four, which are lanes of one run; one alone where `speed`."""
    lengths: tuple[str, ...]
    """Numbers of frames, rising, then perhaps `all`."""
    speed: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of a job."""

    job: Job
    trouble: str
    """Why records are missing; empty where none is."""
    records: tuple[Record, ...] = ()


def jobs_for(
    config: EvalConfig,
    sequences: Sequence[str],
    rules: Sequence[str],
    lengths: Sequence[str],
    there: set[tuple[str, str, str, bool]],
    *,
    speed: bool,
) -> list[Job]:
    """The jobs that make all records but those that are there.

    Rules that lack the same lengths share a run, at most four of them; those for `speed` do not.
    """
    jobs: list[Job] = []
    for sequence in sequences:
        groups: dict[tuple[str, ...], list[str]] = {}
        for rule in rules:
            lacking = tuple(one for one in lengths if (sequence, rule, one, speed) not in there)
            if lacking:
                groups.setdefault(lacking, []).append(rule)
        lanes = 1 if speed else MOST_LANES
        jobs += [
            Job(config, sequence, tuple(group[first : first + lanes]), lacking, speed)
            for lacking, group in groups.items()
            for first in range(0, len(group), lanes)
        ]
    return jobs


def run_job(job: Job) -> Outcome:
    """Do a job. What is wrong with its sequence, or too much for its memory, is `trouble`."""
    records: list[Record] = []
    try:
        for record in _records(job):
            records.append(record)  # one by one: what came before an error is kept
    except (EvaluationError, InputError, FrameError, ReconstructionError) as error:
        return Outcome(job, str(error), tuple(records))
    return Outcome(job, "", tuple(records))


@functools.lru_cache(maxsize=1)
def network_for(weights: str, device: DeviceName, dtype: DtypeName) -> ReconstructionNetwork:
    """The network, loaded once in each process."""
    network = load_network(weights, device=device, dtype=dtype)
    share_cpu(network)
    return network


def open_dataset(name: str, root: str, weights: str) -> Dataset:
    """Open a data set in the folder `root` or, if it is generated, at the size of the weights.

    Raises `SettingsError` where a folder is missing, or is given in vain.
    """
    entry = DATASETS[name]
    if entry.generated == bool(root):
        raise SettingsError(
            f"--dataset {name}: its rooms are made, leave --root out"
            if root
            else f"--dataset {name}: say where it lies with --root PATH"
        )
    return entry.make(*_image_size(weights)) if entry.generated else entry.make(Path(root))


@functools.lru_cache(maxsize=1)
def _image_size(weights: str) -> tuple[int, int]:
    """Height and width of a network's images, in pixels; no network is made for it."""
    return read_weights(locate(weights)).config().image_size


class Accumulator:
    """Grows by one frame at a time; may be measured after any."""

    def __init__(self) -> None:
        self.poses: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
        """Time, true and estimated `T_world_camera` (4, 4) of each frame with a true pose."""
        self.depth: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        """True and estimated depth (n,) in metres of each frame's sample."""
        self.points: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        """True and estimated points (n, 3), each in its own world, of each frame's sample."""
        self.gains: list[float] = []
        """Mean gain of each frame."""

    def add(
        self, result: FrameResult, true_pose: NDArray[np.float64] | None, sample: TrueSample | None
    ) -> None:
        """Take the next frame; what the data set does not know of it is None."""
        T_world_camera = result.camera.T_world_camera
        self.gains.append(float(result.gain.mean()))
        if true_pose is not None:
            self.poses.append((result.time_sec, true_pose, T_world_camera))
        if sample is None:
            return
        seen = result.points_camera[sample.rows, sample.columns]
        self.depth.append((sample.depth_m, seen[:, 2]))
        if sample.points_world is not None:
            points_world = transform_points(T_world_camera, seen).astype(np.float32)
            self.points.append((sample.points_world, points_world))

    def trajectories(self) -> tuple[Trajectory, Trajectory]:
        """The true path and the estimated one. Raises `EvaluationError` for too few poses."""
        if len(self.poses) < FEWEST_POSES:
            raise EvaluationError(
                f"{len(self.poses)} frames have a true pose; wanted at least {FEWEST_POSES}"
            )
        times_sec, truth, estimate = (np.array(one) for one in zip(*self.poses, strict=True))
        return Trajectory(times_sec, truth), Trajectory(times_sec, estimate.astype(np.float64))

    def measures(self, wanted: Sequence[Measure]) -> tuple[dict[str, float], str]:
        """Numbers by name, and why some are missing: one line, empty where none is."""
        numbers: dict[str, float] = {}
        reasons: list[str] = []
        for measure in wanted:
            try:
                match measure:
                    case "poses":
                        numbers |= camera_measures(*self.trajectories())
                    case "depth":
                        numbers |= depth_measures(*_joined(self.depth, ()))
                    case "points":
                        numbers |= point_measures(*_joined(self.points, (3,)))
            except EvaluationError as error:
                reasons.append(f"{measure}: {error}")
        return numbers, "; ".join(reasons)


def camera_measures(truth: Trajectory, estimate: Trajectory) -> dict[str, float]:
    """Errors of a camera's path. Raises `EvaluationError` where a camera stands still."""
    relative = rpe(truth, estimate)
    return {
        "ate_m": ate(truth, estimate, with_scale=True),
        "ate_metric_m": ate(truth, estimate, with_scale=False),
        "rpe_translation_m": relative.translation_rmse_m,
        "rpe_rotation_deg": relative.rotation_rmse_deg,
        "path_m": truth.length_m,
    }


def _joined(
    pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], shape: tuple[int, ...]
) -> list[NDArray[np.float32]]:
    """All true values (n, *shape), and all estimates."""
    none = np.empty((0, *shape), np.float32)
    return [np.concatenate(parts) for parts in zip((none, none), *pairs, strict=True)]


def accumulated(
    lanes: Lanes,
    frames: Iterable[TrueFrame],
    sample: Callable[[TrueFrame, FrameResult], TrueSample | None],
) -> Iterator[list[Accumulator]]:
    """Run lanes over frames with a truth; after each frame, what is known of every lane so far.

    `sample` chooses the pixels of a frame that are measured, the same for all lanes.
    """
    accumulators = [Accumulator() for _ in lanes.rules]
    for number, frame in enumerate(frames):
        results = lanes.process(_frame(number, frame))
        truth = sample(frame, results[0])
        for accumulator, result in zip(accumulators, results, strict=True):
            accumulator.add(result, frame.T_world_camera, truth)
        yield accumulators


def _records(job: Job) -> Iterator[Record]:
    """One pass for all lengths: the loop is causal, so that the first n frames are a run of n."""
    config = job.config
    dataset = open_dataset(config.dataset, config.root, config.weights)
    most = None if ALL in job.lengths else int(job.lengths[-1])
    frames = dataset.open(job.sequence, config.stride, most)
    if not frames:
        raise EvaluationError("it has no frames")
    network = network_for(config.weights, config.device, config.dtype)
    lanes = Lanes(
        network,
        [rule_from_text(rule) for rule in job.rules],
        size=config.size,
        reset_every=config.reset_every,
        # No frame is looked into again, so that nothing is kept for it.
        history=FrameHistory(state_bytes=0, image_bytes=0),
    )
    measured = _speed(lanes, frames) if job.speed else _quality(config, dataset, lanes, frames)
    for done, measure in enumerate(measured, start=1):
        for length in job.lengths:
            if done != (len(frames) if length == ALL else int(length)):
                continue
            for rule, (numbers, reason) in zip(job.rules, measure(), strict=True):
                yield Record(
                    sequence=job.sequence,
                    rule=rule,
                    length=length,
                    frames=done,
                    speed=job.speed,
                    numbers=numbers,
                    device=f"{network.device} {str(network.dtype).removeprefix('torch.')}",
                    reason=reason,
                )
    beyond = [one for one in job.lengths if one != ALL and int(one) > len(frames)]
    if beyond:
        some = beyond[0] if len(beyond) == 1 else f"{beyond[0]} to {beyond[-1]}"
        raise EvaluationError(f"it has {len(frames)} frames (stride {config.stride}), not {some}")


Measured = list[tuple[dict[str, float], str]]
"""Per lane its numbers by measure, and why some are missing."""


def _quality(
    config: EvalConfig, dataset: Dataset, lanes: Lanes, frames: Sequence[TrueFrame]
) -> Iterator[Callable[[], Measured]]:
    """After each frame, what measures all frames so far."""

    def sample(frame: TrueFrame, result: FrameResult) -> TrueSample | None:
        if frame.depth is None or not {"depth", "points"} & set(config.measures):
            return None
        height, width = result.image.shape[:2]
        return sample_truth(
            frame.depth.read(),
            result.crop,
            (height, width),
            result.sequence,
            farthest_m=dataset.info.farthest_m,
            intrinsics=frame.depth.intrinsics if "points" in config.measures else None,
            T_world_camera=frame.T_world_camera,
        )

    for accumulators in accumulated(lanes, frames, sample):
        yield lambda these=accumulators: [one.measures(config.measures) for one in these]


def _speed(lanes: Lanes, frames: Sequence[TrueFrame]) -> Iterator[Callable[[], Measured]]:
    """One rule alone: frames per second without reading files, and the most memory so far."""
    import torch

    device = lanes.network.device
    wait = torch.get_device_module(device).synchronize
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds: list[float] = []

    def measure() -> Measured:
        measured = seconds[WARM_UP_FRAMES:]
        peak = device_peak_bytes(device) or host_peak_bytes()
        numbers = {"fps": len(measured) / sum(measured)} if measured else {}
        numbers |= {"peak_memory_mb": peak / 1e6} if peak else {}
        return [(numbers, "" if measured else f"no rate of {len(seconds)} frames")]

    for number, frame in enumerate(frames):
        image = _frame(number, frame)
        wait()
        (result,) = lanes.process(image)
        seconds.append(result.compute_sec)
        yield measure


def _frame(number: int, frame: TrueFrame) -> Frame:
    return Frame(number, frame.time_sec, frame.name, frame.read_image())
