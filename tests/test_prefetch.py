"""Working ahead: order, bounds, errors and the end of its threads."""

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tests.test_worker import Pretended
from tests.waiting import wait_for
from ttt3r_viewer.reconstruct.prefetch import (
    BackgroundIterator,
    Prefetcher,
    PreparedFrame,
)
from ttt3r_viewer.types import Frame, SkippedFrame


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


class Encoder(Pretended):
    """Notes the batches it was asked for; may be held up."""

    def __init__(self, refuse: tuple[int, ...] = ()) -> None:
        super().__init__(refuse)
        self.batches: list[list[int]] = []

    def encode(self, frames: Sequence[PreparedFrame]) -> list[PreparedFrame]:
        assert len({frame.image.shape for frame in frames}) == 1
        self.gate.wait(10)
        self.batches.append([frame.index for frame in frames])
        return super().encode(frames)


def frames(count: int, *, wide: range = range(0)) -> Iterator[Frame]:
    for index in range(count):
        width = 32 if index in wide else 16
        yield Frame(index, index / 30, f"{index}", np.zeros((16, width, 3), np.uint8))


def index_of(item: PreparedFrame | SkippedFrame) -> int:
    return item.index


def test_order_is_kept_where_shapes_change_and_frames_are_skipped():
    def mixed() -> Iterator[Frame | SkippedFrame]:
        for frame in frames(20, wide=range(5, 9)):
            if frame.index == 6:
                yield SkippedFrame(6, "6", "cut off")
            else:
                yield frame

    encoder = Encoder(refuse=(11,))
    out = list(Prefetcher(mixed(), encoder.prepare, encoder.encode))
    assert [index_of(item) for item in out] == list(range(20))
    skipped = {item.index: item.reason for item in out if isinstance(item, SkippedFrame)}
    assert skipped == {6: "cut off", 11: "11 is too small"}
    encoded = [index for batch in encoder.batches for index in batch]
    assert encoded == [index for index in range(20) if index not in skipped]


def test_what_waits_is_encoded_together_and_nothing_more_is_read():
    read: list[int] = []

    def noted() -> Iterator[Frame]:
        for frame in frames(100):
            read.append(frame.index)
            yield frame

    encoder = Encoder()
    encoder.gate.clear()
    ahead = Prefetcher(noted(), encoder.prepare, encoder.encode, batch=3)
    # The one that is being encoded, twice a batch that waits, and one that finds no room.
    wait_for(lambda: len(read) == 1 + 3 * 2 + 1, "what may be read ahead")
    time.sleep(0.05)
    assert len(read) == 1 + 3 * 2 + 1
    encoder.gate.set()
    assert [index_of(next(ahead)) for _ in range(12)] == list(range(12))
    assert [len(batch) for batch in encoder.batches[:4]] == [1, 2, 3, 3]
    ahead.close()


def test_a_batch_of_one_waits_for_no_other_frame():
    encoder, ready = Encoder(), threading.Semaphore(0)

    def camera() -> Iterator[Frame]:
        for frame in frames(5):
            ready.acquire(timeout=10)
            yield frame

    ahead = Prefetcher(camera(), encoder.prepare, encoder.encode, batch=1)
    for index in range(5):
        ready.release()
        assert index_of(next(ahead)) == index
    assert encoder.batches == [[0], [1], [2], [3], [4]]
    assert list(ahead) == []


@pytest.mark.parametrize("part", ["source", "encoder"])
def test_an_error_comes_after_the_frames_before_it(part):
    encoder = Encoder()

    def broken() -> Iterator[Frame]:
        yield from frames(2)
        raise ValueError("source")

    def encode(batch: Sequence[PreparedFrame]) -> list[PreparedFrame]:
        if part == "encoder" and batch[-1].index == 1:
            raise ValueError("encoder")
        return encoder.encode(batch)

    ahead = Prefetcher(broken(), encoder.prepare, encode, batch=1)
    assert index_of(next(ahead)) == 0
    with pytest.raises(ValueError, match=part):
        list(ahead)
    ahead.close()


def test_close_ends_both_threads_and_who_waits():
    never = threading.Event()

    def endless() -> Iterator[Frame]:
        while True:
            yield from frames(3)

    encoder = Encoder()
    ahead = Prefetcher(endless(), encoder.prepare, encoder.encode)
    next(ahead)
    ahead.close()
    ahead.close()
    wait_for(lambda: not threads("prepare") and not threads("encode"), "their end")
    assert list(ahead) == []

    silent = BackgroundIterator((never.wait(10) for _ in range(1)), 1, "silent")
    taken: list[list[bool]] = []
    waiting = threading.Thread(target=lambda: taken.append(silent.take(1)))
    waiting.start()
    silent.close()
    waiting.join(10)
    assert taken == [[]]
    never.set()
