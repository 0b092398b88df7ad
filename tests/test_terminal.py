"""What the commands say: words that were meant, lines that fit, files with their suffix."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import error_line
from tests.test_export_formats import make_session
from ttt3r_viewer.cli import COMMANDS, main
from ttt3r_viewer.export.known_formats import FORMATS
from ttt3r_viewer.system.terminal import labelled, table_lines


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_with_two_letters_exchanged_is_suggested(capsys, name):
    swapped = name[:-2] + name[-1] + name[-2]
    assert f"did you mean {name}?" in error_line(capsys, swapped, "x")


def test_other_words_that_were_meant(capsys, tmp_path):
    assert "did you mean open?" in error_line(capsys, "opne")
    assert "weights has no 'ifno': did you mean info?" in error_line(capsys, "weights", "ifno")
    assert "did you mean --to?" in error_line(capsys, "export", "x", "--too", "ply")
    assert "did you mean --file" not in error_line(capsys, "weights", "info", "--fiel", "x")
    assert "did you mean mp4?" in error_line(capsys, "export", str(tmp_path), "--to", "mp")
    assert "did you mean" not in error_line(capsys, "zebra")
    assert f"say --input {tmp_path}" in error_line(capsys, str(tmp_path))


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_lists_commands_before_flags_and_fits(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in ([], ["export"]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        said = capsys.readouterr().out
        listed = COMMANDS if not words else FORMATS
        places = [re.search(rf"^  {name} ", said, re.M) for name in listed]
        assert all(places)
        assert max(place.start() for place in places if place) < said.index("--help ")
        if columns > 40:  # argparse breaks its own usage no further
            assert max(map(len, said.splitlines())) <= columns


@given(
    st.lists(st.tuples(*[st.text("abc -", max_size=30)] * 4), min_size=1, max_size=6),
    st.integers(40, 200),
)
def test_a_table_fits_and_loses_no_number(rows, width):
    lines = table_lines([[cell.strip() for cell in row] for row in rows], width)
    assert all(len(line) <= width for line in lines)
    together = "\n".join(lines)
    for row in rows:
        assert all(cell.strip() in together for cell in row[1:])
    whole = table_lines(rows, None)
    assert len(whole) == len(rows)


@given(st.text("abcdef ", max_size=300), st.integers(24, 120))
def test_a_labelled_text_fits_and_loses_no_word(text, width):
    lines = labelled("settings", text, 10, width)
    assert all(len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == "settings" + text.replace(" ", "")


@pytest.mark.parametrize("columns", [40, 100])
def test_answers_fit_the_terminal_and_are_whole_in_a_pipe(tmp_path, capsys, monkeypatch, columns):
    folder = make_session(tmp_path / "a long name of a folder with a recording in it", 2)
    for words in (
        ["info", str(folder)],
        ["doctor", "--port", "0"],
        ["weights", "info", "miniature"],
    ):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(words) == 0
        fitted = capsys.readouterr().out
        assert max(map(len, fitted.splitlines())) <= columns
        monkeypatch.delenv("COLUMNS")
        assert main(words) == 0
        whole = capsys.readouterr().out
        assert len(whole.splitlines()) < len(fitted.splitlines())


@pytest.mark.parametrize(
    ("form", "given_name", "written"),
    [
        ("ply", "x", "x.ply"),
        ("ply", "x.bin", "x.bin"),
        ("tum", "x", "x.txt"),
        ("intrinsics", "x", "x.json"),
        ("kitti", "x", "x"),
    ],
)
def test_a_file_gets_its_suffix_and_the_answer_says_what_was_written(
    tmp_path, capsys, form, given_name, written
):
    folder = make_session(tmp_path / "session", 2)
    words = ["export", str(folder), "--to", form, "--output", str(tmp_path / given_name)]
    assert main(words) == 0
    assert (tmp_path / written).exists()
    said = capsys.readouterr().out
    assert f"wrote {FORMATS[form].label}: " in said
    assert said.rstrip().endswith(f"to {tmp_path / written}")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_name_in_words_and_its_own_suffix(name):
    one = FORMATS[name]
    suffix = Path(one.target).suffix
    assert one.label.endswith("(folder)" if one.own else f"({suffix})")
    assert one.named(Path("a/x")).name == "x" + ("" if one.own else suffix)
    assert len({other.label for other in FORMATS.values()}) == len(FORMATS)
