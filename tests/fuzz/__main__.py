"""Give damaged and hostile files to every reader of the program, and say what none may do.

    python -m tests.fuzz --minutes 30 [--targets pickle,yaml] [--seed 0] [--output fuzz]

Any bytes must give a valid object or a `ViewerError` of one line; any other error, more than 10 s
or 768 MiB (of pictures and films 2 GiB), a started program, an opened connection or a written file
is a finding. Inputs are valid files that were changed (bits, cuts, splices, lengths, words of the
format, JSON values), and where a target has them programs and texts that hypothesis makes. Each
target has its share of the time in a process of its own, whose memory is limited; one that dies or
hangs is a finding too, and the target goes on in a new one. A finding is saved below `--output` as
`TARGET-NUMBER.bin`, shrunk, and the same with `.txt` says what it did and which seed found it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from tests.fuzz.targets import Target

STALLED_SEC = 60.0
"""Without a word from a worker, which says something every second: it hangs in C."""
STARTING_SEC = 600.0
"""For a worker's imports on a busy machine."""
ADDRESS_SPACE = 3 << 30
"""Bytes that a worker may map beyond what its imports took."""
MADE_AT_ONCE = 100
"""Inputs that hypothesis makes between two changes of seeds."""


@dataclass
class Tally:
    """What came of one target."""

    inputs: int = 0
    seconds: float = 0.0
    findings: Counter[str] = field(default_factory=Counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of all targets together")
    parser.add_argument("--targets", help="names with commas (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("fuzz"), help="where findings go")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.seed, given.minutes * 60, given.output)
        return
    from tests.fuzz.targets import TARGETS

    names = given.targets.split(",") if given.targets else list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"unknown target {unknown[0]}: take some of {', '.join(TARGETS)}")
    given.output.mkdir(parents=True, exist_ok=True)
    tallies = {}
    for name in names:
        share_sec = given.minutes * 60 / len(names)
        tally = tallies[name] = run(name, given.seed, share_sec, given.output)
        print(f"{name:20} {tally.inputs:9,} inputs {tally.seconds:7.0f} s", flush=True)
        for wrong, count in tally.findings.most_common():
            print(f"    {count:6} x {wrong}", flush=True)
    total = sum(tally.inputs for tally in tallies.values())
    spent_min = sum(tally.seconds for tally in tallies.values()) / 60
    found = sum(len(tally.findings) for tally in tallies.values())
    print(f"{'all':20} {total:9,} inputs {spent_min:7.1f} min of CPU; {found} findings")
    sys.exit(1 if found else 0)


def run(name: str, seed: int, seconds: float, output: Path) -> Tally:
    """Attack one target for so long, in worker after worker where they die."""
    tally = Tally()
    end = time.monotonic() + seconds
    worker = 0
    while (left := end - time.monotonic()) > 1 or not worker:
        words = ["--worker", name, "--seed", str(seed + 1000 * worker), "--output", str(output)]
        words += ["--minutes", str(left / 60)]
        command = [sys.executable, "-m", "tests.fuzz.__main__", *words]
        with (
            (output / f"{name}.log").open("a") as log,  # libraries in C complain there
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            died = _listen(process, tally)
        if died:
            tally.findings[died] += 1
            with contextlib.suppress(FileNotFoundError):
                _current(output, name).rename(output / f"{name}-died-{seed + 1000 * worker}.bin")
        _current(output, name).unlink(missing_ok=True)
        worker += 1
    return tally


def _listen(process: subprocess.Popen[str], tally: Tally) -> str:
    """Take in what a worker says until it ends; how it died, or nothing."""
    assert process.stdout is not None
    said = Tally()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(STALLED_SEC if said.inputs else STARTING_SEC):
            line = process.stdout.readline()
            if not line:
                break
            with contextlib.suppress(ValueError, TypeError):
                said = Tally(**json.loads(line))
        else:
            process.kill()
    process.wait()
    tally.inputs += said.inputs
    tally.seconds += said.seconds
    tally.findings.update(said.findings)
    if process.returncode == 0:
        return ""
    return "it hung" if process.returncode == -9 else f"the process died ({process.returncode})"


def _current(output: Path, name: str) -> Path:
    """Where a worker keeps the input at hand, for the case that it dies of it."""
    return output / f".{name}.current"


def work(name: str, seed: int, seconds: float, output: Path) -> None:
    """Attack one target in this process, and say every second how far it is."""
    import torch

    from tests.fuzz.judge import judge, shrunk, warm_up
    from tests.fuzz.targets import TARGETS

    torch.set_num_threads(1)
    _limit_memory()
    target = TARGETS[name]
    tally = Tally()
    said = time.monotonic()
    with TemporaryDirectory() as place:
        folder = Path(place)
        warm_up(target, folder)
        for data in inputs(target, seed, seconds):
            _current(output, name).write_bytes(data)
            wrong = judge(target, data, folder)
            tally.inputs += 1
            if wrong:
                tally.findings[wrong] += 1
                if tally.findings[wrong] == 1:
                    _save(output, name, shrunk(target, data, wrong, folder), wrong, seed)
            if time.monotonic() - said > 1:
                said = time.monotonic()
                tally.seconds = time.process_time()
                print(json.dumps(vars(tally)), flush=True)
    tally.seconds = time.process_time()
    print(json.dumps(vars(tally)), flush=True)


def inputs(target: Target, seed: int, seconds: float) -> Iterator[bytes]:
    """Hostile inputs until the time is over: changed seeds, and what hypothesis makes."""
    from tests.fuzz.mutation import mutated, mutated_json

    dice = random.Random(seed)
    seeds = list(target.seeds())
    end = time.monotonic() + seconds
    yield from seeds
    while time.monotonic() < end:
        if target.programs is not None and dice.random() < 1 / MADE_AT_ONCE:
            yield from made(target.programs, dice.randrange(1 << 30), MADE_AT_ONCE)
            continue
        data = dice.choice(seeds)
        if target.is_json and dice.random() < 0.7:
            yield mutated_json(data, dice)
        else:
            yield mutated(data, seeds, target.words, dice)


def made(strategy: SearchStrategy[bytes], seed: int, count: int) -> list[bytes]:
    """So many values of a hypothesis strategy, the same for the same seed."""
    import hypothesis

    found: list[bytes] = []
    checks = hypothesis.HealthCheck

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=[checks.too_slow, checks.data_too_large, checks.filter_too_much],
    )
    @hypothesis.given(strategy)
    def collect(data: bytes) -> None:
        found.append(data)

    collect()
    return found


def _save(output: Path, name: str, data: bytes, wrong: str, seed: int) -> None:
    number = sum(1 for _ in output.glob(f"{name}-*.bin"))
    (output / f"{name}-{number}.bin").write_bytes(data)
    (output / f"{name}-{number}.txt").write_text(f"{wrong}\nseed {seed}\n", encoding="utf-8")


def _limit_memory() -> None:
    """Let this process map only so much more than it has now."""
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
