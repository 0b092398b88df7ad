"""Every reader takes any bytes: a valid object or a `ViewerError` of one line, and nothing else.

A short, repeatable part of `python -m tests.fuzz`, and the inputs that it found, which lie in
tests/hostile, named for the reader and for what they did.
"""

import os
import random
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import av
import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz import judge as fuzz_judge
from tests.fuzz.judge import judge, shrunk, warm_up
from tests.fuzz.mutation import STRANGE, mutated, mutated_json
from tests.fuzz.targets import TARGETS, Target
from tests.media import level_frames, write_video
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import InputError
from ttt3r_viewer.frames.source import open_source

FOUND = sorted((Path(__file__).parent / "hostile").glob("*.bin"))
INPUTS = 40
"""Of each target; the long run makes thousands."""


@pytest.mark.parametrize("name", list(TARGETS))
def test_hostile_bytes_give_an_object_or_one_line(tmp_path, name):
    target = TARGETS[name]
    warm_up(target, tmp_path)
    inputs = list(islice(fuzz.inputs(target, seed=11, seconds=600), INPUTS))
    if target.programs is not None:
        inputs += fuzz.made(target.programs, 11, INPUTS)
    for data in inputs:
        wrong = judge(target, data, tmp_path)
        assert not wrong, (wrong, data[:2000])


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_is_mended(tmp_path, path):
    target = TARGETS[path.name.partition(".")[0]]
    warm_up(target, tmp_path)
    assert not judge(target, path.read_bytes(), tmp_path)


@pytest.mark.parametrize("name", list(TARGETS))
def test_a_valid_seed_is_read(tmp_path, name):
    """A target that refused even these would test nothing behind its first check."""
    if name in ("pth", "pickle", "safetensors-header", "safetensors"):
        pytest.skip("they hold tensors of no known network, which is said last")
    TARGETS[name].read(TARGETS[name].seeds()[0], tmp_path)


def test_a_script_that_names_other_files_is_refused(tmp_path):
    write_video(tmp_path / "a.ts", level_frames(6))
    script = tmp_path / "b.mp4"
    script.write_text("ffconcat version 1.0\nfile 'a.ts'\n")
    with av.open(str(script)) as container:
        assert len(list(container.decode(video=0))) == 6, "FFmpeg itself follows it"
    with pytest.raises(InputError, match="neither an image nor a video"):
        open_source(str(script))


def test_names_do_not_command_the_terminal(capsys):
    assert main(["info", "no\x1b[2J\x07folder"]) == 2
    said = capsys.readouterr().err
    assert "no\\x1b[2J\\x07folder" in said
    assert not set("\x1b\x07").intersection(said)


def test_the_same_seed_gives_the_same_inputs():
    target = TARGETS["yaml"]
    first, again = (list(islice(fuzz.inputs(target, 5, 600), 30)) for _ in range(2))
    assert first == again
    assert first != list(islice(fuzz.inputs(target, 6, 600), 30))
    assert target.programs is not None
    assert fuzz.made(target.programs, 3, 20) == fuzz.made(target.programs, 3, 20)


def test_changes_change():
    dice = random.Random(0)
    seeds = [bytes(range(200)), b"other" * 20]
    changed = {mutated(seeds[0], seeds, [b"word"], dice) for _ in range(200)}
    assert len(changed) > 150
    before = repr(STRANGE)
    changed = {mutated_json(b'{"a": [1, 2, {"b": "c"}]}', dice) for _ in range(200)}
    assert len(changed) > 80
    assert repr(STRANGE) == before, "what is put in is a copy"


def work_for(seconds: float) -> None:
    """Keep the processor busy: the judge counts its time, not that of a busy machine."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def _misbehaves(how: str):
    """A reader that does what none may."""

    def read(data: bytes, folder: Path) -> None:
        if not data.startswith(b"bad"):
            raise InputError("one line")
        match how:
            case "error":
                raise KeyError("x")
            case "lines":
                raise InputError("two\nlines")
            case "slow":
                work_for(5)
            case "swallows":
                try:
                    work_for(5)
                except Exception:  # noqa: BLE001 - as a careless reader does
                    return
            case "program":
                subprocess.run([sys.executable, "-c", ""], check=True)
            case "shell":
                os.system("true")
            case "writes":
                (folder.parent / "x").write_text("x")

    return Target(read, lambda: [b"good"])


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("error", "KeyError in no code of ours"),
        ("lines", "InputError of several lines"),
        ("slow", "more than 0.3 s"),
        ("swallows", "more than 0.3 s"),
        ("program", "it did subprocess.Popen"),
        ("shell", "it did os.system"),
        ("writes", "it did open of a file to write"),
    ],
)
def test_the_judge_sees_what_is_wrong(tmp_path, monkeypatch, how, wrong):
    monkeypatch.setattr(fuzz_judge, "LIMIT_SEC", 0.3)
    target, folder = _misbehaves(how), tmp_path / "own"
    folder.mkdir()
    assert judge(target, b"good", folder) == ""
    assert judge(target, b"bad and long", folder).startswith(wrong)


def test_findings_are_shrunk(tmp_path):
    target = _misbehaves("error")
    wrong = judge(target, b"bad" + bytes(500), tmp_path)
    assert shrunk(target, b"bad" + bytes(500), wrong, tmp_path) == b"bad"


def test_the_tool_runs_and_saves_nothing_where_all_is_well(tmp_path):
    words = ["--minutes", "0.02", "--targets", "rules", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.__main__", *words],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings" in done.stdout
    assert not list(tmp_path.glob("*.bin"))
