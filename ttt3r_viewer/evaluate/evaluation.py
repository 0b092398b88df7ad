"""What `eval` does: rules run over the sequences of a data set, measured at every length."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt3r_viewer import __version__
from ttt3r_viewer.errors import EvaluationError, FrameError, InputError, ReconstructionError
from ttt3r_viewer.evaluate.accumulator import Accumulator
from ttt3r_viewer.evaluate.datasets import DATASETS
from ttt3r_viewer.evaluate.datasets.base import Dataset, Measure, TrueFrame
from ttt3r_viewer.evaluate.records import ALL, Record
from ttt3r_viewer.metrics.samples import TrueSample, sample_truth
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.history import FrameHistory
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.rules.registry import MOST_LANES, rule_from_text
from ttt3r_viewer.system.machine import device_peak_bytes, host_peak_bytes, waiter
from ttt3r_viewer.types import Frame, FrameResult
from ttt3r_viewer.weights.fetch import locate
from ttt3r_viewer.weights.load import DeviceName, DtypeName, load_network, share_cpu
from ttt3r_viewer.weights.weights_file import read_weights

SYNTHETIC = "synthetic"
DATASET_NAMES = (*DATASETS, SYNTHETIC)
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
        return {
            "dataset": self.dataset,
            "root": self.root,
            "weights": self.weights,
            "weights_sha256": digest,
            "dtype": self.dtype,
            "size": self.size,
            "reset_every": self.reset_every,
            "stride": self.stride,
            "measures": list(self.measures),
            "program": __version__,
        }


@dataclass(frozen=True)
class Job:
    """Some rules over one sequence, to be measured at some lengths; travels between processes."""

    setting: EvalConfig
    sequence: str
    rules: tuple[str, ...]
    """One to four, which are lanes of one run; one alone where `speed`."""
    lengths: tuple[str, ...]
    """Numbers of frames, rising, then perhaps `all`."""
    speed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    job: Job
    records: tuple[Record, ...]
    trouble: str
    """Why records are missing; empty where none is."""


def jobs_for(
    setting: EvalConfig,
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
            Job(setting, sequence, tuple(group[first : first + lanes]), lacking, speed)
            for lacking, group in groups.items()
            for first in range(0, len(group), lanes)
        ]
    return jobs


def run_job(job: Job) -> Outcome:
    """Do a job. What is wrong with its sequence, or too much for its memory, is `trouble`."""
    records: list[Record] = []
    try:
        for record in _speed(job) if job.speed else _quality(job):
            records.append(record)  # one by one: what came before an error is kept
    except (EvaluationError, InputError, FrameError, ReconstructionError) as error:
        return Outcome(job, tuple(records), str(error))
    return Outcome(job, tuple(records), "")


def lost_job(job: Job, why: str) -> Outcome:
    """What is left of a job whose process has died."""
    return Outcome(job, (), why)


@functools.lru_cache(maxsize=1)
def network_for(weights: str, device: DeviceName, dtype: DtypeName) -> ReconstructionNetwork:
    """The network, loaded once in each process."""
    network = load_network(weights, device=device, dtype=dtype)
    share_cpu(network)
    return network


def open_dataset(name: str, root: str, weights: str) -> Dataset:
    """The data set of that name; the synthetic one is rendered at the size of the weights."""
    if name != SYNTHETIC:
        return DATASETS[name](Path(root))
    from ttt3r_viewer.evaluate.datasets.synthetic import SyntheticRooms

    return SyntheticRooms(*_image_size(weights))


@functools.lru_cache(maxsize=1)
def _image_size(weights: str) -> tuple[int, int]:
    """Height and width of a network's pictures, in pixels; no network is made for it."""
    return read_weights(locate(weights)).config().image_size


def accumulated(
    lanes: Lanes,
    frames: Iterable[TrueFrame],
    sample: Callable[[TrueFrame, FrameResult], TrueSample | None],
) -> Iterator[list[Accumulator]]:
    """Run lanes over frames with a truth; after each frame, what is known of every lane so far.

    `sample` chooses the pixels of a frame that are measured, the same for all lanes.
    """
    accounts = [Accumulator() for _ in lanes.rules]
    for number, frame in enumerate(frames):
        results = lanes.process(_frame(number, frame))
        truth = sample(frame, results[0])
        for account, result in zip(accounts, results, strict=True):
            account.add(result, frame.T_world_camera, truth)
        yield accounts


def _quality(job: Job) -> Iterator[Record]:
    """One pass for all lengths: the loop is causal, so that the first n frames are a run of n."""
    setting = job.setting
    dataset, frames = _open(job)
    network, lanes = _lanes(job)
    sample = functools.partial(_sample, setting, dataset)
    for done, accounts in enumerate(accumulated(lanes, frames, sample), start=1):
        for length in _reached(job.lengths, done, len(frames)):
            for rule, account in zip(job.rules, accounts, strict=True):
                numbers, reason = account.measures(setting.measures)
                yield Record(
                    sequence=job.sequence,
                    rule=rule,
                    length=length,
                    frames=done,
                    speed=False,
                    numbers=numbers,
                    device=_device(network),
                    reason=reason,
                )
    _tell_of_too_short(job, len(frames))


def _speed(job: Job) -> Iterator[Record]:
    """One rule alone: frames per second without reading files, and the most memory so far."""
    import torch

    _, frames = _open(job)
    network, lanes = _lanes(job)
    wait = waiter(network.device)
    if network.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(network.device)
    seconds: list[float] = []
    for number, frame in enumerate(frames):
        image = _frame(number, frame)
        wait()
        (result,) = lanes.process(image)
        seconds.append(result.compute_sec)
        for length in _reached(job.lengths, number + 1, len(frames)):
            measured = seconds[WARM_UP_FRAMES:]
            peak = device_peak_bytes(network.device) or host_peak_bytes()
            numbers = {"fps": len(measured) / sum(measured)} if measured else {}
            numbers |= {"peak_memory_mb": peak / 1e6} if peak else {}
            yield Record(
                sequence=job.sequence,
                rule=job.rules[0],
                length=length,
                frames=number + 1,
                speed=True,
                numbers=numbers,
                device=_device(network),
                reason="" if measured else f"no rate of {number + 1} frames",
            )
    _tell_of_too_short(job, len(frames))


def _open(job: Job) -> tuple[Dataset, Sequence[TrueFrame]]:
    setting = job.setting
    dataset = open_dataset(setting.dataset, setting.root, setting.weights)
    most = None if ALL in job.lengths else int(job.lengths[-1])
    frames = dataset.open(job.sequence, setting.stride, most)
    if not frames:
        raise EvaluationError("it has no frames")
    return dataset, frames


def _lanes(job: Job) -> tuple[ReconstructionNetwork, Lanes]:
    setting = job.setting
    network = network_for(setting.weights, setting.device, setting.dtype)
    rules = [rule_from_text(rule) for rule in job.rules]
    # No frame is looked into again, so that nothing is kept for it.
    recall = FrameHistory(moment_bytes=0, image_bytes=0)
    return network, Lanes(
        network, rules, size=setting.size, reset_every=setting.reset_every, recall=recall
    )


def _frame(number: int, frame: TrueFrame) -> Frame:
    return Frame(number, frame.time_sec, frame.name, frame.read_picture())


def _sample(
    setting: EvalConfig, dataset: Dataset, frame: TrueFrame, result: FrameResult
) -> TrueSample | None:
    if frame.read_depth is None or not {"depth", "points"} & set(setting.measures):
        return None
    height, width = result.image.shape[:2]
    return sample_truth(
        frame.read_depth(),
        result.crop,
        (height, width),
        result.sequence,
        farthest_m=dataset.facts.farthest_m,
        intrinsics=frame.intrinsics if "points" in setting.measures else None,
        T_world_camera=frame.T_world_camera,
    )


def _reached(lengths: Sequence[str], done: int, total: int) -> list[str]:
    """The lengths that are complete with this frame."""
    return [one for one in lengths if (total if one == ALL else int(one)) == done]


def _tell_of_too_short(job: Job, total: int) -> None:
    beyond = [one for one in job.lengths if one != ALL and int(one) > total]
    if beyond:
        some = beyond[0] if len(beyond) == 1 else f"{beyond[0]} to {beyond[-1]}"
        raise EvaluationError(f"it has {total} frames (stride {job.setting.stride}), not {some}")


def _device(network: ReconstructionNetwork) -> str:
    return f"{network.device} {str(network.dtype).removeprefix('torch.')}"
