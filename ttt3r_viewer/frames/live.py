"""Sources that do not wait: a camera, a stream, a folder that grows. The newest frame wins.

    thread: the feed's frames, each in its turn -> one slot -> whoever asks, in its own thread

A frame that is not taken before the next one arrives is dropped and counted. So nothing piles up,
and what is taken is never older than the newest but one. A frame's time is when it arrived, in
seconds since the source was opened; its index counts all that arrived since the run began.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import FrameError, InputError
from ttt3r_viewer.types import Frame, SkippedFrame, Waiting

THREAD = "read live"
"""Name of the thread that reads."""
WAIT_SEC = 0.1
"""Whoever waits for a frame looks up so often."""


@dataclass(frozen=True)
class Arrival:
    """An image that has come, converted only if it is taken."""

    name: str
    """Of its file; empty for a frame of a stream, which has but a number."""
    time: float
    """When it came, on `time.monotonic`."""
    image: Callable[[], NDArray[np.uint8] | None]
    """(height, width, 3) RGB; None where the file is still being written. Raises `FrameError`."""


class LostError(Exception):
    """A feed cannot be opened, or broke off; it may come back. The text says why."""


class Feed(Protocol):
    """What a `LiveSource` reads, in a thread of its own."""

    name: str
    """What is read, for people: without passwords."""
    silent_sec: float
    """A feed that gave nothing for so long counts as lost."""

    def arrivals(self, closed: threading.Event) -> Iterator[Arrival | None]:
        """Open it, and give what comes, until it ends or `closed` is set; may be called again.

        None says that it is well although nothing came. Raises `LostError`.
        """
        ...

    def advice(self, reason: str) -> str:
        """One line for a user who cannot open it: why, and what to try."""
        ...


class LiveSource:
    """The newest frame of a feed, whenever one is asked for. One iteration at a time.

    An iteration begins with what comes from now on; between two of them the feed stays open. A
    feed that is lost is tried again every `pause_sec` for `retry_sec`, then `InputError` ends the
    iteration. A feed that ends, ends it without; the next iteration opens it again.
    """

    total: int | None = None

    def __init__(
        self,
        feed: Feed,
        max_frames: int | None = None,
        *,
        retry_sec: float = 30.0,
        pause_sec: float = 1.0,
    ) -> None:
        """Open the feed and wait until it is open. Raises `InputError` where that fails."""
        self.name = feed.name
        self.dropped = 0
        """Frames since the run began that a newer one replaced before they were taken."""
        self.ending = ""
        """How the last iteration ended, for the user; empty while it goes on."""
        self._feed, self._max_frames = feed, max_frames
        self._retry_sec, self._pause_sec = retry_sec, pause_sec
        self._opened_at = time.monotonic()
        self._closed = threading.Event()
        self._changed = threading.Condition()
        """Guards `dropped` and all below."""
        self._slot: Arrival | None = None
        self._arrived = 0
        self._alive_at = self._opened_at
        self._trouble = ""
        self._error: InputError | None = None
        self._reading = False
        self._open = False
        self._start_reading()
        try:
            while not (self._open or self._error or not self._reading):
                with self._changed:
                    self._changed.wait(WAIT_SEC)
                self._refuse_silence()
            if self._error is not None:
                raise self._error
        except BaseException:
            self.close()
            raise

    def age_sec(self, time_sec: float) -> float:
        """Seconds since a frame of that time arrived."""
        return time.monotonic() - self._opened_at - time_sec

    def close(self) -> None:
        """End the iteration at once, and the reading thread after what it waits for."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """The newest frame each time, from now on."""
        return (item for item in self.watch() if not isinstance(item, Waiting))

    def watch(self) -> Iterator[Frame | SkippedFrame | Waiting]:
        """The same, with a word now and then while there is no new frame."""
        with self._changed:
            self.dropped, self._arrived, self.ending = 0, int(self._slot is not None), ""
        if not self._reading:
            self._start_reading()
        taken = 0
        while taken != self._max_frames:
            arrival, index, reading = self._newest()
            if self._closed.is_set():
                return
            if arrival is not None:
                item = self._item(arrival, index)
                if item is not None:
                    taken += 1
                    yield item
            elif reading:
                silence = self._refuse_silence()
                yield Waiting(self._trouble or silence)
            elif self._error is not None:
                raise self._error
            else:
                self.ending = f"{self.name} has ended"
                return
        self.ending = f"{taken} frames were taken, as many as were asked for"

    def _newest(self) -> tuple[Arrival | None, int, bool]:
        """What is in the slot after waiting a little, its index, and whether more may come."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._slot is not None or not self._reading or self._closed.is_set(),
                WAIT_SEC,
            )
            arrival, self._slot = self._slot, None
            return arrival, self._arrived - 1, self._reading

    def _item(self, arrival: Arrival, index: int) -> Frame | SkippedFrame | None:
        name = arrival.name or f"{self.name}#{index}"
        try:
            image = arrival.image()
        except FrameError as error:
            return SkippedFrame(index, name, str(error))
        if image is None:
            return None
        return Frame(index, arrival.time - self._opened_at, name, image)

    def _refuse_silence(self) -> str:
        """Words about it where nothing has come for long, as when the reading thread is stuck."""
        silent_sec = time.monotonic() - self._alive_at
        if silent_sec > self._feed.silent_sec + self._retry_sec or (
            not self._open and silent_sec > self._feed.silent_sec
        ):
            raise InputError(self._feed.advice(f"nothing came for {silent_sec:.0f} s"))
        too_long = silent_sec > self._feed.silent_sec
        return f"{self.name}: nothing came for {silent_sec:.0f} s" if too_long else ""

    def _start_reading(self) -> None:
        self._reading, self._error, self._trouble = True, None, ""
        self._alive_at = time.monotonic()
        threading.Thread(target=self._read, name=THREAD, daemon=True).start()

    def _read(self) -> None:
        """In the reading thread: fill the slot until the feed ends or is lost for good."""
        error: InputError | None = None
        try:
            error = self._read_to_the_end()
        except Exception as mistake:  # noqa: BLE001 -- raised where the next frame is taken
            error = InputError(f"{self.name}: {type(mistake).__name__} while reading")
        finally:
            with self._changed:
                self._error, self._reading = error, False
                self._changed.notify_all()

    def _read_to_the_end(self) -> InputError | None:
        lost_at: float | None = None
        while not self._closed.is_set():
            reason = "it ended at once"
            try:
                for arrival in self._feed.arrivals(self._closed):
                    if self._closed.is_set():
                        return None
                    if arrival is not None:
                        reason = ""
                    lost_at = None
                    self._put(arrival)
            except LostError as error:
                reason = str(error)
            if not reason or self._closed.is_set():
                return None
            if not self._open:
                return InputError(self._feed.advice(reason))
            now = time.monotonic()
            lost_at = now if lost_at is None else lost_at
            if now - lost_at >= self._retry_sec:
                return InputError(
                    f"{self.name} was lost and did not come back within {self._retry_sec:g} s "
                    f"({reason}): what was seen until then is kept"
                )
            left_sec = self._retry_sec - (now - lost_at)
            with self._changed:
                self._trouble = (
                    f"{self.name} was lost ({reason}): trying again for {left_sec:.0f} s"
                )
                self._alive_at = now
            self._closed.wait(min(self._pause_sec, left_sec))
        return None

    def _put(self, arrival: Arrival | None) -> None:
        with self._changed:
            self._open, self._trouble, self._alive_at = True, "", time.monotonic()
            if arrival is not None:
                self.dropped += self._slot is not None
                self._arrived += 1
                self._slot = arrival
            self._changed.notify_all()
