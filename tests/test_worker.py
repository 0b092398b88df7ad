"""The background thread: messages, errors, skipped frames; with a session that needs no torch."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.waiting import wait_for
from ttt3r_viewer import types
from ttt3r_viewer.errors import FrameError, ReconstructionError, RuleError, WeightsError
from ttt3r_viewer.reconstruct import messages
from ttt3r_viewer.reconstruct.prefetch import Prefetcher, PreparedFrame
from ttt3r_viewer.reconstruct.worker import Worker, smoothed_rate
from ttt3r_viewer.scene.store import SceneStore


class Images:
    """A source of `count` grey frames; those in `unreadable` are skipped ones."""

    name = "pictures"

    def __init__(self, count: int, unreadable: tuple[int, ...] = ()) -> None:
        self.total: int | None = count
        self.unreadable = unreadable
        self.closed = False

    def __iter__(self) -> Iterator[types.Frame | types.SkippedFrame]:
        for index in range(self.total or 0):
            if index in self.unreadable:
                yield types.SkippedFrame(index, f"{index}.png", "cut off")
            else:
                image = np.full((12, 16, 3), index, np.uint8)
                yield types.Frame(index, index / 30, f"{index}.png", image)

    def close(self) -> None:
        self.closed = True


class Pretended:
    """A session whose every frame is seen from one step further on; some frames are too small."""

    def __init__(self, refuse: tuple[int, ...] = (), fail_at: int | None = None) -> None:
        self.refuse, self.fail_at = refuse, fail_at
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.rules = ("pretended",)
        self.device_text = "nowhere"
        self.adjusted: list[messages.Adjustment] = []
        self.inspected: list[int] = []
        self.asked: list[np.ndarray] = []
        self.no_memory = False
        self.store: SceneStore | None = None
        self.restart()

    def restart(self) -> None:
        self.done = 0

    def describe(self, status: types.Status) -> types.Status:
        lanes = tuple(types.RuleInfo(rule, rule, rule) for rule in self.rules)
        return replace(status, rule="pretended", lanes=lanes)

    def adjust(self, command: messages.Adjustment) -> None:
        if isinstance(command, messages.SetParameter) and command.value > 1:
            raise RuleError(f"a rate of {command.value}")
        if isinstance(command, messages.SetRules):
            self.rules = command.rules
        self.adjusted.append(command)

    def inspect(self, lane: int, sequence: int, on_progress=None) -> types.Inspection:
        if sequence >= self.done:
            raise ReconstructionError(f"frame {sequence} cannot be looked into")
        assert on_progress is not None
        on_progress(0, 2)
        self.told = self.store.snapshot().inspection_note if self.store else ""
        self.inspected.append(sequence)
        one, maps = np.ones(1, np.float32), np.ones((1, 1, 1), np.float16)
        return types.Inspection(0, lane, sequence, 1, 1, 1, one, one, one, one, one, maps, maps, 1)

    def ends_batch(self, taken: int) -> bool:
        return taken > 0

    def saved(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"done": self.done}

    def restore(self, tensors: Any, session: Mapping[str, Any], frames: Any) -> None:  # noqa: ARG002
        self.done = session["done"]

    def ask(self, T_world_camera: np.ndarray, fov_y_rad: float) -> tuple[types.Expectation, ...]:
        self.asked.append(T_world_camera)
        if self.no_memory:
            raise ReconstructionError("out of memory")
        camera = types.Camera(T_world_camera, 1 / fov_y_rad, 1, 1)
        points, confidence = np.ones((1, 1, 3), np.float32), np.ones((1, 1), np.float32)
        image = np.zeros((1, 1, 3), np.uint8)
        return (types.Expectation(0, self.done - 1, camera, image, points, confidence),)

    def prefetch(self, source: Iterable[types.Frame | types.SkippedFrame]) -> Prefetcher:
        return Prefetcher(source, self.prepare, self.encode)

    def prepare(self, frame: types.Frame) -> PreparedFrame:
        if frame.index in self.refuse:
            raise FrameError(f"{frame.name} is too small")
        height, width = frame.image.shape[:2]
        crop = types.Crop((1.0, 1.0), (0, 0), width, height)
        return PreparedFrame(frame.index, frame.time_sec, frame.name, frame.image, crop, 0.0)

    def encode(self, frames: Sequence[PreparedFrame]) -> list[PreparedFrame]:
        return list(frames)

    def step(self, frame: PreparedFrame) -> tuple[types.FrameResult, ...]:
        self.entered.set()
        self.gate.wait(10)
        if self.done == self.fail_at:
            self.fail_at = None
            raise ZeroDivisionError("a mistake of ours")
        T_world_camera = np.eye(4)
        T_world_camera[0, 3] = self.done
        self.done += 1
        height, width = frame.image.shape[:2]
        result = types.FrameResult(
            sequence=self.done - 1,
            index=frame.index,
            time_sec=frame.time_sec,
            name=frame.name,
            image=frame.image,
            crop=frame.crop,
            points_camera=np.ones((height, width, 3), np.float32),
            confidence=np.full((height, width), 2, np.float32),
            camera=types.Camera(T_world_camera, 20.0, width, height),
            gain=np.ones(4, np.float32),
            segment=0,
            compute_sec=0.001,
        )
        return (result,) * len(self.rules)


def worker_of(source, make_session: Any, *more: Any, **options: Any) -> Worker:
    """A worker whose session is a pretended one."""
    return Worker(source, make_session, *more, **options)


@pytest.fixture
def mailbox() -> messages.Mailbox:
    return messages.Mailbox()


@pytest.fixture
def begin(mailbox):
    """Begin a worker on so many images, which ends with the test; gives its store."""
    workers: list[Worker] = []

    def begin_one(count: int, session: Any = None, unreadable: tuple[int, ...] = ()) -> SceneStore:
        store, session = SceneStore(), session or Pretended()
        workers.append(worker_of(Images(count, unreadable), lambda: session, store, mailbox))
        workers[-1].start()
        return store

    yield begin_one
    for worker in workers:
        assert worker.stop(10)


def test_all_frames_reach_the_scene_and_bad_ones_are_counted(mailbox):
    store, source = SceneStore(), Images(10, unreadable=(3,))
    worker = worker_of(source, lambda: Pretended(refuse=(5,)), store, mailbox, ends_by_itself=True)
    worker.start()
    assert worker.join(10)
    status = store.snapshot().status
    assert [frame.index for frame in store.snapshot().frames] == [0, 1, 2, 4, 6, 7, 8, 9]
    assert (status.frames_done, status.skipped) == (8, 2)
    assert status.last_skipped == "5.png: 5.png is too small"
    assert worker.error is None
    assert source.closed


def test_pause_step_play_restart(mailbox):
    store = SceneStore()
    mailbox.put(messages.Pause())
    worker = worker_of(Images(6), Pretended, store, mailbox)
    worker.start()

    def seen() -> int:
        return len(store.snapshot().frames)

    wait_for(lambda: store.snapshot().status.phase == "paused", "the pause")
    assert seen() == 0
    for count in (1, 2):
        mailbox.put(messages.Step())
        wait_for(lambda count=count: seen() == count, f"{count} frames")
        wait_for(lambda: store.snapshot().status.phase == "paused", "the pause after a step")
    mailbox.put(messages.Play())
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end")
    assert seen() == 6
    epoch = store.snapshot().epoch
    mailbox.put(messages.Restart())
    wait_for(lambda: store.snapshot().epoch > epoch, "the second run")
    wait_for(lambda: store.snapshot().status.phase == "finished", "its end")
    assert seen() == 6
    assert worker.stop(5)
    assert store.snapshot().status.phase == "finished"


def test_no_queued_step_is_lost(mailbox):
    store = SceneStore()
    pause, step = messages.Pause(), messages.Step()
    for command in (pause, step, step, step, pause):
        mailbox.put(command)
    worker = worker_of(Images(6), Pretended, store, mailbox)
    worker.start()
    wait_for(lambda: len(store.snapshot().frames) == 3, "three frames")
    wait_for(lambda: store.snapshot().status.phase == "paused", "the pause")
    assert len(store.snapshot().frames) == 3
    assert worker.stop(5)
    assert store.snapshot().status.phase == "stopped"


def test_restart_plays_whatever_was_asked_before_it(begin, mailbox):
    store = begin(3, unreadable=(1,))
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end")
    # There is nothing to pause any more.
    for command in (messages.Pause(), messages.Step(), messages.Restart()):
        mailbox.put(command)
    wait_for(lambda: store.snapshot().epoch == 2, "the new run")
    wait_for(lambda: store.snapshot().status.phase == "finished", "its end")
    assert len(store.snapshot().frames) == 2
    assert store.snapshot().status.skipped == 1  # not two: the new run counts anew
    mailbox.put(messages.Pause())


def test_an_error_is_shown_and_restart_tries_again(begin, mailbox):
    session = Pretended(fail_at=2)
    store = begin(4, session)
    wait_for(lambda: store.snapshot().status.phase == "failed", "the failure")
    assert store.snapshot().status.message == "a mistake of ours"
    assert len(store.snapshot().frames) == 2
    mailbox.put(messages.Restart())
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end")
    assert len(store.snapshot().frames) == 4


def test_weights_that_cannot_be_read_end_a_headless_run(mailbox):
    def no_weights() -> Pretended:
        raise WeightsError("w.pth: cut off")

    store = SceneStore()
    worker = worker_of(Images(4), no_weights, store, mailbox, ends_by_itself=True)
    worker.start()
    assert worker.join(10)
    assert isinstance(worker.error, WeightsError)


def test_no_usable_frame_is_an_error(mailbox):
    store = SceneStore()
    worker = worker_of(Images(2, unreadable=(0, 1)), Pretended, store, mailbox, ends_by_itself=True)
    worker.start()
    assert worker.join(10)
    assert str(worker.error) == (
        "pictures: none of its 2 frames could be used; the last: 1.png: cut off"
    )


def test_stop_does_not_wait_for_the_rest_of_the_input(mailbox):
    store, session = SceneStore(), Pretended()
    session.gate.clear()
    worker = worker_of(Images(1000), lambda: session, store, mailbox)
    worker.start()
    assert session.entered.wait(10)
    assert not worker.stop(0.05)  # the frame that is being processed comes first
    session.gate.set()
    assert worker.join(10)
    assert len(store.snapshot().frames) == 1
    assert store.snapshot().status.phase == "stopped"


def test_a_worker_that_never_began_is_not_waited_for_and_lets_go_of_its_source(mailbox):
    source = Images(4)
    assert worker_of(source, Pretended, SceneStore(), mailbox).stop()  # without a limit
    assert source.closed


def test_frame_rate_tends_to_the_true_rate():
    per_second = 0.0
    for seconds in [0.5] + [0.05] * 400:
        per_second = smoothed_rate(per_second, seconds)
    assert per_second == pytest.approx(20, rel=0.05)


def test_adjustments_reach_the_session_and_a_refused_one_is_said(begin, mailbox):
    session = Pretended()
    mailbox.put(messages.Pause())
    store = begin(6, session)
    wait_for(lambda: store.snapshot().status.phase == "paused", "the pause")
    mailbox.put(messages.SetParameter(0, "rate", 2.0))
    wait_for(lambda: store.snapshot().status.message == "a rate of 2.0", "the refusal")
    mailbox.put(messages.SetParameter(0, "rate", 0.5))
    wait_for(lambda: store.snapshot().status.message == "", "the better one")
    assert session.adjusted == [messages.SetParameter(0, "rate", 0.5)]
    assert store.snapshot().status.phase == "paused"


def test_other_lanes_begin_again_at_the_first_frame_also_after_the_end(begin, mailbox):
    session = Pretended()
    store = begin(4, session)
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end")
    assert len(store.snapshot().lanes) == 1
    mailbox.put(messages.SetRules(("one", "two", "three")))
    wait_for(lambda: len(store.snapshot().lanes) == 3, "three lanes")
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end again")
    assert [len(lane.frames) for lane in store.snapshot().lanes] == [4, 4, 4]


def test_questions_are_answered_while_running_paused_and_finished(begin, mailbox):
    session = Pretended()
    mailbox.put(messages.Pause())
    store = session.store = begin(4, session)
    wait_for(lambda: store.snapshot().status.phase == "paused", "the pause")
    mailbox.put(messages.Inspect(0, 0))
    wait_for(lambda: "frame 0 cannot" in store.snapshot().inspection_note, "the refusal")
    assert store.snapshot().inspection is None
    for _ in range(2):
        mailbox.put(messages.Step())
    wait_for(lambda: len(store.snapshot().frames) == 2, "two frames")
    for sequence in (0, 0, 1):
        mailbox.put(messages.Inspect(0, sequence))

    def found(sequence: int) -> bool:
        inspection = store.snapshot().inspection
        return inspection is not None and inspection.sequence == sequence

    wait_for(lambda: found(1), "the latest question's answer")
    assert session.told == "replaying frames: 0 of 2"
    inspection = store.snapshot().inspection
    assert inspection is not None
    assert inspection.epoch == store.snapshot().epoch
    mailbox.put(messages.Play())
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end")
    mailbox.put(messages.Inspect(0, 3))
    wait_for(lambda: found(3), "an answer after the end")
    assert store.snapshot().inspection_note == ""
    mailbox.put(messages.Restart())
    wait_for(lambda: store.snapshot().inspection is None, "the old run's answer to go")


ASKED_POSE = (1.0, 2.0, 3.0, 1.0, 0.0, 0.0, 0.0)


def test_the_states_are_asked_while_running_paused_finished_and_failed(begin, mailbox):
    session = Pretended()
    mailbox.put(messages.Pause())
    store = begin(4, session)
    wait_for(lambda: store.snapshot().status.phase == "paused", "the pause")
    mailbox.put(messages.Step())
    wait_for(lambda: len(store.snapshot().frames) == 1, "a frame")

    def answered(number: int) -> bool:
        answer = store.snapshot().answer
        return answer is not None and answer.number == number

    def found() -> types.Expectation:
        answer = store.snapshot().answer
        assert answer is not None
        assert answer.note == ""
        return answer.lanes[0]

    mailbox.put(messages.Query(1, ASKED_POSE, 1.0))
    wait_for(lambda: answered(1), "an answer while paused")
    assert found().sequence == 0
    assert found().epoch == store.snapshot().epoch
    assert (found().camera.T_world_camera[:3, 3] == ASKED_POSE[:3]).all()
    session.no_memory = True
    mailbox.put(messages.Query(2, ASKED_POSE, 1.0))
    wait_for(lambda: answered(2), "the refusal")
    answer = store.snapshot().answer
    assert answer is not None
    assert (answer.lanes, answer.note) == ((), "out of memory")
    assert store.snapshot().status.phase == "paused"
    session.no_memory = False
    session.gate.clear()
    session.entered.clear()
    mailbox.put(messages.Play())
    assert session.entered.wait(10)  # in the middle of a frame
    before = len(session.asked)
    for number in (3, 4, 5):
        mailbox.put(messages.Query(number, ASKED_POSE, 1.0))
    session.gate.set()
    wait_for(lambda: answered(5), "the latest question's answer")
    assert len(session.asked) == before + 1
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end")
    mailbox.put(messages.Query(6, ASKED_POSE, 1.0))
    wait_for(lambda: answered(6), "an answer after the end")
    assert found().sequence == 3
    mailbox.put(messages.Restart())
    wait_for(lambda: store.snapshot().answer is None, "the old run's answer to go")


def test_a_run_that_has_failed_can_still_be_asked(begin, mailbox):
    class Exhausted(Pretended):
        def step(self, frame: PreparedFrame) -> tuple[types.FrameResult, ...]:
            if self.done == 2:
                raise ReconstructionError("out of memory on cpu")
            return super().step(frame)

    session = Exhausted()
    store = begin(4, session)
    wait_for(lambda: store.snapshot().status.phase == "failed", "the failure")
    mailbox.put(messages.Query(1, ASKED_POSE, 1.0))
    wait_for(lambda: store.snapshot().answer is not None, "the answer")
    answer = store.snapshot().answer
    assert answer is not None
    assert [one.sequence for one in answer.lanes] == [1]
    assert store.snapshot().status.phase == "failed"
