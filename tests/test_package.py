"""What is installed from a wheel or an sdist is whole: assets included, from any directory."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("ttt3r_viewer", "assets", "pyproject.toml", "README.md", "LICENSE", ".gitignore")


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
