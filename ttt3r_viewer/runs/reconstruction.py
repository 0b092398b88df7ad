"""Where frames -> model -> rule -> scene is wired; `commands/` adds a page, or a progress bar.

Torch is imported when lanes are asked for, which is in another thread than the page's.
"""

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ttt3r_viewer.errors import (
    OutputError,
    SettingsError,
    ViewerError,
    WeightsError,
)
from ttt3r_viewer.export.results import (
    INSPECT_FILES,
    OWN_FILES,
    rename_earlier_lanes,
    write_results,
)
from ttt3r_viewer.frames.selection import RepeatableSource
from ttt3r_viewer.frames.source import FrameSource, open_source
from ttt3r_viewer.metrics.ground_truth import GroundTruth
from ttt3r_viewer.reconstruct.history import FrameHistory
from ttt3r_viewer.reconstruct.messages import Mailbox
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.recording import reader
from ttt3r_viewer.recording.checkpoint import Checkpoints
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.rules.registry import describe, rules_from_text
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.runs.known_truth import find_truth, page_store
from ttt3r_viewer.runs.resuming import Resumption, find_recording, hint_of, identity_of
from ttt3r_viewer.scene.store import SceneSnapshot, SceneStore
from ttt3r_viewer.settings import (
    FILE_POINTS,
    InputOptions,
    NetworkOptions,
    RuleOptions,
    Settings,
)
from ttt3r_viewer.system.assets import DEFAULT_DEMO, with_demos
from ttt3r_viewer.system.files import FolderLock, claim_folder
from ttt3r_viewer.system.logs import LOG_FILES, log_into
from ttt3r_viewer.system.signals import no_interruption
from ttt3r_viewer.system.text import input_name, printable
from ttt3r_viewer.types import Status

if TYPE_CHECKING:
    from ttt3r_viewer.model.network import ReconstructionNetwork
    from ttt3r_viewer.reconstruct.session import Lanes

STOP_SEC = 1.0
"""After Ctrl-C a frame in progress gets so long."""

Write = Callable[[Path, SceneSnapshot, dict[str, Any], dict[str, float]], None]
"""Puts a scene's results, settings and timing into a claimed folder. Raises `OutputError`."""


@dataclass(frozen=True)
class Ending:
    """How a run without a page ended."""

    written: int
    """Frames whose results are in the output folder."""
    interrupted: bool
    error: BaseException | None
    """What ended it before its time, or kept its results from the disk."""
    remarks: tuple[str, ...]
    """What the user should know besides, a line each."""


class Reconstruction:
    """The arrow's first four parts, wired: source, worker with its session to be, store.

    `prepare` or `prepare_comparison` makes one.
    """

    def __init__(
        self,
        settings: Settings,
        files: tuple[str, ...],
        write: Write,
        store: SceneStore,
        *,
        ends_by_itself: bool,
        recorded_in_full: bool = False,
    ) -> None:
        rules = rules_from_text(settings.rules.rules)
        source, given = source_of(settings.input), settings.input.input or DEFAULT_DEMO
        if recorded_in_full:
            files = (*files, *reader.OWN_FILES)
        self._lock, resumption, self.note = _claim(settings, files, source)
        """A line about where a run is resumed, and why true poses beside the input are not used."""
        self._resumed_after = 0 if resumption is None else resumption.frames
        # A resumed run is recorded as one that was never cut off.
        self.output = replace(settings.output, resume=False)
        settings = replace(settings, output=self.output)
        self._settings = settings.as_dict()
        self._write_results = write
        self._started = time.perf_counter()
        self._written, self._written_epoch = 0, -1
        self.ground_truth: GroundTruth | None = None
        self.store, self.mailbox = store, Mailbox()
        self.writer = _writer_of(settings, source.name, store) if recorded_in_full else None
        """Takes every frame in full; None where none is wanted."""
        checkpoints = None
        # What is live does not come again.
        repeatable = isinstance(source, RepeatableSource)
        every = self.output.checkpoint_every if self.output.output and repeatable else 0
        if self.writer is not None and every:
            checkpoints = Checkpoints(every, self.writer)
        self._sinks = [sink for sink in (self.writer, checkpoints) if sink is not None]
        self.worker = Worker(
            source,
            functools.partial(
                make_lanes,
                settings,
                rules,
                self.writer,
                checkpoints,
                functools.partial(_show_step, store),
            ),
            store,
            self.mailbox,
            status=Status(
                model=settings.model.weights,
                rule=", ".join(map(str, rules)),
                device=settings.model.device,
                source=input_name(given),
            ),
            ends_by_itself=ends_by_itself,
            sinks=self._sinks,
            resume=None if resumption is None else functools.partial(resumption.resume, store),
        )

    @classmethod
    def prepare(cls, settings: Settings, *, ends_by_itself: bool = False) -> "Reconstruction":
        """Open the input and claim the output folder for `run`'s results; nothing is loaded yet."""
        ground_truth, note = (None, "") if ends_by_itself else find_truth(settings.input)
        if ends_by_itself:
            # A file is for further work, which needs every point as often as it was seen.
            store = SceneStore(settings.output.max_points or FILE_POINTS, FILE_POINTS)
        else:
            store = page_store(
                settings.output.max_points, ground_truth, settings.output.edge_filter
            )
        wired = cls(
            settings,
            (*OWN_FILES, *INSPECT_FILES) if settings.output.inspect else OWN_FILES,
            write_results,
            store,
            ends_by_itself=ends_by_itself,
            recorded_in_full=settings.output.archive_gb > 0,
        )
        wired.ground_truth = ground_truth
        wired.note = "; ".join(filter(None, (wired.note, note)))
        return wired

    @classmethod
    def prepare_comparison(cls, settings: Settings) -> "Reconstruction":
        """The same for `compare`, which keeps no points, and makes no recording."""
        from ttt3r_viewer.runs.comparing import comparison_files, write_comparison

        if settings.output.resume:
            raise SettingsError("--resume: a comparison keeps no recording to continue")
        rules = rules_from_text(settings.rules.rules)
        ground_truth, note = find_truth(settings.input)
        files = comparison_files([describe(rule) for rule in rules])
        write = functools.partial(write_comparison, ground_truth=ground_truth)
        wired = cls(settings, files, write, SceneStore(points_per_frame=1), ends_by_itself=True)
        wired.ground_truth, wired.note = ground_truth, note
        return wired

    def watch(
        self,
        echo: Callable[[str], None],
        report: Callable[[str], None],
        has_ended: Callable[[], bool],
    ) -> None:
        """Until Ctrl-C or the end: write the results whenever a run has finished, and report what
        went wrong.

        `echo` takes a line for the terminal; `report` shows one in the page, an empty one none.
        """
        last: SceneSnapshot | None = None
        while not has_ended():
            scene = self.store.snapshot()
            if scene is not last and scene.status.phase == "failed":
                echo(f"the run failed: {scene.status.message}")
            if scene is not last and scene.status.phase == "finished":
                try:
                    self.write(scene)
                    report("")
                except OutputError as error:
                    echo(f"error: {error}")
                    report(str(error))
            last = scene
            time.sleep(0.2)

    def run(self, watch: Callable[[Worker, SceneStore], None]) -> Ending:
        """Start the worker, and write once `watch` returns at its end, or lets Ctrl-C through."""
        self.worker.start()
        interrupted = False
        try:
            watch(self.worker, self.store)
        except KeyboardInterrupt:
            interrupted = True
        written, unwritten = 0, None
        with no_interruption():
            try:
                written = self.end()
            except OutputError as error:
                unwritten = error
        return Ending(written, interrupted, self.worker.error or unwritten, self._remarks())

    def _remarks(self) -> tuple[str, ...]:
        status = self.store.snapshot().status
        lines = (
            status.message if status.lag_sec is not None else "",
            f"{status.dropped} frames dropped, each for a newer one" if status.dropped else "",
            f"{status.skipped} frames skipped; the last: {status.last_skipped}"
            if status.skipped and status.frames_done
            else "",
            *(sink.trouble for sink in self._sinks),
        )
        return tuple(filter(None, lines))

    def end(self) -> int:
        """Stop the worker, and write what there is; how many frames have been written."""
        self.worker.stop(STOP_SEC)
        try:
            scene = self.store.snapshot()
            # Results of a whole run are not replaced by those of a restart that was cut short.
            if not self._written or scene.status.phase == "finished":
                self.write(scene)
        finally:
            if self.writer is not None:
                self.writer.close()
            if self._lock is not None:
                self._lock.close()
        return self._written

    def write(self, scene: SceneSnapshot) -> None:
        """Write a scene's results where they were asked for, if it is not there already."""
        new = scene.epoch != self._written_epoch or len(scene.frames) != self._written
        if self.output.output is None or not scene.frames or not new:
            return
        if len(scene.frames) <= self._resumed_after and scene.status.phase != "finished":
            return  # the folder has these results already, or those of more frames
        compute_sec = [frame.compute_sec for frame in scene.frames]
        timing = {
            "since_start_sec": time.perf_counter() - self._started,
            "compute_sec": float(np.sum(compute_sec)),
            "compute_sec_per_frame": float(np.mean(compute_sec)),
        }
        if self._resumed_after and len(scene.lanes) > 1:
            rename_earlier_lanes(Path(self.output.output), scene.status.lanes)
        self._write_results(Path(self.output.output), scene, self._settings, timing)
        self._written, self._written_epoch = len(scene.frames), scene.epoch


def source_of(options: InputOptions) -> FrameSource:
    """Open the input. Raises `InputError`."""
    return open_source(
        with_demos(options.input),
        start=options.start,
        stride=options.stride,
        max_frames=options.max_frames,
        fps=options.fps,
        follow=options.follow,
    )


def _claim(
    settings: Settings, files: tuple[str, ...], source: FrameSource
) -> tuple[FolderLock | None, Resumption | None, str]:
    """Make the output folder ours and ready; what `--resume` continues there, and a line on it."""
    output = settings.output
    if output.output is None:
        log_into(None, output.log_level, fresh=False)
        return None, None, ""
    folder, overwrite = Path(output.output), output.overwrite or output.resume
    lock = None
    try:
        # What may not even be asked about is no folder.
        lock = FolderLock(folder) if os.path.isdir(folder) else None  # noqa: PTH112
        found, note = find_recording(settings, source) if output.resume else (None, "")
        hint = "" if overwrite else hint_of(folder)
        claim_folder(folder, files, overwrite=overwrite, hint=hint, logs=LOG_FILES)
        lock = lock or FolderLock(folder)
        log_into(folder, output.log_level, fresh=output.overwrite)
    except ViewerError:
        source.close()  # a camera would stay open
        if lock is not None:
            lock.close()
        raise
    return lock, found, note


def _writer_of(settings: Settings, source: str, store: SceneStore) -> RecordingWriter:
    """In the output folder, or else a temporary one of limited size; nothing is made yet."""
    output = settings.output
    folder = None if output.output is None else Path(output.output) / reader.FOLDER
    return RecordingWriter(
        folder,
        source=source,
        settings=settings.as_dict(),
        max_bytes=round(output.archive_gb * 1e9) if folder is None else None,
        on_recording=store.set_recording,
    )


def recorded_lanes(recording: reader.Recording, options: NetworkOptions) -> "Lanes":
    """Lanes with the weights of `options` that look into recorded frames.

    Raises a `ViewerError` where the weights cannot be used, or are not those of the frames.
    """
    from ttt3r_viewer.reconstruct.session import Lanes

    network = _network_of(options)
    sequences = recording.sequences
    tokens = len(recording.seen(sequences[0])[0].gain)
    if tokens != network.config.state_size:
        raise WeightsError(
            f"{options.weights} has a state of {network.config.state_size} tokens, and the "
            f"recording has {tokens}: give the weights of its run "
            f"({recording.manifest.status.model})"
        )
    lanes = Lanes(network, rules_from_text(RuleOptions.rules), history=FrameHistory(recording))
    lanes.remember(recording, sequences)
    return lanes


def _show_step(store: SceneStore, step: str) -> None:
    """Say in the page what the loading of the network is at."""
    status = store.snapshot().status
    store.set_status(replace(status, message=printable(f"loading the network: {step}")))


def make_lanes(
    settings: Settings,
    rules: tuple[UpdateRule, ...],
    recording: RecordingWriter | None,
    checkpoints: Checkpoints | None,
    report: Callable[[str], object],
) -> "Lanes":
    """In the worker's thread: import torch, read the weights; `report` takes which of them."""
    report("importing PyTorch")
    from ttt3r_viewer.reconstruct.compiled import CompiledNetwork
    from ttt3r_viewer.reconstruct.session import Lanes

    # Before the network is loaded, which takes longer.
    identity = None if checkpoints is None else identity_of(settings)
    report(f"reading the weights {settings.model.weights}")
    network = _network_of(settings.model)
    compiles = settings.model.compile == "on" or (
        settings.model.compile == "auto" and network.device.type == "cuda"
    )
    lanes = Lanes(
        network,
        rules,
        size=settings.model.size,
        reset_every=settings.rules.reset_every,
        history=FrameHistory(recording),
        compiled=CompiledNetwork(network) if compiles else None,
    )
    if checkpoints is not None and identity is not None:
        checkpoints.attach(lanes.saved, lanes.ends_batch, identity)
    return lanes


def _network_of(options: NetworkOptions) -> "ReconstructionNetwork":
    from ttt3r_viewer.weights.load import load_network, share_cpu

    network = load_network(options.weights, device=options.device, dtype=options.dtype)
    share_cpu(network)
    return network
