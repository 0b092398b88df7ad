"""Pages of made-up runs, started and stopped together."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Protocol

from tests.made_up_run import MadeUpRun
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.viewer.app import Viewer
from ttt3r_viewer.viewer.view_settings import ViewSettings

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Startable(Protocol):
    """What a test starts and stops."""

    def start(self) -> Any: ...
    def stop(self) -> Any: ...


@contextmanager
def running(*parts: Startable) -> Iterator[None]:
    """Start the parts one after another, and stop them in the opposite order."""
    for part in parts:
        part.start()
    try:
        yield
    finally:
        for part in reversed(parts):
            part.stop()


def on_own_loop(coroutine: Coroutine[object, object, None]) -> None:
    """Run a callback, also where the browser tests of this process have a loop already."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


EVERY_POINT = ViewSettings(
    hidden_bins=0, edge_filter=0.0, ceiling_cut=False, near_wall_cut=False, opening="still"
)
"""What shows all that the scene keeps, and moves no view, so that a test can count and click."""


@contextmanager
def shown(
    frames: int = 0, page: Mapping[str, Any] = NOTHING, **run: Any
) -> Iterator[tuple[MadeUpRun, Viewer]]:
    """A made-up run with so many frames, and its viewer, which shows all; both take options."""
    made_up = MadeUpRun(SceneStore(max_points=100_000, points_per_frame=200), **run).gone(frames)
    viewer = Viewer(made_up.store, made_up.mailbox, port=0, **{"settings": EVERY_POINT, **page})
    with running(viewer, made_up):
        yield made_up, viewer
