"""How the tests share several processes (`-n`): whole files, and one browser at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each process has a core; torch's threads would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

BROWSER = Path(__file__).parent / "browser"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep a file's tests in one process, for what they set up; and all that start a browser."""
    group = "browser" if BROWSER in item.path.parents else item.path.name
    item.add_marker(pytest.mark.xdist_group(group))
