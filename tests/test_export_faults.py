"""Exports that go wrong: nothing is left under the final name, and one line says why."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.made_up_run import room_result
from tests.refusals import error_line
from tests.test_export_formats import FRAMES, make_session, silent, small_film
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import OutputError, RecordingError, SettingsError
from ttt3r_viewer.export.known_formats import FORMATS, export_recording
from ttt3r_viewer.export.lane_source import Source, Thinning
from ttt3r_viewer.recording.reader import Recording, frame_file
from ttt3r_viewer.system import files as target


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("what", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_an_export_that_is_cut_off_leaves_nothing(tmp_path, source, name, what):
    path = tmp_path / "out"

    def cut_off(done: int, _total: int) -> None:
        assert not path.exists()
        if done == 2:
            raise what

    kind = KeyboardInterrupt if isinstance(what, KeyboardInterrupt) else OutputError
    with pytest.raises(kind):
        export_recording(source, name, path, cut_off, film=small_film(name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ply", "colmap"])
def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path, source, name):
    path = tmp_path / "out"
    first = export_recording(source, name, path, silent)

    def cut_off(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(OutputError, match="out exists: give another name with --output, or --over"):
        export_recording(source, name, path, silent)
    with pytest.raises(KeyboardInterrupt):
        export_recording(source, name, path, cut_off, overwrite=True)
    assert target_bytes(path) == first.bytes_written
    fewer = export_recording(source, name, path, silent, Thinning(4), overwrite=True)
    assert target_bytes(path) == fewer.bytes_written < first.bytes_written
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def target_bytes(path: Path) -> int:
    files = [path, *path.rglob("*")]
    return sum(one.stat().st_size for one in files if one.is_file())


def test_overwrite_takes_nothing_away_that_is_not_an_exports(tmp_path, source):
    path = tmp_path / "out"
    export_recording(source, "colmap", path, silent)
    (path / "sparse" / "0" / "splats.ckpt").write_text("a day's training")
    with pytest.raises(OutputError, match=r"holds sparse/0/splats.ckpt, which no export wrote"):
        export_recording(source, "colmap", path, silent, overwrite=True)
    assert (path / "sparse" / "0" / "splats.ckpt").exists()
    with pytest.raises(OutputError, match="out is a folder, and this format is a file"):
        export_recording(source, "ply", path, silent, overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file is a file, and this format is a folder"):
        export_recording(source, "colmap", tmp_path / "file", silent, overwrite=True)
    with pytest.raises(OutputError, match="name another place with --output"):
        export_recording(source, "ply", tmp_path / "file" / "a.ply", silent)


def test_odd_names_for_a_place(tmp_path, source, monkeypatch):
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "real" / "below")
    with pytest.raises(OutputError, match="is a folder, and this format is a file"):
        export_recording(source, "tum", Path(), silent)
    with pytest.raises(OutputError, match="real exists: give another name"):
        export_recording(source, "kitti", Path(".."), silent)
    (tmp_path / "real" / "below").rmdir()
    export_recording(source, "kitti", tmp_path / "link", silent)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "poses.txt").exists()


def test_two_exports_to_one_place(tmp_path, session, source):
    def meanwhile(_done: int, _total: int) -> None:
        other = Source(Recording.open(session))
        with pytest.raises(OutputError, match=r"\.a\.ply\.part exists, so another export is"):
            export_recording(other, "ply", tmp_path / "a.ply", silent)

    done = export_recording(source, "ply", tmp_path / "a.ply", meanwhile)
    assert done.bytes_written == (tmp_path / "a.ply").stat().st_size


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path, source):
    path = tmp_path / "a.ply"
    with pytest.raises(OutputError, match="exists"):
        export_recording(source, "ply", path, lambda *_: path.write_text("mine") and None)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", FORMATS)
def test_no_room(tmp_path, source, name, monkeypatch):
    film = small_film(name)
    whole = export_recording(source, name, tmp_path / "whole", silent, film=film)
    free = whole.bytes_written - 1
    monkeypatch.setattr(
        target, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=free))
    )
    with pytest.raises(OutputError, match=r"GB are needed and .* GB are free there; free some"):
        export_recording(source, name, tmp_path / "out", silent, film=film)
    assert [one.name for one in tmp_path.iterdir()] == ["whole"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_where_nothing_may_be_written(tmp_path, source):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=r"Permission denied; .*name another place"):
        export_recording(source, "ply", tmp_path / "a.ply", silent)


def test_a_damaged_frame_is_left_out_and_named(tmp_path, session):
    copy = shutil.copytree(session, tmp_path / "copy")
    path = copy / "archive" / frame_file(0)
    data = bytearray(path.read_bytes())
    data[data.rindex(room_result(1).image.tobytes())] ^= 1
    data[data.rindex(Recording.open(copy).seen(2)[0].points.colors.tobytes())] ^= 1
    path.write_bytes(bytes(data))
    source = Source(Recording.open(copy))
    done = export_recording(source, "tum", tmp_path / "poses.txt", silent)
    assert (done.count, done.note) == (FRAMES, "")  # cameras are in the frames' headers
    done = export_recording(source, "depth", tmp_path / "out", silent)
    assert done.count == FRAMES - 1
    assert done.note.startswith(f"frame 1: {path}: its ")
    assert [(tmp_path / "out/depth" / f"00000{k}.npy").exists() for k in (1, 2)] == [False, True]


def test_numbers_out_of_range(session):
    archive = Recording.open(session)
    with pytest.raises(SettingsError, match=r"--lane 3: this recording has 2 \(steady, rate 1, dr"):
        Source(archive, lane=2)
    with pytest.raises(SettingsError, match="--stride 0: take 1 or more"):
        Source(archive, stride=0)
    with pytest.raises(SettingsError, match="--pixel-stride 0: take 1 or more"):
        Thinning(pixel_stride=0)
    with pytest.raises(SettingsError, match="--min-confidence-percentile 100: take 0 to below 100"):
        Thinning(min_confidence_percentile=100)
    with pytest.raises(SettingsError, match="--max-points 0: take 1 or more"):
        Thinning(max_points=0)


def test_a_session_without_a_frame(tmp_path):
    (tmp_path / "archive").mkdir()
    shutil.copy(make_session(tmp_path / "s", 1) / "archive" / "archive.json", tmp_path / "archive")
    with pytest.raises(RecordingError, match="no frame to export"):
        Source(Recording.open(tmp_path))


def test_the_command_writes_into_the_session(tmp_path, capsys):
    folder = make_session(tmp_path / "s", 2)
    assert main(["export", str(folder), "--to", "tum", "--lane", "2"]) == 0
    path = folder / "export" / "drifting-rate-0.8" / "poses_tum.txt"
    assert len(np.loadtxt(path)) == 2
    said = capsys.readouterr()
    assert "wrote Camera path, TUM (.txt): 2 frames, " in said.out
    assert f"to {path}" in said.out.replace("\n", "")
    assert main(["export", str(folder), "--to", "tum", "--lane", "2"]) == 2
    assert "poses_tum.txt exists" in capsys.readouterr().err
    assert main(["export", str(folder), "--to", "tum", "--lane", "2", "--overwrite"]) == 0
    out = str(tmp_path / "p.ply")
    words = ["--output", out, "--pixel-stride", "2", "--max-points", "100", "--stride", "2"]
    assert main(["export", str(folder / "archive"), "--to", "ply", *words]) == 0
    assert b"element vertex 100\n" in Path(out).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "fbx"], "--to fbx: no such format; take one of ply, glb"),
        ([], "required: --to"),
        (["--to", "ply", "--lane", "0"], "--lane 0: this recording has 2"),
        (["--to", "ply", "--max-points", "-1"], "--max-points -1: take 1 or more"),
    ],
)
def test_wrong_words_are_one_line(session, words, said, capsys):
    assert said in error_line(capsys, "export", str(session), *words)


def test_a_folder_that_is_no_session(tmp_path, capsys):
    assert "wanted a folder" in error_line(capsys, "export", str(tmp_path), "--to", "ply")


def test_the_help_lists_the_formats(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in FORMATS)


def test_an_export_loads_neither_torch_nor_viser(tmp_path, session):
    code = (
        "import sys; from ttt3r_viewer.cli import main;"
        f"main(['export', {str(session)!r}, '--to', 'glb', '--output', {str(tmp_path / 'a')!r}]);"
        "sys.exit(','.join(m for m in ('torch', 'viser') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert (tmp_path / "a.glb").exists()
