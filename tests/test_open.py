"""A recording shown again: what the run showed, without its network, and honest about it."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import error_line
from tests.test_recording import STATUS, frame, write, writer_in
from tests.waiting import wait_for
from ttt3r_viewer.cli import main
from ttt3r_viewer.commands.info import recording_info
from ttt3r_viewer.commands.shows import notice_of, true_poses
from ttt3r_viewer.reconstruct import messages
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.recording.format import PREVIEW_POINTS
from ttt3r_viewer.recording.reader import MANIFEST_FILE, Recording, frame_file
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.runs import player as player_module
from ttt3r_viewer.runs.known_truth import page_store
from ttt3r_viewer.runs.player import Player, rerun_command
from ttt3r_viewer.runs.reconstruction import Reconstruction, recorded_lanes
from ttt3r_viewer.scene.seen import FrameSummary
from ttt3r_viewer.scene.store import SceneSnapshot, SceneStore
from ttt3r_viewer.settings import NetworkOptions, settings_from
from ttt3r_viewer.system import compare_demo
from ttt3r_viewer.types import Inspection
from ttt3r_viewer.viewer.panels.chart_series import CHARTS, ChartSeries

FRAMES = 6
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # whoever imports it gets an ImportError
from ttt3r_viewer.__main__ import main
from ttt3r_viewer.runs.player import Player
publish = Player._publish
def publish_and_print(self, **changes):
    publish(self, **changes)
    print(self._status.phase, self._status.frames_done, flush=True)
Player._publish = publish_and_print
sys.exit(main())
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, SceneSnapshot, Reconstruction]:
    """A finished run of two lanes: its output folder, and what its page showed at the end."""
    out = tmp_path_factory.mktemp("run") / "out"
    settings = {"rules": "ttt3r,constant:0.3", "max_frames": FRAMES, "stride": 5, "reset_every": 4}
    reconstruction = Reconstruction.prepare(settings_from(settings | {"output": str(out)}))
    store = reconstruction.store
    reconstruction.worker.start()
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end")
    scene = store.snapshot()
    reconstruction.end()
    return out, scene, reconstruction


@contextmanager
def opened(
    path: Path, make_lanes: Callable[[Recording], Any] | None = None
) -> Iterator[tuple[SceneStore, messages.Mailbox]]:
    archive = Recording.open(path)
    store, mailbox = page_store(None, true_poses(archive)[0]), messages.Mailbox()
    player = Player(archive, store, mailbox, make_lanes and partial(make_lanes, archive))
    player.start()
    wait_for(lambda: store.snapshot().status.phase in ("finished", "failed"), "all frames")
    yield store, mailbox
    player.stop()
    assert not player._thread.is_alive()


def assert_same_numbers(a: FrameSummary, b: FrameSummary) -> None:
    """All is equal, but for points, what is measured of them, and small picture."""
    for name in (one.name for one in fields(FrameSummary)):
        left, right = getattr(a, name), getattr(b, name)
        match name:
            case "points" | "image" | "median_depth" | "point_error":
                continue
            case "camera":
                assert np.array_equal(left.T_world_camera, right.T_world_camera)
                assert (left.focal_px, left.width) == (right.focal_px, right.width)
            case "gain":
                assert np.array_equal(left, right)
            case _:
                assert left == right, name


def test_every_frame_lane_and_chart_is_that_of_the_run(run):
    out, before, reconstruction = run
    archive = Recording.open(out)
    truth, note = true_poses(archive)
    assert truth is not None
    assert note == ""
    with opened(out) as (store, _):
        after = store.snapshot()
    assert after.status == replace(before.status, message="", cannot_ask=player_module.CANNOT_ASK)
    assert [len(lane.frames) for lane in after.lanes] == [FRAMES, FRAMES]
    for old, new in zip(before.lanes, after.lanes, strict=True):
        for a, b in zip(old.frames, new.frames, strict=True):
            assert_same_numbers(a, b)
            assert np.array_equal(a.image, b.image)
        # Rounded points may cross the border of a voxel.
        assert new.point_count == pytest.approx(old.point_count, rel=0.02)
        assert new.latest is not None
        assert old.latest is not None
        assert np.array_equal(new.latest.image, old.latest.image)
    for chart_truth in (truth, None):
        charts = []
        for scene in (before, after):
            history = ChartSeries(chart_truth and reconstruction.ground_truth)
            history.update(scene)
            charts.append(history)
        for old, new in zip(charts[0].lanes, charts[1].lanes, strict=True):
            for kind in CHARTS.values():
                for column_of in kind.columns:
                    rounding = 1e-3 if kind.needs_depth else 0.0
                    columns = np.asarray(column_of(old)), np.asarray(column_of(new))
                    assert np.allclose(*columns, rounding, rounding, equal_nan=True), kind
        assert charts[0].marks == charts[1].marks != []
    assert after.recording is not None
    assert after.recording.lane(3, 1).name == before.lanes[1].frames[3].name


def test_a_recording_of_the_demo_that_compares_says_so(tmp_path):
    write(tmp_path, 1)
    archive = Recording.open(tmp_path)
    for rules, own in ((compare_demo.DEFAULTS["rules"], True), ("ttt3r,ttsa3r", False)):
        run = settings_from({"input": "demo:compare", "rules": rules}).as_dict()
        archive.manifest = replace(archive.manifest, settings=run)
        assert notice_of(archive).startswith(compare_demo.NOTICE) is own


def test_torch_is_never_imported(run):
    out = run[0]
    words = [sys.executable, "-c", WITHOUT_TORCH]
    said = subprocess.run([*words, "info", str(out)], capture_output=True, text=True, check=True)
    assert "miniature" in said.stdout
    words += ["open", str(out), "--port", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, text=True, **pipes)
    assert process.stdout is not None
    said_so_far = ""
    for line in process.stdout:
        said_so_far += line  # two threads may have written in one line
        if f"finished {FRAMES}" in said_so_far and "Ctrl-C ends" in said_so_far:
            break
    (url,) = re.findall(r"open (http://[\d.:]+)", said_so_far)
    with urllib.request.urlopen(url, timeout=10) as page:
        assert page.status == 200
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_a_killed_run_opens_up_to_its_last_finished_frame(tmp_path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tests.test_recording import frame, writer_in\n"
        "writer = writer_in(Path(sys.argv[1]))\n"
        "for sequence in range(5): writer.add(*frame(sequence))\n"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with opened(tmp_path) as (store, _):
        status = store.snapshot().status
        assert (status.phase, status.frames_done) == ("finished", 5)
        assert len(store.snapshot().frames) == 5
        assert "its run did not come to its end" in status.message
    last = tmp_path / frame_file(0)
    last.write_bytes(last.read_bytes()[:-100])
    with opened(tmp_path) as (store, _):
        status = store.snapshot().status
        assert status.frames_done == 4
        assert "frames-00000.bin: what follows byte" in status.message
        assert status.message.endswith("kept: frames 0 to 3")


def test_a_frame_whose_preview_is_damaged_is_left_out_and_named(tmp_path):
    write(tmp_path, 4)
    path = tmp_path / frame_file(0)
    data = bytearray(path.read_bytes())
    place = Recording.open(tmp_path)._places[1]
    at = place.offset + place.prefix.record_bytes - place.prefix.body_bytes + 10
    data[at] ^= 1
    path.write_bytes(data)
    with opened(tmp_path) as (store, _):
        scene = store.snapshot()
        assert [one.sequence for one in scene.frames] == [0, 2, 3]
        assert "its preview_picture is damaged; kept: frames 0 and 2 to 3" in scene.status.message


def test_of_a_large_session_previews_come_first_and_the_newest_frame_in_full(tmp_path, monkeypatch):
    monkeypatch.setattr(player_module, "FULL_BYTES", 0)
    monkeypatch.setattr("ttt3r_viewer.recording.format.PREVIEW_POINTS", 20)
    assert PREVIEW_POINTS > 20
    write(tmp_path, 5)
    with opened(tmp_path) as (store, _):
        scene = store.snapshot()
        for lane in scene.lanes:
            assert [one.sequence for one in lane.frames] == [0, 1, 2, 3, 4]
            assert all(0 < len(one.points) <= 20 for one in lane.frames[:-1])
            assert lane.latest is not None
            assert lane.latest.sequence == 4
        assert len(scene.frames[-1].points) > 20
        assert scene.recording is not None
        assert len(scene.recording.lane(1, 0).confidence.ravel()) == 16 * 12


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (
            messages.Play(),
            "no frames to come; start a run: ttt3r-view --input 'a b.mp4' --weights x",
        ),
        (messages.Pause(), "no frames to come"),
        (messages.Step(), "no frames to come"),
        (messages.SetParameter(0, "rate", 0.5), "start a run to change rules"),
        (messages.SetResetEvery(3), "start a run to change rules"),
        (messages.SetRules(("steady",)), "start a run to change rules"),
    ],
)
def test_what_a_run_would_do_is_answered(tmp_path, command, answer):
    settings = {"input": "a b.mp4", "weights": "x"}
    writer = RecordingWriter(tmp_path, source="a b.mp4", settings=settings)
    writer.begin(STATUS)
    writer.add(*frame(0))
    writer.finish(replace(STATUS, phase="finished", frames_done=1))
    with opened(tmp_path) as (store, mailbox):
        before = store.snapshot()
        assert before.status.message == ""
        mailbox.put(command)
        wait_for(lambda: answer in store.snapshot().status.message, "the answer")
        after = store.snapshot()
        assert (after.lanes, after.status.phase) == (before.lanes, "finished")


def test_looking_inside_says_what_it_needs_and_restart_reads_again(tmp_path):
    write(tmp_path, 3)
    with opened(tmp_path) as (store, mailbox):
        mailbox.put(messages.Inspect(1, 2))
        wait_for(lambda: store.snapshot().inspection_note, "the answer")
        note = store.snapshot().inspection_note
        assert f"needs the weights: ttt3r-view open {tmp_path} --weights FILE" in note
        assert store.snapshot().inspection is None
        mailbox.put(messages.Play())
        wait_for(lambda: store.snapshot().status.message, "an answer")
        epoch = store.snapshot().epoch
        mailbox.put(messages.Restart())
        wait_for(lambda: store.snapshot().epoch == epoch + 1, "the new reading")
        wait_for(lambda: store.snapshot().status.phase == "finished", "its end")
        scene = store.snapshot()
        assert (len(scene.frames), scene.status.message) == (3, "")


def test_a_larger_budget_reads_again_only_where_points_were_left_out(tmp_path):
    write(tmp_path, 3)
    archive, store, mailbox = Recording.open(tmp_path), SceneStore(300), messages.Mailbox()
    player = Player(archive, store, mailbox)
    player.start()
    wait_for(lambda: store.snapshot().status.phase == "finished", "all frames")
    few = store.snapshot()
    mailbox.put(messages.SetBudget(100_000))
    wait_for(lambda: store.snapshot().epoch == few.epoch + 1, "the new reading")
    wait_for(lambda: store.snapshot().status.phase == "finished", "its end")
    all_of_them = store.snapshot()
    assert all_of_them.point_count > few.point_count
    mailbox.put(messages.SetBudget(200_000))
    wait_for(lambda: store.snapshot().max_points == 200_000, "the budget")
    time.sleep(0.2)
    player.stop()
    assert store.snapshot().lanes == all_of_them.lanes


def test_a_session_has_no_state_to_ask_and_says_so(tmp_path):
    write(tmp_path, 2)
    with opened(tmp_path) as (store, mailbox):
        assert "needs a live run" in store.snapshot().status.cannot_ask
        mailbox.put(messages.Query(4, (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0), 1.0))
        wait_for(lambda: store.snapshot().answer, "the answer")
        answer = store.snapshot().answer
        assert answer is not None
        assert (answer.number, answer.lanes) == (4, ())
        assert "needs a live run" in answer.note


def test_a_session_that_goes_while_it_is_open_fails_in_one_line(tmp_path):
    write(tmp_path, 2)
    with opened(tmp_path) as (store, mailbox):
        (tmp_path / frame_file(0)).unlink()
        mailbox.put(messages.Restart())
        wait_for(lambda: store.snapshot().status.phase == "failed", "the failure")
        message = store.snapshot().status.message
        assert "no frame could be read" in message
        assert "No such file" in message


def test_true_poses_that_are_gone_are_said_and_the_others_found(tmp_path):
    poses = tmp_path / "true.txt"
    writer = writer_in(tmp_path / "session")
    writer.add(*frame(0))
    archive = Recording.open(tmp_path / "session")

    def with_settings(**settings: object) -> Recording:
        return Recording(archive.path, replace(archive.manifest, settings=settings))

    assert true_poses(archive) == (None, "")
    truth, note = true_poses(with_settings(input="gone.mp4", poses=str(poses)))
    assert truth is None
    assert note.startswith(f"no true poses: {poses} cannot be read")
    poses.write_text("0 0 0 0 0 0 0 1\n1 1 0 0 0 0 0 1\n")
    truth, note = true_poses(with_settings(input="gone.mp4", poses=str(poses)))
    assert truth is not None
    assert true_poses(with_settings(input="demo:none", poses=None)) == (None, "")
    assert rerun_command({}) == "ttt3r-view"


@pytest.mark.parametrize("command", ["open", "info"])
def test_what_is_no_session_is_one_line(tmp_path, capsys, command):
    assert "no such folder" in error_line(capsys, command, str(tmp_path / "none"))
    assert "wanted a folder that a run's --output named" in error_line(
        capsys, command, str(tmp_path)
    )
    write(tmp_path / "a", 1)
    (tmp_path / "a" / frame_file(0)).write_bytes(b"")
    assert "a recording without a frame" in error_line(capsys, command, str(tmp_path / "a"))
    described = tmp_path / "a" / MANIFEST_FILE
    described.write_text(json.dumps(json.loads(described.read_text()) | {"version": 2}))
    assert "format version 2" in error_line(capsys, command, str(tmp_path / "a"))
    assert "required: DIR" in error_line(capsys, command)


def look(
    store: SceneStore, mailbox: messages.Mailbox, question: messages.Inspect
) -> tuple[Inspection | None, str]:
    """Ask, and wait for what is found or why it is not."""
    store.set_inspection(None, "")
    mailbox.put(question)

    def answered() -> bool:
        scene = store.snapshot()
        found, note = scene.inspection, scene.inspection_note
        waiting = note == "" or note.startswith(("loading", "replaying"))
        return found is not None or not waiting

    wait_for(answered, "the answer")
    return store.snapshot().inspection, store.snapshot().inspection_note


def miniature(archive: Recording) -> Lanes:
    return recorded_lanes(archive, NetworkOptions())


def test_with_weights_every_frame_is_looked_into_as_the_run_took_it(run):
    out, before, _ = run
    with opened(out, miniature) as (store, mailbox):
        for lane in (0, 1):
            for sequence in (5, 0, 3):
                found, note = look(store, mailbox, messages.Inspect(lane, sequence))
                assert found is not None, note
                assert (found.lane, found.sequence) == (lane, sequence)
                assert found.epoch == store.snapshot().epoch
                recorded = before.lanes[lane].frames[sequence].gain
                assert np.abs(found.gain - recorded).max() < 5e-3
                # What was found on the way to frame 5 is kept.
                first = (lane, sequence) == (0, 5)
                assert found.frames_replayed == (5 if first else 0)
        assert store.snapshot().status.message == ""
        found, note = look(store, mailbox, messages.Inspect(0, FRAMES))
        assert found is None
        assert f"frame {FRAMES} cannot be looked into" in note
        mailbox.put(messages.Restart())  # still does what it did
        epoch = store.snapshot().epoch
        wait_for(lambda: store.snapshot().epoch == epoch + 1, "the new reading")


def test_other_weights_are_told_by_the_gains_and_by_the_state(run, tmp_path):
    class Other:
        """Says that every gain is a tenth higher."""

        def __init__(self, archive: Recording) -> None:
            self.lanes = miniature(archive)

        def inspect(self, lane, sequence, on_progress=None):
            found = self.lanes.inspect(lane, sequence, on_progress)
            return replace(found, gain=found.gain + np.float32(0.1))

    with opened(run[0], Other) as (store, mailbox):
        found, _ = look(store, mailbox, messages.Inspect(0, 2))
        assert found is not None
        wait_for(lambda: store.snapshot().status.message, "the warning")
        message = store.snapshot().status.message
        assert "frame 2 has other gains when it is read again than were recorded" in message
    write(tmp_path, 2)
    with opened(tmp_path, miniature) as (store, mailbox):
        found, note = look(store, mailbox, messages.Inspect(0, 1))
        assert found is None
        assert "miniature has a state of 96 tokens, and the recording has 16" in note


def test_a_longer_search_is_given_up_for_a_newer_question(run):
    asked = []

    class Slow:
        """Searches for ever, until something else is asked."""

        def __init__(self, archive: Recording) -> None:
            self.lanes = miniature(archive)

        def inspect(self, lane, sequence, on_progress=None):
            asked.append(sequence)
            assert on_progress is not None
            while sequence == 1:
                on_progress(0, 9)
                time.sleep(0.01)
            return self.lanes.inspect(lane, sequence, on_progress)

    with opened(run[0], Slow) as (store, mailbox):
        mailbox.put(messages.Inspect(0, 1))
        wait_for(lambda: "frames: 0 of 9" in store.snapshot().inspection_note, "the search")
        found, _ = look(store, mailbox, messages.Inspect(1, 0))
        assert found is not None
        assert (found.lane, asked) == (1, [1, 0])
        mailbox.put(messages.Inspect(0, 1))  # and the end of the program ends a search
        wait_for(lambda: len(asked) == 3, "the search")


def test_open_says_what_is_wrong(tmp_path, capsys):
    write(tmp_path, 1)
    error = error_line(capsys, "open", str(tmp_path), "--weights", str(tmp_path / "none.pth"))
    assert "none.pth" in error
    assert "--max-points 0" in error_line(capsys, "open", str(tmp_path), "--max-points", "0")
    assert "--host" in error_line(capsys, "open", str(tmp_path), "--host", "203.0.113.1")


def test_info_prints_what_is_in_it(run, tmp_path, capsys):
    out = run[0]
    assert main(["info", str(out)]) == 0
    text = capsys.readouterr().out
    said = dict(line.split(maxsplit=1) for line in text.splitlines() if not line.startswith("lane"))
    assert said["model"].startswith("miniature, on cpu")
    assert said["frames"].startswith(f"{FRAMES} of {FRAMES}, 0.00 to ")
    assert said["images"] == "160 x 112, from 256 x 192"
    assert said["ended"] == "with its last frame"
    assert said["damage"] == "none found"
    assert "--rules ttt3r,constant:0.3" in said["settings"]
    assert "--stride 5" in said["settings"]
    assert time.strftime("%Y-") in said["recorded"]
    lanes = [line for line in text.splitlines() if line.startswith("lane")]
    assert len(lanes) == 2
    assert "0.3" in lanes[1]
    assert lanes[1].endswith("reset every 4")
    size = sum(path.stat().st_size for path in (out / "archive").glob("*.bin"))
    assert said["disk"].startswith(f"{size / 1e6:,.1f} MB")
    assert "recorded 20" in notice_of(Recording.open(out))

    write(tmp_path, 3)
    path = tmp_path / frame_file(0)
    path.write_bytes(path.read_bytes()[:-9])
    facts = dict(recording_info(tmp_path))
    assert "kept: frames 0 to 1" in facts["damage"]
    assert facts["settings"] == "--stride 2"
