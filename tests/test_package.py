"""What is installed is whole and runs anywhere; and `doctor` says what a machine lacks."""

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import ttt3r_viewer
from ttt3r_viewer.cli import main
from ttt3r_viewer.commands import doctor

ROOT = Path(__file__).parent.parent
SOURCES = ("ttt3r_viewer", "assets", "pyproject.toml", "README.md", "LICENSE", ".gitignore")


def test_every_public_name_is_where_it_is_looked_for():
    for name in ttt3r_viewer.__all__:
        assert getattr(ttt3r_viewer, name) is not None


def built(kind: str, folder: Path) -> Path:
    """Build a wheel or an sdist of a copy of the sources, with the build tool that is installed."""
    copy = folder / "sources"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
        else:
            shutil.copy(ROOT / name, copy / name)
    build = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(build, cwd=copy, check=True, capture_output=True)
    (made,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


def install(distribution: Path, folder: Path) -> None:
    """Install it alone, for the interpreter that runs the tests, which has what it needs."""
    words = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder))
    subprocess.run(
        [sys.executable, "-m", "pip", *words, str(distribution)], check=True, capture_output=True
    )


def test_the_job_with_the_oldest_versions_takes_the_lower_bounds():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = dict(one.split(",")[0].split(">=") for one in dependencies)
    lines = (ROOT / ".ci" / "oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pinned.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert f"{pinned[name]}.".startswith(f"{bound}."), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_an_installed_program_is_whole_and_runs_from_any_directory(kind, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    distribution = built(kind, made)
    place, elsewhere = tmp_path / "installed", tmp_path / "a directory"
    install(distribution, place)
    elsewhere.mkdir()
    code = (
        "import ttt3r_viewer, sys; print(ttt3r_viewer.__file__);"
        "from ttt3r_viewer.__main__ import main; sys.exit(main())"
    )
    words = ["run", "--input", "demo:walk", "--max-frames", "2", "--output", "out"]
    command, env = [sys.executable, "-c", code, *words], os.environ | {"PYTHONPATH": str(place)}
    ran = subprocess.run(
        command, cwd=elsewhere, env=env, check=True, capture_output=True, text=True
    )
    assert ran.stdout.startswith(str(place)), "another installation was found first"
    assert (elsewhere / "out" / "points.ply").stat().st_size > 100_000
    assert (place / "ttt3r_viewer" / "_assets" / "miniature.safetensors").is_file()


def test_an_sdist_holds_the_licence_and_the_weights(tmp_path):
    with tarfile.open(built("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "assets/miniature.safetensors"} <= names


def test_the_real_command_finds_this_machine_fit(capsys):
    assert main(["doctor", "--port", "0"]) == 0
    said = capsys.readouterr().out
    for topic in ("python", "torch", "viser", "device", "weights", "disk", "page", "browser"):
        assert f" {topic} " in said
    assert "!!" not in said


def test_every_required_package_is_looked_at():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
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
