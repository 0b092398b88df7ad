"""A folder that grows: each image is a frame as soon as it is whole; the newest one wins.

A file counts as whole when two looks in a row find it unchanged and it can be decoded; a file that
cannot is looked at again until it changes, or is skipped once it has lain still for a while. A file
that is replaced is a new frame. Of what is there at the start, only the newest one is taken.
"""

import math
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import FrameError, InputError
from ttt3r_viewer.frames.folder import is_image_name, natural_key, read_image
from ttt3r_viewer.frames.live import Arrival, LostError
from ttt3r_viewer.system.text import printable

RECENT = 64
"""So many of the latest images are looked at every time, since one may be written over."""
ASK_ALL_SEC = 1.0
"""Older images are asked for changes so often."""
LOOK_SEC = 0.02
"""Between two looks at the folder."""
REST = 4
"""A look that takes long, as over a network, is followed by a rest of so many times its length."""
STILL_SEC = 2.0
"""A file that cannot be decoded and has not changed for so long is skipped."""


Stamp = tuple[int, int, int]
"""What changes when a file is written: when that was in nanoseconds, its size, its inode."""


class FollowFeed:
    """The images that are written into a folder; a name's suffix tells what is one."""

    silent_sec = math.inf

    def __init__(self, folder: Path) -> None:
        """Look at nothing in it yet. Raises `InputError` where it is no folder."""
        self.name = printable(str(folder))
        if not folder.is_dir():
            raise InputError(
                f"--follow wants a folder that grows, and {self.name} is none: give a folder (it "
                "may be empty), or leave --follow out"
            )
        self._folder = folder
        self._given: dict[str, Stamp] | None = None
        """Every image as it was when it was given; None before the first look."""
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._growing: dict[str, Stamp] = {}
        """Images that are not given yet, as the last look found them."""
        self._unfinished: dict[str, float] = {}
        """Images that could not be decoded when taken, and when they were given. Whoever
        takes an image adds to it, in another thread."""
        self._all_looked_at = -math.inf

    def advice(self, reason: str) -> str:
        """One line: why it cannot be followed, and what to try."""
        return f"the folder {self.name} cannot be followed ({reason}): make it first"

    def arrivals(self, closed: threading.Event) -> Iterator[Arrival | None]:
        """Images as they become whole, the oldest first. Raises `LostError`."""
        while not closed.is_set():
            started = time.monotonic()
            late, whole = self._late(), self._whole()
            yield None
            for name, is_last_try in [(name, True) for name in late] + [(n, False) for n in whole]:
                now = time.monotonic()
                yield Arrival(printable(name), now, partial(self._read, name, now, is_last_try))
            closed.wait(max(LOOK_SEC, REST * (time.monotonic() - started)))

    def _whole(self) -> list[str]:
        """Images that are new or replaced and the same as at the last look, by age."""
        found = self._look()
        if self._given is None:
            newest = max(found, key=lambda name: _age(name, found[name]), default=None)
            self._given = {name: stamp for name, stamp in found.items() if name != newest}
        # What is gone may come back under the same name as something new.
        given = {name: stamp for name, stamp in self._given.items() if name in found}
        changed = {name: stamp for name, stamp in found.items() if given.get(name) != stamp}
        whole = [name for name, stamp in changed.items() if self._growing.get(name) == stamp]
        whole.sort(key=lambda name: _age(name, found[name]))
        self._growing = {name: stamp for name, stamp in changed.items() if name not in whole}
        self._given = given | {name: found[name] for name in whole}
        self._recent.extend(whole)
        for name in changed:
            self._unfinished.pop(name, None)
        return whole

    def _look(self) -> dict[str, Stamp]:
        """Every image that is there; most that are known are asked for changes now and then only,
        since each question costs time. Raises `LostError`."""
        now = time.monotonic()
        ask_all = now - self._all_looked_at > ASK_ALL_SEC
        if ask_all:
            self._all_looked_at = now
        given, recent = self._given or {}, set(self._recent)
        found: dict[str, Stamp] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    name = entry.name
                    if not is_image_name(name):
                        continue
                    if name in given and name not in recent and not ask_all:
                        found[name] = given[name]
                    elif (stamp := _stamp(entry)) is not None:
                        found[name] = stamp
        except OSError as error:
            raise LostError(error.strerror or "it cannot be read") from error
        return found

    def _late(self) -> list[str]:
        """Images that still are not whole, long after they seemed to be."""
        now = time.monotonic()
        late = [name for name, at in list(self._unfinished.items()) if now - at > STILL_SEC]
        for name in late:
            self._unfinished.pop(name, None)
        return [name for name in late if name in (self._given or {})]

    def _read(self, name: str, given_at: float, is_last_try: bool) -> NDArray[np.uint8] | None:
        """Decode an image; None where it may become whole yet. Raises `FrameError`."""
        try:
            return read_image(self._folder / name)
        except FrameError:
            if is_last_try:
                raise
            self._unfinished[name] = given_at
            return None


def _stamp(entry: os.DirEntry[str]) -> Stamp | None:
    """What tells one writing of a file from the next; None for what is no file or just went."""
    try:
        status = entry.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _age(name: str, stamp: Stamp) -> tuple[int, tuple[str, str]]:
    """Sorts images by when they were written; those of one moment by name, as people do."""
    return stamp[0], natural_key(name)
