"""Check the shapes in signatures while the tests run: jaxtyping's import hook and beartype.

The package names the types of jaxtyping under `TYPE_CHECKING` alone, so that the program needs
neither of the two. Here these modules are imported as a type checker sees them.
"""

import dataclasses
import functools
import importlib
import itertools
import typing
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import beartype.door  # noqa: F401 - all of it, before TYPE_CHECKING is true
import jaxtyping
import torch

import ttt3r_viewer  # noqa: F401 - its own imports are for type checkers alone

ROOMS = ("types", "state", "geometry", "reconstruct.loop", "model", "rules")
MODULES = [f"ttt3r_viewer.{room}" for room in ROOMS]
"""With all that is in these packages."""
MOST_CHECKS = 100
"""Calls of each function that are checked: later ones cost a long run of the tests too much."""
BARE: dict[type, Any] = {}
"""What makes each dataclass without checks; `torch.compile` knows no other."""
_jaxtyped = jaxtyping.jaxtyped


def check_shapes() -> None:
    """Import the modules so that the calls of their functions are checked."""
    jaxtyping.jaxtyped = _decorator  # stays, because nested functions are decorated at each call
    with (
        jaxtyping.install_import_hook(MODULES, "beartype.beartype"),
        patch.object(typing, "TYPE_CHECKING", True),
    ):
        for name in (
            *MODULES[:4],
            "ttt3r_viewer.reconstruct.compiled",
            "ttt3r_viewer.rules.registry",
        ):
            importlib.import_module(name)


def _decorator(*, typechecker: Any) -> Callable[[Any], Any]:
    """Stand for the decorator that the import hook puts on every function and class."""
    return lambda target: _checked(target, typechecker)


def _checked(target: Any, typechecker: Any) -> Any:
    """Check functions and dataclasses that have shapes; without them types are pyright's alone."""
    said = " ".join(map(str, getattr(target, "__annotations__", {}).values()))
    has_shapes = "[Tensor" in said or "[np.ndarray" in said
    if not has_shapes or "<locals>" in target.__qualname__ or target.__name__ == "__init__":
        return target
    if not isinstance(target, type):
        hints = target.__annotations__.items()
        # Beartype knows less of what numpy takes for an array.
        target.__annotations__ = {k: object if one == "ArrayLike" else one for k, one in hints}
        return _unless_compiling(target, _jaxtyped(target, typechecker=typechecker))
    if dataclasses.is_dataclass(target):
        bare = BARE[target] = target.__init__
        checked = _jaxtyped(bare, typechecker=typechecker)
        type.__setattr__(target, "__init__", _unless_compiling(bare, checked))
    return target


def _unless_compiling(bare: Any, checked: Any) -> Any:
    """Call without checks what `torch.compile` follows, because it cannot follow the checks."""
    calls = itertools.count()

    def first_calls(*args: Any, **kwargs: Any) -> Any:
        return (checked if next(calls) < MOST_CHECKS else bare)(*args, **kwargs)

    @functools.wraps(bare)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return bare(*args, **kwargs)
        return first_calls(*args, **kwargs)

    return call
