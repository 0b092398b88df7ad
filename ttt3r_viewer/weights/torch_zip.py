"""The zip that `torch.save` writes: tensors mapped from the file, not read into memory."""

import math
import mmap
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ttt3r_viewer.errors import WeightsError, in_a_line
from ttt3r_viewer.weights.unpickle import INERT, StorageRecord, TensorRecord, read_pickle

ZIP_MAGIC = b"PK\x03\x04"
MAX_PICKLE_BYTES = 8 << 20
"""A released file's has some hundred kilobytes; a byte of a hostile one can cost a hundred."""
MOST_SHARING = 8
"""How often a file's numbers may stand in its tensors; released files have each once or twice."""

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
}


def read_archive(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state dict of a `torch.save` zip, and the numbers and short texts that stand beside it.

    The state dict is what stands under "model", or the whole content where that is tensors alone.
    Tensors are views of a private mapping of the file: they cost memory only where they are written
    to, and keep the file open.

    Errors: `WeightsError` where the file is damaged, cut off, compressed, or holds no state dict.
    """
    storages: dict[StorageRecord, Tensor] = {}
    tensors = {}
    with _opened(path) as archive:
        root = read_pickle(archive.pickle(), str(path))
        for name, record in _state_dict(root, path).items():
            if record.storage not in storages:
                storages[record.storage] = archive.storage(record.storage)
            tensors[name] = _view(storages[record.storage], record, f"{path}: {shown(name)}")
    if sum(one.nbytes for one in tensors.values()) > MOST_SHARING * path.stat().st_size:
        # Each becomes numbers of its own where the network computes in another dtype.
        raise WeightsError(
            f"{path}: its tensors share their numbers more than {MOST_SHARING}-fold: give a file "
            "that holds each tensor"
        )
    return tensors, _remarks(root)


def find_damaged_member(path: Path) -> str | None:
    """The first member of a `torch.save` zip whose checksum is wrong, or None; reads all of it.

    Errors: `WeightsError` where the file is no such zip.
    """
    with _opened(path) as archive:
        return archive.directory.testzip()


def shown(name: str) -> str:
    """A name out of a file, fit for a line of text: quoted, escaped and not too long."""
    return repr(name if len(name) <= 100 else name[:97] + "...")


@dataclass(frozen=True, eq=False)
class _Archive:
    """An open archive."""

    path: Path
    stream: BinaryIO
    directory: zipfile.ZipFile
    """Reads by way of `stream`."""
    mapping: mmap.mmap
    members: dict[str, zipfile.ZipInfo]
    folder: str
    """The one folder inside the zip that holds everything."""

    def pickle(self) -> bytes:
        """The pickle, after a look at its length and at the byte order of the tensors."""
        order, name = f"{self.folder}/byteorder", f"{self.folder}/data.pkl"
        # Files from before torch 2.1 do not say; they come from little-endian machines.
        if order in self.members and self.directory.open(order).read(10) != b"little":
            raise WeightsError(
                f"{self.path} was not saved on a little-endian machine: save it again on one"
            )
        if (length := self.members[name].file_size) > MAX_PICKLE_BYTES:
            raise WeightsError(
                f"{self.path}: its pickle has {length:,} bytes, wanted at most "
                f"{MAX_PICKLE_BYTES:,}: give a file that holds the weights alone"
            )
        return self.directory.read(name)

    def storage(self, record: StorageRecord) -> Tensor:
        """A storage's elements as a flat tensor that shares the mapping's memory.

        Errors: `WeightsError` where the file's numbers are of an unknown kind; `ValueError` where
        the member is absent, or not as long as the pickle says.
        """
        dtype = _DTYPES.get(record.kind)
        if dtype is None:
            raise WeightsError(
                f"{self.path} holds tensors of {shown(record.kind)}: known are {', '.join(_DTYPES)}"
            )
        name = f"{self.folder}/data/{record.key}"
        if name not in self.members:
            raise ValueError(f"its member {shown(name)} is absent")
        length, wanted = self.members[name].file_size, record.count * dtype.itemsize
        if length != wanted:
            raise ValueError(f"{shown(name)} has {length:,} bytes, wanted {wanted:,}")
        if length == 0:
            return torch.empty(0, dtype=dtype)
        with self.directory.open(name):
            start = self.stream.tell()  # after the member's own header, which was just read
        if start % dtype.itemsize:
            # Not every machine can read numbers at odd addresses: such a member is copied.
            return torch.frombuffer(bytearray(self.directory.read(name)), dtype=dtype)
        return torch.frombuffer(self.mapping, dtype=dtype, count=record.count, offset=start)


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    """The archive while it is read. Errors: `WeightsError` for whatever is wrong with the zip."""
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as directory:
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            members = _members(path, directory, len(mapping))
            folders = [
                name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl")
            ]
            if len(folders) != 1 or "/" in folders[0]:
                raise WeightsError(
                    f"{path} is a zip, but not one that torch.save writes: it has no data.pkl"
                )
            yield _Archive(path, stream, directory, mapping, members, folders[0])
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror})") from error
    except (
        *(zipfile.BadZipFile, EOFError, struct.error),
        *(ValueError, OverflowError, RuntimeError),  # of zipfile and torch
    ) as error:
        reason = in_a_line(error, 120)
        raise WeightsError(
            f"{path} is damaged or cut off ({reason}): fetch or copy it again"
        ) from error


def _members(path: Path, directory: zipfile.ZipFile, file_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name. Errors: `WeightsError`, `ValueError` where they are not as torch's."""
    infos = directory.infolist()
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise WeightsError(
                f"{path}: its member {shown(info.filename)} is compressed: save it again with "
                "torch.save"
            )
    if sum(info.file_size for info in infos) > file_bytes:
        # Every member that is read out could otherwise be as long as the file.
        raise ValueError("its members overlap, or are longer than it")
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise ValueError("two of its members have the same name")
    return members


def _state_dict(root: object, path: Path) -> dict[str, TensorRecord]:
    """What stands under "model", or the root itself; every entry must be a tensor with a name."""
    entries = root.get("model", root) if isinstance(root, dict) else root
    if not isinstance(entries, dict) or not any(
        isinstance(value, TensorRecord) for value in entries.values()
    ):
        raise WeightsError(
            f'{path} holds no state dict: wanted tensors by name, at the top or under "model"'
        )
    for name, value in entries.items():
        if not isinstance(name, str) or not isinstance(value, TensorRecord):
            label = shown(name) if isinstance(name, str) else f"({type(name).__name__})"
            kind = "an object of unknown kind" if value is INERT else type(value).__name__
            raise WeightsError(
                f"{path}: the entry {label} of its state dict is {kind}: wanted tensors by name"
            )
    return entries


def _view(storage: Tensor, record: TensorRecord, name: str) -> Tensor:
    """The tensor that a record describes, checked to stay inside its storage."""
    size, stride = record.size, record.stride
    last = record.offset + sum(
        (length - 1) * step for length, step in zip(size, stride, strict=False)
    )
    inside = math.prod(size) <= storage.numel() and last < storage.numel()
    # torch multiplies the sides of an empty tensor too.
    empty = 0 in size and math.prod(max(length, 1) for length in size) < 1 << 62
    if len(size) != len(stride) or not (inside or empty):
        raise WeightsError(
            f"{name}: size {size}, stride {stride} and offset {record.offset} reach outside "
            f"its {storage.numel():,} stored numbers: the file is damaged"
        )
    if empty:
        return torch.empty(size, dtype=storage.dtype)
    return torch.as_strided(storage, size, stride, record.offset)


def _remarks(root: object) -> dict[str, str]:
    """The numbers and short texts at the top of a checkpoint, such as its epoch."""
    remarks = {}
    for key, value in root.items() if isinstance(root, dict) else ():
        if not isinstance(key, str) or len(key) > 100:
            continue
        if isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 63):
            remarks[key] = str(value)
        elif isinstance(value, str) and len(value) <= 4096:
            remarks[key] = value
    return remarks
