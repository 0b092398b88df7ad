"""Dropped files: kept whole under a clean name, or refused in a line and gone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.viewer.server import uploads
from ttt3r_viewer.viewer.server.uploads import UploadFolder, clean_name


@pytest.fixture
def folder(tmp_path: Path) -> UploadFolder:
    return UploadFolder(tmp_path / "inputs", frozenset({".mp4"}), frozenset({".png", ".jpg"}))


def files(*named: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "bytes": size} for name, size in named]


def kept(folder: UploadFolder) -> dict[str, bytes]:
    """What lies there, hidden files too."""
    found = sorted(path for path in folder.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder.folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("beach.mp4", "beach.mp4"),
        ("../../etc/x.mp4", "x.mp4"),
        (r"C:\videos\my clip.MP4", "my clip.MP4"),
        (".hidden.png", "hidden.png"),
        ("a\0b\n<script>.png", "a_b__script_.png"),
        ("..png", "png"),
        ("a/..", "file"),
        ("été 1.jpg", "été 1.jpg"),
        ("x" * 500 + ".jpg", "x" * 100 + ".jpg"),
    ],
)
def test_names_keep_their_last_part_without_what_could_mislead(given, name):
    assert clean_name(given) == name


def test_a_video_is_kept_by_its_name_and_the_next_beside_it(folder):
    for wanted in ("a.mp4", "a-2.mp4"):
        upload = folder.begin(files(("a.mp4", 5)))
        upload.write(b"123")
        assert wanted not in kept(folder)
        upload.write(b"45")
        assert upload.finish() == folder.folder / wanted
    assert kept(folder) == {"a.mp4": b"12345", "a-2.mp4": b"12345"}


def test_images_go_to_a_folder_of_their_own_however_the_bytes_are_cut(folder):
    upload = folder.begin(files(("b.png", 2), ("B/b.png", 3), ("c.jpg", 1)))
    for piece in (b"1", b"234", b"56"):
        upload.write(piece)
    assert upload.finish() == folder.folder / "b"
    assert kept(folder) == {"b/b.png": b"12", "b/b-2.png": b"345", "b/c.jpg": b"6"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "nothing was dropped"),
        ("a.png", "nothing was dropped"),
        ([7], "a file without name and size"),
        (files(("a.png", "7")), "a file without name and size"),
        (files(("a.png", True)), "a file without name and size"),
        (files(("a.png", -1)), "a.png is empty"),
        (files(("a.exe", 1)), r"a.exe is neither a video \(.mp4\) nor an image \(.jpg .png\)"),
        (files(("mp4", 1)), "mp4 is neither"),
        (files(("a.mp4", 1), ("b.png", 1)), "2 files, a.mp4 among them"),
        (files(("a.mp4", uploads.MOST_BYTES + 1)), "8.6 GB; at most 8.6 GB at a time"),
        (files(*[("a.png", 1)] * (uploads.MOST_FILES + 1)), "5,001 files; at most 5,000"),
    ],
)
def test_what_is_no_video_or_too_much_is_refused_in_a_line_and_leaves_nothing(
    folder, given, message
):
    with pytest.raises(InputError, match=message) as caught:
        folder.begin(given)
    assert "\n" not in str(caught.value)
    assert not folder.folder.exists()


def test_a_disk_that_would_be_full_is_refused(folder, monkeypatch):
    free = SimpleNamespace(free=uploads.SPARE_BYTES + 9)
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: free)
    with pytest.raises(InputError, match=r"0\.0 GB may be used"):
        folder.begin(files(("a.mp4", 10)))
    folder.begin(files(("a.mp4", 9))).abort()
    assert list(folder.folder.iterdir()) == []


def test_more_bytes_than_announced_are_refused_and_an_abort_leaves_nothing(folder):
    upload = folder.begin(files(("a.png", 2), ("b.png", 2)))
    upload.write(b"123")
    assert len(kept(folder)) == 2
    with pytest.raises(InputError, match="more bytes came than were announced"):
        upload.write(b"45")
    upload.abort()
    assert list(folder.folder.iterdir()) == []


def test_what_a_crash_left_goes_with_a_later_drop(folder, monkeypatch):
    left = folder.begin(files(("a.png", 2)))
    left.write(b"1")
    folder.begin(files(("b.png", 1))).abort()
    assert len(kept(folder)) == 1
    monkeypatch.setattr(uploads, "OLD_PART_SEC", -1.0)
    folder.begin(files(("b.png", 1))).abort()
    assert list(folder.folder.iterdir()) == []
