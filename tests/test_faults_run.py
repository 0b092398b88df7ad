"""Faults of network, rules, memory, input and clock, made to happen in a run; the law is that what
was not at fault comes out as if nothing had been (docs/reliability.md lists all).
"""

import ast
import itertools
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import ttt3r_viewer
from tests.golden_cases import GoldenCase, Repeated
from tests.waiting import wait_for
from ttt3r_viewer.errors import RuleError
from ttt3r_viewer.frames.source import FrameSource, open_source
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.reconstruct.messages import Mailbox, Restart, SetRules
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.reconstruct.worker import Worker
from ttt3r_viewer.rules import registry
from ttt3r_viewer.rules.registry import rules_from_text
from ttt3r_viewer.rules.rule import UpdateRule, first_frame
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.state import Evidence, Update
from ttt3r_viewer.types import Frame

CASE = "linear-small"
COUNT = 9


Recorded = partial(Repeated, count=COUNT)
"""The case's images again and again, of which some may be left out."""


def run_of(source: FrameSource, lanes: Lanes) -> tuple[SceneStore, Worker]:
    """To the end, as `run` does."""
    store = SceneStore()
    worker = Worker(source, lambda: lanes, store, Mailbox(), ends_by_itself=True)
    worker.start()
    assert worker.join(60)
    return store, worker


def cameras_of(store: SceneStore, lane: int = 0) -> dict[int, np.ndarray]:
    return {one.index: one.camera.T_world_camera for one in store.snapshot().lanes[lane].frames}


def forget(lanes: Lanes) -> None:
    """All states but the first, so that a look inside takes the frames again."""
    kept = lanes._history._states
    for number in list(kept)[1:]:
        del kept[number]


def spoil(
    monkeypatch: pytest.MonkeyPatch,
    network: ReconstructionNetwork,
    bad: Sequence[int],
    value: float = float("nan"),
) -> None:
    """Let the network's camera of its calls number `bad` be `value`."""
    propose, calls = network.propose, itertools.count()

    def spoilt(*given, **named):
        proposal = propose(*given, **named)
        if next(calls) not in bad:
            return proposal
        prediction = replace(proposal.prediction, pose=torch.full((1, 7), value))
        return replace(proposal, prediction=prediction)

    monkeypatch.setattr(network, "propose", spoilt)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_frame_is_counted_and_the_rest_is_as_if_it_had_not_been(
    case, network, monkeypatch, value
):
    images = case.arrays["frames"]
    without, _ = run_of(Recorded(images, (3,)), Lanes(network, rules_from_text("filt3r")))
    spoil(monkeypatch, network, (3,), value)
    store, worker = run_of(Recorded(images), Lanes(network, rules_from_text("filt3r")))
    status = store.snapshot().status
    assert worker.error is None
    assert (status.phase, status.frames_done, status.skipped) == ("finished", COUNT - 1, 1)
    assert status.last_skipped == (
        "3.png: the camera of this frame came out infinite or not a number; its state is kept as "
        "it was before"
    )
    expected, found = cameras_of(without), cameras_of(store)
    assert list(found) == list(expected)
    for index, camera in found.items():
        assert np.abs(camera - expected[index]).max() < 1e-4  # batches differ


def test_three_bad_frames_in_a_row_begin_the_state_anew_where_the_camera_was(
    case, network, monkeypatch
):
    images = case.arrays["frames"]
    fresh = Lanes(network, rules_from_text("ttt3r"))
    expected = [fresh.process(images[k % len(images)])[0] for k in (6, 7, 8)]
    spoil(monkeypatch, network, (1, 3, 4, 5))  # the first alone does nothing
    lanes = Lanes(network, rules_from_text("ttt3r"))
    store, _ = run_of(Recorded(images), lanes)
    scene = store.snapshot()
    seen = [(one.index, one.segment) for one in scene.frames]
    assert seen == [(0, 0), (2, 0), (6, 1), (7, 1), (8, 1)]
    assert scene.status.skipped == 4
    assert scene.status.last_skipped.endswith("; number 3 in a row, so the state is reset")
    latest = scene.frames[1].camera.T_world_camera
    for found, alone in zip(scene.frames[2:], expected, strict=True):
        moved = latest @ alone.camera.T_world_camera
        assert np.abs(found.camera.T_world_camera - moved).max() < 1e-4
    # Looking into a frame behind it takes the frames before it again, through the same new start.
    monkeypatch.undo()
    forget(lanes)
    seen = lanes.inspect(0, 4)
    assert seen.frames_replayed == 4
    assert np.abs(seen.gain - expected[2].gain).max() < 1e-4


def test_a_look_behind_six_bad_frames_in_a_row_sees_what_the_run_saw(case, network, monkeypatch):
    images = case.arrays["frames"]
    spoil(monkeypatch, network, range(2, 8))
    lanes = Lanes(network, rules_from_text("ttt3r"))
    store, _ = run_of(Recorded(images, count=11), lanes)
    seen = store.snapshot().frames
    assert [(one.index, one.segment) for one in seen] == [(0, 0), (1, 0), (8, 2), (9, 2), (10, 2)]
    monkeypatch.undo()
    forget(lanes)
    assert np.abs(lanes.inspect(0, 4).gain - seen[4].gain).max() < 1e-3  # kept in float16


def test_bad_frames_are_remembered_by_a_checkpoint(case, network, monkeypatch):
    images = case.arrays["frames"]
    spoil(monkeypatch, network, (2, 3))
    lanes = Lanes(network, rules_from_text("ttt3r"))
    run_of(Recorded(images, count=4), lanes)
    tensors, session = lanes.saved()
    assert session["moment"]["bad"] == 2
    assert np.allclose(
        np.reshape(session["moment"]["T_world_latest"], (4, 4)), lanes._state.T_world_latest[0]
    )
    assert all(torch.isfinite(one).all() for one in tensors.values())


@dataclass(frozen=True)
class Moody(UpdateRule):
    """Gives the plain update until its frame `at` comes, then `mood`."""

    title = paper = formula = cost = "Moody"
    at: ClassVar[int] = 2
    mood: ClassVar[str] = ""

    def initial(self) -> int:
        if self.mood == "initial":
            raise ZeroDivisionError("nothing to begin with")
        return 0

    def update(self, evidence: Evidence, rule_state: int) -> tuple[Update, int]:
        gain = first_frame(evidence)
        if rule_state == self.at:
            match self.mood:
                case "raises":
                    raise ZeroDivisionError("a rate of zero")
                case "shape":
                    gain = gain[:, :3]
                case "nothing":
                    return None  # pyright: ignore[reportReturnType]
                case "nan":
                    gain = gain * float("nan")
        return Update(gain), rule_state + 1


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a rule of that mood among the known ones, as a plug-in would."""

    def add(mood: str) -> None:
        @dataclass(frozen=True)
        class Plugged(Moody):
            pass

        Plugged.mood = mood
        monkeypatch.setitem(registry.RULES, "plugged", Plugged)

    monkeypatch.setattr(Moody, "__str__", lambda self: "Moody")  # noqa: ARG005
    monkeypatch.setattr(registry, "rule_name", lambda _: "plugged")
    return add


@pytest.mark.parametrize(
    ("mood", "why"),
    [
        ("raises", "(ZeroDivisionError: a rate of zero)"),
        ("shape", "must match"),
        ("nothing", "TypeError"),
    ],
)
def test_a_rule_that_fails_is_named_and_another_one_goes_on(case, network, moody, mood, why):
    moody(mood)
    rules = (rules_from_text("ttt3r")[0], registry.RULES["plugged"]())
    store, mailbox = SceneStore(), Mailbox()
    source = Recorded(case.arrays["frames"])
    worker = Worker(source, lambda: Lanes(network, rules), store, mailbox)
    worker.start()
    for again in (False, True):
        if again:
            before = store.snapshot().epoch
            mailbox.put(Restart())
            wait_for(lambda before=before: store.snapshot().epoch > before, "the new run")
        wait_for(lambda: store.snapshot().status.phase == "failed", "the failure")
        message = store.snapshot().status.message
        assert message.startswith("the rule of lane Moody failed at frame 2 (")
        assert why in message
        assert message.endswith("): choose another rule, or fix it")
        assert "\n" not in message
        assert len(store.snapshot().frames) == 2  # what was seen stays
    mailbox.put(SetRules(("constant:0.5",)))
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end with another rule")
    assert len(store.snapshot().frames) == COUNT
    assert worker.stop(10)


def test_a_rule_that_cannot_begin_is_refused_and_the_run_goes_on(case, network, moody):
    moody("initial")
    lanes = Lanes(network, rules_from_text("ttt3r"))
    lanes.process(case.arrays["frames"][0])
    with pytest.raises(RuleError, match="the rule of lane Moody failed at frame 0"):
        lanes.adjust(SetRules(("plugged",)))
    assert lanes.rules == rules_from_text("ttt3r")
    assert lanes.process(case.arrays["frames"][1])[0].sequence == 1


def test_a_lane_whose_numbers_go_bad_passes_the_frame_over_for_all(case, network, moody):
    moody("nan")
    rules = (rules_from_text("ttt3r")[0], registry.RULES["plugged"]())
    store, worker = run_of(Recorded(case.arrays["frames"]), Lanes(network, rules))
    assert worker.error is None
    scene = store.snapshot()
    # Its own count stays at 2 until three in a row have put it back, and so on.
    assert [[one.index for one in lane.frames] for lane in scene.lanes] == [[0, 1, 5, 6]] * 2
    assert [one.segment for one in scene.frames] == [0, 0, 1, 1]
    assert "the state of lane Moody came out" in scene.status.last_skipped


def with_room_for(monkeypatch, network, pictures: int) -> list[int]:
    """Let the encoder run out of memory beyond so many pictures at once; what it was asked for."""
    encode, asked = network.encode, []

    def small(images):
        asked.append(len(images))
        if len(images) > pictures:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return encode(images)

    monkeypatch.setattr(network, "encode", small)
    return asked


@pytest.mark.parametrize("room", [2, 1])
def test_little_memory_makes_the_look_ahead_smaller_and_is_shown(case, network, monkeypatch, room):
    images = case.arrays["frames"]
    expected, _ = run_of(Recorded(images), Lanes(network, rules_from_text("ttt3r")))
    asked = with_room_for(monkeypatch, network, room)
    store, worker = run_of(Recorded(images), Lanes(network, rules_from_text("ttt3r")))
    assert worker.error is None
    status = store.snapshot().status
    assert status.device == f"cpu float32, prefetch reduced to {room} (low memory)"
    assert asked.count(4) + asked.count(3) <= 1  # it does not run into it again and again
    found = cameras_of(store)
    assert len(found) == COUNT
    for index, camera in cameras_of(expected).items():
        assert np.abs(found[index] - camera).max() < 1e-4


def test_no_memory_even_for_one_image_says_what_to_lower(case, network, monkeypatch):
    with_room_for(monkeypatch, network, 0)
    _, worker = run_of(Recorded(case.arrays["frames"]), Lanes(network, rules_from_text("ttt3r")))
    assert str(worker.error) == (
        "out of memory on cpu at 64x48 pixels: lower --size (now 64), or take --device cpu"
    )


def test_the_step_is_taken_again_once_the_look_ahead_has_given_memory_back(
    case, network, monkeypatch
):
    expected = Lanes(network, rules_from_text("ttt3r")).process(case.arrays["frames"][0])
    propose, failures = network.propose, iter([True, True, False])

    def tight(*given, **named):
        if next(failures):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return propose(*given, **named)

    monkeypatch.setattr(network, "propose", tight)
    lanes = Lanes(network, rules_from_text("ttt3r"))
    found = lanes.process(case.arrays["frames"][0])
    assert lanes.device_text.endswith("prefetch reduced to 1 (low memory)")
    assert np.array_equal(found[0].points_camera, expected[0].points_camera)
    monkeypatch.undo()
    lanes.restart()
    assert "prefetch reduced" not in lanes.device_text


@pytest.fixture
def images(tmp_path: Path, case: GoldenCase) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(COUNT):
        image = case.arrays["frames"][index % len(case.arrays["frames"])]
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def test_a_folder_that_goes_during_the_run_ends_it_with_what_there_is(images, network):
    source = open_source(str(images))
    lanes = Lanes(network, rules_from_text("ttt3r"))
    steady = lanes.prepare

    def vanishing(frame: Frame):
        if frame.index == 4:
            shutil.rmtree(images)
        return steady(frame)

    lanes.prepare = vanishing  # pyright: ignore[reportAttributeAccessIssue]
    store, worker = run_of(source, lanes)
    status = store.snapshot().status
    assert worker.error is None
    assert (status.phase, status.frames_done, status.skipped) == ("finished", 5, COUNT - 5)
    assert status.last_skipped == "8.png: the file is gone"


def test_frames_that_are_replaced_are_read_as_they_are_at_their_turn(images, network):
    lanes = Lanes(network, rules_from_text("ttt3r"))
    steady = lanes.prepare

    def replacing(frame: Frame):
        if frame.index == 2:
            Image.new("RGB", (200, 100), "white").save(images / "4.png")  # another size
            (images / "5.png").write_text("not a picture any more")
            (images / "6.png").unlink()
            (images / "6.png").mkdir()
            (images / "7.png").unlink()
            (images / "7.png").symlink_to(images / "7.png")
        return steady(frame)

    lanes.prepare = replacing  # pyright: ignore[reportAttributeAccessIssue]
    store, worker = run_of(open_source(str(images)), lanes)
    scene = store.snapshot()
    assert worker.error is None
    assert [one.index for one in scene.frames] == [0, 1, 2, 3, 4, 8]
    assert (scene.frames[4].camera.width, scene.frames[4].camera.height) == (64, 32)
    assert scene.status.skipped == 3
    assert scene.status.last_skipped.startswith("7.png: the file cannot be read (Too many levels")


def test_a_clock_that_jumps_changes_nothing(case, network, monkeypatch):
    source = Recorded(case.arrays["frames"])
    expected, _ = run_of(source, Lanes(network, rules_from_text("ttt3r")))
    jumps = itertools.cycle((0.0, 4e9, -1e9, 1.7e9))
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: round(1e9 * next(jumps)))
    store, worker = run_of(source, Lanes(network, rules_from_text("ttt3r")))
    assert worker.error is None
    for index, camera in cameras_of(expected).items():
        assert np.array_equal(cameras_of(store)[index], camera)
    assert 0 < store.snapshot().status.frames_per_second < 1e5


DATES = {"writer.py", "uploads.py"}
"""Files that write down when a run began, and ask how old a file is; besides, logs and the bench
stamp what they write."""


def test_nothing_measures_with_a_clock_that_can_be_set():
    package = Path(ttt3r_viewer.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                said = ast.unparse(node)
                if said in ("time.time", "time.time_ns") or said.endswith(
                    ("datetime.now", "datetime.utcnow", "date.today")
                ):
                    found.add(path.name)
    assert found <= DATES
