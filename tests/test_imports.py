"""Who may import whom: the arrow frames -> model -> rule -> scene -> viewer, held as a table."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ttt3r_viewer

PACKAGE = Path(ttt3r_viewer.__file__).parent

NUMPY_NOUNS = {"errors", "types"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "types": {"errors"},
    "geometry": NUMPY_NOUNS,
    "state": set(),
    "assets": {"errors"},
    "memory": set(),
    "interruption": set(),
    "passwords": set(),
    "plain_yaml": {"errors"},
    "logs": {"errors", "passwords", "types"},
    "settings": {"errors", "passwords", "plain_yaml"},
    "frames": {*NUMPY_NOUNS, "passwords"},
    "model": {"errors", "state", "assets"},
    "rules": {"errors", "state", "types"},
    "scene": {*NUMPY_NOUNS, "geometry"},
    "reconstruct": {*NUMPY_NOUNS, "state", "geometry", "frames", "model", "rules", "scene"},
    "export": {*NUMPY_NOUNS, "geometry", "scene"},
    "evaluate": {*NUMPY_NOUNS, "geometry", "frames", "scene", "export.folder"},
    "miniature": {
        *NUMPY_NOUNS,
        *("state", "geometry", "frames", "model", "rules", "evaluate", "reconstruct.lanes"),
        *("plain_yaml", "interruption"),
    },
    "viewer": {
        *NUMPY_NOUNS,
        "memory",
        "geometry",
        "scene",
        "export",
        "evaluate",
        "reconstruct.commands",
    },
    "bench": {
        *NUMPY_NOUNS,
        *(
            "memory",
            "state",
            "geometry",
            "settings",
            "frames",
            "model",
            "rules",
            "reconstruct",
            "scene",
        ),
    },
    "replay": {*NUMPY_NOUNS, "scene", "reconstruct.commands"},
    "spread": {"errors", "interruption"},
}
"""The package's units; those in WIRING wire them and may import everything."""
WIRING = {
    *(
        "cli",
        "commands",
        "wiring",
        "resuming",
        "several",
        "loading",
        "comparison",
        "evaluation",
        "__main__",
        "__init__",
    ),
}
TORCH = {"state", "model", "rules", "reconstruct", "miniature", "bench"}
VISER = {"viewer"}
VISER_FILE = PACKAGE / "export" / "recording.py"
"""The one file outside these that imports viser, because only viser makes its recordings."""


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unit_of(path: Path) -> str:
    """The file's room: the first folder below the package, or the file's own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if unit_of(path) not in WIRING]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_unit_may(path):
    unit = unit_of(path)
    assert unit in MAY_IMPORT, f"{unit} is not in the table: say what it may import"
    allowed = {unit, "__version__", *MAY_IMPORT[unit]}
    for module in imports_of(path):
        root, _, inside = module.partition(".")
        assert root != "torch" or unit in TORCH, f"{unit} must not import torch"
        viser_here = unit in VISER or path == VISER_FILE
        assert root != "viser" or viser_here, f"{unit} must not import viser"
        if root == "ttt3r_viewer" and inside:
            assert any(inside == one or inside.startswith(f"{one}.") for one in allowed) or any(
                one.startswith(f"{inside}.") for one in allowed
            ), f"{unit} must not import {inside}"


def test_the_table_has_no_room_that_is_gone():
    assert {unit_of(path) for path in FILES} == set(MAY_IMPORT)


def test_the_command_line_starts_without_torch_and_viser():
    code = (
        "import sys, ttt3r_viewer.cli; print([m for m in ('torch', 'viser') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


NOT_ON_A_TRAINING_MACHINE = (
    *("PIL", "av", "imageio", "matplotlib", "msgspec", "platformdirs", "rich", "scipy", "trimesh"),
    *("viser", "websockets", "yaml"),
)


@pytest.mark.parametrize(
    "module", ["miniature.train", "miniature.evaluate", "commands.bench", "bench.work"]
)
def test_training_and_bench_import_with_torch_numpy_and_safetensors_alone(module):
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({NOT_ON_A_TRAINING_MACHINE}));"
        f"import ttt3r_viewer.{module}"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
