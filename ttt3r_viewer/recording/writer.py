"""Writes the session to disk as it comes, and never stands in the run's way.

Where the disk is short it takes no more frames and says so in one line (`trouble`); the run goes on
with what the scene keeps of each frame.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import RecordingError, system_words
from ttt3r_viewer.recording.format import PREFIX_BYTES, encode_record, read_prefix
from ttt3r_viewer.recording.manifest import Manifest
from ttt3r_viewer.recording.reader import (
    CHECKPOINTS,
    DESCRIPTION_FILE,
    Place,
    Recording,
    file_number,
    frame_file,
    frame_files,
)
from ttt3r_viewer.system.files import write_atomically
from ttt3r_viewer.types import FrameResult, Status

FILE_BYTES = 256 * 2**20
FILE_FRAMES = 256
"""A file takes no more frames once it has so many, or so many bytes."""
RESERVE_BYTES = 512 * 2**20
"""So much of the disk is left to others, the run's own results among them."""
TEMPORARY_PREFIX = "ttt3r-view-"


class RecordingWriter:
    """Keeps every frame's results in full, one run after the other in the same folder.

    `begin`, `add` and `finish` belong to one thread, the worker's; the rest to all. A frame is with
    the operating system when `add` returns, so that it outlives the end of this process, however
    that comes.
    """

    _lock: threading.Lock
    """Guards the open file and `_closed`; held while a frame is written, a few milliseconds."""

    def __init__(
        self,
        folder: Path | None,
        *,
        source: str,
        settings: Mapping[str, Any],
        max_bytes: int | None = None,
    ) -> None:
        """Nothing is made before the first frame.

        Where `folder` is None, a temporary one is made, and removed with `close` or at the end of
        the program; it never takes more than half of what is free on its disk. `max_bytes` limits
        the frames of one run.
        """
        self._wanted = folder
        self._folder: Path | None = folder
        self._source, self._settings = source, settings
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._closed = False
        self._file: IO[bytes] | None = None
        self._limit: int | None = None
        self._bytes = self._file_bytes = self._file_frames = self._file_number = 0
        self._description: Manifest | None = None
        self._trouble = ""
        self._end: Place | None = None
        """The last record to be kept of a run that goes on, until those behind it are gone."""
        self.archive: Recording | None = None
        """Reads the frames of the run that is going; None before its first."""

    @property
    def trouble(self) -> str:
        """Why no more frames of this run are archived, in one line; empty while they are."""
        return self._trouble

    def begin(self, status: Status) -> None:
        """A run begins: its first frame will take the place of what the run before it left."""
        with self._lock:
            self._close_file()
            if self.archive is not None:
                self.archive.retire("its run has been replaced by a restart")
            self.archive = self._end = None
            self._trouble = ""
            run = secrets.randbits(64)
            self._description = Manifest(
                *(run, self._source, self._settings, status),
                started=datetime.now(UTC).isoformat(timespec="seconds"),
            )

    def go_on(self, archive: Recording, frames: int, status: Status) -> None:
        """A recorded run goes on behind its first `frames`: its next one takes the place of all
        that stands there.
        """
        with self._lock:
            self._close_file()
            self._trouble = ""
            self._description = replace(
                archive.description,
                source=self._source,
                settings=self._settings,
                status=status,
                frames=None,
                trouble="",
            )
            self._end = archive.keep_first(frames)
            self.archive = archive

    def add(self, results: Sequence[FrameResult]) -> None:
        """Append what every lane made of a frame, unless there is trouble."""
        with self._lock:
            if self._closed or self._trouble or self._description is None:
                return
            sequence = results[0].sequence
            data = encode_record(results, self._description.run)
            try:
                if self.archive is None:
                    self.archive = self._make(self._description)
                if self._end is not None:
                    self._cut(self.archive, self._end)
                self._check_room(len(data))
                self._append(self.archive, data)
            except (OSError, RecordingError) as error:
                why = system_words(error)
                self._trouble = (
                    f"frames from {sequence} on are not archived, only thinned ones are kept: {why}"
                )
                self._close_file()

    def finish(self, status: Status) -> None:
        """Say in archive.json how the run stands, and how many frames there are."""
        with self._lock:
            if self._closed or self.archive is None or self._description is None:
                return
            if self._end is not None and status.phase != "finished":
                return  # nothing was added, and the folder is as it was
            said = replace(
                self._description,
                status=status,
                frames=len(self.archive),
                trouble=self._trouble,
            )
            # What stands there is true as well; a full disk has been told of.
            with contextlib.suppress(OSError):
                if self._end is not None:
                    self._cut(self.archive, self._end)
                write_atomically(self.archive.path / DESCRIPTION_FILE, said.to_json())
            self.archive.description = said

    def __contains__(self, sequence: int) -> bool:
        return self.archive is not None and sequence in self.archive

    def image(self, sequence: int) -> NDArray[np.uint8]:
        """Give the prepared picture (height, width, 3) of a frame of the run that is going.

        Raises `RecordingError` where it is not here, or damaged.
        """
        if self.archive is None:
            raise RecordingError(f"frame {sequence}: nothing is archived yet")
        return self.archive.image(sequence)

    def close(self) -> None:
        """Take no more frames; a temporary archive is removed."""
        with self._lock:
            self._closed = True
            self._close_file()
            if self._wanted is None and self._folder is not None:
                if self.archive is not None:
                    self.archive.retire("its temporary archive has been removed")
                self._remove_temporary()

    def _make(self, description: Manifest) -> Recording:
        """Make the folder ready for a run. Raises `OSError`."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
            self._remove_temporary = weakref.finalize(self, _remove_folder, self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        _remove_frames(self._folder)
        write_atomically(self._folder / DESCRIPTION_FILE, description.to_json())
        self._limit = self._max_bytes
        if self._wanted is None:
            half = shutil.disk_usage(self._folder).free // 2
            self._limit = half if self._limit is None else min(half, self._limit)
        self._bytes = self._file_number = 0
        return Recording(self._folder, description)

    def _cut(self, archive: Recording, end: Place) -> None:
        """Take away what lies behind the frames that are kept. Raises `OSError`."""
        assert self._description is not None
        archive.description = self._description
        write_atomically(archive.path / DESCRIPTION_FILE, self._description.to_json())
        last = file_number(end.file)
        for name in reversed(frame_files(archive.path)):
            if file_number(name) > last:
                (archive.path / name).unlink()
        os.truncate(archive.path / end.file, end.offset + end.prefix.record_bytes)
        self._file_number = last + 1
        self._end = None

    def _check_room(self, size: int) -> None:
        """Raises `RecordingError` where a record of this size has no room."""
        assert self._folder is not None
        if self._limit is not None and self._bytes + size > self._limit:
            raise RecordingError(
                f"its limit of {in_gigabytes(self._limit)} is reached; raise --archive-gb, or name "
                "a folder with --output, which has none"
            )
        free = shutil.disk_usage(self._folder).free
        if free < RESERVE_BYTES + size:
            raise RecordingError(
                f"only {in_gigabytes(free)} are free on the disk of {self._folder}; free some space"
            )

    def _append(self, archive: Recording, data: bytes) -> None:
        """Write a record whole, or leave none of it. Raises `OSError`."""
        full = self._file_bytes >= FILE_BYTES or self._file_frames >= FILE_FRAMES
        if self._file is not None and full:
            self._close_file()
            self._file_number += 1
        if self._file is None:
            path = archive.path / frame_file(self._file_number)
            self._file = path.open("xb", buffering=0)
            self._file_bytes = self._file_frames = 0
        try:
            _write_all(self._file, data)
        except OSError:
            # Where this fails too, a reader finds the torn record.
            with contextlib.suppress(OSError):
                os.truncate(self._file.fileno(), self._file_bytes)
            raise
        prefix = read_prefix(data[:PREFIX_BYTES])
        assert prefix is not None
        archive.grow(Place(frame_file(self._file_number), self._file_bytes, prefix))
        self._bytes += len(data)
        self._file_bytes += len(data)
        self._file_frames += 1

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def in_gigabytes(size: int) -> str:
    """Give a number of bytes as a person reads it."""
    return f"{size / 1e9:.3g} GB"


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Give all bytes to the operating system, which may take them in parts."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _remove_frames(folder: Path) -> None:
    """Take away an archive's own files and nothing else, what names the frames first."""
    (folder / DESCRIPTION_FILE).unlink(missing_ok=True)
    for path in (*map(folder.joinpath, frame_files(folder)), *folder.glob(CHECKPOINTS)):
        path.unlink(missing_ok=True)


def _remove_folder(folder: Path) -> None:
    """Take away a temporary archive, as far as that can be done."""
    with contextlib.suppress(OSError):
        _remove_frames(folder)
        folder.rmdir()
