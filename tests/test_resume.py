"""A session that was cut off is gone on with as if it had not been, or one line says why not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from tests.media import level_frames, write_video
from tests.waiting import wait_for
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import ReconstructionError, RecordingError
from ttt3r_viewer.frames.selection import RepeatableSource
from ttt3r_viewer.frames.source import open_source
from ttt3r_viewer.reconstruct.messages import Inspect, Restart, SetParameter, SetResetEvery
from ttt3r_viewer.reconstruct.prefetch import BATCH, ends_batch
from ttt3r_viewer.reconstruct.session import Lanes
from ttt3r_viewer.reconstruct.state_dict import pack
from ttt3r_viewer.recording.checkpoint import Checkpoint, checkpoint_files
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.rules.registry import all_rules, rules_from_text
from ttt3r_viewer.rules.rule import UpdateRule
from ttt3r_viewer.runs.reconstruction import Reconstruction
from ttt3r_viewer.scene.store import SceneSnapshot
from ttt3r_viewer.settings import settings_from
from ttt3r_viewer.state import Evidence, Update
from ttt3r_viewer.system.assets import asset_path, demo_path
from ttt3r_viewer.types import FrameResult
from ttt3r_viewer.weights.fetch import fingerprint

CASE = "linear-small"
FRAMES = 23
WORDS = ("run", "--rules", "ttt3r,filt3r", "--reset-every", "6", "--checkpoint-every", "4")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the demo's pictures, one of them unreadable."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, path in enumerate(sorted(demo_path().glob("*.jpg"))[:FRAMES]):
        shutil.copy(path, folder / f"{number:03}.jpg")
    (folder / "005.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:  # noqa: ARG001
    """What a run that is not cut leaves."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main([*WORDS, "--input", str(images), "--output", str(out)]) == 0
    return out


def words_for(images: Path, out: Path, *more: str) -> list[str]:
    return [*WORDS, "--input", str(images), "--output", str(out), *more]


def cut(whole: Path, out: Path, frames: int, checkpoints: int) -> Path:
    """Make the folder that a run killed behind so many frames and checkpoints leaves."""
    shutil.copytree(whole / "archive", out / "archive")
    path = out / "archive" / "archive.json"
    said = json.loads(path.read_text())
    said |= {"frames": None, "status": said["status"] | {"phase": "running"}}
    path.write_text(json.dumps(said))
    archive = Recording.open(out)
    place = archive._places[frames]
    with (out / "archive" / place.file).open("r+b") as file:
        file.truncate(place.offset + 1000)  # the record that was being written
    for one in checkpoint_files(out / "archive"):
        if Checkpoint.read(one).progress.frames > checkpoints:
            one.unlink()
    return out


def stopped(images: Path, out: Path, frames: int) -> Path:
    """Run so many pictures only, and make it look killed: the input is then the longer one."""
    assert main(words_for(images, out, "--max-frames", str(frames))) == 0
    (out / "run.json").unlink()
    return out


def assert_as_whole(out: Path, whole: Path) -> None:
    lanes = sorted(path.parent.name for path in whole.glob("*/poses_tum.txt"))
    assert len(lanes) == 2
    for lane in lanes:
        for name in ("poses_tum.txt", "intrinsics.json"):
            assert (out / lane / name).read_bytes() == (whole / lane / name).read_bytes(), name
        ours, theirs = (trimesh.load(f / lane / "points.ply") for f in (out, whole))
        # The archive rounds points to float16.
        assert len(ours.vertices) == len(theirs.vertices)  # pyright: ignore
        assert np.allclose(ours.vertices, theirs.vertices, rtol=2e-3, atol=2e-3)  # pyright: ignore
        assert np.array_equal(ours.colors, theirs.colors)  # pyright: ignore
    report, expected = (json.loads((f / "run.json").read_text()) for f in (out, whole))
    for values in (report, expected):
        for name in ("frames_per_second",):
            del values["status"][name]
        del values["timing"]
        del values["settings"]["output"]
        values["settings"]["max_frames"] = None
    assert report == expected
    ours, theirs = Recording.open(out), Recording.open(whole)
    assert (ours.sequences, ours.note) == (theirs.sequences, "")
    for a, b in zip(ours, theirs, strict=True):
        for one, other in zip(a, b, strict=True):
            for name in ("points_camera", "confidence", "gain"):
                assert np.array_equal(getattr(one, name), getattr(other, name)), name
            for name in ("index", "name", "segment", "rule", "rule_text", "state_change"):
                assert getattr(one, name) == getattr(other, name), name
            assert np.array_equal(one.camera.T_world_camera, other.camera.T_world_camera)


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_was_cut_and_resumed_is_a_whole_run(whole, images, tmp_path, capsys):
    out = stopped(images, tmp_path / "out", 14)
    newest, before = checkpoint_files(out / "archive")
    assert [Checkpoint.read(one).progress.frames for one in (newest, before)] == [10, 6]
    capsys.readouterr()
    for now, earlier in (("TTT3R", "ttt3r"), ("FILT3R", "filt3r")):  # as before lanes had labels
        (out / now).rename(out / earlier)
    assert main(words_for(images, out, "--resume")) == 0
    assert {one.name for one in out.iterdir()} == {one.name for one in whole.iterdir()}
    assert "resumed after 10 frames; 3 later ones are read again" in capsys.readouterr().err
    assert_as_whole(out, whole)
    # The newest is damaged: the one before is taken.
    shutil.rmtree(out)
    stopped(images, out, 14)
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x55")
    assert main(words_for(images, out, "--resume")) == 0
    assert "resumed after 6 frames; 7 later ones are read again" in capsys.readouterr().err
    assert_as_whole(out, whole)


def test_a_finished_session_is_left_as_it_is(whole, images, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert main(words_for(images, whole, "--resume")) == 0
    assert "its run is finished (22 frames)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before
    assert main(words_for(images, whole)) == 2
    assert "--resume" not in capsys.readouterr().err


@pytest.mark.usefixtures("one_thread")
def test_killed_and_resumed_from_a_torn_end_is_a_whole_run(whole, images, tmp_path, capsys):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "ttt3r_viewer", *words_for(images, out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: list(out.glob("archive/checkpoint-*.safetensors")), "a checkpoint", 120)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (out / "run.json").exists()
    last = out / "archive" / "frames-00000.bin"
    last.write_bytes(last.read_bytes() + b"T3FRAME1 torn")
    assert main(words_for(images, out)) == 2
    error = capsys.readouterr().err
    assert "or --resume, which continues its recording of" in error
    assert error.count("\n") == 1
    assert main(words_for(images, out, "--resume")) == 0
    assert_as_whole(out, whole)


def complaint(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    return error


def files_of(folder: Path) -> dict[Path, bytes]:
    """All but the log, which every command adds to."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "log.txt")
    return {path: path.read_bytes() for path in paths}


def test_what_differs_is_named_and_nothing_is_changed(whole, images, tmp_path, capsys):
    out = cut(whole, tmp_path / "out", 21, 18)
    before = files_of(out)
    resume = words_for(images, out, "--resume")
    for more, text in (
        (["--stride", "2"], "--stride (then 1, now 2)"),
        (["--reset-every", "7"], "--reset-every (then 6, now 7)"),
        (["--rules", "filt3r"], "--rules (then ttt3r,filt3r, now filt3r)"),
        (["--input", str(demo_path())], "--input (then"),
        (["--start", "1", "--fps", "25"], "--start (then 0, now 1), --fps (then 30.0, now 25.0)"),
        (["--size", "96"], "the recording was made with size 160, and this is 96"),
    ):
        assert text in complaint(capsys, [*resume, *more])
        assert files_of(out) == before
    other = tmp_path / "other.safetensors"
    data = bytearray(asset_path("miniature.safetensors").read_bytes())
    data[-3] ^= 1
    other.write_bytes(data)
    error = complaint(capsys, [*resume, "--weights", str(other)])
    assert f"another --weights (then {fingerprint(asset_path('miniature.safetensors'))}" in error
    error = complaint(capsys, ["compare", "--resume", "--output", str(out)])
    assert "a comparison keeps no recording" in error
    assert files_of(out) == before


@pytest.mark.usefixtures("another_frame")
def test_another_input_under_the_same_name_is_noticed(whole, images, tmp_path, capsys):
    out = cut(whole, tmp_path / "out", 21, 18)
    before = files_of(out)
    latest = Checkpoint.read(checkpoint_files(out / "archive")[0]).progress
    assert latest.index == 18  # one was unreadable
    error = complaint(capsys, words_for(images, out, "--resume"))
    assert "its frame 18 is not what was recorded (018.jpg)" in error
    assert files_of(out) == before


def test_damage_is_one_line(whole, images, tmp_path, capsys):
    resume = words_for(images, tmp_path / "out", "--resume")
    out = cut(whole, tmp_path / "out", 21, 22)
    newest, older = checkpoint_files(out / "archive")
    newest.write_bytes(newest.read_bytes()[:3000])
    older.write_bytes(b"")
    error = complaint(capsys, resume)
    assert f"{newest}: its" in error
    assert f"{older}: it is damaged" in error
    assert "give --overwrite in place of --resume" in error
    shutil.rmtree(out)
    cut(whole, out, 21, 22)
    data = bytearray((out / "archive" / "frames-00000.bin").read_bytes())
    place = Recording.open(out)._places[2]
    data[place.offset : place.offset + 8] = b"xxxxxxxx"
    (out / "archive" / "frames-00000.bin").write_bytes(data)
    assert "of the recording's frames it needs frame 2" in complaint(capsys, resume)
    shutil.rmtree(out)
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "wanted a folder that a run's --output named" in complaint(capsys, resume)


def test_every_flipped_byte_of_a_checkpoint_is_found(whole, tmp_path):
    path = checkpoint_files(whole / "archive")[0]
    data = path.read_bytes()
    copy = tmp_path / path.name
    for at in (*range(0, 4000, 37), *range(4000, len(data), 9973), len(data) - 1):
        torn = bytearray(data)
        torn[at] ^= 0x41
        copy.write_bytes(torn)
        with pytest.raises(RecordingError) as caught:
            Checkpoint.read(copy).tensors()
        assert str(copy) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_without_a_checkpoint_it_begins_again(whole, images, tmp_path, capsys):
    out = cut(whole, tmp_path / "out", 3, 0)
    error = complaint(capsys, words_for(images, out, "--resume", "--stride", "2"))
    assert "--stride (then 1, now 2)" in error
    assert main(words_for(images, out, "--resume")) == 0
    assert "begins again at its first frame" in capsys.readouterr().err
    assert len(Recording.open(out)) == FRAMES - 1
    fresh = tmp_path / "fresh"
    assert main(words_for(images, fresh, "--resume", "--max-frames", "2")) == 0
    assert "holds no recording yet" in capsys.readouterr().err


@pytest.mark.parametrize("lanes", [*all_rules()[0], "ttt3r,constant:0.3,filt3r,recal3r"])
@pytest.mark.parametrize("reset_every", [0, 3])
def test_lanes_go_on_bit_by_bit_from_what_was_saved(case, network, lanes, reset_every):
    frames = case.arrays["frames"]
    stream = [frames[k % len(frames)] for k in range(9)]
    rules = rules_from_text(lanes)
    run = Lanes(network, rules, reset_every=reset_every)
    taken = [run.process(image) for image in stream[:5]]
    run.adjust(SetResetEvery(4))
    tensors, session = run.saved()
    session = json.loads(json.dumps(session))
    expected = [run.process(image) for image in stream[5:]]
    resumed = Lanes(network, rules, reset_every=reset_every)
    resumed.restore(tensors, session, Recorded(taken))
    for results, image in zip(expected, stream[5:], strict=True):
        for a, b in zip(results, resumed.process(image), strict=True):
            assert (a.sequence, a.segment, a.rule_text) == (b.sequence, b.segment, b.rule_text)
            assert np.array_equal(a.camera.T_world_camera, b.camera.T_world_camera)
            for array in ("points_camera", "confidence", "gain"):
                assert np.array_equal(getattr(a, array), getattr(b, array))


class Recorded(Recording):
    """Frames as an archive tells of them."""

    def __init__(self, taken: list[tuple[FrameResult, ...]]) -> None:
        self._taken = taken

    def facts(self, sequence: int) -> dict[str, Any]:
        names = ("rule", "rule_text", "reset_every", "segment")
        return {
            "lanes": [{name: getattr(one, name) for name in names} for one in self._taken[sequence]]
        }


def test_rules_that_were_changed_in_the_page_are_gone_on_with(case, network):
    run = Lanes(network, rules_from_text("ttt3r"))
    taken = [run.process(case.arrays["frames"][0])]
    run.adjust(SetParameter(0, "multiplier", 1 / 3))
    taken.append(run.process(case.arrays["frames"][1]))
    resumed = Lanes(network, rules_from_text("ttt3r"))
    resumed.restore(*run.saved(), Recorded(taken))
    assert resumed.rules == run.rules
    assert resumed._history.settings[0][0] != resumed._history.settings[1][0] == run.rules


@dataclass(frozen=True)
class Hoarder(UpdateRule):
    """Remembers something that no file can hold."""

    title, paper, formula, cost = "Hoarder", "none", "1", "none"

    def initial(self) -> list[int]:
        return []

    def update(self, evidence: Evidence, rule_state: list[int]) -> tuple[Update, list[int]]:
        return Update(evidence.state.new_ones(evidence.state.shape[:2])), [*rule_state, 1]


def test_a_rule_that_remembers_what_cannot_be_written_says_so(network):
    lanes = Lanes(network, (Hoarder(),))
    with pytest.raises(ReconstructionError, match="rule Hoarder remembers a list between frames"):
        lanes.saved()


def test_weights_of_other_sizes_are_told_by_the_state(case, network):
    run = Lanes(network, rules_from_text("ttt3r"))
    taken = [run.process(case.arrays["frames"][0])]
    tensors, session = run.saved()
    tensors["tokens"] = tensors["tokens"][:, 1:]
    with pytest.raises(ReconstructionError, match="give the weights that it was made with"):
        Lanes(network, rules_from_text("ttt3r")).restore(tensors, session, Recorded(taken))


def test_saved_tensors_are_copies_without_shared_memory(network):
    lanes = Lanes(network, rules_from_text("ttt3r,filt3r"))
    tensors, _ = pack(lanes._state, lanes.rules)
    pointers = {tensor.data_ptr() for tensor in tensors.values()}
    assert len(pointers) == len(tensors)
    assert lanes._state.state.tokens.data_ptr() not in pointers


def test_batches_end_where_look_ahead_ends_them():
    ends, size, taken = set(), 1, 0
    while taken < 100:
        taken += size
        ends.add(taken)
        size = min(2 * size, BATCH)
    found = {count for count in range(1, 100) if ends_batch(count, BATCH)}
    assert found == {end for end in ends if 3 <= end < 100}
    assert all(ends_batch(count, 1) for count in range(1, 9))


def test_a_source_begins_behind_any_frame(images, tmp_path):
    video = tmp_path / "video.mp4"
    write_video(video, level_frames(12))
    for spec in (str(images), str(video)):
        source = open_source(spec, start=1, stride=2)
        assert isinstance(source, RepeatableSource)
        everything = list(source)
        for last in (-1, 0, 4, 5, 99):
            rest = list(source.after(last))
            assert [one.index for one in rest] == [
                one.index for one in everything if one.index > last
            ]
            for a, b in zip(reversed(rest), reversed(everything), strict=False):
                assert type(a) is type(b)
                assert (a.index, a.name) == (b.index, b.name)
                assert getattr(a, "time_sec", 0) == getattr(b, "time_sec", 0)


def test_a_second_run_into_the_same_folder_is_refused_and_harms_nothing(images, tmp_path, capsys):
    out = tmp_path / "out"
    first = in_the_page(images, out)
    try:
        before = files_of(out)
        for more in (["--overwrite"], ["--resume"], []):
            said = complaint(capsys, words_for(images, out, *more))
            assert f"--output {out}: another run is writing there now; wait for its end" in said
            assert files_of(out) == before
    finally:
        first.end()
    second = in_the_page(images, out, overwrite=True)
    second.end()


def in_the_page(images: Path, out: Path, **more: Any) -> Reconstruction:
    run = {"rules": "ttt3r,filt3r", "reset_every": 6, "checkpoint_every": 4}
    places = {"input": str(images), "output": str(out)}
    return Reconstruction.prepare(settings_from(places | run | more))


def wait_until_finished(run: Reconstruction, epoch: int = 0) -> SceneSnapshot:
    def done() -> bool:
        scene = run.store.snapshot()
        return scene.epoch >= epoch and scene.status.phase in ("finished", "failed")

    wait_for(done, "the end")
    return run.store.snapshot()


@pytest.mark.usefixtures("one_thread")
def test_the_page_goes_on_looks_into_what_was_before_and_restarts(whole, images, tmp_path):
    out = cut(whole, tmp_path / "out", 21, 18)
    run = in_the_page(images, out, resume=True)
    assert run.note.startswith("resumed after 18 frames")
    run.worker.start()
    scene = wait_until_finished(run)
    assert (scene.status.phase, scene.status.message) == ("finished", "")
    expected = Recording.open(whole)
    for lane in (0, 1):
        assert [one.sequence for one in scene.lanes[lane].frames] == list(range(22))
    run.mailbox.put(Inspect(1, 7))
    wait_for(lambda: run.store.snapshot().inspection is not None, "the answer")
    found = run.store.snapshot().inspection
    assert found is not None
    assert np.abs(found.gain - expected.lane(7, 1).gain).max() < 1e-2
    epoch = run.store.snapshot().epoch
    before = Recording.open(out).manifest.run
    run.mailbox.put(Restart())
    scene = wait_until_finished(run, epoch + 1)
    assert len(scene.frames) == 22
    again = Recording.open(out)
    assert again.manifest.run != before
    assert {Checkpoint.read(one).progress.run for one in checkpoint_files(out / "archive")} == {
        again.manifest.run
    }
    assert run.end() == 22


@pytest.fixture
def another_frame(images):
    """Of the input one picture is another than when it was recorded."""
    shown = images / "018.jpg"  # the latest behind the checkpoint
    was = shown.read_bytes()
    shutil.copy(images / "001.jpg", shown)
    yield
    shown.write_bytes(was)


def stays_whatever_is_pressed(run: Reconstruction, out: Path, why: str) -> None:
    (out / "run.json").write_text("of before")
    before = files_of(out)
    run.worker.start()
    wait_for(lambda: run.store.snapshot().status.phase == "failed", "the failure")
    assert why in run.store.snapshot().status.message
    epoch = run.store.snapshot().epoch
    run.mailbox.put(Restart())
    wait_for(lambda: run.store.snapshot().epoch > epoch, "the second try")
    wait_for(lambda: run.store.snapshot().status.phase == "failed", "the failure")
    run.end()
    assert files_of(out) == before


def test_a_session_of_another_size_stays_whatever_is_pressed(whole, images, tmp_path):
    out = cut(whole, tmp_path / "out", 21, 18)
    run = in_the_page(images, out, resume=True, size=96)
    stays_whatever_is_pressed(run, out, "made with size 160")


@pytest.mark.usefixtures("another_frame")
def test_a_session_of_another_input_stays_whatever_is_pressed(whole, images, tmp_path):
    out = cut(whole, tmp_path / "out", 21, 18)
    run = in_the_page(images, out, resume=True)
    stays_whatever_is_pressed(run, out, "its frame 18 is not what was recorded (018.jpg)")
