"""`run` with several inputs: a session each, one table, and none that costs another anything."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.media import level_frames, write_video
from ttt3r_viewer import several
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.scene.archive import Archive
from ttt3r_viewer.settings import Settings
from ttt3r_viewer.several import COLUMNS, TABLE, RunJob, plan, run_one, session_names
from ttt3r_viewer.wiring import Reconstruction

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
    ],
)
def test_sessions_have_the_shortest_names_that_differ(inputs, wanted):
    assert session_names(inputs) == wanted


def test_every_input_becomes_the_session_that_it_is_alone(tmp_path, capsys):
    write_video(tmp_path / "clip.mp4", level_frames(4))
    inputs = [*DEMO_INPUTS, str(tmp_path / "clip.mp4")]
    assert run(tmp_path / "all", inputs) == 0
    assert f"3 of 3 inputs are finished: {tmp_path}/all/runs.csv" in capsys.readouterr().out
    for one, name in zip(inputs, ("demo-loop", "demo-walk", "clip"), strict=True):
        assert run(tmp_path / "alone", [one], "--overwrite") == 0
        assert poses(tmp_path / "all")[name] == poses(tmp_path)["alone"]
        assert len(Archive.open(tmp_path / "all" / name)) == 3
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
    assert states(tmp_path / "out") == {
        "demo-loop": "finished",
        "text": "failed",
        "nowhere": "failed",
    }
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
        if settings.input == "demo:loop":
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
    assert "2 of 2 sessions are there already (as demo-loop); give --resume" in (
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
        (("s/1.png", "s/2.PNG"), (), "2 pictures, each of which would be a run of one frame"),
        (DEMO_INPUTS, ("--rules", "tttr"), "did you mean ttt3r?"),
        (DEMO_INPUTS, ("--weights", "nowhere.pth"), "nowhere.pth"),
        (DEMO_INPUTS, ("--jobs", "0"), "--jobs 0: take a number above 0"),
        (("demo:loop",), ("--jobs", "2"), "name them behind --input"),
        (("demo:loop",), ("--ray", "local"), "name them behind --input"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(tmp_path, capsys, inputs, more, wanted):
    assert run(tmp_path / "out", inputs, *more) == 2
    error = capsys.readouterr().err
    assert wanted in error
    assert error.count("\n") == 1
    assert "secret" not in error
    assert not (tmp_path / "out").exists()


def test_no_output_is_one_line(capsys):
    assert main(["run", "--input", *DEMO_INPUTS]) == 2
    assert "run has nowhere to write: give --output DIR" in capsys.readouterr().err


def test_the_session_of_one_input_takes_no_others_in(tmp_path, capsys):
    assert run(tmp_path / "one", ["demo:loop"]) == 0
    assert run(tmp_path / "one", DEMO_INPUTS, "--overwrite") == 2
    assert "it is the session of one input; name another folder" in capsys.readouterr().err


def test_a_page_takes_one_input(capsys):
    assert main(["--input", "a", "b"]) == 2
    assert "unrecognized arguments: b" in capsys.readouterr().err


def test_a_machine_that_does_not_share_the_folder_says_so(tmp_path):
    settings = Settings(input="demo:loop", output=str(tmp_path / "out" / "demo-loop"))
    outcome = run_one(RunJob(settings, str(tmp_path / "out" / TABLE)))
    assert "does not see" in outcome.trouble
    assert "name an --output that all machines of the cluster share" in outcome.trouble
    assert not (tmp_path / "out").exists()


def test_a_plan_is_made_of_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = plan(Settings(output="out"), ["a.mp4", "demo:walk"])
    assert [job.settings.input for job in jobs] == [str(tmp_path / "a.mp4"), "demo:walk"]
    assert [job.session for job in jobs] == [tmp_path / "out" / "a", tmp_path / "out" / "demo-walk"]
    with pytest.raises(SettingsError, match="given 2 times"):
        plan(Settings(output="out"), ["a.mp4", str(tmp_path / "a.mp4")])


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


@pytest.mark.slow
def test_sigterm_ends_all_processes_with_their_sessions_whole(tmp_path):
    out = tmp_path / "out"
    inputs = ("demo:loop", "demo:walk", "demo:hand-held")
    command = ("run", "--input", *inputs, "--output", str(out), "--jobs", "2")
    program = subprocess.Popen([sys.executable, "-m", "ttt3r_viewer", *command])
    try:
        begun = [out / name / "archive" for name in ("demo-loop", "demo-walk")]
        end = time.monotonic() + 120
        while not all(one.exists() for one in begun) and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1)
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 130
    finally:
        program.kill()
    assert states(out)["demo-loop"] == states(out)["demo-walk"] == "stopped"
    for one in begun:
        assert 0 < len(Archive.open(one)) < 300
