"""Weights and sessions as hostile bytes: valid ones to begin with, and the readers under attack."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from tests.fuzz.media import made_by, put
from tests.made_up_run import room_result, rule_info
from tests.weights_files import zipped
from ttt3r_viewer.commands.parser import Given
from ttt3r_viewer.commands.shows import notice_of
from ttt3r_viewer.commands.weights import FileOptions, info
from ttt3r_viewer.errors import ViewerError
from ttt3r_viewer.geometry import pose_from_vector
from ttt3r_viewer.model.config import PRESETS, config_from_text
from ttt3r_viewer.recording import checkpoint
from ttt3r_viewer.recording.format import PREFIX_BYTES, encode_record, read_prefix
from ttt3r_viewer.recording.reader import Recording, frame_file, refill
from ttt3r_viewer.recording.tour import Keyframe, Tour, read_tour, write_tour
from ttt3r_viewer.recording.writer import RecordingWriter
from ttt3r_viewer.runs.player import ending, rerun_command
from ttt3r_viewer.runs.resuming import best_checkpoint
from ttt3r_viewer.scene.store import SceneStore
from ttt3r_viewer.types import Status
from ttt3r_viewer.weights.weights_file import expected_shapes, save_weights

RUN = 7


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def small_weights() -> Sequence[bytes]:
    tensor = torch.arange(6.0).reshape(2, 3)
    state = {"w": tensor, "half": tensor.half(), "t": tensor.t(), "b": torch.zeros(0, 4)}
    return saved({"model": state, "epoch": 3}), saved(torch.nn.Linear(2, 2).state_dict())


def pickles() -> Sequence[bytes]:
    found = []
    for data in small_weights():
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found += [
                archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")
            ]
    return found


def describe(path: Path) -> None:
    """Do with a file of weights what `weights info` does."""
    info(Given([FileOptions(file=str(path))], {}), lambda _: None, lambda _: None)


def give_weights(data: bytes, folder: Path, name: str) -> None:
    describe(put(data, folder, name))


def give_pickle(data: bytes, folder: Path) -> None:
    members = {"a/data.pkl": data, "a/data/0": bytes(24)}
    describe(zipped(folder / "a.pth", members.items()))


def safetensors() -> Sequence[bytes]:
    from safetensors.torch import save

    tensors = {"w": torch.ones(2, 3), "b": torch.ones(3, dtype=torch.bfloat16)}
    config = PRESETS["miniature"]
    whole = made_by(
        lambda path: save_weights(path, {"w": torch.ones(2)}, config, {"licence": "x"}),
        "a.safetensors",
    )
    return save(tensors), whole, save({"e": torch.zeros(0)}, {"licence": "none"})


def safetensors_json(data: bytes, folder: Path) -> None:
    give_weights(struct.pack("<Q", len(data)) + data + bytes(64), folder, "a.safetensors")


def safetensors_headers() -> Sequence[bytes]:
    return [data[8 : 8 + int.from_bytes(data[:8], "little")] for data in safetensors()]


def give_config_text(data: bytes, _folder: Path) -> None:
    expected_shapes.__wrapped__(config_from_text(data.decode("utf-8", "replace")))


def status() -> Status:
    rules = (rule_info("steady", 0.5), rule_info("drifting", 1.0))
    return Status(phase="running", model="miniature", lanes=rules, known_rules=rules[:1])


@cache
def valid_session() -> dict[str, bytes]:
    """The files of an archive of three frames and two lanes."""
    with TemporaryDirectory() as folder:
        writer = RecordingWriter(
            Path(folder), source="pictures", settings={"input": "x", "rule": "ttt3r"}
        )
        writer.begin(status())
        for sequence in range(3):
            writer.add(*(room_result(sequence, 8, 6),) * 2)
        writer.finish(Status(phase="finished", lanes=status().lanes))
        writer.close()
        return {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def open_session(folder: Path, files: dict[str, bytes]) -> None:
    """Open an archive and do with it what `info`, `open` and `export` do."""
    place = folder / "session"
    place.mkdir(exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    for name, content in files.items():
        (place / name).write_bytes(content)
    archive = Recording.open(place)
    texts(archive)
    store = SceneStore(2000)
    store.clear(archive.lanes)
    for sequence in archive.sequences:
        with suppress(ViewerError):
            archive.frame(sequence)
            archive.facts(sequence)
            archive.lane(sequence, archive.lanes - 1)
    for _ in refill(archive, store, frozenset(archive.sequences[-1:])):
        store.snapshot()
    _ = archive.note


def texts(archive: Recording) -> None:
    """The words that the page and the command line make of a description."""
    said = archive.manifest
    notice_of(archive)
    ending(archive)
    rerun_command(said.settings)
    _ = said.status.frames_taken + 1
    for rule in (*said.status.lanes, *said.status.known_rules):
        _ = rule.text + rule.name + rule.title
        _ = [one.low <= one.value <= one.high for one in rule.parameters]


def give_archive_json(data: bytes, folder: Path) -> None:
    open_session(folder, valid_session() | {"archive.json": data})


def give_records(data: bytes, folder: Path) -> None:
    open_session(folder, valid_session() | {frame_file(0): data})


def valid_record() -> bytes:
    return encode_record((room_result(0, 8, 6),) * 2, RUN)


def header_of(record: bytes) -> bytes:
    prefix = read_prefix(record[:PREFIX_BYTES])
    assert prefix is not None
    return record[PREFIX_BYTES : PREFIX_BYTES + prefix.header_bytes]


def give_record_header(data: bytes, folder: Path) -> None:
    """The header is hostile and all checksums are right."""
    record = valid_record()
    body = record[PREFIX_BYTES + len(header_of(record)) :]
    try:
        lanes = len(json.loads(data)["lanes"])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        lanes = 2
    head = struct.pack(
        "<8sQQQIII", record[:8], RUN, 0, len(body), len(data), zlib.crc32(data), lanes
    )
    whole = head + struct.pack("<I", zlib.crc32(head)) + data + body
    description = json.loads(valid_session()["archive.json"]) | {"run": f"{RUN:016x}"}
    open_session(folder, {"archive.json": json.dumps(description).encode(), frame_file(0): whole})


@cache
def valid_checkpoint() -> bytes:
    tensors = {"0.state": torch.ones(2, 3), "0.rule": torch.zeros(4)}
    with TemporaryDirectory() as folder:
        progress = checkpoint.HowFar(RUN, 3, 0, "", 2)
        checkpoint.write_checkpoint(Path(folder), progress, {}, tensors, {"lanes": [{"a": 1}]})
        (path,) = Path(folder).iterdir()
        return path.read_bytes()


def checkpoint_text() -> bytes:
    data = valid_checkpoint()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header["__metadata__"][checkpoint.KEY].encode()


def give_checkpoint(data: bytes, folder: Path) -> None:
    path = put(data, folder, "checkpoint-00000003.safetensors")
    found = checkpoint.Checkpoint.read(path)
    found.tensors()
    place = folder / "whole"
    if not place.exists():
        place.mkdir()
        for name, content in valid_session().items():
            (place / name).write_bytes(content)
    archive = Recording.open(place)
    archive.manifest = replace(archive.manifest, run=found.progress.run)
    if best_checkpoint(archive, [path]) is not None:
        assert 0 < found.progress.frames <= len(archive)


def give_checkpoint_text(data: bytes, folder: Path) -> None:
    """The text is hostile and its checksum is right."""
    good = valid_checkpoint()
    start = 8 + int.from_bytes(good[:8], "little")
    header = json.loads(good[8:start])
    text = data.decode("utf-8", "replace")
    header["__metadata__"] |= {
        checkpoint.KEY: text,
        checkpoint.CHECK_KEY: f"{zlib.crc32(text.encode()):08x}",
    }
    head = json.dumps(header).encode()
    give_checkpoint(struct.pack("<Q", len(head)) + head + good[start:], folder)


def tours() -> Sequence[bytes]:
    views = [
        Keyframe(pose_from_vector([0, 0, k, 1, 0, 0.1 * k, 0]), 1.0, 1.0 + k) for k in range(3)
    ]
    return [made_by(lambda path: write_tour(path, Tour(tuple(views))), "tour.json")]


def give_tour(data: bytes, folder: Path) -> None:
    tour = read_tour(put(data, folder, "tour.json"))
    for time_sec in np.linspace(0, tour.duration_sec, 5):
        view = tour.at(float(time_sec))
        assert np.isfinite(view.T_world_camera).all()
        assert 0 < view.fov_y_rad < np.pi
