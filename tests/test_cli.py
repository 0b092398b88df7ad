"""The real command line on the real miniature: good input, bad input, Ctrl-C."""

import csv
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.media import noise_image as image
from tests.refusals import error_line
from tests.waiting import has_frames, wait_for
from ttt3r_viewer.cli import leaves_work_behind, main
from ttt3r_viewer.export.results import OWN_FILES
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.system.assets import asset_path, demo_path

DEMO = demo_path()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def report_of(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def test_run_writes_all_its_files(out, capsys):
    assert main(["run", "--max-frames", "4", "--stride", "10", "--output", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted((*OWN_FILES, "archive", "log.txt"))
    report = report_of(out)
    assert (report["frames"], report["status"]["phase"]) == (4, "finished")
    assert report["settings"]["stride"] == 10
    assert report["timing"]["since_start_sec"] > 0
    rows = np.loadtxt(out / "poses_tum.txt")
    assert np.allclose(rows[:, 0], np.arange(4) * 10 / 30, atol=1e-5)
    assert f"wrote 4 frames to {out}" in capsys.readouterr().out


def test_output_holds_every_frame_in_full_and_replaces_it_only_where_told(out, capsys):
    words = ("run", "--output", str(out), "--rules", "ttt3r,constant:0.3", "--max-frames")
    assert main([*words, "3"]) == 0
    archive = Recording.open(out)
    assert (archive.sequences, archive.note) == ((0, 1, 2), "")
    assert archive.manifest.status.phase == "finished"
    first, second = archive.frame(2)
    assert first.rule != second.rule
    assert first.points_camera.shape == (*first.image.shape[:2], 3)
    lanes = ("TTT3R", "constant-0.3")
    assert {path.name for path in out.iterdir()} == {*lanes, "run.json", "archive", "log.txt"}
    for lane, name in enumerate(lanes):
        poses = np.loadtxt(out / name / "poses_tum.txt")
        positions = [results[lane].camera.T_world_camera[:3, 3] for results in archive]
        assert np.allclose(poses[:, 1:4], positions, atol=1e-6)
    assert "archive/frames-*.bin" in error_line(capsys, *words, "2")
    (out / "archive" / "thesis.tex").write_text("years of work")
    assert main([*words, "2", "--overwrite"]) == 0
    assert Recording.open(out).sequences == (0, 1)
    assert (out / "archive" / "thesis.tex").read_text() == "years of work"


def test_no_archive_where_none_is_wanted(out):
    assert main(["run", "--max-frames", "2", "--archive-gb", "0", "--output", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted((*OWN_FILES, "log.txt"))


def test_constant_rate_0_never_moves_on_and_differs_from_ttt3r(tmp_path):
    poses = {}
    for name, words in {
        "ttt3r": [],
        "frozen": ["--rule", "constant", "--rate", "0"],
        "cut3r": ["--rule", "constant"],
    }.items():
        out = tmp_path / name
        assert main(["run", "--max-frames", "5", "--output", str(out), *words]) == 0
        poses[name] = np.loadtxt(out / "poses_tum.txt")
    assert np.array_equal(poses["ttt3r"][:2], poses["cut3r"][:2])  # the first gain is 1
    assert not np.array_equal(poses["ttt3r"][2:], poses["cut3r"][2:])
    assert not np.array_equal(poses["frozen"][1:], poses["cut3r"][1:])


def test_every_kind_of_image_in_one_folder(tmp_path, out, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = image()
    good.save(folder / "01.png")
    (folder / "02.txt").write_text("notes")
    (folder / "03.png").write_bytes(b"")
    good.save(folder / "04.jpg")
    cut = (folder / "04.jpg").read_bytes()
    (folder / "05.jpg").write_bytes(cut[: len(cut) // 2])
    Image.fromarray((np.arange(160 * 128).reshape(128, 160) * 3).astype(np.uint16)).save(
        folder / "06.png"
    )
    for name, mode in {"07.png": "L", "08.png": "RGBA", "09.png": "P"}.items():
        good.convert(mode).save(folder / name)
    good.convert("CMYK").save(folder / "10.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: shown upright it is 128 wide and 160 high
    good.save(folder / "11.jpg", exif=exif)
    image(640, 480, 1).save(folder / "12.png")
    Image.new("RGB", (1, 1)).save(folder / "13.png")
    Image.new("RGB", (20000, 10)).save(folder / "14.png")
    image(100, 300, 2).save(folder / "15.png")

    assert main(["run", "--input", str(folder), "--output", str(out)]) == 0
    frames = json.loads((out / "intrinsics.json").read_text())["frames"]
    names = [one["name"] for one in frames]
    stems = ("01.png 04.jpg 06.png 07.png 08.png 09.png", "10.jpg 11.jpg 12.png 15.png")
    assert names == " ".join(stems).split()
    turned = frames[names.index("11.jpg")]["prepared"]
    assert turned["height"] > turned["width"]
    assert report_of(out)["status"]["skipped"] == 4
    error = capsys.readouterr().err
    assert "4 frames skipped; the last: 14.png" in error
    assert "20000x10" in error


def test_a_folder_without_one_usable_image(tmp_path, out, capsys):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"not a picture")
    error = error_line(capsys, "run", "--input", str(folder), "--output", str(out))
    assert "none of its 1 frames could be used" in error
    assert [path.name for path in out.iterdir()] == ["log.txt"]
    error = error_line(capsys, "run", "--input", str(folder), "--output", str(out))
    assert "none of its 1 frames" in error  # a log alone is not in the way


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda _: None, "there is no file or folder"),
        (lambda path: path.mkdir(), "is empty; wanted a folder of images"),
        (lambda path: path.write_text("hello"), "text.txt"),
    ],
)
def test_an_input_that_cannot_be(tmp_path, out, capsys, make, text):
    path = tmp_path / "text.txt"
    make(path)
    for command in ([], ["run", "--output", str(out)]):
        assert text in error_line(capsys, *command, "--input", str(path))
    assert not out.exists()  # nothing is made before the input is known to be there


def test_an_output_folder_that_holds_something(out, capsys):
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    words = ("run", "--max-frames", "2", "--output", str(out))
    assert "not empty (it holds thesis.tex)" in error_line(capsys, *words)
    assert main([*words, "--overwrite"]) == 0
    assert (out / "thesis.tex").read_text() == "years of work"


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch PWNED",)


def with_nan(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(MINIATURE, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(MINIATURE)
    tensors["enc_norm.bias"][0] = float("nan")
    save_file(tensors, path, metadata)


MINIATURE = asset_path("miniature.safetensors")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda _: None, "w.pth"),
        (lambda path: path.write_bytes(MINIATURE.read_bytes()[:1_000_000]), "cut off"),
        (lambda path: save_file({"layer.weight": torch.zeros(3, 3)}, path), "no known network"),
        (with_nan, "enc_norm.bias"),
        (lambda path: torch.save({"model": RunsCode()}, path), "w.pth"),
        (lambda path: path.write_bytes(pickle.dumps(RunsCode())), "w.pth"),
    ],
)
def test_weights_that_cannot_be(tmp_path, out, capsys, monkeypatch, make, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    make(path)
    words = ("run", "--weights", str(path), "--max-frames", "2", "--output", str(out))
    assert text in error_line(capsys, *words)
    assert not (tmp_path / "PWNED").exists()


OUT = ("run", "--output", "out")
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--host", "203.0.113.7"), "--host '203.0.113.7' cannot be served from this machine"),
        (("--host", "no.such.host.invalid"), "is not known here"),
        (("--port", "99999"), "is no port"),
        (("run",), "give --output DIR"),
        (("--weights", "nope.pth", "--port", "0"), "no weights file nope.pth: give a path, or one"),
        ((*OUT, "--weights", "cut3r-512"), "ttt3r-view weights fetch cut3r-512"),
        pytest.param((*OUT, "--device", "cuda"), "take --device auto", marks=NO_CUDA),
        ((*OUT, "--rules", "ttt3r,tttr"), "unknown rule 'tttr': take one of ttt3r, constant"),
        ((*OUT, "--rules", ",".join(["ttt3r"] * 5)), "4"),
        (("--rule", "constant:1.5", "--output", "out"), "1.5"),
    ],
)
def test_what_cannot_be_run_or_served_is_one_line(tmp_path, capsys, monkeypatch, words, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert text in error_line(capsys, *words)
    if any("--rule" in word for word in words):
        assert not Path("out").exists(), "something was loaded first"


def start(*words: str, program: tuple[str, ...] = ("-m", "ttt3r_viewer")) -> subprocess.Popen[str]:
    line, pipe = [sys.executable, *program, *words], subprocess.PIPE
    return subprocess.Popen(line, text=True, stdout=pipe, stderr=pipe)


def test_ctrl_c_ends_a_run_within_two_seconds_and_keeps_what_there_is(out):
    assert len(list(DEMO.glob("*.jpg"))) >= 100
    process = start("run", "--output", str(out), "--input", str(DEMO))
    wait_for(lambda: has_frames(out), "a frame")
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    process.communicate(timeout=60)
    assert time.monotonic() - asked < 10  # two seconds on a machine that is not busy
    assert process.returncode == 130
    for path in out.iterdir():
        assert path.name in (*OWN_FILES, "archive", "log.txt")
    done = report_of(out)["frames"]
    assert 0 < done == len(np.loadtxt(out / "poses_tum.txt", ndmin=2))


def test_a_caller_in_the_same_process_gets_the_code_back_whatever_still_works():
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name=Worker.THREAD)
    thread.start()
    try:
        assert leaves_work_behind()
        assert main(["rules"]) == 0
        assert main(["info", "nothing here"]) == 2
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("after_sec", [0.0, 0.3, 1.5])
def test_ctrl_c_while_it_starts(out, after_sec):
    """From its first own line on: before it Python itself ends, with its own words."""
    program = """if True:
        import sys
        from ttt3r_viewer.system import signals
        from ttt3r_viewer.__main__ import main

        def hear():
            heard()
            print("begun", flush=True)

        heard, signals.hear_every_ctrl_c = signals.hear_every_ctrl_c, hear
        sys.exit(main())
    """
    process = start("run", "--output", str(out), program=("-c", program))
    _line_with(process, "begun")
    time.sleep(after_sec)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error


def test_ctrl_c_that_falls_into_a_finaliser_is_heard_all_the_same():
    program = """if True:
        import signal, time
        from ttt3r_viewer.system.signals import hear_every_ctrl_c

        class Last:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)
                time.sleep(0.01)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        hear_every_ctrl_c()
        try:
            Last()
            time.sleep(20)
            print("slept")
        except KeyboardInterrupt:
            print("heard")
    """
    process = start(program=("-c", program))
    assert (process.communicate(timeout=60), process.returncode) == (("heard\n", ""), 0)


def test_every_signal_leaves_whole_outputs(tmp_path):
    """SIGTERM counts as Ctrl-C, and an impatient second one takes nothing away."""
    ctrl_c, term = signal.SIGINT, signal.SIGTERM
    for number, kinds in enumerate([(term,), (ctrl_c, ctrl_c), (ctrl_c, term)]):
        out = tmp_path / str(number)
        process = start("--demo", "loop", "--port", "0", "--output", str(out), "--size", "480")
        _line_with(process, "open http://")
        wait_for(lambda out=out: has_frames(out), "a frame")
        for kind in kinds:
            process.send_signal(kind)
            time.sleep(0.2)
        _, error = process.communicate(timeout=60)
        # A late second signal may find the program already leaving, and end it its own way.
        assert process.returncode in (0, 130, -kinds[-1]), error
        assert "Traceback" not in error
        assert {path.name for path in out.iterdir()} == {*OWN_FILES, "archive", "log.txt"}


def test_names_that_are_no_utf_8(tmp_path, out):
    folder = tmp_path / "caf\udce9"
    try:
        folder.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such name")
    for number in range(2):
        image(seed=number).save(folder / f"{number}_\udce9.png")
    (folder / "2_\udce9.png").write_bytes(b"")
    assert main(["run", "--input", str(folder), "--output", str(out)]) == 0
    assert report_of(out)["status"]["last_skipped"].startswith("2_\\udce9.png")


def test_a_busy_port_is_said_and_another_taken():
    first = start("--port", "0")
    try:
        line = _line_with(first, "open http://")
        port = int(line.rsplit(":", 1)[1])
        second = start("--port", str(port))
        try:
            assert f"port {port} is busy" in _line_with(second, "busy")
        finally:
            second.send_signal(signal.SIGINT)
            second.communicate(timeout=60)
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    assert first.returncode == 0


def _line_with(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(process.communicate())


def test_help_of_every_command(capsys):
    for words in ([], ["run"], ["weights"], ["weights", "info"], ["weights", "fetch"]):
        with pytest.raises(SystemExit) as caught:
            main([*words, "--help"])
        assert caught.value.code == 0
        assert "usage: ttt3r-view" in capsys.readouterr().out


def test_weights_info_of_the_miniature(capsys):
    assert main(["weights", "info", "miniature"]) == 0
    text = capsys.readouterr().out
    assert "procedural rooms" in text
    assert "real footage needs the released weights" in text.lower()


def test_compare_measures_every_lane(out, capsys):
    words = ["compare", "--rules", "ttt3r,constant:1.0,constant:0.3", "--max-frames", "12"]
    assert main([*words, "--output", str(out)]) == 0
    names = ("TTT3R", "CUT3R-rate-1", "constant-0.3")
    assert {path.name for path in out.iterdir()} == {
        *("comparison.md", "comparison.csv", "trajectories.png", "run.json", "log.txt"),
        *(f"poses_{name}.txt" for name in names),
    }
    table = (out / "comparison.md").read_text()
    assert "poses_tum.txt (by time" in table
    with (out / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["lane"] for row in rows] == ["TTT3R", "CUT3R (rate 1)", "constant 0.3"]
    assert all(float(row["ate_sim3_m"]) > 0 and int(row["frames"]) == 12 for row in rows)
    assert Image.open(out / "trajectories.png").size > (800, 400)
    poses = {name: np.loadtxt(out / f"poses_{name}.txt") for name in names}
    assert all(len(one) == 12 for one in poses.values())
    assert not np.allclose(poses["TTT3R"], poses["constant-0.3"])
    error = error_line(capsys, *words, "--output", str(out))
    assert "not empty" in error


def test_compare_without_true_poses_says_so(tmp_path, out):
    for number in range(3):
        image(seed=number).save(tmp_path / f"{number}.png")
    words = ["compare", "--input", str(tmp_path), "--rules", "ttt3r,constant:0.5"]
    assert main([*words, "--output", str(out)]) == 0
    assert "no ground truth was found or given" in (out / "comparison.md").read_text()


def test_poses_that_cannot_be_read_are_an_error_where_named_and_a_note_where_found(
    tmp_path, out, capsys
):
    for number in range(2):
        image(seed=number).save(tmp_path / f"{number}.png")
    (tmp_path / "poses.txt").write_text("1 2 3\n")
    words = ["compare", "--input", str(tmp_path), "--output", str(out)]
    assert "poses.txt" in error_line(capsys, *words, "--poses", str(tmp_path / "poses.txt"))
    assert main(words) == 0
    assert "no true poses: " in capsys.readouterr().err


def test_inspect_writes_every_gain(out):
    words = ["run", "--inspect", "--max-frames", "3", "--output", str(out)]
    assert main(words) == 0
    with np.load(out / "tokens.npz") as tokens:
        gain, columns = tokens["gain"], int(tokens["state_columns"])
    assert gain.shape == (3, 96)
    assert gain[0].tolist() == [1.0] * 96
    assert columns == 10
    with (out / "frames.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
