"""Exports in a thread of their own, one at a time, for a page that shows how far they are."""

import logging
import os
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ttt3r_viewer.errors import RecordingError, ViewerError
from ttt3r_viewer.export.film.film import Film
from ttt3r_viewer.export.known_formats import (
    Exported,
    default_target,
    export_recording,
    format_named,
)
from ttt3r_viewer.export.lane_source import OnProgress, Source, Thinning
from ttt3r_viewer.export.level_world import WorldUp
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.system.files import numbered_name

DOWNLOAD_BYTES = 200_000_000
"""At most so much is sent to a browser: the server holds it in memory, for every download."""
STOP_SEC = 2.0
TEMPORARY_PREFIX = "ttt3r-view-export-"

Phase = Literal["idle", "writing", "packing", "done", "cancelled", "failed"]
Send = Callable[[str, bytes], None]
"""Takes a file's name and content to the browser that asked for them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a user asks for."""

    name: str
    """Of the format."""
    lane: int = 0
    stride: int = 1
    thinning: Thinning = field(default_factory=Thinning)
    film: Film = field(default_factory=Film)
    up: WorldUp = "camera"


@dataclass(frozen=True)
class JobState:
    """How far the export is."""

    phase: Phase = "idle"
    name: str = ""
    """Of its format."""
    done: int = 0
    total: int = 0
    message: str = ""
    """What went wrong, or was left out; empty where all is well."""
    result: Exported | None = None
    """What was written; None before."""

    @property
    def busy(self) -> bool:
        """Whether its thread is at work."""
        return self.phase in ("writing", "packing")


class Exporter:
    """Exports what a recording has now; any thread may ask, one thread at a time works.

    `state` is replaced as a whole and may be read at any time.
    """

    _lock: threading.Lock
    """Guards `_thread` and the beginning of a job; held while a thread is started."""

    def __init__(self, recording: Callable[[], Recording | None], folder: Path | None) -> None:
        """`recording` gives the frames, or None while there are none.

        Exports lie in `folder`'s own folder for them; where it is None, as for a run that keeps
        nothing, in a temporary one, which goes with `close`.
        """
        self._recording = recording
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self.state = JobState()

    @property
    def temporary(self) -> bool:
        """Whether what is exported goes when the program ends."""
        return self._folder is None

    def start(self, request: Request) -> str:
        """Begin to export; what is in the way, in one line, or an empty text."""
        return self._begin(
            JobState("writing", request.name), "export", lambda: self._write(request)
        )

    def fetch(self, send: Send) -> str:
        """Begin to send what was exported, a folder as zip; what is in the way, as `start`."""
        state = self.state
        result = state.result
        if result is None:
            return "there is nothing to download yet: export first"
        if result.bytes_written > DOWNLOAD_BYTES:
            return too_large(result)
        packing = replace(state, phase="packing", done=0, total=0, message="")
        return self._begin(packing, "export-download", lambda: self._send(result, send))

    def cancel(self) -> None:
        """End what is being done, soon."""
        self._cancelled.set()

    def close(self) -> None:
        """End what is being done, wait a moment for it, and take temporary files away."""
        self.cancel()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(STOP_SEC)
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _begin(self, state: JobState, name: str, work: Callable[[], JobState]) -> str:
        with self._lock:
            if self.state.busy:
                return f"an export ({self.state.name}) is going on: wait for it, or cancel it"
            self._cancelled.clear()
            self.state = state
            self._thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
            self._thread.start()
        return ""

    def _run(self, work: Callable[[], JobState]) -> None:
        try:
            after = work()
        except _CancelledError:
            after = replace(self.state, phase="cancelled")
        except ViewerError as error:
            after = replace(self.state, phase="failed", message=str(error))
        except Exception as error:
            # Whatever it is, the page must not wait for an export that has ended.
            logger.exception("the export failed")
            after = replace(self.state, phase="failed", message=repr(error))
        self.state = after

    def _write(self, request: Request) -> JobState:
        recording = self._recording()
        if recording is None or not len(recording):
            raise RecordingError("no frame has been recorded yet: wait for the first one")
        source = Source(recording, request.lane, request.stride)
        done = export_recording(
            source,
            request.name,
            free_name(self._target(source, request.name)),
            self._on_progress,
            thinning=request.thinning,
            film=request.film,
            up=request.up,
        )
        return replace(self.state, phase="done", message=done.note, result=done)

    def _send(self, result: Exported, send: Send) -> JobState:
        self._on_progress(0, 1)
        path, name = result.path, result.path.name
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
            if path.is_dir():
                path, name = Path(folder) / "export.zip", f"{name}.zip"
                zip_folder(result.path, path, self._on_progress)
            try:
                content = path.read_bytes()
            except OSError as error:
                raise RecordingError(f"{result.path}: {error.strerror}; export it again") from error
        send(name, content)
        return replace(self.state, phase="done")

    def _target(self, source: Source, name: str) -> Path:
        if self._folder is not None:
            return default_target(self._folder, source, name)
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX)
        return Path(self._temporary.name) / format_named(name).target

    def _on_progress(self, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        self.state = replace(self.state, done=done, total=total)


class _CancelledError(Exception):
    """A user has cancelled the export."""


def too_large(result: Exported) -> str:
    """Say where something lies that is too large to be downloaded."""
    return (
        f"{result.bytes_written / 1e6:,.0f} MB are too much for a download (at most "
        f"{DOWNLOAD_BYTES / 1e6:,.0f} MB): take {result.path} from the disk of the machine that "
        "runs this"
    )


def free_name(path: Path) -> Path:
    """Give this path, or with -2, -3 and so on the first one that is free.

    What an earlier export wrote is not replaced by a click.
    """
    return numbered_name(path, 2) if os.path.lexists(path) else path


def zip_folder(folder: Path, packed: Path, on_progress: OnProgress) -> None:
    """Pack a folder's files under its name; images are packed already, so nothing is squeezed.

    Raises `OSError`, and what `on_progress` raises.
    """
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as packed_file:
        for number, one in enumerate(files):
            on_progress(number, len(files))
            packed_file.write(one, Path(folder.name) / one.relative_to(folder))
    on_progress(len(files), len(files))
