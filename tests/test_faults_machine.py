"""Faults of the machine that the program runs on, with the real command: a full disk, no home,
strange names and locales, pictures that want all memory (docs/reliability.md lists them).
"""

import contextlib
import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.media import noise_image
from tests.refusals import error_line
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import FrameError
from ttt3r_viewer.export.results import OWN_FILES
from ttt3r_viewer.frames.folder import read_image
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.recording import checkpoint
from ttt3r_viewer.recording import writer as archive_writer
from ttt3r_viewer.recording.reader import Recording

COUNT = 12
WITHOUT_RESERVE = """
import locale, sys
locale.setlocale(locale.LC_ALL, "")
from ttt3r_viewer.__main__ import main
from ttt3r_viewer.recording import writer
writer.RESERVE_BYTES = 0
sys.exit(main())
"""


def run(
    *words: str, env: dict[str, str] | None = None, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """The real command, which leaves no part of the disk to others."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_RESERVE, "run", *words],
        env={**os.environ, **(env or {})},
        preexec_fn=before,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=120,
        check=False,
    )


def assert_what_a_full_disk_leaves(
    ended: subprocess.CompletedProcess[str], out: Path, why: str
) -> None:
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    lines = ended.stderr.splitlines()
    assert re.search(rf"frames from \d+ on are not recorded.*({why}|are free)", ended.stderr)
    assert lines[-1] == (f"error: {out}/points.ply: {why}; free some space or name another folder")
    report = json.loads((out / "run.json").read_text())
    assert (report["frames"], report["status"]["phase"]) == (COUNT, "finished")
    assert report["missing"] == [lines[-1].removeprefix("error: ")]
    assert len(np.loadtxt(out / "poses_tum.txt")) == COUNT
    kept = Recording.open(out)
    assert 0 < len(kept) < COUNT
    assert "are not recorded" in kept.note
    assert not list(out.glob(".*.part"))


def test_a_disk_that_is_full_for_one_file_leaves_all_others(tmp_path):
    out = tmp_path / "out"
    words = ("--max-frames", str(COUNT), "--output", str(out))
    most = 1_500_000
    ended = run(*words, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
    assert_what_a_full_disk_leaves(ended, out, "File too large")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2.6 MB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2600k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_really_full_leaves_what_fits(small_disk):
    out = small_disk / "out"
    ended = run("--max-frames", str(COUNT), "--output", str(out))
    assert_what_a_full_disk_leaves(ended, out, "No space left on device")


def test_a_disk_that_fills_during_the_run_is_said_and_its_results_are_whole(
    tmp_path, monkeypatch, capsys
):
    free = iter([2**40] * 5 + [2**20] * COUNT)

    def shrinking(_: object) -> SimpleNamespace:
        return SimpleNamespace(free=next(free))

    monkeypatch.setattr(archive_writer.shutil, "disk_usage", shrinking)
    out = tmp_path / "out"
    assert main(["run", "--max-frames", str(COUNT), "--output", str(out)]) == 0
    said = "frames from 5 on are not recorded, only thinned ones are kept: only 0.00105 GB are free"
    assert said in capsys.readouterr().err
    report = json.loads((out / "run.json").read_text())
    assert (report["frames"], report["missing"]) == (COUNT, [])
    assert report["status"]["message"].startswith(said)
    assert len(Recording.open(out)) == 5


def test_a_disk_too_full_for_checkpoints_is_said_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    out = tmp_path / "out"
    words = ["run", "--max-frames", "8", "--checkpoint-every", "2", "--output", str(out)]
    assert main(words) == 0
    assert "no checkpoint after frame 0: No space left on device\n" in capsys.readouterr().err
    assert len(Recording.open(out)) == 8


NOWHERE = {"XDG_CACHE_HOME": "/dev/null/cache", "XDG_CONFIG_HOME": "/dev/null/config"}
"""Not even root can make a folder there."""


def test_without_a_home_and_a_cache_it_runs(tmp_path):
    out = tmp_path / "out"
    env = {name: value for name, value in os.environ.items() if name != "HOME"} | NOWHERE
    ended = subprocess.run(
        [sys.executable, "-m", "ttt3r_viewer", "run", "--max-frames", "2", "--output", str(out)],
        env=env, capture_output=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("words", [("--demo", "loop", "--max-frames", "2"), ()])
def test_the_page_comes_up_where_the_home_cannot_be_written(words):
    page = subprocess.Popen(
        [sys.executable, "-m", "ttt3r_viewer", "--port", "0", *words],
        env={**os.environ, **NOWHERE, "HOME": "/dev/null/nobody"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert page.stdout is not None
    assert any("open http://" in line for line in page.stdout)
    page.send_signal(signal.SIGINT)
    _, error = page.communicate(timeout=30)
    assert "Traceback" not in error


def test_weights_that_no_cache_can_hold_are_one_line(monkeypatch, tmp_path, capsys):
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    error_line(capsys, "run", "--weights", "cut3r-512", "--output", str(tmp_path / "out"))


def test_any_name_will_do_for_input_and_output(tmp_path):
    name = "  📷 façade 日本; $(echo x) 'q' c\udce9"
    folder, out = tmp_path / f"in {name}", tmp_path / f"-out {name}"
    with contextlib.suppress(OSError, UnicodeError):
        folder.mkdir()
    if not folder.exists():
        pytest.skip("this file system takes no such name")
    noise_image().save(folder / f"0 {name}.png")
    (folder / f"1 {name}.png").write_text("no picture")
    # A terminal that has no more than ASCII.
    env = {"PYTHONIOENCODING": "ascii"}
    ended = run("--input", str(folder), "--output", str(out), env=env)
    assert ended.returncode == 0, ended.stderr
    assert "1 frames skipped" in ended.stderr
    assert {path.name for path in out.iterdir()} == {*OWN_FILES, "log.txt", "archive"}
    log = (out / "log.txt").read_text("utf-8")
    assert "skipped 1   📷 façade 日本; $(echo x) 'q' c\\udce9.png" in log


@pytest.mark.parametrize("long", ["x" * 300, "/".join(["x" * 200] * 30)])
def test_names_that_are_too_long_are_one_line(tmp_path, long, capsys):
    for words in (["--input", f"{tmp_path}/{long}"], ["--output", f"{tmp_path}/{long}"]):
        error = error_line(capsys, "run", "--output", str(tmp_path / "out"), *words)
        assert "File name too long" in error


def test_numbers_have_a_point_in_every_locale(tmp_path):
    name = "de_DE.UTF-8"
    env = {"LC_ALL": name}
    if shutil.which("localedef"):
        locales = tmp_path / "locales"
        locales.mkdir()
        make = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(locales / name)]
        subprocess.run(make, check=False, capture_output=True)
        env["LOCPATH"] = str(locales)
    code = 'import locale; locale.setlocale(locale.LC_ALL, ""); print(locale.str(0.5))'
    told = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, check=False
    )
    if told.stdout.strip() != b"0,5":
        pytest.skip("there is no German locale here, nor a way to make one")
    files = {}
    for chosen in ({"LC_ALL": "C.UTF-8"}, env):
        out = tmp_path / chosen["LC_ALL"]
        words = ("--max-frames", "3", "--device", "cpu", "--inspect", "--output", str(out))
        ended = run(*words, env=chosen)
        assert ended.returncode == 0, ended.stderr
        names = ("poses_tum.txt", "intrinsics.json", "points.ply", "tokens.npz")
        files[chosen["LC_ALL"]] = [(out / one).read_bytes() for one in names]
        timing = json.loads((out / "run.json").read_text())["timing"]
        assert isinstance(timing["compute_sec"], float)
    (first, second) = files.values()
    assert first[:3] == second[:3]


def test_no_image_of_a_folder_is_looked_at_before_its_turn(tmp_path):
    for number in range(2_000):
        (tmp_path / f"{number}.jpg").symlink_to("/nowhere")
    source = open_source(str(tmp_path), stride=100)
    assert source.total == 20
    assert [getattr(one, "reason", "") for one in source] == ["the file is gone"] * 20


def header_only(path: Path, width: int, height: int) -> None:
    """A picture of a few bytes that claims to be so large."""
    Image.new("RGB", (16, 16)).save(path)
    data = bytearray(path.read_bytes())
    if path.suffix == ".png":
        data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    else:
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("size", [(20_000, 10_000), (12_000, 10_000), (60_000, 60_000)])
def test_an_image_of_200_megapixels_is_refused_and_names_the_limit(tmp_path, suffix, size):
    path = tmp_path / f"large{suffix}"
    header_only(path, *size)
    with pytest.raises(FrameError, match=r"too large: at most 89\.5 million pixels are decoded"):
        read_image(path)


def test_a_frame_of_200_megapixels_takes_no_memory(tmp_path):
    header_only(tmp_path / "0.jpg", 20_000, 10_000)
    header_only(tmp_path / "1.png", 20_000, 10_000)
    noise_image().save(tmp_path / "2.png")
    code = """
import resource, sys
from ttt3r_viewer.frames.source import open_source
import PIL.JpegImagePlugin, PIL.PngImagePlugin
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
items = list(open_source(sys.argv[1]))
print([type(one).__name__ for one in items], peak() - before)
"""
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    kinds, _, grown = told.stdout.strip().rpartition(" ")
    assert kinds == "['SkippedFrame', 'SkippedFrame', 'Frame']"
    assert int(grown) * (1 if sys.platform == "darwin" else 1024) < 50e6
