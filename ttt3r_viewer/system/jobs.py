"""Jobs one after the other, in processes of this machine, or over a Ray cluster."""

import importlib
import multiprocessing
import signal
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing import connection
from typing import Any, TypeVar

from ttt3r_viewer.errors import SettingsError, ViewerError, in_a_line
from ttt3r_viewer.system.signals import no_interruption

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
_KNOCK_SEC = 5.0
_ASK_AGAIN_SEC = 0.5
_PATIENCE_SEC = 30.0
"""What does not end within it is killed; recordings survive that."""
_DIED = (
    "its process ended before its time, for lack of memory perhaps; the others go on: run again "
    "with fewer --jobs"
)


def in_processes(
    work: Callable[[Job], Outcome],
    jobs: Sequence[Job],
    processes: int,
    *,
    lost: Callable[[Job, str], Outcome],
    fresh: bool = False,
) -> Generator[Outcome, None, None]:
    """Yield outcomes as they come, from so many processes; one is this one, unless `fresh`.

    `fresh` gives every job a process of its own, in which nothing was held before. `work` must be a
    function of a module, and jobs and outcomes picklable. A process that dies costs its own job
    alone, whose outcome `lost` makes of it and a line that says so. Ctrl-C here, or closing the
    iterator, reaches work in other processes as SIGTERM, and waits for it to end. Raises what
    `work` raises.
    """
    if processes == 1 and not fresh:
        yield from map(work, jobs)
        return
    waiting, idle = deque(jobs), list[_Process]()
    busy: dict[Any, tuple[_Process, Job]] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < processes:
                process = idle.pop() if idle else _Process(work)
                job = waiting.popleft()
                busy[process.pipe] = (process, job)
                process.pipe.send(job)
            for pipe in connection.wait(list(busy)):
                process, job = busy[pipe]
                try:
                    outcome, mistake = process.pipe.recv()
                except (EOFError, ConnectionError):
                    outcome, mistake = lost(job, _DIED), None
                    process.pipe.close()
                else:
                    if fresh:
                        process.pipe.close()
                    else:
                        idle.append(process)
                del busy[pipe]
                if mistake is not None:
                    raise mistake
                yield outcome
    finally:
        with no_interruption():
            _end([process for process, _ in busy.values()])
            for process in idle:
                process.pipe.close()  # which it takes for the end


class _Process:
    """A process that does one job after the other, until its pipe is closed."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        # Spawned, because torch's threads and CUDA do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_do_jobs, args=(work, theirs), daemon=True)
        self.process.start()
        theirs.close()  # or its death would not be seen


def _do_jobs(work: Callable[[Any], Any], pipe: connection.Connection) -> None:
    """What such a process does. It ends where the parent has: then its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to every process
    while True:
        try:
            job = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer = (work(job), None)
        except Exception as error:  # noqa: BLE001 - it is raised again by the parent
            error.add_note(traceback.format_exc())
            answer = (None, error)
        try:
            pipe.send(answer)
        except ConnectionError:
            return


def _end(processes: Sequence[_Process]) -> None:
    """Send SIGTERM until all are gone: one that has just ended its job waits for the next."""
    end = time.monotonic() + _PATIENCE_SEC
    while alive := [one.process for one in processes if one.process.is_alive()]:
        for process in alive:
            if time.monotonic() < end:
                process.terminate()
            else:
                process.kill()
        alive[0].join(_ASK_AGAIN_SEC)


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
                f"--ray {address}: {in_a_line(error, 200)}; start the cluster with "
                "`ray start --head`, or take --ray local"
            ) from error
        self.gpus = int(ray.cluster_resources().get("GPU", 0))

    def run(
        self,
        work: Callable[[Job], Outcome],
        jobs: Sequence[Job],
        *,
        lost: Callable[[Job, str], Outcome],
        one_by_one: bool = False,
    ) -> Generator[Outcome, None, None]:
        """Yield outcomes as they come; `one_by_one` in turn, each in a process of its own.

        A worker that is lost costs its own job alone, whose outcome `lost` makes of it and a line
        that says so. Raises what `work` raises.
        """
        # Ray would repeat a job by itself, whose recording is half there.
        options = {"num_cpus": 1, "num_gpus": 1 if self.gpus else 0, "max_retries": 0}
        if one_by_one:
            options["max_calls"] = 1
        remote = self._ray.remote(**options)(work)
        waiting = {} if one_by_one else {remote.remote(job): job for job in jobs}
        while waiting:
            (done,), _ = self._ray.wait(list(waiting), num_returns=1)
            yield self._get(done, waiting.pop(done), lost)
        for job in jobs if one_by_one else ():
            yield self._get(remote.remote(job), job, lost)

    def _get(self, reference: Any, job: Job, lost: Callable[[Job, str], Outcome]) -> Outcome:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ViewerError):
                raise error.cause from None
            raise  # our own mistake on a worker, with its traceback
        except self._ray.exceptions.RayError as error:
            return lost(job, f"Ray: {in_a_line(error, 200)}")

    def close(self) -> None:
        """Leave the cluster, or stop the one that was started here."""
        self._ray.shutdown()


@contextmanager
def joined_cluster(address: str, workers: int, warn: Callable[[str], None]) -> Iterator[RayCluster]:
    """A cluster that is left at the end; a line says so where its CPUs have to do the work.

    Raises `SettingsError` as `RayCluster` does.
    """
    with closing(RayCluster(address, workers)) as cluster:
        if not cluster.gpus:
            warn(f"--ray {address}: the cluster has no GPU; its CPUs do the work")
        yield cluster


def _knock(address: str) -> None:
    """Raise `OSError` where nothing listens at HOST:PORT, for which Ray would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SEC).close()
