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
    _call_c("mallopt", _M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Return freed memory to the system: of many small arrays glibc keeps most until asked."""
    _call_c("malloc_trim", 0)


def _call_c(name: str, *values: int) -> None:
    if sys.platform == "linux" and (call := getattr(ctypes.CDLL(None), name, None)) is not None:
        call(*values)
