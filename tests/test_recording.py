"""The session on disk: what is written comes back, and damage takes nothing but itself."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.made_up_run import room_result, rule_info
from tests.test_worker import Images, Pretended, worker_of
from tests.waiting import wait_for
from ttt3r_viewer.errors import RecordingError
from ttt3r_viewer.reconstruct.messages import Mailbox, Restart
from ttt3r_viewer.recording import writer as archive_writer
from ttt3r_viewer.recording.format import (
    FLOAT16_MAX,
    PREFIX_BYTES,
    PREVIEW_POINTS,
    encode_record,
    read_header,
    read_lane,
    read_prefix,
    stored_confidence,
    stored_points,
)
from ttt3r_viewer.recording.reader import MANIFEST_FILE, Recording, frame_file, in_words
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.scene.seen import summarize_frame
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Camera, Crop, FrameResult, Status

STATUS = Status(
    phase="running",
    model="miniature",
    lanes=(rule_info("steady", 0.5), rule_info("drifting", 1.0)),
    known_rules=(rule_info("steady", 1.0),),
    state_columns=4,
)


def new_writer(folder: Path | None, **options) -> RecordingWriter:
    return RecordingWriter(folder, source="pictures", settings={"stride": 2}, **options)


def writer_in(folder: Path | None, **options) -> RecordingWriter:
    writer = new_writer(folder, **options)
    writer.begin(STATUS)
    return writer


def frame(sequence: int, lanes: int = 2) -> tuple[FrameResult, ...]:
    room = room_result(sequence, 16, 12)
    return tuple(replace(room, rule=f"rule {k}", segment=k, reset_every=9) for k in range(lanes))


def write(folder: Path, count: int) -> None:
    writer = writer_in(folder)
    for sequence in range(count):
        writer.add(*frame(sequence))
    writer.finish(replace(STATUS, phase="finished", frames_done=count))
    writer.close()
    assert writer.trouble == ""


def assert_close(read: FrameResult, written: FrameResult) -> None:
    """All is equal but for rounding to float16."""
    same = ("sequence", "index", "time_sec", "name", "crop", "segment", "compute_sec")
    for name in (*same, "rule", "reset_every", "state_change"):
        assert getattr(read, name) == getattr(written, name), name
    assert np.array_equal(read.image, written.image)
    assert np.array_equal(read.camera.T_world_camera, written.camera.T_world_camera)
    assert read.camera.focal_px == written.camera.focal_px
    assert read.camera.width == written.camera.width
    for name in ("points_camera", "confidence", "gain"):
        a, b = getattr(read, name), getattr(written, name)
        assert a.dtype == np.float32
        assert np.allclose(a, b, rtol=2**-11, atol=2**-25, equal_nan=True), name


floats32 = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(arrays.arrays(np.float32, (2, 2, 3), elements=floats32))
def test_a_stored_point_moves_by_no_more_than_rounding(points):
    back = stored_points(points).astype(np.float32)
    usable = np.isfinite(points).all(axis=-1)
    largest = np.abs(points[usable]).max(axis=-1, initial=0, keepdims=True).astype(np.float64)
    moved = np.abs(back[usable].astype(np.float64) - points[usable])
    assert (moved <= largest * 2**-11).all()
    assert not np.isfinite(back[~usable]).all(axis=-1).any()


@pytest.mark.parametrize("value", [65536.0, 1e-6, -3e30])
def test_one_point_that_float16_cannot_hold_makes_all_float32(value):
    points = np.ones((3, 4, 3), np.float32)
    assert stored_points(points).dtype == np.float16
    points[1, 2] = value
    assert np.array_equal(stored_points(points), points)


@given(arrays.arrays(np.float32, 5, elements=floats32))
def test_a_finite_confidence_stays_finite_and_their_order_stays(confidence):
    half = stored_confidence(confidence)
    assert np.array_equal(np.isfinite(half), np.isfinite(confidence))
    finite = np.isfinite(confidence)
    ordered = half[finite][np.argsort(confidence[finite], kind="stable")]
    assert (ordered[:-1] <= ordered[1:]).all()
    assert stored_confidence(np.array([1e30], np.float32))[0] == FLOAT16_MAX


@settings(max_examples=40)
@given(
    data=st.data(),
    lanes=st.integers(1, 4),
    name=st.text(alphabet=st.characters(), max_size=20),
    time_sec=st.floats(allow_nan=False),
)
def test_a_record_gives_back_what_every_lane_made_of_the_frame(data, lanes, name, time_sec):
    height, width, state = (data.draw(st.integers(1, 5)) for _ in range(3))
    seed = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    image = seed.integers(0, 256, (height, width, 3), dtype=np.uint8)
    results = [
        FrameResult(
            sequence=7, index=21, time_sec=time_sec, name=name, image=image,
            crop=Crop((0.5, 0.25), (3, 4), 640, 480),
            points_camera=seed.normal(size=(height, width, 3)).astype(np.float32),
            confidence=seed.exponential(size=(height, width)).astype(np.float32) + 1,
            camera=Camera(seed.normal(size=(4, 4)), 123.456, width, height),
            gain=seed.random(state).astype(np.float32), segment=lane, compute_sec=0.1,
            state_change=float(seed.random()), rule=f"rule {lane}", reset_every=5,
        )
        for lane in range(lanes)
    ]  # fmt: skip
    record = encode_record(results, run=5)
    prefix = read_prefix(record[:PREFIX_BYTES])
    assert prefix is not None
    assert (prefix.run, prefix.sequence, prefix.record_bytes) == (5, 7, len(record))
    body = PREFIX_BYTES + prefix.header_bytes
    header = read_header(prefix, record[PREFIX_BYTES:body])
    for lane, written in enumerate(results):
        read = read_lane(header, lane, lambda at, size: record[body + at : body + at + size])
        assert_close(read, written)


def test_a_preview_is_a_thinning_with_the_numbers_of_the_full_frame(tmp_path):
    gain = np.linspace(0.1, 1.0, 7, dtype=np.float32) / 3
    results = tuple(replace(room_result(4, 160, 120), gain=gain) for _ in range(2))
    results[1].points_camera[:60] = np.nan
    writer = writer_in(tmp_path)
    writer.add(*results)
    frames = Recording.open(tmp_path).seen(4)
    for result, seen in zip(results, frames, strict=True):
        exact = summarize_frame(result, 10**6, 128)
        assert seen.image.shape == (60, 80, 3)
        assert np.array_equal(seen.image, exact.image)
        for name in ("confidence_mean", "gain_mean", "gain_range", "time_sec", "name", "crop"):
            assert getattr(seen, name) == getattr(exact, name), name
        assert np.array_equal(seen.gain, exact.gain)
        assert seen.median_depth == pytest.approx(exact.median_depth, rel=0.1)
        whole = {point.tobytes(): k for k, point in enumerate(exact.points.points_world)}
        places = [whole[point.tobytes()] for point in seen.points.points_world]
        assert np.array_equal(exact.points.colors[places], seen.points.colors)
        assert np.array_equal(exact.points.confidence[places], seen.points.confidence)
    assert 0.8 * PREVIEW_POINTS < len(frames[0].points) < PREVIEW_POINTS  # edges are not in it
    assert PREVIEW_POINTS / 3 < len(frames[1].points) < 2 * PREVIEW_POINTS / 3


def test_what_is_written_is_read_with_its_description(tmp_path):
    write(tmp_path / "archive", 5)
    for path in (tmp_path, tmp_path / "archive"):
        archive = Recording.open(path)
        assert (len(archive), archive.note) == (5, "")
    assert archive.manifest.settings == {"stride": 2}
    status = archive.manifest.status
    assert status == replace(STATUS, phase="finished", frames_done=5)
    assert status.lanes[0].parameters[0].value == 0.5
    for sequence, results in enumerate(archive):
        for lane, written in enumerate(frame(sequence)):
            assert_close(results[lane], written)
            assert_close(archive.lane(sequence, lane), written)
            assert np.array_equal(archive.image(sequence), written.image)
    assert archive.facts(3)["lanes"][1]["rule"] == "rule 1"
    with pytest.raises(
        RecordingError, match=r"frame 5: not in the recording, which has frames 0 to 4"
    ):
        archive.frame(5)
    with pytest.raises(RecordingError, match="it has no lane 3: there are 2"):
        archive.lane(0, 2)


def test_files_are_of_limited_length_and_3000_frames_are_found_quickly(tmp_path, monkeypatch):
    writer = writer_in(tmp_path)
    for sequence in range(3000):
        writer.add(replace(frame(0, 1)[0], sequence=sequence))
    writer.close()
    assert len(list(tmp_path.glob("frames-*.bin"))) == 12
    started = time.perf_counter()
    archive = Recording.open(tmp_path)
    assert time.perf_counter() - started < 0.5
    assert len(archive) == 3000
    monkeypatch.setattr(archive_writer, "FILE_BYTES", 1)
    write(tmp_path / "small", 3)
    assert (tmp_path / "small" / frame_file(2)).exists()


def test_a_tail_torn_at_any_byte_takes_the_last_frame_only(tmp_path):
    writer = writer_in(tmp_path)
    for sequence in range(3):
        writer.add(room_result(sequence, 3, 2))
    writer.close()
    path = tmp_path / frame_file(0)
    whole = path.read_bytes()
    last = Recording.open(tmp_path)._places[2].offset
    for size in range(last, len(whole)):
        path.write_bytes(whole[:size])
        archive = Recording.open(tmp_path)
        assert archive.sequences == (0, 1)
        cut = f"frames-00000.bin: what follows byte {last} is cut off or damaged"
        assert archive.note == (f"{cut}; kept: frames 0 to 1" if size > last else "")


def test_a_flipped_byte_takes_one_frame_only_wherever_it_is(tmp_path):
    write(tmp_path, 4)
    path = tmp_path / frame_file(0)
    whole = path.read_bytes()
    places = Recording.open(tmp_path)._places
    for at in range(places[1].offset, places[2].offset, 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        archive = Recording.open(tmp_path)
        # Whoever wants the full frame does not miss a preview, and the other way about.
        other = archive.each(Recording.open(tmp_path).seen)
        assert [results[0].sequence for results in archive] == [0, 2, 3] or (
            [frames[0].sequence for frames in other] == [0, 2, 3]
        ), at
        assert archive.note.endswith("kept: frames 0 and 2 to 3")
        assert "frames-00000.bin" in archive.note


def test_an_end_that_has_its_length_but_not_its_content_is_found_at_once(tmp_path):
    write(tmp_path, 3)
    path = tmp_path / frame_file(0)
    path.write_bytes(path.read_bytes()[:-500] + bytes(500))
    archive = Recording.open(tmp_path)
    assert archive.sequences == (0, 1)
    assert "frames-00000.bin: its points_camera is damaged" in archive.note


@pytest.mark.parametrize(
    ("damage", "text", "kept"),
    [
        (lambda path: (path / frame_file(1)).unlink(), "missing: frames-00001.bin", "0 and 2 to 3"),
        (lambda path: (path / frame_file(3)).unlink(), "names 4 frames", "0 to 2"),
        (lambda path: (path / frame_file(1)).write_bytes(b"x" * 99), "frames-00001.bin", "0 and 2"),
        (lambda path: (path / MANIFEST_FILE).unlink(), "model and settings are unknown", "0 to"),
        (lambda path: (path / MANIFEST_FILE).write_text("{"), "archive.json: it is damaged", ""),
        (lambda path: (path / MANIFEST_FILE).write_text("[]"), "archive.json: it is dama", ""),
    ],
)
def test_damage_in_any_file_is_named_and_the_others_are_kept(
    tmp_path, monkeypatch, damage, text, kept
):
    monkeypatch.setattr(archive_writer, "FILE_FRAMES", 1)
    write(tmp_path, 4)
    damage(tmp_path)
    archive = Recording.open(tmp_path)
    assert text in archive.note
    assert f"kept: frames {kept}" in archive.note
    assert len(list(archive)) == len(archive) >= 3
    assert archive.manifest.status.lanes[0].name in ("steady", "rule 0")


def test_what_is_no_archive_or_a_newer_one_says_so(tmp_path):
    with pytest.raises(RecordingError, match="no such folder"):
        Recording.open(tmp_path / "none")
    with pytest.raises(RecordingError, match=r"File name too long.*; give a folder that"):
        Recording.open(tmp_path / ("x" * 300))
    with pytest.raises(RecordingError, match=r"archive.json: No such file .* wanted a folder"):
        Recording.open(tmp_path)
    (tmp_path / MANIFEST_FILE).write_text('{"format": "holiday"}')
    with pytest.raises(RecordingError, match="something else than a recording"):
        Recording.open(tmp_path)
    write(tmp_path, 1)
    values = json.loads((tmp_path / MANIFEST_FILE).read_text())
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(values | {"version": 2}))
    with pytest.raises(RecordingError, match=r"format version 2.*reads up to 1: take"):
        Recording.open(tmp_path)


def test_an_archive_without_a_frame_opens(tmp_path):
    write(tmp_path, 1)
    (tmp_path / frame_file(0)).write_bytes(b"")
    archive = Recording.open(tmp_path)
    assert (len(archive), list(archive)) == (0, [])
    assert archive.note == "archive.json names 1 frames; kept: no frame"


def test_words_for_numbers():
    assert in_words((3,)) == "frame 3"
    assert in_words((0, 1, 2, 5, 7, 8)) == "frames 0 to 2, 5 and 7 to 8"


class Full:
    """A file whose disk takes so many bytes and no more."""

    def __init__(self, file, room: int) -> None:
        self._file, self.room = file, room

    def write(self, data) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._file.write(data[: self.room])
        self.room -= taken
        return taken

    def __getattr__(self, name: str):
        return getattr(self._file, name)


def test_a_full_disk_ends_the_archive_and_not_the_run(tmp_path, monkeypatch):
    writer = writer_in(tmp_path)
    writer.add(*frame(0))
    size = (tmp_path / frame_file(0)).stat().st_size
    assert writer._file is not None
    monkeypatch.setattr(writer, "_file", Full(writer._file, size // 2))
    for sequence in range(1, 4):
        writer.add(*frame(sequence))
        assert writer.trouble == (
            "frames from 1 on are not recorded, only thinned ones are kept: No space left on device"
        )
    assert (tmp_path / frame_file(0)).stat().st_size == size
    writer.finish(replace(STATUS, phase="finished", frames_done=4))
    archive = Recording.open(tmp_path)
    assert archive.note == f"{writer.trouble}; kept: frame 0"
    monkeypatch.undo()
    writer.begin(STATUS)  # a restart tries again
    writer.add(*frame(0))
    assert (writer.trouble, 0 in writer) == ("", True)
    writer.close()


def test_a_folder_that_cannot_be_made_is_trouble_and_no_error(tmp_path):
    (tmp_path / "archive").write_text("a file of mine")
    writer = writer_in(tmp_path / "archive")
    writer.add(*frame(0))
    assert "File exists" in writer.trouble
    assert writer.recording is None
    assert (tmp_path / "archive").read_text() == "a file of mine"


def test_a_disk_that_is_nearly_full_is_left_to_the_results(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_writer, "RESERVE_BYTES", 2**60)
    writer = writer_in(tmp_path)
    writer.add(*frame(0))
    assert "are free on the disk of" in writer.trouble


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_temporary_archive_keeps_to_its_limit_and_goes_with_the_writer(temporary):
    size = len(encode_record(frame(0), 0))
    writer = writer_in(None, max_bytes=3 * size + size // 2)
    for sequence in range(6):
        writer.add(*frame(sequence))
    (folder,) = temporary.iterdir()
    used = sum(path.stat().st_size for path in folder.glob("frames-*.bin"))
    assert used <= 3 * size + size // 2
    assert "frames from 3 on are not recorded" in writer.trouble
    assert "its limit of" in writer.trouble
    archive = writer.recording
    assert archive is not None
    assert archive.sequences == (0, 1, 2)
    writer.close()
    assert list(temporary.iterdir()) == []
    with pytest.raises(RecordingError, match="frame 0: its temporary recording has been removed"):
        archive.frame(0)
    writer.add(*frame(3))
    assert list(temporary.iterdir()) == []


def test_a_temporary_archive_goes_with_the_program(temporary):
    code = (
        "import tempfile, sys; tempfile.tempdir = sys.argv[1]\n"
        "from tests.test_recording import frame, writer_in\n"
        "writer = writer_in(None); writer.add(*frame(0)); print(len(writer.recording))"
    )
    words = [sys.executable, "-c", code, str(temporary)]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"1\n"
    assert list(temporary.iterdir()) == []


def test_a_restart_keeps_the_recording_before_it_and_the_old_reader_says_so(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    writer = writer_in(folder)
    for sequence in range(4):
        writer.add(*frame(sequence))
    old, other_process = writer.recording, Recording.open(folder)
    assert old is not None
    writer.begin(STATUS)
    for reader in (lambda: old.frame(0), lambda: next(iter([*old] or [old.frame(1)]))):
        with pytest.raises(RecordingError, match="its run has been replaced by a restart"):
            reader()
    assert (len(old), 0 in old) == (0, False)
    assert len(Recording.open(folder)) == 4  # until there is a frame to take their place
    writer.begin(STATUS)  # once more, before there was one
    writer.add(*(replace(one, name="anew") for one in frame(0)))
    assert len(Recording.open(tmp_path)) == 1
    kept = tmp_path / "archive-1"
    assert Recording.open(kept).sequences == (0, 1, 2, 3)
    assert (kept / "notes.txt").read_text() == "mine"
    with pytest.raises(RecordingError, match="another record stands in its place"):
        other_process.frame(0)
    assert writer.recording is not None
    assert writer.recording.frame(0)[0].name == "anew"
    assert writer.recording.earlier == str(kept)


def test_a_recording_is_kept_under_a_number_that_nothing_has(tmp_path):
    (tmp_path / "archive-1").mkdir()
    (tmp_path / "archive-2").symlink_to(tmp_path / "nowhere")
    writer = writer_in(tmp_path / "archive")
    for run in range(3):
        writer.add(*frame(0))
        writer.begin(STATUS)
        assert len(Recording.open(tmp_path)) == 1, run
    kept = sorted(one.name for one in tmp_path.iterdir())
    assert kept == ["archive", "archive-1", "archive-2", "archive-3", "archive-4"]
    assert not any((tmp_path / "archive-1").iterdir())


def test_what_a_program_before_left_goes_with_overwrite_and_what_is_resumed_is_kept(tmp_path):
    write(tmp_path / "archive", 3)
    writer = writer_in(tmp_path / "archive")
    writer.add(*frame(0))
    assert [one.name for one in tmp_path.iterdir()] == ["archive"]
    writer.close()
    resumed = new_writer(tmp_path / "archive")
    resumed.begin(replace(STATUS, frames_done=1), Recording.open(tmp_path))
    resumed.begin(STATUS)
    resumed.add(*frame(0))
    assert len(Recording.open(tmp_path / "archive-1")) == 1


def test_a_recording_that_cannot_be_moved_stays_where_it_is(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    writer = writer_in(tmp_path / "archive")
    writer.add(*frame(0))
    writer.begin(STATUS)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        writer.add(*frame(0))
        assert "frames from 0 on are not recorded" in writer.trouble
    assert len(Recording.open(tmp_path)) == 1
    writer.begin(STATUS)
    writer.add(*frame(0))
    assert (writer.trouble, len(Recording.open(tmp_path / "archive-1"))) == ("", 1)


@pytest.mark.parametrize("step", ["mkdir", "write"])
def test_a_program_that_is_killed_during_a_restart_loses_nothing(tmp_path, monkeypatch, step):
    writer = writer_in(tmp_path / "archive")
    writer.add(*frame(0))
    writer.begin(STATUS)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    target = (Path, "mkdir") if step == "mkdir" else (archive_writer, "write_atomically")
    monkeypatch.setattr(*target, die)
    with pytest.raises(KeyboardInterrupt):
        writer.add(*frame(0))
    assert len(Recording.open(tmp_path / "archive-1")) == 1
    with pytest.raises(RecordingError, match=r"of runs before a restart it holds .*archive-1"):
        Recording.open(tmp_path)


def test_frames_of_another_run_are_left_out(tmp_path):
    write(tmp_path / "a", 3)
    write(tmp_path / "b", 2)
    (tmp_path / "a" / frame_file(0)).rename(tmp_path / "b" / frame_file(1))
    archive = Recording.open(tmp_path / "b")
    assert archive.sequences == (0, 1)
    assert "frames-00001.bin: it holds frames of another run" in archive.note


def test_readers_see_whole_frames_while_the_writer_goes_on(tmp_path):
    writer = writer_in(tmp_path)
    writer.add(*frame(0))
    archive = writer.recording
    assert archive is not None
    ended = threading.Event()
    seen: list[int] = []
    errors: list[Exception] = []

    def read() -> None:
        try:
            while not ended.is_set():
                newest = len(archive) - 1
                assert_close(archive.lane(newest, 1), frame(newest)[1])
                assert [one[0].sequence for one in archive][: newest + 1] == [*range(newest + 1)]
                seen.append(newest)
        except (AssertionError, RecordingError) as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for sequence in range(1, 60):
        writer.add(*frame(sequence))
        time.sleep(0.002)
    ended.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert len(set(seen)) > 1
    assert archive.note == ""


def test_a_killed_process_leaves_all_its_finished_frames(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.test_recording import frame, writer_in\n"
        "writer = writer_in(Path(sys.argv[1]))\n"
        "for sequence in range(10**6):\n"
        "    writer.add(*frame(sequence)); print(sequence, flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 40:
            break
    process.send_signal(signal.SIGKILL)
    finished = max([40, *map(int, process.stdout.read().splitlines())])
    process.wait()
    archive = Recording.open(tmp_path)
    assert archive.sequences[: finished + 1] == tuple(range(finished + 1))
    assert len(archive) <= finished + 2  # one more may have been written and not yet told
    assert_close(archive.frame(finished)[1], frame(finished)[1])
    assert archive.manifest.status.phase == "running"


def test_memory_does_not_grow_with_the_frames(tmp_path):
    writer = writer_in(tmp_path)
    results = [room_result(0, 64, 48)]

    def add(numbers: range) -> None:
        for sequence in numbers:
            writer.add(replace(results[0], sequence=sequence))

    add(range(20))
    tracemalloc.start()
    add(range(20, 220))
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 200 * 1000, "bytes for 200 frames"
    assert peak < 200 * 1000 + 10 * len(encode_record(results, 0))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 200 * 20_000


def test_the_worker_archives_every_frame_and_a_restart_begins_anew(tmp_path):
    store, mailbox = SceneStore(), Mailbox()
    writer = new_writer(tmp_path, on_recording=store.set_recording)
    worker = worker_of(Images(5), Pretended, store, mailbox, sinks=(writer,))
    worker.start()
    wait_for(lambda: store.snapshot().status.phase == "finished", "the end")
    first = store.snapshot().recording
    assert isinstance(first, Recording)
    assert first.sequences == (0, 1, 2, 3, 4)
    assert np.array_equal(first.image(3), np.full((12, 16, 3), 3, np.uint8))
    said = Recording.open(tmp_path).manifest
    assert (said.frames, said.status.phase, said.status.rule) == (5, "finished", "pretended")
    mailbox.put(Restart())
    wait_for(lambda: store.snapshot().epoch == 2, "the new run")
    wait_for(lambda: store.snapshot().status.phase == "finished", "its end")
    second = store.snapshot().recording
    assert isinstance(second, Recording)
    assert second is not first
    assert (len(first), len(second)) == (0, 5)
    assert worker.stop(5)
    writer.close()


def test_trouble_of_the_archive_is_said_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_writer, "RESERVE_BYTES", 2**60)
    store, writer = SceneStore(), new_writer(tmp_path)
    worker = worker_of(Images(3), Pretended, store, Mailbox(), ends_by_itself=True, sinks=(writer,))
    worker.start()
    assert worker.join(10)
    assert worker.error is None
    scene = store.snapshot()
    assert (len(scene.frames), scene.status.phase) == (3, "finished")
    assert scene.status.message == writer.trouble != ""
