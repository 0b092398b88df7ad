"""Jobs one after the other, in processes of this machine, or over a Ray cluster."""

import functools
import importlib
import multiprocessing
import signal
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
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
    *,
    processes: int,
    lost: Callable[[Job, str], Outcome],
    one_by_one: bool = False,
) -> Generator[Outcome, None, None]:
    """Yield outcomes as they come, from so many processes; one is this one.

    `one_by_one`: in turn, each in a process of its own, in which nothing was held before. `work`
    must be a function of a module, and jobs and outcomes picklable. A process that dies costs its
    own job alone, whose outcome `lost` makes of it and a line that says so. Ctrl-C here, or closing
    the iterator, reaches work in other processes as SIGTERM, and waits for it to end. Raises what
    `work` raises.
    """
    if processes == 1 and not one_by_one:
        yield from map(work, jobs)
        return
    waiting, idle = deque(jobs), list[JobProcess]()
    busy: dict[Any, tuple[JobProcess, Job]] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < (1 if one_by_one else processes):
                process = idle.pop() if idle else JobProcess(work)
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
                    if one_by_one:
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


class JobProcess:
    """A process that does one job after the other, until its pipe is closed.

    What is sent through the pipe is a job; what comes back is what the work returned of it and
    None, or None and what it raised.
    """

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


def _end(processes: Sequence[JobProcess]) -> None:
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


@contextmanager
def job_runner(
    address: str | None, processes: int, warn: Callable[[str], None]
) -> Iterator[Callable[..., Generator[Any, None, None]]]:
    """A function that does jobs: `in_processes` with so many, or on the Ray cluster at `address` a
    function with the same parameters, which gives each job a GPU where the cluster has GPUs.

    `local` starts a cluster here with so many workers. Raises `SettingsError` where Ray is not
    installed or the cluster does not answer; a line says so where CPUs have to do the work.
    """
    if address is None:
        yield functools.partial(in_processes, processes=processes)
        return
    ray = need_ray(address)
    quiet = {"logging_level": "error", "log_to_driver": False}
    try:
        if address == "local":
            ray.init(address="local", num_cpus=processes, include_dashboard=False, **quiet)
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise SettingsError(
            f"--ray {address}: {in_a_line(error, 200)}; start the cluster with "
            "`ray start --head`, or take --ray local"
        ) from error
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        if not gpus:
            warn(f"--ray {address}: the cluster has no GPU; its CPUs do the work")
        yield functools.partial(_on_cluster, ray, 1 if gpus else 0)
    finally:
        ray.shutdown()


def _on_cluster(
    ray: Any,
    gpus: int,
    work: Callable[[Job], Outcome],
    jobs: Sequence[Job],
    *,
    lost: Callable[[Job, str], Outcome],
    one_by_one: bool = False,
) -> Generator[Outcome, None, None]:
    """As `in_processes`, with so many GPUs for each job."""
    # Ray would repeat a job by itself, whose recording is half there.
    once = {"max_calls": 1} if one_by_one else {}
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0, **once)(work)

    def outcome_of(reference: Any, job: Job) -> Outcome:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ViewerError):
                raise error.cause from None
            raise  # our own mistake on a worker, with its traceback
        except ray.exceptions.RayError as error:
            return lost(job, f"Ray: {in_a_line(error, 200)}")

    waiting = {} if one_by_one else {remote.remote(job): job for job in jobs}
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        yield outcome_of(done, waiting.pop(done))
    for job in jobs if one_by_one else ():
        yield outcome_of(remote.remote(job), job)


def _knock(address: str) -> None:
    """Raise `OSError` where nothing listens at HOST:PORT, for which Ray would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SEC).close()
