"""Prefetching: frames are decoded, prepared and encoded before the recurrent step needs them.

    source -> thread: decode, prepare -> thread: encode, several at once -> the loop

Both queues are short, so memory does not depend on the input. Which frames are encoded together
does not depend on time either, because a batch rounds a little otherwise than one frame alone: the
same input gives the same numbers.

A live source has no such queue: see `on_demand`.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ttt3r_viewer.errors import FrameError
from ttt3r_viewer.types import Crop, Frame, SkippedFrame, Waiting

if TYPE_CHECKING:
    from ttt3r_viewer.model.layers import ImageTokens

BATCH = 4
"""Images encoded at once; the first batches are smaller, so that something is seen soon."""
THREADS = ("prepare", "encode")
"""Names of the two threads."""

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """A frame on the patch grid, on its way to the recurrent step; the original image is gone."""

    index: int
    time_sec: float
    name: str
    image: NDArray[np.uint8]
    """(height, width, 3) RGB."""
    crop: Crop
    seconds: float
    """Spent on it so far, without decoding; of an encoded batch, its share."""
    tokens: "ImageTokens | None" = None
    """What the encoder makes of it, a batch of one that every lane reads; None before that."""


ReadyItem = PreparedFrame | SkippedFrame | Waiting
OnDemand = Generator[ReadyItem, None, None]
Prepare = Callable[[Frame], PreparedFrame]
Encode = Callable[[Sequence[PreparedFrame]], list[PreparedFrame]]


class BackgroundIterator(Generic[Item]):
    """Iterates in a thread of its own, at most `depth` items ahead of the reader.

    An error of the items is raised where the next one would be taken.
    """

    def __init__(self, items: Iterable[Item], depth: int, name: str) -> None:
        self._items, self._depth = items, depth
        self._changed = threading.Condition()
        """Guards the three fields below."""
        self._waiting: deque[Item] = deque()
        self._ended = self._closed = False
        self._error: Exception | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def take(self, count: int) -> list[Item]:
        """Wait for so many items, at most `depth`, and take them; fewer at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._waiting) >= count or self._ended or self._closed
            )
            count = 0 if self._closed else min(count, len(self._waiting))
            taken = [self._waiting.popleft() for _ in range(count)]
            self._changed.notify_all()
            if not taken and self._error is not None and not self._closed:
                raise self._error
            return taken

    def close(self) -> None:
        """End before the next item; a reader that waits gets none. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._waiting) < self._depth or self._closed)
                    if self._closed:
                        return
                    self._waiting.append(item)
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 -- raised where the next item is taken
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


def ends_batch(taken: int, batch: int) -> bool:
    """Whether a batch ends with the `taken`-th item of a source."""
    return taken >= batch - 1 and (taken + 1) % batch == 0


class Prefetcher(Iterator[PreparedFrame | SkippedFrame]):
    """The frames of a source, ready for the recurrent part; to be closed where it is left early.

    Raises what the source or the network raise. A frame that cannot be prepared is a skipped one.
    """

    def __init__(
        self,
        source: Iterable[Frame | SkippedFrame],
        prepare: Prepare,
        encode: Encode,
        batch: int = BATCH,
        begun: bool = False,
    ) -> None:
        """`begun`: the source is the rest of one, after the end of a batch; batches are full."""
        self._first = batch if begun else 1
        self._encode, self._batch = encode, batch
        prepared = (_prepared(item, prepare) for item in source)
        self._prepared = BackgroundIterator(prepared, 2 * batch, THREADS[0])
        self._encoded = BackgroundIterator(self._encode_all(), batch, THREADS[1])

    def __next__(self) -> PreparedFrame | SkippedFrame:
        taken = self._encoded.take(1)
        if not taken:
            raise StopIteration
        return taken[0]

    def close(self) -> None:
        """End both threads before their next item."""
        self._prepared.close()
        self._encoded.close()

    def _encode_all(self) -> Iterator[PreparedFrame | SkippedFrame]:
        size = self._first
        while items := self._prepared.take(size):
            size = min(2 * size, self._batch)
            for shape, alike in groupby(items, key=_shape):
                if shape is None:
                    yield from alike
                else:
                    yield from self._encode([i for i in alike if isinstance(i, PreparedFrame)])


def on_demand(
    items: Iterable[Frame | SkippedFrame | Waiting], prepare: Prepare, encode: Encode
) -> OnDemand:
    """The frames of a live source, each prepared and encoded when it is needed, in the thread that
    needs it: what would be prefetched would be old by then.

    Raises what the source or the network raise. A frame that cannot be prepared is a skipped one.
    """
    for item in items:
        ready = item if isinstance(item, Waiting) else _prepared(item, prepare)
        yield encode([ready])[0] if isinstance(ready, PreparedFrame) else ready


def _prepared(item: Frame | SkippedFrame, prepare: Prepare) -> PreparedFrame | SkippedFrame:
    if isinstance(item, SkippedFrame):
        return item
    try:
        return prepare(item)
    except FrameError as error:
        return SkippedFrame(item.index, item.name, str(error))


def _shape(item: PreparedFrame | SkippedFrame) -> tuple[int, ...] | None:
    """What images that are encoded together must share."""
    return item.image.shape if isinstance(item, PreparedFrame) else None
