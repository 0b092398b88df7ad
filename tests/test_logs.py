"""The log: in the run's folder, bounded, never in the way; and no password shows anywhere."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media import write_images
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.settings import settings_from
from ttt3r_viewer.system import logs
from ttt3r_viewer.system.logs import LOG_FILES, log_file, log_into, logging_to_terminal
from ttt3r_viewer.system.text import hide_passwords, input_name

log = logging.getLogger("ttt3r_viewer.tests")
foreign = logging.getLogger("somebody.else")


@pytest.fixture(autouse=True)
def _as_in_a_command():
    with logging_to_terminal():
        yield


def handler_of(folder: Path) -> Any:
    """The handler that writes the file in a folder."""
    handlers = logging.getLogger().handlers
    (found,) = (one for one in handlers if str(folder) in getattr(one, "baseFilename", ""))
    return found


def text_of(folder: Path) -> str:
    return (folder / "log.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_decides_what_the_file_takes(tmp_path, level, capsys):
    log_into(tmp_path, level, fresh=False)
    for one in ("debug", "info", "warning", "error"):
        getattr(log, one)("a %s line", one)
        getattr(foreign, one)("a foreign %s line", one)
    known = ["debug", "info", "warning", "error"]
    wanted = known[known.index(level) :]
    assert re.findall(r": a (\w+) line", text_of(tmp_path)) == wanted
    foreigners = re.findall(r": a foreign (\w+) line", text_of(tmp_path))
    assert foreigners == ["warning", "error"]  # not another package's chatter
    shown = [one for one in ("warning", "error") if one in wanted]
    assert re.findall(r"^a (\w+) line$", capsys.readouterr().err, re.MULTILINE) == shown


def test_a_traceback_goes_to_the_file_or_without_one_to_the_terminal(tmp_path, capsys):
    def fail() -> None:
        try:
            raise ZeroDivisionError("ours")
        except ZeroDivisionError:
            log.exception("it failed")

    fail()
    assert "Traceback" in capsys.readouterr().err
    log_into(None, "info", fresh=False)
    fail()
    assert "Traceback" in capsys.readouterr().err
    log_into(tmp_path, "info", fresh=False)
    fail()
    assert "Traceback" in text_of(tmp_path)
    assert capsys.readouterr().err == ""


def test_no_password_gets_in(tmp_path, capsys):
    log_into(tmp_path, "debug", fresh=False)
    address = "rtsp://me:s3cret@camera.local/live?token=t0ps3cret"
    log.warning("opening %s", address)
    try:
        raise OSError(f"cannot open {address}")
    except OSError:
        log.exception("it failed")
    said = text_of(tmp_path) + capsys.readouterr().err
    assert "camera.local" in said
    assert "Traceback" in said
    for secret in ("s3cret", "t0ps3cret"):
        assert secret not in said


def test_it_stays_bounded_and_every_file_is_a_known_one(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "FILE_BYTES", 10_000)
    log_into(tmp_path, "info", fresh=False)
    for number in range(2_000):
        log.info("line %d of a long night", number)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(LOG_FILES)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 30_000
    assert "line 1999" in text_of(tmp_path)


def test_names_that_are_no_text_do_not_end_it(tmp_path):
    log_into(tmp_path, "info", fresh=False)
    # Straight to the file: what pytest captures of a log it cannot send to another process.
    said = {"name": log.name, "levelno": logging.INFO, "levelname": "INFO"}
    handler_of(tmp_path).handle(logging.makeLogRecord(said | {"msg": "caf\udce9 and 📷"}))
    assert "caf\\udce9 and 📷" in text_of(tmp_path)


def test_a_log_that_cannot_be_written_disturbs_nobody(tmp_path, capsys):
    log_into(tmp_path, "info", fresh=False)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    handler_of(tmp_path).stream = full.open("w")
    log.info("into the void")
    assert capsys.readouterr().err == ""


def test_a_folder_in_its_place_is_one_line(tmp_path):
    (tmp_path / "log.txt").mkdir()
    with pytest.raises(OutputError, match=r"log\.txt: Is a directory; name another folder"):
        log_into(tmp_path, "info", fresh=False)


def test_a_run_says_what_it_did_and_begins_a_new_log_only_where_told(tmp_path, capsys):
    images = write_images(tmp_path / "in", ["0.png", "1.png", "2.png"])
    (images / "1.png").write_text("no picture")
    out = tmp_path / "out"
    words = ["run", "--input", str(images), "--output", str(out)]
    assert main(words) == 0
    text = text_of(out)
    for said in ("ttt3r-viewer 0", "skipped 1.png: the file is not an image", "finished: frame 3"):
        assert said in text
    assert log_file() is None  # closed with the command
    assert main([*words, "--resume"]) == 0
    assert text_of(out) == text  # nothing was done
    assert main(words) == 2
    assert "log.txt" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--log-level", "warning"]) == 0
    assert text_of(out) == ""


MISTAKEN = """
import sys
from ttt3r_viewer.__main__ import main
from ttt3r_viewer.reconstruct.session import Lanes

def wrong(*_):
    raise ZeroDivisionError("ours")

Lanes.step = wrong
sys.exit(main())
"""


def test_a_mistake_of_ours_is_one_line_and_its_traceback_in_the_log(tmp_path):
    images = write_images(tmp_path / "in", ["0.png", "1.png"])
    out = tmp_path / "out"
    words = ("run", "--input", str(images), "--output", str(out))
    ended = subprocess.run(
        [sys.executable, "-c", MISTAKEN, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: a mistake of the program's: ZeroDivisionError: ours; {out}{os.sep}log.txt says "
        "where\n"
    )
    assert "Traceback" in text_of(out)
    assert 'raise ZeroDivisionError("ours")' in text_of(out) or "in wrong" in text_of(out)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:pw@host:554/a?b=1", "rtsp://***@host:554/a?b=1"),
        ("rtsp://me@host/a", "rtsp://***@host/a"),
        ("rtsp://me:p@w/x?y#z@host/a", "rtsp://***@host/a"),
        ("http://host/a@2x.jpg", "http://host/a@2x.jpg"),
        ("http://host:80/a?User=me&pwd=pw&size=3", "http://host:80/a?User=***&pwd=***&size=3"),
        ("http://h/?access_token=pw#t", "http://h/?access_token=***"),
        ("error: two, http://a:b@c/ and udp://d:1", "error: two, http://***@c/ and udp://d:1"),
        ("a folder/with@sign:here", "a folder/with@sign:here"),
    ],
)
def test_what_is_shown_of_an_address(text, shown):
    assert hide_passwords(text) == shown
    assert hide_passwords(shown) == shown


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20))
def test_no_password_survives(password):
    marked = f"<{password}>"
    assert marked not in hide_passwords(f"rtsp://me:{marked}@host/path")


def test_recorded_settings_hold_no_password():
    settings = settings_from({"input": "rtsp://me:pw@host/a", "output": "out"})
    assert settings.input.input == "rtsp://me:pw@host/a"
    assert settings.as_dict()["input"] == "rtsp://***@host/a"


def test_an_input_is_called_by_its_last_part_and_never_by_its_password():
    for source, name in (
        ("demo:loop", "demo:loop"),
        ("/data/videos/desk.mp4", "desk.mp4"),
        ("C:\\scans\\room\\", "room"),
        ("/", "/"),
        ("rtsp://me:hidden@cam.local/live", "rtsp://***@cam.local/live"),
        ("a\x1b[2J/b\x1b", "b\\x1b"),
    ):
        assert input_name(source) == name
