"""Who may import whom: the arrow frames -> model -> rule -> scene -> viewer, held as a table."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ttt3r_viewer

PACKAGE = Path(ttt3r_viewer.__file__).parent

NOUNS = {"errors", "types", "geometry"}
FLOORS: tuple[dict[str, set[str]], ...] = (
    {
        "errors": set(),
        "types": {"errors"},
        "state": set(),
        "geometry": {"errors", "types"},
        "system": {"errors"},
    },
    {
        "settings": {"errors", "system"},
        "frames": {*NOUNS, "system"},
        "model": {*NOUNS, "state"},
        "rules": {*NOUNS, "state"},
    },
    {
        "weights": {"errors", "state", "system", "model"},
        "scene": {*NOUNS},
        "recording": {*NOUNS, "system", "scene"},
        "metrics": {*NOUNS, "system", "frames", "scene"},
    },
    {
        "reconstruct": {
            *(*NOUNS, "state", "system", "frames", "model", "rules", "weights"),
            *("scene", "recording"),
        },
        "synthetic": {*NOUNS},
        "export": {*NOUNS, "system", "scene", "recording", "metrics"},
    },
    {
        "evaluate": {
            *(*NOUNS, "system", "frames", "model", "rules", "weights", "metrics"),
            *("reconstruct", "synthetic"),
        },
        "viewer": {
            *(*NOUNS, "system", "metrics", "scene", "recording", "export"),
            "reconstruct.messages",
        },
    },
    {
        "runs": {
            *(*NOUNS, "system", "settings", "frames", "model", "rules", "weights", "scene"),
            *("recording", "metrics", "reconstruct", "export", "evaluate"),
        },
        "bench": {
            *(*NOUNS, "state", "system", "settings", "frames", "model", "rules", "weights"),
            *("scene", "reconstruct"),
        },
    },
)
"""The house from the ground up: each room, and the rooms that it may import. A room imports lower
floors, and of its own floor those that stand here before it."""
MAY_IMPORT = {room: may for floor in FLOORS for room, may in floor.items()}
DOORS = {"cli", "commands", "__main__", "__init__"}
"""The top floor, which may import everything."""
TORCH = {"state", "model", "weights", "rules", "reconstruct", "synthetic", "evaluate", "bench"}
TORCH_FILES = {PACKAGE / "system" / "machine.py", PACKAGE / "recording" / "checkpoint.py"}
"""Files elsewhere that import torch where they are handed a device or a tensor."""
VISER = {"viewer"}
VISER_FILE = PACKAGE / "export" / "film" / "viser_recording.py"
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


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if unit_of(path) not in DOORS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_unit_may(path):
    unit = unit_of(path)
    assert unit in MAY_IMPORT, f"{unit} is not in the table: say what it may import"
    allowed = {unit, *MAY_IMPORT[unit]}
    for module in imports_of(path):
        root, _, inside = module.partition(".")
        torch_here = unit in TORCH or path in TORCH_FILES
        assert root != "torch" or torch_here, f"{unit} must not import torch"
        viser_here = unit in VISER or path == VISER_FILE
        assert root != "viser" or viser_here, f"{unit} must not import viser"
        if root == "ttt3r_viewer" and inside:
            assert any(inside == one or inside.startswith(f"{one}.") for one in allowed) or any(
                one.startswith(f"{inside}.") for one in allowed
            ), f"{unit} must not import {inside}"


def test_every_arrow_of_the_table_runs_down_or_to_a_room_before_it():
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    rooms = list(floor_of)
    for room, may in MAY_IMPORT.items():
        for other in (one.partition(".")[0] for one in may):
            beside = floor_of[other] == floor_of[room] and rooms.index(other) < rooms.index(room)
            assert floor_of[other] < floor_of[room] or beside, f"{room} may not import {other}"


def test_the_table_has_no_room_that_is_gone():
    assert {unit_of(path) for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import ttt3r_viewer.cli", ["torch", "viser"]),
        ("import ttt3r_viewer.viewer.app", ["torch"]),
        ("import ttt3r_viewer.commands.bench", ["torch"]),
        ("import ttt3r_viewer.frames.source", ["av", "PIL", "torch", "viser"]),
        (
            "import ttt3r_viewer.frames.source as s, ttt3r_viewer.system.assets as a;"
            "next(iter(s.open_source(str(a.demo_path()))))",
            ["av", "torch", "viser"],
        ),
        (
            "import ttt3r_viewer.commands.rules, ttt3r_viewer.rules.registry as r;"
            "r.rules_from_text('ttt3r:0.5,recal3r,memix-ttsa,ddd3r-ortho')",
            ["torch"],
        ),
    ],
)
def test_what_is_not_needed_is_not_loaded(code, absent):
    check = f"{code}; import sys; assert not sys.modules.keys() & {set(absent)}, {absent}"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


NOT_ON_A_TRAINING_MACHINE = (
    *("PIL", "av", "imageio", "matplotlib", "msgspec", "platformdirs", "rich", "scipy", "trimesh"),
    *("viser", "websockets", "yaml"),
)


BENCH = ("ttt3r_viewer.commands.bench", "ttt3r_viewer.bench.work")


@pytest.mark.parametrize("module", ["training.train", "training.evaluate", *BENCH])
def test_training_and_bench_import_with_torch_numpy_and_safetensors_alone(module):
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({NOT_ON_A_TRAINING_MACHINE}));"
        f"import {module}"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


RENAMES = {"rename", "renames", "move"}


def test_only_one_file_gives_files_their_final_names():
    """Nobody else renames; of `replace`, a path's takes one argument and a text's takes two."""
    for path in sorted({*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "training").rglob("*.py")}):
        if path == PACKAGE / "system" / "files.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                of_os = isinstance(owner, ast.Name) and owner.id in ("os", "shutil")
                replaces = node.func.attr == "replace" and (
                    of_os or (len(node.args) == 1 and not node.keywords)
                )
                renames = replaces or node.func.attr in RENAMES
                assert not renames, f"{path}:{node.lineno}: use system.files"
