"""`ttt3r-view eval` on the real miniature: one pass, going on, bad sequences, processes, Ray."""

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.refusals import error_line
from ttt3r_viewer.cli import main
from ttt3r_viewer.commands.eval import lengths_of
from ttt3r_viewer.errors import SettingsError
from ttt3r_viewer.evaluate import evaluation
from ttt3r_viewer.evaluate.evaluation import EvalConfig, Job, jobs_for, run_job
from ttt3r_viewer.system.jobs import job_runner

SETTING = EvalConfig(
    dataset="synthetic",
    root="",
    weights="miniature",
    device="cpu",
    dtype="float32",
    size=None,
    reset_every=0,
    stride=1,
    measures=("poses", "depth"),
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def tum(tmp_path: Path) -> tuple[str, ...]:
    """The words for a data set in TUM's layout and a rule."""
    return ("--dataset", "tum", "--root", str(tmp_path / "tum"), "--rules", "ttt3r")


def tum_tree(root: Path, name: str, frames: int = 6) -> Path:
    """A sequence in TUM's layout: a camera that moves 1 cm a frame before a wall at 2 m."""
    folder = root / name
    for below in ("rgb", "depth"):
        (folder / below).mkdir(parents=True)
    noise = np.random.default_rng(5).integers(0, 256, (16, 40, 3), dtype=np.uint8)
    wall = Image.fromarray(noise).resize((400, 128), Image.Resampling.BICUBIC)
    lines: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": []}
    for number in range(frames):
        time = f"{100 + number / 30:.6f}"
        wall.crop((number, 0, number + 160, 128)).save(folder / "rgb" / f"{time}.png")
        depth = Image.fromarray(np.full((128, 160), 10_000, np.uint16))
        depth.save(folder / "depth" / f"{time}.png")
        for one in ("rgb", "depth"):
            lines[one].append(f"{time} {one}/{time}.png")
        lines["groundtruth"].append(f"{time} {number * 0.01} {0.001 * number**2} 0 0 0 0 1")
    for one, text in lines.items():
        (folder / f"{one}.txt").write_text("\n".join(["# a comment", *text]) + "\n")
    return folder


def words_for(out: Path, *words: str) -> tuple[str, ...]:
    return ("eval", "--device", "cpu", "--dtype", "float32", "--output", str(out), *words)


def evaluate(out: Path, *words: str) -> int:
    return main(words_for(out, *words))


def table(out: Path, name: str = "records.csv") -> list[dict[str, str]]:
    with (out / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_lengths_are_numbers_ranges_and_all():
    assert lengths_of("50:200:50,16,all") == ["16", "50", "100", "150", "200", "all"]
    assert lengths_of("all") == ["all"]
    for text in ("0", "a", "5:1:1", "1:2", "", "50:100:0"):
        with pytest.raises(SettingsError, match="--frames"):
            lengths_of(text)


def test_one_pass_measures_what_runs_of_their_own_would():
    together = run_job(Job(SETTING, "1003", ("ttt3r", "constant"), ("5", "9")))
    assert together.trouble == ""
    assert [(one.rule, one.frames) for one in together.records] == [
        *(("ttt3r", 5), ("constant", 5), ("ttt3r", 9), ("constant", 9))
    ]
    for record in together.records:
        (alone,) = run_job(Job(SETTING, "1003", (record.rule,), (record.length,))).records
        assert alone.numbers == pytest.approx(record.numbers, rel=1e-3)


def test_lanes_share_a_run_and_what_is_there_is_not_done_again():
    rules = ["a", "b", "c", "d", "e"]
    there = {("s", "a", "5", False), ("s", "b", "9", False), ("s", "a", "5", True)}
    jobs = jobs_for(SETTING, ["s"], rules, ["5", "9"], there, speed=False)
    assert [(job.rules, job.lengths) for job in jobs] == [
        (("a",), ("9",)),
        (("b",), ("5",)),
        (("c", "d", "e"), ("5", "9")),
    ]
    speed = jobs_for(SETTING, ["s"], ["a", "b"], ["5"], there, speed=True)
    assert [(job.rules, job.speed) for job in speed] == [(("b",), True)]


def test_tum_is_measured_and_a_second_call_goes_on(tmp_path, out, capsys, monkeypatch, tum):
    tum_tree(tmp_path / "tum", "walking_xyz")
    words = (*tum[:-1], "ttt3r,constant:1.0", "--measures", "poses,depth")
    assert evaluate(out, *words, "--frames", "3,5") == 0
    assert "wrote 4 records" in capsys.readouterr().out
    rows = table(out)
    assert [(row["rule"], row["length"]) for row in rows] == [
        *(("constant", "3"), ("constant", "5"), ("ttt3r", "3"), ("ttt3r", "5"))
    ]
    # The true path is known: steps of 1 cm across, and of a parabola downwards.
    steps = [np.hypot(0.01, 0.001 * (2 * number + 1)) for number in range(4)]
    assert float(rows[1]["path_m"]) == pytest.approx(sum(steps))
    assert all(float(row["ate_m"]) >= 0 and float(row["abs_rel_metric"]) > 0 for row in rows)
    assert (out / "curves.png").exists()
    done: list[Job] = []

    def watched(job: Job) -> evaluation.Outcome:
        done.append(job)
        return run_job(job)

    monkeypatch.setattr(evaluation, "run_job", watched)
    assert evaluate(out, *words, "--frames", "3,5") == 0
    assert done == []
    assert evaluate(out, *words, "--frames", "4,5") == 0
    assert [job.lengths for job in done] == [("4",)]
    # The table holds what was asked for now; the record of 3 frames is kept all the same.
    assert {row["length"] for row in table(out)} == {"4", "5"}
    assert len(list(out.glob("records/walking_xyz/*/*.json"))) == 6


def test_another_setting_needs_another_folder(tmp_path, out, capsys, tum):
    tum_tree(tmp_path / "tum", "walk")
    assert evaluate(out, *tum, "--frames", "3") == 0
    before = (out / "records.csv").read_bytes()
    capsys.readouterr()
    assert "with size None; this one has 96: name another folder" in error_line(
        capsys, *words_for(out, *tum, "--frames", "3", "--size", "96")
    )
    assert (out / "records.csv").read_bytes() == before
    (out / "records" / "walk" / "ttt3r" / "3.json").write_text('{"sequence": ')
    assert "3.json: damaged" in error_line(capsys, *words_for(out, *tum, "--frames", "3"))


def test_a_folder_with_something_else_is_left_alone(out, capsys):
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert "it holds thesis.txt" in error_line(
        capsys, *words_for(out, "--dataset", "synthetic", "--frames", "3")
    )
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_bad_and_short_sequences_are_told_and_left_out(tmp_path, out, capsys, tum):
    root = tmp_path / "tum"
    tum_tree(root, "good", frames=8)
    tum_tree(root, "short", frames=4)
    image = sorted((tum_tree(root, "torn", frames=8) / "rgb").iterdir())[5]
    image.write_bytes(image.read_bytes()[:100])
    (tum_tree(root, "lost") / "groundtruth.txt").write_text("1 2 3\n")
    assert evaluate(out, *tum, "--frames", "4,8") == 0
    told = capsys.readouterr().err
    assert "short: it has 4 frames (stride 1), not 8" in told
    assert f"torn: {image}: " in told
    assert "groundtruth.txt line 1 holds 3 fields" in told
    rows = {(row["sequence"], row["length"]) for row in table(out)}
    assert rows == {("good", "4"), ("good", "8"), ("short", "4"), ("torn", "4")}
    text = (out / "evaluation.md").read_text()
    assert "* left out: short: it has 4 frames" in text
    assert "| 4 | ttt3r | 3 |" in text
    assert "| 8 | ttt3r | 1 |" in text


def test_where_nothing_could_be_measured_it_did_not_succeed(tmp_path, out, capsys, tum):
    tum_tree(tmp_path / "tum", "short", frames=4)
    assert evaluate(out, *tum, "--frames", "8") == 2
    assert "short: it has 4 frames (stride 1), not 8" in capsys.readouterr().err


def test_a_folder_that_takes_no_records_is_one_line(tmp_path, out, capsys, tum):
    tum_tree(tmp_path / "tum", "walk")
    assert evaluate(out, *tum, "--frames", "2") == 0
    shutil.rmtree(out / "records" / "walk")
    (out / "records" / "walk").write_text("in the way")
    assert evaluate(out, *tum, "--frames", "2") == 2
    assert "free some space or name another folder" in capsys.readouterr().err


def test_what_cannot_be_measured_says_why(tmp_path, out, tum):
    folder = tum_tree(tmp_path / "tum", "walk")
    lines = (folder / "groundtruth.txt").read_text().splitlines()[:3]
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    assert evaluate(out, *tum, "--frames", "all", "--measures", "poses,points") == 0
    (row,) = table(out)
    assert (row["length"], row["frames"], row["ate_m"]) == ("all", "6", "")
    assert "poses: 2 frames have a true pose; wanted at least 3" in row["reason"]
    assert "points: 0 points have a true place" in row["reason"]
    assert row["reason"] in (out / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--dataset", "tum"), "say where it lies with --root PATH"),
        (("--dataset", "synthetic", "--root", "."), "its rooms are made, leave --root out"),
        (("--dataset", "synthetic", "--frames", "all"), "procedural rooms have no end"),
        (("--dataset", "synthetic", "--sequences", "10000000"), "rooms that are never trained on"),
        (("--dataset", "synthetic", "--measures", "beauty"), "take some of poses, depth, points"),
        (("--dataset", "synthetic", "--rules", "tttr"), "did you mean ttt3r?"),
        (("--dataset", "synthetic", "--jobs", "0"), "--jobs 0: take a number above 0"),
        (("--dataset", "synthetic", "--reset-every", "-5"), "--reset-every -5: take 0 or more"),
        (("--dataset", "made-up"), "invalid choice"),
    ],
)
def test_mistakes_are_one_line(out, capsys, words, wanted):
    assert wanted in error_line(capsys, *words_for(out, *words))
    assert not out.exists()


def test_ray_that_is_not_installed_is_one_line(out, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert 'Ray is not installed; pip install "ttt3r-viewer[cluster]"' in error_line(
        capsys, *words_for(out, "--dataset", "synthetic", "--frames", "3", "--ray", "local")
    )
    assert not out.exists()


def test_a_ray_address_where_nobody_is_is_one_line():
    pytest.importorskip("ray", reason="Ray is not installed: pip install ttt3r-viewer[cluster]")
    match = r"--ray 127\.0\.0\.1:1: .*; start the cluster with"
    with pytest.raises(SettingsError, match=match), job_runner("127.0.0.1:1", 1, print):
        pass


def numbers_of(out: Path) -> dict[str, dict[str, float]]:
    files = sorted((out / "records").glob("*/*/*.json"))
    return {str(path.relative_to(out)): json.loads(path.read_text())["numbers"] for path in files}


ROOMS = (
    *("--dataset", "synthetic", "--sequences", "1000:1002", "--frames", "4", "--rules", "ttt3r"),
    *("--measures", "poses"),
)


@pytest.mark.slow
def test_two_processes_measure_the_same_as_one(tmp_path):
    assert evaluate(tmp_path / "one", *ROOMS) == 0
    assert evaluate(tmp_path / "two", *ROOMS, "--jobs", "2") == 0
    one, two = numbers_of(tmp_path / "one"), numbers_of(tmp_path / "two")
    assert len(one) == 2
    assert two == {name: pytest.approx(numbers, rel=1e-4) for name, numbers in one.items()}


@pytest.mark.slow
def test_speed_is_a_run_of_its_own(tmp_path, out, tum):
    tum_tree(tmp_path / "tum", "walk")
    assert evaluate(out, *tum, "--speed", "--frames", "2,6") == 0
    (short, long) = (row for row in table(out) if row["speed"] == "True")
    assert (short["fps"], short["reason"]) == ("", "no rate of 2 frames")
    assert float(long["fps"]) > 0
    assert 100 < float(long["peak_memory_mb"]) < 10_000
    assert long["ate_m"] == ""
    (row,) = (row for row in table(out, "means.csv") if row["measure"] == "fps")
    assert (row["length"], float(row["mean"])) == ("6", pytest.approx(float(long["fps"])))


@pytest.mark.slow
def test_a_local_ray_of_two_workers_measures_the_same(tmp_path, capsys):
    pytest.importorskip("ray", reason="Ray is not installed: pip install ttt3r-viewer[cluster]")
    assert evaluate(tmp_path / "here", *ROOMS) == 0
    assert evaluate(tmp_path / "ray", *ROOMS, "--ray", "local", "--jobs", "2") == 0
    here, there = numbers_of(tmp_path / "here"), numbers_of(tmp_path / "ray")
    assert here.keys() == there.keys()
    assert there == {name: pytest.approx(numbers, rel=1e-4) for name, numbers in here.items()}
    capsys.readouterr()
    # All is there: no cluster is started for nothing.
    assert evaluate(tmp_path / "ray", *ROOMS, "--ray", "nobody:1") == 0


def test_a_weights_file_of_the_same_name_with_other_content_is_another_setting(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    first = replace(SETTING, weights=str(file)).on_disk()
    file.write_bytes(b"two")
    assert replace(SETTING, weights=str(file)).on_disk() != first
