"""Malicious weights files: none runs code or writes anything, by `weights info` or by the loader.

Each is a real file. Where a pickle is one that runs code in Python's own unpickler, a twin of the
test lets it do so: its canary is a file that would appear.
"""

import argparse
import contextlib
import copyreg
import importlib
import io
import operator
import os
import pickle
import stat
import struct
import time
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch._utils import _rebuild_parameter

from tests.refusals import error_line, refusal
from tests.weights_files import LINEAR, Trap, zipped
from ttt3r_viewer.cli import main
from ttt3r_viewer.errors import WeightsError
from ttt3r_viewer.model.config import config_to_text
from ttt3r_viewer.model.network import ReconstructionNetwork
from ttt3r_viewer.weights.load import load_network
from ttt3r_viewer.weights.torch_zip import MAX_PICKLE_BYTES, MOST_SHARING, read_archive
from ttt3r_viewer.weights.unpickle import read_pickle
from ttt3r_viewer.weights.weights_file import CONFIG_KEY

EXTENSION = 0x5A5A
"""A code that the tests register for `os.system`, as any package may register its own."""


def text(words: str) -> bytes:
    return b"X" + struct.pack("<I", len(words)) + words.encode()


def dumped(canary: Path) -> dict[str, bytes]:
    """Pickles that make the canary, as Python's own pickler writes them."""
    shell = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w')"
    evaluate = Trap(getattr, Trap(importlib.import_module, "builtins"), "eval")
    call = operator.methodcaller("system", shell)
    pickles = {
        "builtins.eval": Trap(eval, code),
        "open": Trap(open, str(canary), "w"),
        "getattr chain": Trap(evaluate, code),
        "methodcaller": Trap(call, Trap(importlib.import_module, "os")),
        "partial": Trap(partial(os.system, shell)),
        "map": Trap(list, Trap(map, os.system, [shell])),
        "in a container": [{"deep": (Trap(os.system, shell),)}],
        "in the state of another": Trap(argparse.Namespace, extra=({"x": Trap(eval, code)},)),
        "in an OrderedDict": OrderedDict(a=Trap(eval, code)),
        "as an OrderedDict's argument": Trap(OrderedDict, Trap(map, eval, [code])),
        "as a tensor's hooks": Trap(_rebuild_parameter, torch.zeros(1), True, Trap(eval, code)),
    }
    return {name: pickle.dumps(value, 2) for name, value in pickles.items()}


def running(canary: Path) -> dict[str, bytes]:
    """Pickles that make the canary in Python's own unpickler."""
    shell = f"touch {canary}"
    named = b"\x8c\x02os\x8c\x06system\x93"
    word = text(shell)
    inner = named + word + b"\x85R."
    return {
        "REDUCE in protocol 0": b"cos\nsystem\np0\n(S" + repr(shell).encode() + b"\ntp1\nRp2\n.",
        "REDUCE in protocol 1": b"cos\nsystem\nq\x00(" + word + b"tq\x01Rq\x02.",
        "REDUCE in protocol 2": b"\x80\x02cos\nsystem\nq\x00" + word + b"\x85q\x01Rq\x02.",
        "REDUCE in protocol 3": b"\x80\x03cos\nsystem\n" + word + b"\x85R.",
        "STACK_GLOBAL in protocol 4": b"\x80\x04" + named + word + b"\x85R.",
        "STACK_GLOBAL in protocol 5": b"\x80\x05" + named + word + b"\x85R.",
        "STACK_GLOBAL by memo": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940" b"0h\x00h\x01\x93"
        + word + b"\x85R.",
        "no protocol, newest opcodes": named + word + b"\x85R.",
        "INST": b"(S" + repr(shell).encode() + b"\nios\nsystem\n.",
        "OBJ of a class": b"(csubprocess\nPopen\n" + text("touch") + b"o0" + named + word
        + b"\x85R.",
        "NEWOBJ_EX, then REDUCE": b"\x80\x04cbuiltins\ndict\n)}\x920" + named + word + b"\x85R.",
        "EXT1, EXT2": b"\x83" + struct.pack("<H", EXTENSION) + word + b"\x85R.",
        "EXT4": b"\x84" + struct.pack("<I", EXTENSION) + word + b"\x85R.",
        "BUILD with __setstate__": b"\x80\x02cargparse\nNamespace\n)\x81}(" + text("__setstate__")
        + b"cos\nsystem\nub" + word + b"b.",
        "BUILD as first opcode's state": b"\x80\x02cargparse\nNamespace\n)\x81}" + text("a")
        + b"cos\nsystem\n" + word + b"\x85Rsb.",
        "recursion: a list that holds itself": b"]q\x00h\x00a0" + named + word + b"\x85R.",
        "import by __import__": b"cbuiltins\n__import__\n" + text("os") + b"\x85R0cos\nsystem\n"
        + word + b"\x85R.",
        "exec of source": b"cbuiltins\nexec\n" + text(f"import os; os.system({shell!r})")
        + b"\x85R.",
        "allowed name, more dots": b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93" + word + b"\x85R.",
        "dotted name": b"\x80\x04\x8c\x09posixpath\x8c\x09os.system\x93" + word + b"\x85R.",
        "beside a state dict": b"}(" + text("model") + b"}" + text("args") + b"cos\nsystem\n"
        + word + b"\x85Ru.",
        "in a dict's key": b"}cos\nsystem\n" + word + b"\x85RNs.",
        "behind a second STOP": b"cos\nsystem\n" + word + b"\x85R.N.",
        "a pickle in a pickle": b"cpickle\nloads\nB" + struct.pack("<I", len(inner)) + inner
        + b"\x85R.",
        **dumped(canary),
    }  # fmt: skip


def resting(canary: Path) -> dict[str, bytes]:
    """Pickles that Python's own unpickler refuses or chokes on."""
    trap = b"cos\nsystem\n" + text(f"touch {canary}") + b"\x85R"
    return {
        "frame of false length": b"\x80\x04\x95" + b"\xff" * 8 + trap + b".",
        "frame in a frame": b"\x80\x04\x95" + bytes(8) + b"\x95\x05" + bytes(7) + trap + b".",
        "persistent id": text("storage") + b"Q0" + trap + b"0N.",
        "persistent id that is a trap": trap + b"Q.",
        "persistent id of a trap in a tuple": b"(" + text("storage") + trap + b"tQ.",
        "persistent id in protocol 0": b"Pcos system\n0" + trap + b".",
        "unknown protocol": b"\x80\xff" + trap + b".",
        "buffers out of band": b"\x80\x05\x97\x98" + trap + b".",
        "memo of four thousand million": b"Nr\xff\xff\xff\xff" + trap + b"0.",
        "memo slot below zero": b"Np-1\n" + trap + b"g-1\n.",
        "many memo slots": b"N" + b"".join(b"r" + struct.pack("<I", k * 977) for k in range(50_000))
        + trap + b".",
        "doubling lists": b"]" + b"".join(
            b"q" + bytes([k]) + b"]" + b"(h" + bytes([k]) + b"h" + bytes([k]) + b"e"
            for k in range(200)) + trap + b".",
        "doubling tuples as a key": b")" + b"2\x86" * 5000 + b"}" + trap + b".",
        "nested lists": b"(" * 100_000 + b"l" * 100_000 + trap + b".",
        "nested dicts": b"}" + b"N}" * 100_000 + b"s" * 100_000 + trap + b".",
        "nested REDUCE": b"cos\nsystem\n" * 3 + b"(" * 1000 + b"t" * 1000 + b"R" + trap + b".",
        "text of two thousand million": trap + b"X\xff\xff\xff\x7fx.",
        "bytes of all memory": trap + b"\x8e" + b"\xff" * 7 + b"\x7fx.",
        "long number": trap + b"\x8b\xff\xff\xff\x7fx.",
        "long number below zero": trap + b"\x8b\xff\xff\xff\xffx.",
        "number of five thousand digits": trap + b"L" + b"9" * 5000 + b"L\n.",
        "no end": trap,
        "tuple as a global's name": b"))\x93" + trap + b".",
        "GLOBAL without lines": b"cos",
        "GLOBAL of strange letters": b"c\xff\xfe\n\x00\n" + trap + b".",
    }  # fmt: skip


def archive(path: Path, pickled: bytes) -> Path:
    return zipped(path, [("a/data.pkl", pickled)])


def refused(path: Path, canary: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that both ways in give; the canary stays away and no file appears."""
    before = sorted(path.parent.rglob("*"))
    began = time.process_time()
    line = error_line(capsys, "weights", "info", str(path))
    refusal(WeightsError, partial(load_network, path, device="cpu"))
    assert not canary.exists()
    assert sorted(path.parent.rglob("*")) == before
    assert time.process_time() - began < 20
    return line


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def registered():
    """`os.system` by a number, as EXT1, EXT2 and EXT4 name it."""
    copyreg.add_extension(os.system.__module__, "system", EXTENSION)
    yield
    copyreg.remove_extension(os.system.__module__, "system", EXTENSION)


@pytest.mark.parametrize("name", list(running(Path("canary"))))
def test_what_runs_elsewhere_does_not_run_here(
    canary: Path,
    name: str,
    registered: None,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = running(canary)[name]
    read_pickle(data, "x")
    assert not canary.exists()
    refused(archive(canary.with_name("a.pth"), data), canary, capsys)
    # The twin: so that the test can fail.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):  # behind the trap may be no pickle at all
            pickle.loads(data)
    assert canary.exists()


@pytest.mark.parametrize("name", list(resting(Path("canary"))))
def test_what_breaks_elsewhere_is_one_line_here(canary, name, capsys):
    refused(archive(canary.with_name("a.pth"), resting(canary)[name]), canary, capsys)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pt", ""])
def test_a_bare_pickle_is_refused_by_any_name(canary, suffix, capsys):
    for data in running(canary).values():
        path = canary.with_name(f"a{suffix}")
        path.write_bytes(data)
        refused(path, canary, capsys)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_right_weights_with_a_trap_beside_them_load_without_it(canary, protocol, capsys):
    network = ReconstructionNetwork(LINEAR)
    content = {
        "args": Trap(os.system, f"touch {canary}"),
        "model": network.state_dict(),
        CONFIG_KEY: config_to_text(LINEAR),
        "licence": "free\n\x1b[2Jerror: nothing",
    }
    path = canary.with_name("a.pth")
    torch.save(content, path, pickle_protocol=protocol)
    assert main(["weights", "info", str(path)]) == 0
    told = capsys.readouterr().out
    assert "all finite" in told
    assert not [line for line in told.splitlines() if line.startswith(("error", "\x1b"))]
    loaded = load_network(path, device="cpu", dtype="float32")
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert not canary.exists()


TENSOR = torch.arange(6.0).reshape(2, 3)


def honest() -> dict[str, bytes]:
    stream = io.BytesIO()
    torch.save({"model": {"w": TENSOR}}, stream)
    with zipfile.ZipFile(stream) as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}


def in_directory(path: Path, name: str, offset: int, code: str, value: int) -> None:
    """Change a field of a member's entry in the zip's directory, `offset` bytes into the entry."""
    data = bytearray(path.read_bytes())
    entry = -1
    while True:
        entry = data.index(b"PK\x01\x02", entry + 1)
        length = struct.unpack_from("<H", data, entry + 28)[0]
        if data[entry + 46 : entry + 46 + length] == name.encode():
            break
    struct.pack_into("<" + code, data, entry + offset, value)
    path.write_bytes(data)


COMPRESSION, PACKED, PLAIN, FLAGS, START = 10, 20, 24, 8, 42
"""Where the fields of an entry are."""


def tricks(path: Path, canary: Path) -> dict[str, Callable[[], object]]:
    """Each writes a file."""
    members = [(f"a/{name}", content) for name, content in honest().items()]
    trap = running(canary)["REDUCE in protocol 2"]
    others = [one for one in members if not one[0].endswith("data.pkl")]
    zeros = bytes(1 << 26)

    def changed(*changes: tuple[str, int, str, int]) -> Callable[[], object]:
        def write() -> None:
            zipped(path, members)
            for change in changes:
                in_directory(path, *change)

        return write

    return {
        "two pickles": lambda: zipped(path, [*members, ("b/data.pkl", trap)]),
        "two pickles of one name": lambda: zipped(path, [*members, ("a/data.pkl", trap)]),
        "pickle in a folder above": lambda: zipped(path, [("../data.pkl", trap), *others]),
        "pickle at the canary": lambda: zipped(path, [(f"{canary}/data.pkl", trap), *others]),
        "pickle without a folder": lambda: zipped(path, [("data.pkl", trap), *others]),
        "path that leaves": lambda: zipped(path, [("a/../../canary", b"x"), ("a/data.pkl", trap)]),
        "path from the root": lambda: zipped(path, [(str(canary), b"x"), ("a/data.pkl", trap)]),
        "path of another system": lambda: zipped(path, [("a\\..\\canary", b"x"), *others]),
        "symbolic links": lambda: zipped(
            path, [("a/data.pkl", str(canary).encode()), ("a/data/0", b"/etc/passwd")],
            mode=stat.S_IFLNK | 0o777,
        ),
        "compressed zeros": lambda: zipped(
            path, [("a/data.pkl", zeros), *others], kind=zipfile.ZIP_DEFLATED
        ),
        "compressed tensor": lambda: zipped(
            path, [("a/data.pkl", dict(members)["a/data.pkl"]), ("a/data/0", zeros)],
            kind=zipfile.ZIP_DEFLATED,
        ),
        "more compressed zeros": lambda: zipped(
            path, [("a/data.pkl", zeros)], kind=zipfile.ZIP_LZMA
        ),
        "declared as stored": lambda: (
            zipped(path, [("a/data.pkl", zeros)], kind=zipfile.ZIP_DEFLATED),
            in_directory(path, "a/data.pkl", COMPRESSION, "H", 0),
        ),
        "declared as four thousand million bytes": changed(
            ("a/data/0", PLAIN, "I", 0xFFFFFFFE), ("a/data/0", PACKED, "I", 0xFFFFFFFE)
        ),
        "pickle of four thousand million bytes": changed(
            ("a/data.pkl", PLAIN, "I", 0xFFFFFFFE), ("a/data.pkl", PACKED, "I", 0xFFFFFFFE)
        ),
        "size in a field that is not there": changed(("a/data/0", PLAIN, "I", 0xFFFFFFFF)),
        "packed is not plain": changed(("a/data/0", PLAIN, "I", 1 << 20)),
        "encrypted": changed(("a/data.pkl", FLAGS, "H", 1)),
        "unknown compression": changed(("a/data.pkl", COMPRESSION, "H", 77)),
        "starts behind the end": changed(("a/data/0", START, "I", 0x7FFFFFFF)),
        "storage that is the pickle": changed(("a/data/0", START, "I", 0)),
        "pickle that is a storage": changed(("a/data.pkl", START, "I", 200)),
        "nested in itself": lambda: zipped(
            path, [("a/data.pkl", zipped(path, members).read_bytes())]
        ),
        "no members": lambda: zipped(path, []),
        "without its directory": lambda: path.write_bytes(
            zipped(path, members).read_bytes().split(b"PK\x01\x02")[0]
        ),
        "directory of another file": lambda: path.write_bytes(
            zipped(path, members).read_bytes().replace(b"a/data/0", b"a/data/1", 1)
            + b"PK\x05\x06" + bytes(18)
        ),
        "comment with a second end": lambda: path.write_bytes(
            zipped(path, members).read_bytes()[:-2] + b"\x16\x00" + b"PK\x05\x06" + b"\xff" * 18
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(tricks(Path("a"), Path("canary"))))
def test_a_trick_with_the_zip_is_one_line(canary, name, capsys):
    path = canary.with_name("a.pth")
    tricks(path, canary)[name]()
    tracemalloc.start()
    try:
        refused(path, canary, capsys)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300 << 20


def test_the_file_that_the_tricks_change_is_right(canary):
    path = zipped(
        canary.with_name("a.pth"), [(f"a/{name}", data) for name, data in honest().items()]
    )
    assert torch.equal(read_archive(path)[0]["w"], TENSOR)


def test_members_that_overlap_are_refused(canary, capsys):
    """Each of many members would be as long as the file, and be copied."""
    path, body = canary.with_name("a.pth"), bytes(100_001)
    others = [(f"a/data/{k}", b"") for k in range(1, 50)]
    zipped(path, [("a/data.pkl", b"}."), ("a/data/0", body), *others])
    with zipfile.ZipFile(path) as file:
        start = file.getinfo("a/data/0").header_offset
    for k in range(1, 50):
        in_directory(path, f"a/data/{k}", START, "I", start)
        for field in (PACKED, PLAIN):
            in_directory(path, f"a/data/{k}", field, "I", len(body))
    assert "overlap" in refused(path, canary, capsys)


def test_one_storage_that_stands_for_many_tensors_is_refused(canary, capsys):
    """As another dtype each would be copied: a small file would ask for all memory."""
    path = canary.with_name("a.pth")
    storage = torch.zeros(50_000, dtype=torch.float16)
    torch.save({str(k): storage for k in range(MOST_SHARING)}, path)
    assert len(read_archive(path)[0]) == MOST_SHARING
    torch.save({str(k): storage for k in range(100)}, path)
    assert f"{MOST_SHARING}-fold" in refused(path, canary, capsys)


def test_the_longest_pickle_ends_in_bounded_time_and_memory(canary):
    """The dearest opcodes, at a sixteenth of the greatest length."""
    for opcode in (b"}", b"]", b"(", b"2"):
        data = b"N" + opcode * (MAX_PICKLE_BYTES // 16) + b"N."
        began = time.process_time()
        read_pickle(data, "x")
        assert time.process_time() - began < 10, opcode
    assert not canary.exists()
