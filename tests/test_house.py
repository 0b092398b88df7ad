"""The house as a whole: names, sizes, the longest chain of imports, and docs that are true."""

import ast
import functools
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_imports import PACKAGE

ROOT = PACKAGE.parent
LOOSE = {"__init__", "__main__", "cli", "errors", "types", "state", "geometry", "settings"}
PAIRS = {"bench", "compare", "doctor", "eval", "export", "open", "rules", "run"}
"""Names of a command and of what it opens elsewhere; a file name stands twice nowhere else."""
DOORS = {"__init__.py", "__main__.py"}
LONGEST_FUNCTION, LONGEST_FILE, LONGEST_CHAIN = 60, 400, 13
MOST_PACKAGE_LINES, MOST_TEST_LINES = 34_500, 27_000
"""28,000 and 21,500 after the renovation; who adds a feature raises them by what it takes."""

FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def lines_of(folder: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in folder.rglob("*.py"))


def places_of(found: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """The files of each name that stands in more than one."""
    places = defaultdict(list)
    for name, file in found:
        places[name].append(file)
    return {name: files for name, files in places.items() if len(files) > 1}


def test_no_class_name_stands_twice():
    nodes = ((node, path) for path in FILES for node in tree_of(path).body)
    classes = (
        (node.name, relative(path)) for node, path in nodes if isinstance(node, ast.ClassDef)
    )
    assert places_of((name, path) for name, path in classes if not name.startswith("_")) == {}


def test_a_file_name_stands_twice_only_where_the_folder_says_the_rest():
    names = ((path.name, relative(path)) for path in FILES if path.name not in DOORS)
    twice = places_of(names)
    assert {name.removesuffix(".py") for name in twice} <= PAIRS
    assert len(PAIRS) <= 8
    for files in twice.values():
        assert len(files) == 2, files
        assert sum("/commands/" in file for file in files) == 1, files


def test_few_modules_lie_loose_in_the_package():
    assert {path.stem for path in PACKAGE.glob("*.py")} <= LOOSE


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def that_run(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module but for what only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from that_run(child)


@functools.cache
def imported_by(module: str, everywhere: bool) -> frozenset[str]:
    """The modules of ours that a file imports when it runs, or wherever in it."""
    tree = tree_of(MODULES[module])
    found = set()
    for node in ast.walk(tree) if everywhere else that_run(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {one if one in MODULES else node.module for one in inner}
    return frozenset(found & MODULES.keys() - {module, PACKAGE.name})  # its version comes first


def longest_chain(everywhere: bool) -> list[str]:
    """The longest chain of modules, each of which imports the next; fails where there is a ring."""
    chains: dict[str, list[str]] = {}

    def chain_from(module: str, above: tuple[str, ...]) -> list[str]:
        assert module not in above, f"a ring: {' -> '.join([*above, module])}"
        if module not in chains:
            below = (chain_from(one, (*above, module)) for one in imported_by(module, everywhere))
            chains[module] = [module, *max(below, key=len, default=[])]
        return chains[module]

    return max((chain_from(module, ()) for module in sorted(MODULES)), key=len)


def test_the_longest_chain_of_imports_is_short_and_there_is_no_ring():
    """Of the imports that run, in functions too; there is no ring of all of them either."""
    chain = longest_chain(everywhere=False)
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)
    longest_chain(everywhere=True)


def functions_of(path: Path) -> Iterator[FUNCTION]:
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, FUNCTION))


def length_of(node: FUNCTION) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def test_functions_and_files_are_short():
    long = {
        f"{relative(path)}:{node.name}": length_of(node)
        for path in FILES
        for node in functions_of(path)
        if length_of(node) > LONGEST_FUNCTION
    }
    assert long == {}
    sizes = {relative(path): len(path.read_bytes().splitlines()) for path in FILES}
    assert {path: size for path, size in sizes.items() if size > LONGEST_FILE} == {}


def undocumented(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Public classes, functions and methods without a docstring; a name with `_` is private."""
    for node in body:
        if isinstance(node, ast.ClassDef | FUNCTION) and not node.name.startswith("_"):
            if ast.get_docstring(node) is None and not is_overload(node):
                yield f"{prefix}{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node.body, f"{prefix}{node.name}.")


def is_overload(node: ast.stmt) -> bool:
    return any("overload" in ast.unparse(one) for one in getattr(node, "decorator_list", ()))


def test_everything_public_has_a_docstring():
    lacking = [
        f"{relative(path)}: {name}" for path in FILES for name in undocumented(tree_of(path).body)
    ]
    lacking += [
        relative(path)
        for path in FILES
        if tree_of(path).body and ast.get_docstring(tree_of(path)) is None
    ]
    assert lacking == []


@pytest.mark.parametrize(
    ("folder", "most"), [(PACKAGE, MOST_PACKAGE_LINES), (ROOT / "tests", MOST_TEST_LINES)]
)
def test_the_house_does_not_grow_again(folder, most):
    lines = lines_of(folder)
    assert lines <= most, f"{folder.name} has {lines:,} lines, {lines - most:,} too many"


DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULE = re.compile(r"python3? -m ((?:ttt3r_viewer|training|benchmarks|tests)[\w.]*)")
FILE = re.compile(r"`([\w./-]+\.py)`")
LINK = re.compile(r"\]\((?!http|javascript)([\w./-]+)")
TEST = re.compile(r"`(test_\w+)`")
USERS_OWN = {"halfway.py"}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_what_docs_name_is_there(path):
    text = path.read_text(encoding="utf-8")
    gone = [name for name in MODULE.findall(text) if importlib.util.find_spec(name) is None]
    folders = (ROOT, PACKAGE, ROOT / "tests", *(one for one in PACKAGE.iterdir() if one.is_dir()))
    for name in set(FILE.findall(text)) - USERS_OWN:
        gone += [] if any((folder / name).exists() for folder in folders) else [name]
    gone += [link for link in LINK.findall(text) if not (path.parent / link).exists()]
    tests = "\n".join(one.read_text(encoding="utf-8") for one in (ROOT / "tests").rglob("*.py"))
    gone += [name for name in TEST.findall(text) if f"def {name}(" not in tests]
    assert gone == []
