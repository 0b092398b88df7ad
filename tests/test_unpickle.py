"""A checkpoint's pickle is read without running anything that it asks for."""

import argparse
import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._utils import _rebuild_tensor_v2

from tests.refusals import refusal
from tests.weights_files import Trap, zipped
from ttt3r_viewer.errors import WeightsError
from ttt3r_viewer.weights import unpickle
from ttt3r_viewer.weights.torch_zip import MAX_PICKLE_BYTES, find_damaged_member, read_archive
from ttt3r_viewer.weights.unpickle import INERT, GlobalName, read_pickle

refused = partial(refusal, WeightsError)
TENSORS = {
    "weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "half": torch.linspace(-1, 1, 5, dtype=torch.float16),
    "brain": torch.linspace(-1, 1, 6, dtype=torch.bfloat16).reshape(2, 3),
    "double": torch.tensor(3.25, dtype=torch.float64),
    "transposed": torch.arange(6, dtype=torch.float32).reshape(2, 3).t(),
    "part": torch.arange(10, dtype=torch.float32)[3:7],
    "empty": torch.zeros(0, 4),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def bytes_of(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def archive_of(path: Path, pickled: bytes, *more: tuple[str, bytes | str], **options: int) -> Path:
    """A zip such as `torch.save` writes, around any pickle."""
    return zipped(path, [("a/data.pkl", pickled), *more], **options)


def one_tensor(
    *,
    offset: int = 0,
    size: tuple[int, ...] = (2, 3),
    stride: tuple[int, ...] = (3, 1),
    count: int = 6,
    kind: str = "FloatStorage",
) -> bytes:
    """The pickle of {"w": one tensor}, with these numbers in it."""
    storage = object()
    identity = ("storage", getattr(torch, kind), "0", "cpu", count)
    tensor = Trap(_rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, 2)
    pickler.persistent_id = lambda one: identity if one is storage else None
    pickler.dump({"w": tensor})
    return stream.getvalue()


FLOATS = ("a/data/0", torch.arange(6, dtype=torch.float32).numpy().tobytes())


def test_tensors_come_back_as_they_were_saved(tmp_path):
    tensors, _ = read_archive(saved({"model": TENSORS}, tmp_path / "a.pth"))
    assert list(tensors) == list(TENSORS)
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name]), name


def test_state_dict_at_the_top_and_with_its_attributes(tmp_path):
    layer = torch.nn.Linear(3, 2)
    tensors, remarks = read_archive(saved(layer.state_dict(), tmp_path / "a.pth"))
    assert set(tensors) == {"weight", "bias"}
    assert remarks == {}
    assert torch.equal(tensors["weight"], layer.weight)


def test_tensors_with_two_names_stay_one(tmp_path):
    tensor = torch.arange(4.0)
    tensors, _ = read_archive(
        saved({"a": tensor, "b": tensor, "c": tensor[2:]}, tmp_path / "a.pth")
    )
    assert tensors["a"].data_ptr() == tensors["b"].data_ptr()
    assert tensors["c"].tolist() == [2, 3]


def test_writing_to_a_tensor_leaves_the_file_alone(tmp_path):
    path = saved({"a": torch.zeros(4)}, tmp_path / "a.pth")
    before = path.read_bytes()
    read_archive(path)[0]["a"].fill_(7)
    assert path.read_bytes() == before


def test_a_storage_at_an_odd_address_is_read(tmp_path):
    """`torch.save` aligns its storages to 64 bytes; other writers of zips do not."""
    for length in range(8):
        padding = ("a/version", b"3" * length)
        path = archive_of(tmp_path / f"{length}.pth", one_tensor(), padding, FLOATS)
        assert read_archive(path)[0]["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.fixture
def settings_class() -> Any:
    """A class as OmegaConf's are, whose module is gone again when the file is read."""
    module: Any = types.ModuleType("gone_settings")
    source = (
        "class Settings(dict):\n"
        "    def __init__(self, **values): self.__dict__.update(values)\n"
        "    def __reduce_ex__(self, protocol):\n"
        "        state = {'values': self.__dict__, 'me': self}\n"
        "        return type(self), (), state, None, iter([(1, self)])\n"
        "class Node:\n"
        "    def __init__(self, value): self.value = value\n"
        "    def __getstate__(self): return (None, {'slot': self.value})\n"
    )
    exec(source, module.__dict__)
    sys.modules["gone_settings"] = module
    yield module
    sys.modules.pop("gone_settings", None)


def test_objects_of_an_absent_package_are_inert(tmp_path, settings_class):
    content = {
        "args": settings_class.Settings(
            model="Net(size=(2, 3))", nested=settings_class.Node([1, {2: settings_class.Node}])
        ),
        "optimizer": {"state": {0: {"step": torch.tensor(4.0)}}, "groups": [{"lr": 1e-4}]},
        "namespace": argparse.Namespace(lr=1, path=Path("x")),
        "set": {1, 2},
        "epoch": 12,
        "best": 0.5,
        "name": "a run",
        "model": TENSORS,
    }
    path = saved(content, tmp_path / "a.pth")
    del sys.modules["gone_settings"]
    tensors, remarks = read_archive(path)
    assert torch.equal(tensors["weight"], TENSORS["weight"])
    assert remarks == {"epoch": "12", "best": "0.5", "name": "a run"}


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_understood(protocol):
    value = {"a": [1, -2, 3.5, None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]}
    value["b"] = [b"bytes", "text \u20ac", 1 << 70, -(1 << 2100), {"nested": {1: 2, None: 3}}]
    value["c"] = value["a"]
    again = read_pickle(pickle.dumps(value, protocol), "x")
    assert isinstance(again, dict)
    assert again["a"] == value["a"]
    assert again["c"] is again["a"]
    # Before protocol 3, bytes are text and a call that makes bytes of it.
    expected = value["b"] if protocol >= 3 else [INERT, *value["b"][1:]]
    assert again["b"] == expected


@pytest.mark.parametrize(
    "name",
    [
        "torch.storage _load_from_bytes", "torch.hub load_state_dict_from_url", "torch load",
        "torch.jit load", "torch.serialization load", "builtins getattr", "builtins __import__",
        "copyreg _reconstructor", "runpy _run_code", "numpy load", "numpy.core.multiarray scalar",
        "torch._utils _rebuild_device_tensor_from_numpy",
        "torch._utils _rebuild_tensor_v2.__globals__", "torch._utils _rebuild_wrapper_subclass",
        "collections OrderedDict.__init__", "collections OrderedDict.fromkeys",
        "torch Size.__class__", "ttt3r_viewer.errors ViewerError",
    ],
)  # fmt: skip
def test_other_globals_stay_words(name):
    module, function = name.split()
    data = b"c" + module.encode() + b"\n" + function.encode() + b"\n"
    assert read_pickle(data + b".", "x") == GlobalName(module, function)
    assert read_pickle(data + b")R.", "x") is INERT
    assert read_pickle(data + b")\x81.", "x") is INERT
    assert read_pickle(data + b")R}b.", "x") is INERT


def test_build_changes_nothing_that_lives_on():
    """BUILD on a class or function sets attributes in a plain unpickler, for the whole process."""
    before = dict(vars(unpickle))
    for target in (b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n"):
        state = b"N}S'__defaults__'\n(I1\nts\x86"
        assert isinstance(read_pickle(target + state + b"b.", "x"), GlobalName)
        read_pickle(target + b")R" + state + b"b.", "x")
    assert dict(vars(unpickle)) == before
    assert OrderedDict(a=1) == {"a": 1}


def test_a_list_that_holds_itself_and_deep_nesting_are_read():
    assert isinstance(read_pickle(b"]q\x00h\x00a.", "x"), list)
    assert read_pickle(b"(" * 100_000 + b"t" * 100_000 + b".", "x") is not None
    deep_key = b"}" + b")" + b"\x85" * 200_000 + b"Ns."
    assert read_pickle(deep_key, "x") == {}


def test_inert_objects_swallow_whatever_is_put_into_them():
    put_in = (b"(I1\nI2\ne", b"I1\na", b"(I1\nI2\nu", b"I1\nI2\ns", b"(I1\n\x90", b")R", b")}\x92")
    made = (b"P0\n", b"\x82\x01", b"NN\x93", b"N\x97")
    for data in (*(b"cm\nf\n)R" + one for one in put_in), *made):
        assert read_pickle(data + b".", "x") is INERT, data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "exhausted"), (b"N", "exhausted"), (b".", "takes more"), (b"0.", "takes more"),
        (b"R.", "takes more"), (b"(NR.", "takes more"), (b"t.", "mark"), (b"h\x05.", "slot 5"),
        (b"}(Nu.", "no value"), (b"\xff.", "unknown"),
        (b"X\xff\xff\xff\x7fabc", "remain"), (b"\x8e" + b"\xff" * 8, "byte count"),
        (b"Iabc\n.", "invalid literal"),
        (b"L" + b"9" * 5000 + b"L\n.", "limit"),
    ],
)  # fmt: skip
def test_damaged_pickles_say_so_in_one_line(data, reason):
    assert "file.pth" in refused(read_pickle, data, "file.pth", match=reason)


def test_a_pickle_of_absurd_length_is_refused(tmp_path):
    path = archive_of(tmp_path / "a.pth", b"}" * (MAX_PICKLE_BYTES + 1))
    refused(read_archive, path, match="wanted at most 8,388,608")


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 1}, {"offset": -1}, {"offset": 1 << 62}, {"size": (3, 3)}, {"size": (2, -3)},
        {"size": (2, 4)}, {"stride": (4, 1)}, {"stride": (3,)}, {"stride": (-3, 1)},
        {"stride": (0, 1), "size": (1 << 40, 3)}, {"stride": (0, 0), "size": (3, 3)},
        {"size": (1 << 61, 1 << 61)}, {"size": (0, 1 << 61, 1 << 61), "stride": (1, 1, 1)},
        {"count": 5}, {"count": 7}, {"count": 1 << 60}, {"count": -1}, {"kind": "BoolStorage"},
        {"kind": "QInt8Storage"}, {"kind": "DoubleStorage"},
        {"size": (1,) * 17, "stride": (1,) * 17},
    ],
)  # fmt: skip
def test_tensors_that_reach_outside_their_storage_are_refused(tmp_path, change):
    """Unchanged, the same tensor reads: see the storage at an odd address."""
    path = archive_of(tmp_path / "a.pth", one_tensor(**change), FLOATS)
    assert str(path) in refused(read_archive, path)


def test_archives_that_are_not_as_torch_writes_them(tmp_path):
    path = tmp_path / "a.pth"
    cases = {
        "'a/data/0' is absent": lambda: archive_of(path, one_tensor()),
        "is compressed": lambda: archive_of(path, one_tensor(), FLOATS, kind=zipfile.ZIP_DEFLATED),
        "no state dict": lambda: archive_of(path, pickle.dumps({"model": [1]}, 2)),
        "has no data.pkl": lambda: zipped(path, [("x", "y")]),
        "little-endian": lambda: archive_of(path, one_tensor(), ("a/byteorder", "big"), FLOATS),
        "same name": lambda: archive_of(path, one_tensor(), FLOATS, FLOATS),
    }
    for bad, text in (
        ("text", "entry 'bad' of its state dict is str"),
        (argparse.Namespace(), "an object of unknown kind"),
    ):
        content = {"model": {"good": torch.zeros(1), "bad": bad}}
        cases[text] = partial(saved, content, path)
    for text, write in cases.items():
        write()
        refused(read_archive, path, match=text)


def test_a_changed_number_is_found_by_its_checksum(tmp_path):
    path = saved({"a": torch.zeros(64)}, tmp_path / "a.pth")
    assert find_damaged_member(path) is None
    data = bytearray(path.read_bytes())
    data[data.index(bytes(256)) + 100] = 1
    path.write_bytes(data)
    assert find_damaged_member(path) == "a/data/0"


def test_a_file_cut_anywhere_is_refused(tmp_path):
    """Of bytes that are changed, see the targets of tests/fuzz."""
    path = tmp_path / "a.pth"
    data = bytes_of({"model": {"weight": TENSORS["weight"]}, "epoch": 3})
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        assert str(path) in refused(read_archive, path), cut
