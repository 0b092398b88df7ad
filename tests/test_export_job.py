"""Exports for the page: one at a time, cancelled, sent, and never half under a final name."""

import io
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from tests.made_up_run import room_result
from tests.test_export_formats import EVERYTHING, make_session
from tests.test_recording import STATUS, new_writer
from tests.waiting import wait_for
from ttt3r_viewer.export import job
from ttt3r_viewer.export.job import Exporter, JobState, Request, free_name
from ttt3r_viewer.export.known_formats import Exported
from ttt3r_viewer.export.lane_source import Thinning
from ttt3r_viewer.recording.reader import Recording
from ttt3r_viewer.viewer.panels.export import state_html


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_session(tmp_path / "session")


@pytest.fixture
def exporter(folder) -> Exporter:
    archive = Recording.open(folder)
    return Exporter(lambda: archive, folder)


def ended(exporter: Exporter) -> JobState:
    """Wait until the export has ended, and give how."""
    wait_for(lambda: not exporter.state.busy, "its end", 20)
    return exporter.state


def written(exporter: Exporter) -> Exported:
    """Wait for the export, and give what it wrote."""
    state = ended(exporter)
    assert state.phase == "done", state.message
    assert state.result is not None
    return state.result


class Held:
    """Stops an export at its second step, until it is let go."""

    def __init__(self, exporter: Exporter) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        on_progress = exporter._on_progress

        def held(done: int, total: int) -> None:
            if done == 2:
                self.reached.set()
                assert self.go_on.wait(10)
            on_progress(done, total)

        exporter._on_progress = held


def test_an_export_lies_in_the_session_and_is_sent(exporter, folder):
    sent: list[tuple[str, bytes]] = []
    assert exporter.fetch(lambda *one: sent.append(one)).startswith("there is nothing to download")
    assert exporter.start(Request("ply", 1, 2, Thinning(2, edge_filter=0.0))) == ""
    state = ended(exporter)
    assert state.phase == "done"
    assert state.result is not None
    assert state.result.path == folder / "export" / "drifting-rate-0.8" / "points.ply"
    assert state.result.count == 2 * 32 * 24
    assert exporter.fetch(lambda *one: sent.append(one)) == ""
    assert ended(exporter).result == state.result
    assert sent == [("points.ply", state.result.path.read_bytes())]


def test_a_folder_is_sent_as_zip(exporter):
    sent: list[tuple[str, bytes]] = []
    exporter.start(Request("colmap", thinning=Thinning(8)))
    path = written(exporter).path
    assert exporter.fetch(lambda *one: sent.append(one)) == ""
    assert ended(exporter).phase == "done"
    ((name, content),) = sent
    assert name == "colmap.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert packed.testzip() is None
        files = {one.relative_to(path.parent).as_posix() for one in path.rglob("*.*")}
        assert set(packed.namelist()) == files
        assert "colmap/image_list.txt" in files
        names = packed.read("colmap/image_list.txt").decode().split()
        assert all(f"colmap/images/{one}" in files for one in names)


def test_one_at_a_time_and_cancelled(exporter, folder):
    held = Held(exporter)
    assert exporter.start(Request("ply")) == ""
    assert held.reached.wait(10)
    refusal = "an export (ply) is going on: wait for it, or cancel it"
    assert exporter.start(Request("tum")) == refusal
    assert not (folder / "export" / "steady-rate-1" / "points.ply").exists()
    exporter.cancel()
    held.go_on.set()
    assert ended(exporter).phase == "cancelled"
    assert not [one for one in (folder / "export").rglob("*") if one.is_file()]
    assert exporter.start(Request("tum")) == ""
    assert ended(exporter).phase == "done"


def test_what_goes_wrong_is_said_and_the_next_one_goes(exporter, folder):
    (folder / "export").write_text("in the way")
    exporter.start(Request("tum"))
    state = ended(exporter)
    assert state.phase == "failed"
    assert "name another place" in state.message
    exporter.start(Request("tum", lane=5))
    assert "--lane 6: this recording has 2" in ended(exporter).message
    (folder / "export").unlink()
    exporter.start(Request("tum"))
    assert ended(exporter).phase == "done"


def test_an_earlier_export_is_not_replaced(exporter, folder):
    for _ in range(3):
        exporter.start(Request("tum"))
        assert ended(exporter).phase == "done"
    names = sorted(one.name for one in (folder / "export" / "steady-rate-1").iterdir())
    assert names == ["poses_tum-2.txt", "poses_tum-3.txt", "poses_tum.txt"]
    assert free_name(folder / "new.ply") == folder / "new.ply"


def test_too_large_for_a_download_says_where_it_lies(exporter, monkeypatch):
    exporter.start(Request("ply"))
    path = written(exporter).path
    monkeypatch.setattr(job, "DOWNLOAD_BYTES", 1000)
    refusal = exporter.fetch(lambda *_: pytest.fail("sent"))
    assert f"take {path} from the disk" in refusal


def test_a_run_that_goes_on_gives_what_is_there_and_a_restart_ends_an_export(tmp_path):
    writer = new_writer(tmp_path / "run")
    exporter = Exporter(lambda: writer.recording, None)
    exporter.start(Request("tum"))
    assert "no frame has been recorded yet" in ended(exporter).message
    writer.begin(STATUS)
    for sequence in range(3):
        writer.add(room_result(sequence, 32, 24))
    exporter.start(Request("tum"))
    result = ended(exporter).result
    assert result is not None
    assert result.count == 3
    held = Held(exporter)
    exporter.start(Request("ply"))
    assert held.reached.wait(10)
    writer.add(room_result(3, 32, 24))
    writer.begin(STATUS)
    held.go_on.set()
    state = ended(exporter)
    assert state.phase == "failed"
    assert "replaced by a restart" in state.message
    exporter.close()
    assert not result.path.parent.exists()


def test_the_page_says_it_in_plain_words(exporter):
    exporter.start(Request("tum"))
    result, state = written(exporter), exporter.state
    text = state_html(state, "", temporary=False)
    assert f"4 frames, {result.bytes_written / 1e6:.3g} MB, at {result.path}" in text
    assert "until the program ends" in state_html(state, "", temporary=True)
    failed = replace(state, phase="failed", message="<b>disk</b>", result=None)
    assert "&lt;b&gt;disk" in state_html(failed, "", temporary=False)


def test_an_export_can_stand_upright_by_gravity(exporter):
    """The same points, turned about the first camera; where nothing stands it is refused."""
    clouds = []
    for up in ("camera", "gravity"):
        exporter.start(Request("ply", thinning=EVERYTHING, up=up))
        cloud = trimesh.load(written(exporter).path)
        assert isinstance(cloud, trimesh.PointCloud)
        clouds.append(cloud.vertices)
    as_seen, level = clouds
    assert not np.allclose(as_seen, level, atol=1e-3)
    away = [np.linalg.norm(one, axis=1) for one in clouds]
    assert np.allclose(*away, atol=1e-3)
    exporter.start(Request("intrinsics", up="gravity"))
    assert "--up gravity means nothing to intrinsics" in ended(exporter).message
