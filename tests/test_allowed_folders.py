"""Paths from the page: found and completed inside the allowed folders, and nowhere else."""

import os
from pathlib import Path

import pytest

from tests.media import write_images
from ttt3r_viewer.errors import InputError
from ttt3r_viewer.system.allowed_folders import MOST_COMPLETIONS, AllowedFolders

SUFFIXES = frozenset({".mp4", ".png"})


@pytest.fixture
def folders(tmp_path: Path) -> AllowedFolders:
    """`inside` with files, `other` allowed too, `outside` and `inside-not` beside them."""
    for name in ("inside/sub", "inside/.hidden", "other", "outside", "inside-not"):
        write_images(tmp_path / name, ["a.png"])
    (tmp_path / "inside" / "notes.txt").touch()
    (tmp_path / "inside" / "clip.MP4").touch()
    (tmp_path / "inside" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "inside" / "out.png").symlink_to(tmp_path / "outside" / "a.png")
    (tmp_path / "inside" / "round").symlink_to(tmp_path / "inside" / "round")
    (tmp_path / "inside" / "in.png").symlink_to(tmp_path / "inside" / "sub" / "a.png")
    return AllowedFolders(tmp_path / "inside", tmp_path / "other")


OUTSIDE = (
    *("..", "../outside", "../outside/a.png", "../inside-not/a.png", "sub/../../outside"),
    *("out", "out/a.png", "out.png", "/", "/etc/passwd", "~", "~nobody-here/x", "a\0b", "round"),
    *("../nowhere", "out/nowhere", "/proc/self/root/etc"),
)


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_path_outside_is_refused_in_the_same_words_whether_or_not_it_is_there(folders, text):
    with pytest.raises(InputError, match="is not inside") as caught:
        folders.find(text)
    assert "\n" not in str(caught.value)
    assert str(folders.folders[0]) in str(caught.value)


@pytest.mark.parametrize("text", OUTSIDE)
def test_completion_lists_nothing_outside(folders, text):
    roots = [str(folder) for folder in folders.folders]
    for begin in (text, f"{text}/", f"{text}/a"):
        for one in folders.complete(begin, SUFFIXES):
            real = os.path.realpath(f"{roots[0]}/{one}" if one[0] != "/" else one)
            assert any(real == root or real.startswith(f"{root}/") for root in roots), one


def test_paths_inside_are_found_relative_absolute_and_through_links_that_stay(folders, tmp_path):
    inside = tmp_path / "inside"
    assert folders.find("sub") == inside / "sub"
    assert folders.find(str(tmp_path / "other" / "a.png")) == tmp_path / "other" / "a.png"
    assert folders.find("in.png") == inside / "sub" / "a.png"
    assert folders.find("sub/../clip.MP4") == inside / "clip.MP4"
    with pytest.raises(InputError, match=r"there is no file or folder nothing$"):
        folders.find("nothing")


def test_completion_gives_folders_and_readable_files_that_begin_so(folders, tmp_path):
    inside = tmp_path / "inside"
    assert folders.complete("", SUFFIXES) == [f"{inside}/", f"{tmp_path / 'other'}/"]
    assert folders.complete("./", SUFFIXES) == ["./clip.MP4", "./in.png", "./sub/"]
    assert folders.complete("C", SUFFIXES) == ["clip.MP4"]
    assert folders.complete("su", SUFFIXES) == ["sub/"]
    assert folders.complete(f"{inside}/sub/", SUFFIXES) == [f"{inside}/sub/a.png"]
    # On the way there the allowed folders alone are named.
    assert folders.complete(str(tmp_path)[:3], SUFFIXES) == [f"{inside}/", f"{tmp_path / 'other'}/"]


def test_completion_gives_so_many_and_none_of_a_folder_that_cannot_be_read(folders, tmp_path):
    write_images(tmp_path / "inside" / "many", [f"{k}.png" for k in range(MOST_COMPLETIONS + 5)])
    assert len(folders.complete("many/", SUFFIXES)) == MOST_COMPLETIONS
    assert folders.complete("clip.MP4/", SUFFIXES) == []
