"""Jobs one after the other, in processes of this machine, or over a Ray cluster."""

from __future__ import annotations

import importlib
import multiprocessing
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from ttt3r_viewer.errors import ReconstructionError, SettingsError, ViewerError

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
_KNOCK_SEC = 5.0
_ASK_AGAIN_SEC = 0.5
_ENDED = (
    "a process of --jobs ended before its time, for lack of memory perhaps; what is done is kept: "
    "go on with fewer --jobs"
)


def in_processes(
    work: Callable[[Job], Outcome], jobs: Sequence[Job], processes: int, *, fresh: bool = False
) -> Generator[Outcome, None, None]:
    """Yield outcomes as they come, from so many processes; one is this one, unless `fresh`.

    `fresh` gives every job a process of its own, in which nothing was held before. `work` must be a
    function of a module, and jobs and outcomes picklable. Ctrl-C here, or closing the iterator,
    reaches work in other processes as SIGTERM, and waits for it to end. Raises what `work` raises,
    and `ReconstructionError` where a process dies.
    """
    if processes == 1 and not fresh:
        yield from map(work, jobs)
        return
    # Spawned, because torch's threads and CUDA do not survive a fork.
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=1 if fresh else None,
        initializer=_leave_ctrl_c,
    )
    try:
        for future in as_completed([pool.submit(work, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ReconstructionError(_ENDED) from error
    except (KeyboardInterrupt, GeneratorExit):
        _end(multiprocessing.active_children())
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end(children: Sequence[BaseProcess]) -> None:
    """Send SIGTERM until all are gone: one that has ended its job may have the next one already."""
    while alive := [child for child in children if child.is_alive()]:
        for child in alive:
            child.terminate()
        alive[0].join(_ASK_AGAIN_SEC)


def _leave_ctrl_c() -> None:
    """A terminal sends Ctrl-C to every process, and only the parent is to answer it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def need_ray(address: str) -> Any:
    """The module `ray`. Raises `SettingsError` where it is not installed."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise SettingsError(
            f"--ray {address}: Ray is not installed; "
            'pip install "ttt3r-viewer[cluster]", or take --jobs'
        ) from error


class RayCluster:
    """A Ray cluster, joined or started; one GPU a job where the cluster has GPUs."""

    def __init__(self, address: str, workers: int) -> None:
        """Join the cluster at `address`; `local` starts one here with so many workers.

        Raises `SettingsError` where Ray is not installed or the cluster does not answer.
        """
        ray = need_ray(address)
        self._ray = ray
        quiet = {"logging_level": "error", "log_to_driver": False}
        try:
            if address == "local":
                ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
            else:
                _knock(address)
                ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise SettingsError(
                f"--ray {address}: {' '.join(str(error).split())[:200]}; start the cluster with "
                "`ray start --head`, or take --ray local"
            ) from error
        self.gpus = int(ray.cluster_resources().get("GPU", 0))

    def run(
        self, work: Callable[[Job], Outcome], jobs: Sequence[Job], *, one_by_one: bool = False
    ) -> Generator[Outcome, None, None]:
        """Yield outcomes as they come; `one_by_one` in turn, each in a process of its own.

        Raises what `work` raises, and `ReconstructionError` where a worker is lost.
        """
        options = {"num_cpus": 1, "num_gpus": 1 if self.gpus else 0}
        if one_by_one:
            options["max_calls"] = 1
        remote = self._ray.remote(**options)(work)
        try:
            waiting = [] if one_by_one else [remote.remote(job) for job in jobs]
            while waiting:
                (done,), waiting = self._ray.wait(waiting, num_returns=1)
                yield self._ray.get(done)
            for job in jobs if one_by_one else ():
                yield self._ray.get(remote.remote(job))
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ViewerError):
                raise error.cause from None
            raise  # our own mistake on a worker, with its traceback
        except self._ray.exceptions.RayError as error:
            raise ReconstructionError(
                f"Ray: {' '.join(str(error).split())[:200]}; what is done is kept: run again"
            ) from error

    def close(self) -> None:
        """Leave the cluster, or stop the one that was started here."""
        self._ray.shutdown()


def _knock(address: str) -> None:
    """Raise `OSError` where nothing listens at HOST:PORT, for which Ray would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SEC).close()
