"""How the C library keeps memory (glibc on Linux; elsewhere these do nothing)."""

import ctypes
import sys

_M_ARENA_MAX = -8
"""mallopt's name for the number of arenas, from glibc's malloc.h."""
ARENAS = 2


def keep_few_arenas() -> None:
    """Let threads share two heaps: with one each, what one has freed the others cannot use.

    To be called before there are threads. It saves about 100 MB of a long run.
    """
    mallopt = _c_function("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Return freed memory to the system: of many small arrays glibc keeps most until asked."""
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


def _c_function(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
