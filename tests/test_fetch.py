"""Fetching released weights, against a web server on this machine."""

import builtins
import errno
import shutil
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.live_media import served as serving
from tests.refusals import refusal
from tests.weights_files import LINEAR
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import OutputError, WeightsError
from ttt3r_viewer.model.config import PRESETS
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.weights import fetch as fetch_module
from ttt3r_viewer.weights.fetch import (
    LICENCE_NOTE,
    RELEASES,
    fetch,
    gdown_download,
    http_download,
    locate,
)

refused = partial(refusal, WeightsError)
NAME = "cut3r-512"


@dataclass
class Served:
    """What the server has, how it behaves, and what it was asked."""

    content: bytes = b""
    ranges: bool = True
    cut_after: int | None = None
    """Bytes of an answer after which the connection breaks."""
    says_length: bool = True
    asked: list[str | None] = field(default_factory=list)
    """The Range header of each request."""

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        if "absent" in request.path:
            request.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        total = len(self.content)
        if start and start >= total:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{total}")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if self.says_length:
            request.send_header("Content-Length", str(total - start))
        request.end_headers()
        end = total if self.cut_after is None else start + self.cut_after
        request.wfile.write(self.content[start:end])


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file as the released ones are, of a small network."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("released") / "a.pth"
    torch.save({"model": ReconstructionNetwork(LINEAR).state_dict(), "epoch": 1}, path)
    return path.read_bytes()


@pytest.fixture
def served(released: bytes, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Also makes the program believe that the released network is the small one."""
    monkeypatch.setitem(PRESETS, NAME, LINEAR)
    size = len(released)
    release = replace(RELEASES[NAME], size_bytes=size)
    monkeypatch.setitem(RELEASES, NAME, release)
    return Served(released)


@pytest.fixture
def url(served: Served) -> Iterator[str]:
    with serving(served.respond) as port:
        yield f"http://127.0.0.1:{port}/file.pth"


@pytest.fixture
def closed() -> str:
    """An address where nothing listens."""
    with serving(lambda _: None) as port:
        return f"http://127.0.0.1:{port}/"


def fetch_from(url: str, folder: Path, said: list[str] | None = None) -> Path:
    lines = [] if said is None else said
    return fetch(NAME, echo=lines.append, downloader=http_download, url=url, cache_dir=folder)


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


FINAL = RELEASES[NAME].file_name
PART = f"{FINAL}.part"


def test_released_files_are_those_of_the_authors():
    assert RELEASES["cut3r-512"].size_bytes == 3_173_761_006
    assert RELEASES["cut3r-512"].url.endswith("id=1Asz-ZB3FfpzZYwunhQvNPZEUA8XUNAYD")
    assert RELEASES["cut3r-224"].url.endswith("id=11dAgFkWHpaOHsR6iuitlB_v4NFFBrWjy")
    assert set(RELEASES) < set(PRESETS)


def test_a_whole_file_arrives_after_its_licence_was_said(served, url, tmp_path):
    said: list[str] = []
    path = fetch_from(url, tmp_path / "new" / "weights", said)
    assert path.read_bytes() == served.content
    assert said[0] == LICENCE_NOTE
    assert "CC BY-NC-SA 4.0" in said[0]
    assert files(path.parent) == {FINAL: len(served.content)}
    assert fetch_from(url, path.parent) == path
    assert len(served.asked) == 1, "a file that is there is not fetched again"


def test_cut_off_half_way_then_resumed(served, url, tmp_path):
    served.cut_after = 10_000
    text = refused(fetch_from, url, tmp_path)
    assert "cut off after 10,000 bytes" in text
    assert "run the same command again" in text
    assert files(tmp_path) == {PART: 10_000}
    refused(fetch_from, url, tmp_path)
    assert files(tmp_path) == {PART: 20_000}
    served.cut_after = None
    assert fetch_from(url, tmp_path).read_bytes() == served.content
    assert served.asked == [None, "bytes=10000-", "bytes=20000-"]
    assert files(tmp_path) == {FINAL: len(served.content)}


@pytest.mark.parametrize(
    ("skill", "text"), [("says_length", "5,000 of "), ("ranges", "after 5,000 bytes")]
)
def test_a_server_that_says_no_length_or_sends_all_again(served, url, tmp_path, skill, text):
    setattr(served, skill, False)
    served.cut_after = 5000
    assert text in refused(fetch_from, url, tmp_path)
    served.cut_after = None
    assert fetch_from(url, tmp_path).read_bytes() == served.content


def test_a_part_that_is_already_whole(served, url, tmp_path):
    (tmp_path / PART).write_bytes(served.content)
    assert fetch_from(url, tmp_path).read_bytes() == served.content
    assert served.asked == []
    http_download(url, tmp_path / FINAL)
    assert (tmp_path / FINAL).read_bytes() == served.content


def test_a_file_of_another_size_is_not_kept(served, url, tmp_path):
    size = len(served.content)
    served.content += b"x"
    text = refused(fetch_from, url, tmp_path)
    assert f"has {size + 1:,} bytes, wanted {size:,}" in text
    assert files(tmp_path) == {}
    (tmp_path / PART).write_bytes(served.content + b"more than it ever had")
    assert "fetch again" in refused(fetch_from, url, tmp_path)
    assert files(tmp_path) == {}


def test_a_damaged_file_is_not_kept(served, url, tmp_path):
    middle = len(served.content) // 2
    served.content = served.content[:middle] + bytes(8) + served.content[middle + 8 :]
    assert "damaged (checksum of" in refused(fetch_from, url, tmp_path)
    assert files(tmp_path) == {}


def test_a_file_of_unknown_size_is_known_by_its_names(served, url, tmp_path, monkeypatch):
    monkeypatch.setitem(RELEASES, NAME, replace(RELEASES[NAME], is_exact=False))
    assert fetch_from(url, tmp_path / "a").read_bytes() == served.content
    monkeypatch.setitem(PRESETS, NAME, replace(LINEAR, state_size=7))
    assert "register_tokens.weight is 6x32" in refusal(
        WeightsError, fetch_from, url, tmp_path / "b"
    )
    served.content = b"<!doctype html><html>too many people have fetched this file</html>"
    assert "is a web page" in refused(fetch_from, url, tmp_path / "b")
    assert files(tmp_path / "b") == {}


def test_weights_of_another_known_network(served, url, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, NAME, replace(LINEAR, state_size=7))
    monkeypatch.setitem(PRESETS, "cut3r-224", LINEAR)
    assert served.content
    assert "another network" in refused(fetch_from, url, tmp_path)


def test_an_existing_file_of_another_size_is_left_alone(served, url, tmp_path):
    (tmp_path / FINAL).write_bytes(b"mine")
    assert f"delete {tmp_path / FINAL}" in refused(fetch_from, url, tmp_path)
    assert (tmp_path / FINAL).read_bytes() == b"mine"
    assert served.asked == []


def test_no_network(served, closed, tmp_path):
    text = refused(fetch_from, closed, tmp_path)
    assert "check the network" in text
    assert "refused" in text
    assert files(tmp_path) == {}
    (tmp_path / PART).write_bytes(served.content[:99])
    refused(fetch_from, closed, tmp_path)
    assert files(tmp_path) == {PART: 99}


def test_addresses_that_cannot_be(served, url, tmp_path):
    assert served.content
    assert "404" in refused(fetch_from, url + "/absent", tmp_path)
    for address in ("file:///etc/passwd", "ftp://example.org/x", "nonsense", ""):
        assert "no web address" in refused(fetch_from, address, tmp_path)
    unreachable = ("http://", "http://a..b/", "http://[::1", "http://127.0.0.1:99999/")
    for address in (*unreachable, "http://a b/"):
        assert "check the network" in refused(fetch_from, address, tmp_path)


def test_too_little_disk(served, url, tmp_path, monkeypatch):
    def usage(path: Path) -> Any:
        assert path == tmp_path
        return types.SimpleNamespace(free=len(served.content) - 1000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert "too little room" in refusal(OutputError, fetch_from, url, tmp_path)
    assert served.asked == []
    # What has arrived already needs no more room.
    (tmp_path / PART).write_bytes(served.content[:1000])
    assert fetch_from(url, tmp_path).exists()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be written"),
    ],
)
def test_a_disk_that_refuses(served, tmp_path, error, text):
    assert served.content

    def downloader(url: str, part_path: Path) -> None:
        del url
        part_path.write_bytes(b"half")
        raise error

    with pytest.raises(OutputError, match=text):
        fetch(NAME, echo=print, downloader=downloader, cache_dir=tmp_path)
    assert files(tmp_path) == {PART: 4}


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be made"):
        fetch(NAME, echo=print, cache_dir=tmp_path / "file")


def test_unknown_names_list_the_known():
    with pytest.raises(WeightsError, match="known are cut3r-512, cut3r-224"):
        fetch("cut3r-1024", echo=print)


def test_without_gdown_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    plain_import = builtins.__import__

    def no_gdown(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "gdown":
            raise ImportError(name)
        return plain_import(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", no_gdown)
    monkeypatch.delitem(sys.modules, "gdown", raising=False)
    text = refusal(
        WeightsError, gdown_download, "https://drive.google.com/uc?id=x", tmp_path / "x.part"
    )
    assert "pip install 'ttt3r-viewer[fetch]'" in text


def test_gdown_resumes_and_hands_its_file_over(served, url, tmp_path):
    """The real gdown, against the local server: its arguments and leftovers are as we think."""
    pytest.importorskip("gdown")

    def call() -> Path:
        return fetch(NAME, echo=print, downloader=gdown_download, url=url, cache_dir=tmp_path)

    served.cut_after = 600_000
    text = refused(call)
    assert "cut off" in text
    assert "run the same command again" in text
    assert FINAL not in files(tmp_path)
    served.cut_after = None
    assert call().read_bytes() == served.content
    assert served.asked[0] is None
    assert served.asked[-1] is not None, "what had arrived was asked for again"
    assert files(tmp_path) == {FINAL: len(served.content)}


def test_gdown_without_a_network(closed, tmp_path):
    pytest.importorskip("gdown")
    with pytest.raises(WeightsError, match="check the network"):
        fetch(NAME, echo=print, downloader=gdown_download, url=closed, cache_dir=tmp_path)


def test_locate(served, url, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetch_module, "weights_folder", lambda: tmp_path)
    assert "run `ttt3r-view weights fetch cut3r-512`" in refused(locate, NAME)
    assert main(["weights", "fetch", NAME, "--url", url]) == 0
    assert LICENCE_NOTE in capsys.readouterr().out
    assert locate(NAME) == tmp_path / FINAL
    assert locate(NAME).read_bytes() == served.content
    (tmp_path / "own.pth").write_bytes(b"x")
    assert locate(str(tmp_path / "own.pth")) == tmp_path / "own.pth"
    with pytest.raises(WeightsError, match="no weights file some/where"):
        locate("some/where.pth")


def test_weights_live_in_the_users_cache_folder():
    folder = fetch_module.weights_folder()
    assert folder.name == "weights"
    assert "ttt3r-viewer" in folder.parts
