"""`doctor`: finds what is there and what is not, and says what to do."""

import importlib.metadata
import socket
import tomllib
from pathlib import Path

import pytest

from ttt3r_viewer.cli import main
from ttt3r_viewer.commands import doctor

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_the_real_command_finds_this_machine_fit(capsys):
    assert main(["doctor", "--port", "0"]) == 0
    said = capsys.readouterr().out
    for topic in ("python", "torch", "viser", "device", "weights", "disk", "page", "browser"):
        assert f" {topic} " in said
    assert "!!" not in said


def test_every_required_package_is_looked_at():
    wanted = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    names = {name for name, _ in doctor.required_packages()}
    assert len(names) == len(wanted)
    assert all(any(line.startswith(name) for line in wanted) for name in names)


@pytest.mark.parametrize(
    ("version", "allowed", "fits"),
    [
        ("2.13.0+cpu", "<2.14,>=2.6", True),
        ("2.14.0", "<2.14,>=2.6", False),
        ("2.5.9", "<2.14,>=2.6", False),
        ("2.6", ">=2.6.0", True),
        ("13", ">=13", True),
        ("1.26.4", "", True),
    ],
)
def test_versions_are_compared_by_number(version, allowed, fits):
    assert doctor.version_fits(version, allowed) is fits


def test_a_missing_package_is_fatal_and_an_old_one_is_not():
    gone = doctor.package_finding(("no-such-package", ">=1"))
    assert gone.fatal
    assert gone.advice == 'pip install "no-such-package>=1"'
    numpy = importlib.metadata.version("numpy")
    old = doctor.package_finding(("numpy", ">=999"))
    assert not old.fatal
    assert numpy in old.text
    assert old.advice


def test_a_busy_port_is_told_with_the_one_instead():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        found = doctor.port_finding("127.0.0.1", port)
    assert not found.fatal
    assert f"port {port} of 127.0.0.1 is busy" in found.text


def test_an_address_that_is_not_ours_is_fatal(capsys):
    assert main(["doctor", "--host", "203.0.113.7"]) == 1
    assert "!! page" in capsys.readouterr().out


def test_torch_that_cannot_be_imported_is_fatal(monkeypatch):
    def broken(_name):
        raise OSError("libc10.so: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    (finding,) = doctor.torch_findings()
    assert finding.fatal
    assert "libc10.so" in finding.text


def test_little_memory_is_told(tmp_path):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 9999999 kB\nMemAvailable:     500000 kB\n")
    (finding,) = doctor.memory_findings(info)
    assert finding.text == "0.5 GB free"
    assert finding.advice
    assert list(doctor.memory_findings(tmp_path / "none")) == []


def test_little_disk_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "LITTLE_DISK_BYTES", 10**18)
    monkeypatch.setattr(doctor.tempfile, "gettempdir", lambda: str(tmp_path))
    (finding,) = doctor.disk_findings()
    assert "TMPDIR" in finding.advice
