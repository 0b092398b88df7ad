"""`run` with several inputs: a recording each, one table, and none that costs another anything."""

import csv
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.media import level_frames, write_video
from tests.refusals import error_line
from tests.waiting import has_frames, wait_for
from ttt3r_viewer.cli import main
from ttt3r_viewer.commands import run as run_command
from ttt3r_viewer.errors import OutputError, SettingsError
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.runs import batch as several
from ttt3r_viewer.runs.batch import (
    COLUMNS,
    TABLE,
    RunJob,
    RunOutcome,
    folder_names,
    plan,
    run_one,
    write_table,
)
from ttt3r_viewer.runs.reconstruction import Reconstruction
from ttt3r_viewer.settings import Settings, settings_from
from ttt3r_viewer.system.assets import demo_path

DEMO_INPUTS = ("demo:loop", "demo:walk")
SHORT = ("--max-frames", "3", "--dtype", "float32")


def run(out: Path, inputs: Sequence[str], *more: str) -> int:
    return main(["run", "--input", *inputs, "--output", str(out), *SHORT, *more])


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / TABLE).open(newline="", encoding="utf-8") as file:
        return {row["session"]: row for row in csv.DictReader(file)}


def states(out: Path) -> dict[str, str]:
    return {name: row["state"] for name, row in table(out).items()}


def poses(out: Path) -> dict[str, str]:
    return {one.parent.name: one.read_text() for one in out.glob("*/poses_tum.txt")}


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        (["/a/one.mp4", "/a/two.mp4"], ["one", "two"]),
        (["/a/one.mp4", "/a/one.avi"], ["one.mp4", "one.avi"]),
        (["/a/images", "/b/images", "/c/other"], ["a_images", "b_images", "other"]),
        (["/x/a/images", "/y/a/images"], ["x_a_images", "y_a_images"]),
        (["/a/One.mp4", "/b/one.mp4"], ["a_One.mp4", "b_one.mp4"]),
        (["/a_b/c.mp4", "/a/b_c.mp4", "/b/c.mov"], ["c.mp4", "b_c", "c.mov"]),
        (["/a/b_c/d", "/a_b/c/d"], ["b_c_d", "c_d"]),
        (["/a_b/d", "/a/b/d", "/b/d"], ["a_b_d", "a_b_d_2", "b_d"]),
        (["demo:loop", "/demo-loop"], ["demo-loop", "demo-loop_2"]),
        (["/shots/*.png", "/a/.hidden", "/runs.csv"], ["shots", "hidden", "runs"]),
        (["/a/s/*.png", "/b/s/*.png"], ["a_s__.png", "b_s__.png"]),
        (["/a/runs.csv.mp4", "/"], ["runs.csv_2", "input"]),
        (["/a/archive.mp4", "/a/log.txt"], ["archive_2", "log"]),
    ],
)
def test_recordings_have_the_shortest_names_that_differ(inputs, wanted):
    assert folder_names(inputs) == wanted


def test_every_input_becomes_the_recording_that_it_is_alone(tmp_path, capsys):
    write_video(tmp_path / "clip.mp4", level_frames(4))
    inputs = [*DEMO_INPUTS, str(tmp_path / "clip.mp4")]
    assert run(tmp_path / "all", inputs) == 0
    assert f"3 of 3 inputs are finished: {tmp_path}/all/runs.csv" in capsys.readouterr().out
    for one, name in zip(inputs, ("demo-loop", "demo-walk", "clip"), strict=True):
        assert run(tmp_path / "alone", [one], "--overwrite") == 0
        assert poses(tmp_path / "all")[name] == poses(tmp_path)["alone"]
        assert len(Recording.open(tmp_path / "all" / name)) == 3
        row = table(tmp_path / "all")[name]
        assert tuple(row) == COLUMNS
        assert (row["input"], row["state"], row["frames"], row["trouble"]) == (
            *(one, "finished", "3", ""),
        )
        assert float(row["frames_per_second"]) > 0
        assert row["device"] == "cpu float32"


def test_inputs_that_cannot_be_read_are_told_first_and_cost_nothing(tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    inputs = ["demo:loop", str(tmp_path / "text.mp4"), str(tmp_path / "nowhere")]
    assert run(tmp_path / "out", inputs) == 2
    ended = {"demo-loop": "finished", "text": "failed", "nowhere": "failed"}
    assert states(tmp_path / "out") == ended
    said = capsys.readouterr()
    assert "nowhere: there is no file or folder" in said.err
    assert "text: " in said.err
    assert "Traceback" not in said.err
    assert "there is no file" in table(tmp_path / "out")["nowhere"]["trouble"]
    assert not (tmp_path / "out" / "nowhere").exists()


def test_a_failure_on_the_way_is_told_and_the_next_one_runs(tmp_path, capsys):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "1.png").write_bytes(b"no picture")
    assert run(tmp_path / "out", [str(damaged), "demo:loop"]) == 2
    assert states(tmp_path / "out") == {"damaged": "failed", "demo-loop": "finished"}
    assert "damaged: " in capsys.readouterr().err


def test_a_mistake_of_ours_costs_no_other_input(tmp_path, capsys, monkeypatch):
    prepare = Reconstruction.prepare

    def prepare_badly(settings: Settings, **more: bool) -> Reconstruction:
        if settings.input.input == "demo:loop":
            raise ZeroDivisionError("by nothing")
        return prepare(settings, **more)

    monkeypatch.setattr(several.Reconstruction, "prepare", staticmethod(prepare_badly))
    assert run(tmp_path / "out", DEMO_INPUTS) == 2
    assert states(tmp_path / "out") == {"demo-loop": "failed", "demo-walk": "finished"}
    assert "a mistake of the program's: by nothing" in capsys.readouterr().err


def test_resume_leaves_what_is_finished_and_goes_on_with_the_rest(tmp_path, capsys):
    out = tmp_path / "out"
    assert run(out, DEMO_INPUTS) == 0
    before = (out / "demo-loop" / "run.json").read_bytes()
    (out / "demo-walk" / "run.json").unlink()
    assert run(out, DEMO_INPUTS) == 2
    assert "2 of 2 recordings are there already (as demo-loop); give --resume" in (
        capsys.readouterr().err
    )
    assert run(out, [*DEMO_INPUTS, "demo:hand-held"], "--resume") == 0
    assert set(states(out).values()) == {"finished"}
    assert (out / "demo-loop" / "run.json").read_bytes() == before
    assert "demo-loop: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("inputs", "more", "wanted"),
    [
        (("demo:loop", "camera:0"), (), "camera:0 is live and does not end"),
        (("demo:loop", "rtsp://me:secret@here/"), (), "rtsp://***@here/ is live"),
        (("a", "b"), ("--follow",), "--input a is live"),
        (("a", "./a"), (), "it is given 2 times"),
        (("s/1.png", "s/2.PNG"), (), "2 images, each of which would be a run of one frame"),
        (("a", ""), (), "one of them is an empty text"),
        (("~nobody-of-that-name/x", "b"), (), "--input ~nobody-of-that-name/x: "),
        (DEMO_INPUTS, ("--rules", "tttr"), "did you mean ttt3r?"),
        (DEMO_INPUTS, ("--weights", "nowhere.pth"), "nowhere.pth"),
        (DEMO_INPUTS, ("--jobs", "0"), "--jobs 0: take a number above 0"),
        (("demo:loop",), ("--jobs", "2"), "name them after --input"),
        (("demo:loop",), ("--ray", "local"), "name them after --input"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(tmp_path, capsys, inputs, more, wanted):
    words = ("run", "--input", *inputs, "--output", str(tmp_path / "out"), *SHORT, *more)
    error = error_line(capsys, *words)
    assert wanted in error
    assert "secret" not in error
    assert not (tmp_path / "out").exists()


def test_no_output_is_one_line(capsys):
    assert main(["run", "--input", *DEMO_INPUTS]) == 2
    assert "run has nowhere to write: give --output DIR" in capsys.readouterr().err


def test_the_recording_of_one_input_takes_no_others_in(tmp_path, capsys):
    assert run(tmp_path / "one", ["demo:loop"]) == 0
    assert run(tmp_path / "one", DEMO_INPUTS, "--overwrite") == 2
    assert "it is the recording of one input; name another folder" in capsys.readouterr().err


def test_a_page_takes_one_input(capsys):
    assert main(["--input", "a", "b"]) == 2
    assert "unrecognized arguments: b" in capsys.readouterr().err


def test_a_machine_that_does_not_share_the_folder_says_so(tmp_path):
    settings = settings_from({"input": "demo:loop", "output": str(tmp_path / "out" / "demo-loop")})
    outcome = run_one(RunJob(settings))
    assert "does not see" in outcome.trouble
    assert "name an --output that all machines of the cluster share" in outcome.trouble
    assert not (tmp_path / "out").exists()


def test_a_plan_is_made_of_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = plan(settings_from({"output": "out"}), ["a.mp4", "demo:walk"])
    assert [job.settings.input.input for job in jobs] == [str(tmp_path / "a.mp4"), "demo:walk"]
    assert [job.folder for job in jobs] == [tmp_path / "out" / "a", tmp_path / "out" / "demo-walk"]
    with pytest.raises(SettingsError, match="given 2 times"):
        plan(settings_from({"output": "out"}), ["a.mp4", str(tmp_path / "a.mp4")])


def test_what_only_looks_like_images_is_run(tmp_path):
    plan(settings_from({"output": str(tmp_path / "out")}), ["s/l*.png", "s/r*.png"])
    plan(settings_from({"output": str(tmp_path / "out")}), ["s/one.gif", "s/two.gif"])


def test_an_overwritten_recording_counts_once_it_is_run_again(tmp_path):
    out = tmp_path / "out"
    assert run(out, DEMO_INPUTS) == 0
    settings = settings_from({"output": str(out), "overwrite": True})
    jobs = plan(settings, DEMO_INPUTS)
    assert write_table(jobs, {}) == 0
    assert set(states(out).values()) == {"not begun"}
    done = {jobs[0].folder: RunOutcome(jobs[0], frames=3)}
    assert write_table(jobs, done) == 1
    assert states(out) == {"demo-loop": "finished", "demo-walk": "not begun"}


def test_a_name_that_is_no_text_stands_in_the_table(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/not-\xff-text")
    Path(folder).mkdir()
    assert run(tmp_path / "out", [folder, "demo:loop"]) == 2
    assert "finished" in states(tmp_path / "out").values()


def test_a_table_that_cannot_be_written_for_a_moment_ends_no_run(tmp_path, capsys, monkeypatch):
    write, calls = several.write_table, itertools.count()

    def write_badly(*given):
        if next(calls) == 1:
            raise OutputError("somebody else has the table open")
        return write(*given)

    monkeypatch.setattr(run_command, "write_table", write_badly)
    assert run(tmp_path / "out", DEMO_INPUTS) == 0
    assert "somebody else has the table open" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    assert run(tmp_path / "one", DEMO_INPUTS) == 0
    assert run(tmp_path / "two", DEMO_INPUTS, "--jobs", "2") == 0
    assert poses(tmp_path / "two") == poses(tmp_path / "one")
    assert states(tmp_path / "two") == states(tmp_path / "one")


@pytest.mark.slow
def test_a_local_ray_of_two_workers_writes_the_same_and_resumes(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install ttt3r-viewer[cluster]")
    assert run(tmp_path / "here", DEMO_INPUTS) == 0
    assert run(tmp_path / "ray", DEMO_INPUTS, "--ray", "local", "--jobs", "2") == 0
    assert poses(tmp_path / "ray") == poses(tmp_path / "here")
    (tmp_path / "ray" / "demo-walk" / "run.json").unlink()
    words = ("--ray", "local", "--jobs", "2", "--resume")
    assert run(tmp_path / "ray", DEMO_INPUTS, *words) == 0
    assert poses(tmp_path / "ray") == poses(tmp_path / "here")


def begun(out: Path, *more: str) -> subprocess.Popen[bytes]:
    """`run` of endless inputs in two processes, both with frames."""
    inputs = (out.parent / "a", out.parent / "b", out.parent / "c")
    for folder in inputs:
        folder.mkdir()
        for number in range(3000):
            (folder / f"{number:04d}.jpg").symlink_to(demo_path() / f"{number % 250:04d}.jpg")
    words = ("run", "--input", *map(str, inputs), "--output", str(out), "--jobs", "2", *more)
    program = subprocess.Popen([sys.executable, "-m", "ttt3r_viewer", *words])
    wait_for(lambda: all(map(has_frames, (out / "a", out / "b"))), "frames of two", 120)
    return program


def children_of(program: subprocess.Popen[bytes]) -> list[int]:
    path = Path(f"/proc/{program.pid}/task/{program.pid}/children")
    if not path.exists():
        pytest.skip("this system does not say whose child a process is")
    found = [int(one) for one in path.read_text().split()]
    return [one for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_sigterm_ends_all_processes_with_their_recordings_whole(tmp_path, signals):
    out = tmp_path / "out"
    program = begun(out)
    try:
        for _ in range(signals):
            program.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert program.wait(60) == 130
    finally:
        program.kill()
    assert states(out) == {"a": "stopped", "b": "stopped", "c": "not begun"}
    frames = {name: len(Recording.open(out / name)) for name in ("a", "b")}
    assert {name: int(table(out)[name]["frames"]) for name in frames} == frames


@pytest.mark.slow
def test_a_process_that_dies_costs_its_own_input_alone(tmp_path):
    out = tmp_path / "out"
    program = begun(out)
    try:
        os.kill(children_of(program)[0], signal.SIGKILL)
        wait_for(lambda: has_frames(out / "c"), "the third input", 120)
        assert "failed" in states(out).values()
        assert program.poll() is None
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 130
    finally:
        program.kill()
    (dead,) = (row for row in table(out).values() if row["state"] == "failed")
    assert "its process ended before its time" in dead["trouble"]
    assert "--resume continues it" in dead["trouble"]


@pytest.mark.slow
def test_no_process_outlives_a_program_that_was_killed_for_long(tmp_path):
    program = begun(tmp_path / "out", "--max-frames", "60")
    children = children_of(program)
    program.kill()
    program.wait()
    wait_for(lambda: not any(Path(f"/proc/{one}").exists() for one in children), "their end", 120)
    assert not has_frames(tmp_path / "out" / "c")
