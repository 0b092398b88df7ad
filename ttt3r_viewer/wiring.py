"""Where frames -> model -> rule -> scene is wired; `cli.py` adds the viewer, or a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from ttt3r_viewer.assets import asset_path
from ttt3r_viewer.errors import OutputError
from ttt3r_viewer.export.folder import claim_folder
from ttt3r_viewer.export.results import OWN_FILES, write_results
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.reconstruct.commands import Command
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.scene.store import SceneSnapshot, SceneStore
from ttt3r_viewer.settings import Settings
from ttt3r_viewer.types import Status

if TYPE_CHECKING:
    from ttt3r_viewer.reconstruct.session import Session

STOP_SEC = 1.0
"""After Ctrl-C a frame in progress gets so long."""
PAGE_POINTS = 600_000
"""More than this a browser without a GPU does not draw at a tolerable rate."""
FILE_POINTS = 10_000_000
"""What points.ply of `run` may hold: about 200 MB on disk, and up to 600 MB of memory."""


@dataclass(eq=False)
class Reconstruction:
    """The arrow's first four parts, wired: source, worker with its session to be, store."""

    settings: Settings
    store: SceneStore
    commands: SimpleQueue[Command]
    worker: Worker
    started: float
    written: int = 0
    """Frames whose results are in the output folder."""
    written_epoch: int = -1

    @staticmethod
    def prepare(settings: Settings, *, ends_by_itself: bool = False) -> Reconstruction:
        """Open the input and claim the output folder; nothing is loaded yet."""
        source = open_source(
            str(asset_path("demo")) if settings.input is None else settings.input,
            start=settings.start,
            stride=settings.stride,
            max_frames=settings.max_frames,
            fps=settings.fps,
        )
        if settings.output is not None:
            claim_folder(Path(settings.output), OWN_FILES, overwrite=settings.overwrite)
        page = {"max_points": settings.max_points or PAGE_POINTS}
        file = {
            "max_points": settings.max_points or FILE_POINTS,
            "points_per_frame": FILE_POINTS,
        }
        store = SceneStore(**(file if ends_by_itself else page))
        commands: SimpleQueue[Command] = SimpleQueue()
        worker = Worker(
            source,
            lambda: _make_session(settings),
            store,
            commands,
            status=Status(model=settings.weights, rule=settings.rule, device=settings.device),
            ends_by_itself=ends_by_itself,
        )
        return Reconstruction(settings, store, commands, worker, time.perf_counter())

    def watch(self, say: Callable[[str], None], report: Callable[[str], None]) -> None:
        """Until Ctrl-C: write the results whenever a run has finished, and tell what went wrong.

        `say` takes a line for the terminal; `report` shows one in the page, or with an empty text
        takes it away.
        """
        last: SceneSnapshot | None = None
        while True:
            scene = self.store.snapshot()
            if scene is not last and scene.status.phase == "failed":
                say(f"the run failed: {scene.status.message}")
            if scene is not last and scene.status.phase == "finished":
                try:
                    self.write(scene)
                    report("")
                except OutputError as error:
                    say(f"error: {error}")
                    report(str(error))
            last = scene
            time.sleep(0.2)

    def end(self) -> int:
        """Stop the worker, and write what there is; how many frames have been written."""
        self.worker.stop(STOP_SEC)
        scene = self.store.snapshot()
        # Results of a whole run are not replaced by those of a restart that was cut short.
        if not self.written or scene.status.phase == "finished":
            self.write(scene)
        return self.written

    def write(self, scene: SceneSnapshot) -> None:
        """Write a scene's results where they were asked for, if it is not there already."""
        new = scene.epoch != self.written_epoch or len(scene.frames) != self.written
        if self.settings.output is None or not scene.frames or not new:
            return
        compute_sec = [frame.compute_sec for frame in scene.frames]
        timing = {
            "since_start_sec": time.perf_counter() - self.started,
            "compute_sec": float(np.sum(compute_sec)),
            "compute_sec_per_frame": float(np.mean(compute_sec)),
        }
        write_results(Path(self.settings.output), scene, self.settings.as_dict(), timing)
        self.written, self.written_epoch = len(scene.frames), scene.epoch


def _make_session(settings: Settings) -> Session:
    """In the worker's thread: import torch, read the weights."""
    from ttt3r_viewer.model.load import load_network
    from ttt3r_viewer.reconstruct.session import Session
    from ttt3r_viewer.rules.registry import make_rule

    rule = make_rule(settings.rule, **settings.rule_parameters)
    network = load_network(settings.weights, device=settings.device, dtype=settings.dtype)
    return Session(network, rule, size=settings.size, reset_every=settings.reset_every)
