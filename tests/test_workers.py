"""Several processes learning as one."""

import contextlib
import functools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from tests.weights_files import needs_muon
from training import workers as module
from training.workers import ALONE, Workers, run_workers
from ttt3r_viewer.errors import ViewerError, WeightsError


def write_means(folder: Path, *, workers: Workers) -> None:
    own = torch.arange(4.0)[workers.rank :: workers.size]
    gradients = [own.mean().reshape(1), own.sum().expand(2, 2).clone()]
    workers.average(gradients)
    agreed = [workers.any(workers.rank == 1), workers.any(False)]
    torch.save([gradients, agreed, workers.parent], folder / f"{workers.rank}.pt")


def refuse(*, workers: Workers) -> None:
    if workers.leads:
        raise WeightsError("no such weights")
    workers.any(False)


@needs_muon
def test_workers_average_what_they_learn(tmp_path):
    run_workers(2, functools.partial(write_means, tmp_path))
    told = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for (mean, total), agreed, parent in told:
        assert parent == os.getpid()
        assert mean.tolist() == [1.5]
        assert total.tolist() == [[3.0, 3.0], [3.0, 3.0]]
        assert agreed == [True, False]


def test_one_process_is_a_group_of_one(tmp_path):
    run_workers(1, functools.partial(write_means, tmp_path))
    (mean, _), agreed, parent = torch.load(tmp_path / "0.pt")
    assert parent is None
    assert mean.tolist() == [1.5]
    assert agreed == [False, False]
    assert ALONE.leads


@needs_muon
def test_what_one_worker_refuses_is_said_once():
    with pytest.raises(ViewerError, match="no such weights"):
        run_workers(2, refuse)


def test_workers_whose_waiting_process_has_gone_know_it():
    assert not Workers(0, 2, parent=os.getppid()).should_end
    assert Workers(0, 2, parent=os.getpid()).should_end
    assert not ALONE.should_end


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_for_an_end(kind):
    told = []

    def learn(*, workers: Workers) -> None:
        told.append(workers.should_end)
        signal.raise_signal(kind)
        told.append(workers.should_end)

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        run_workers(1, learn)
    assert told == [False, True]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_interrupts():
    learnt = []

    def learn(*, workers: Workers) -> None:
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            signal.raise_signal(kind)
        assert workers.should_end
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        learnt.append("to the end")

    with pytest.raises(KeyboardInterrupt):
        run_workers(1, learn)
    assert learnt == ["to the end"]


@needs_muon
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_workers_that_are_asked_to_end_while_they_start_end(monkeypatch, kind):
    def spawn_and_tell(*given: Any, **options: Any) -> Any:
        context = spawn(*given, **options)
        signal.raise_signal(kind)
        return context

    monkeypatch.setattr(module, "spawn", spawn_and_tell)
    with pytest.raises(KeyboardInterrupt):
        run_workers(2, refuse)


def say_what_is_kept_back(*, workers: Workers) -> None:
    assert workers.size == 2
    sys.stdout.write(" ".join(map(str, signal.pthread_sigmask(signal.SIG_BLOCK, ()))) + "\n")


@needs_muon
def test_workers_do_not_hear_the_terminal():
    """In a process of its own: what another test has started there is nothing to it."""
    code = (
        "from tests.test_workers import run_workers, say_what_is_kept_back, signal;"
        "run_workers(2, say_what_is_kept_back);"
        "print(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*[str(int(signal.SIGINT))] * 2, "0"]


def wait_for_ever(*, workers: Workers) -> None:
    if workers.leads:
        os.kill(workers.parent or 0, signal.SIGINT)
    while not workers.should_end:
        time.sleep(0.01)
    if workers.leads:
        os.kill(workers.parent or 0, signal.SIGINT)
    time.sleep(1000)


@needs_muon
def test_a_second_ctrl_c_ends_workers_that_do_not_end():
    with pytest.raises(KeyboardInterrupt):
        run_workers(2, wait_for_ever)
    assert not multiprocessing.active_children()


Training = subprocess.Popen[str]

ONE_LONG_STAGE = """
stages:
- {name: long, steps: 1000, frames: 1, batch: 2, learning_rate: 0.0001, weights: {self: 1.0}}
clips_per_page: 2
validate_every: 1
validation_rooms: 1
checkpoint_every: 1000
"""


def ctrl_c_in_a_terminal(training: Training) -> None:
    os.killpg(training.pid, signal.SIGINT)


def time_out(training: Training) -> None:
    os.killpg(training.pid, signal.SIGTERM)


@needs_muon
@pytest.mark.parametrize(
    ("end", "code"),
    [(ctrl_c_in_a_terminal, 130), (time_out, 130), (Training.kill, -signal.SIGKILL)],
)
def test_training_that_is_ended_is_saved_where_it_was(tmp_path, end, code):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(ONE_LONG_STAGE)
    training = subprocess.Popen(
        [
            *(sys.executable, "-m", "training.train", "--config", str(recipe)),
            *("--checkpoints", str(tmp_path / "run"), "--processes", "2", "--threads", "1"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert training.stdout is not None
    try:
        said = ""
        for line in training.stdout:
            said += line
            if "validation" in line:
                break
        assert "validation" in said, said
        end(training)
        said += training.stdout.read()  # to the end of the last process that writes there
        assert training.wait(60) == code
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(training.pid, signal.SIGKILL)
        training.stdout.close()
    assert "Traceback" not in said, said
    step = re.search(r"stopped at step (\d+); --resume goes on", said)
    assert step, said
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == int(step[1])
