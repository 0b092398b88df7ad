"""The zip that `torch.save` writes: tensors mapped from the file, not read into memory."""

import math
import mmap
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ttt3r_viewer.errors import WeightsError, in_a_line
from ttt3r_viewer.weights.unpickle import INERT, StorageRecord, TensorRecord, read_pickle

ZIP_MAGIC = b"PK\x03\x04"
MOST_SHARING = 8
"""How often a file's numbers may stand in its tensors; released files have each once or twice."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""What stands before a zip member: magic, what the directory repeats, lengths of name and extra."""

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
    archive = _open(path)
    root = read_pickle(archive.pickle(), str(path))
    storages: dict[StorageRecord, Tensor] = {}
    tensors = {}
    for name, record in _state_dict(root, path).items():
        if record.storage not in storages:
            storages[record.storage] = archive.read_storage(record.storage)
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
    archive = _open(path)
    for name in archive.members:
        if not archive.checksum_is_right(name):
            return name
    return None


def shown(name: str) -> str:
    """A name out of a file, fit for a line of text: quoted, escaped and not too long."""
    return repr(name if len(name) <= 100 else name[:97] + "...")


@dataclass(frozen=True, eq=False)
class _Archive:
    """An open archive: its directory, and the mapping of its bytes."""

    path: Path
    mapping: mmap.mmap
    members: dict[str, zipfile.ZipInfo]
    folder: str
    """The one folder inside the zip that holds everything."""

    def pickle(self) -> memoryview:
        """The pickle's bytes, after a look at its checksum and at the byte order of the tensors."""
        order = f"{self.folder}/byteorder"
        # Files from before torch 2.1 do not say; they come from little-endian machines.
        if order in self.members and self._content(order) != b"little":
            raise WeightsError(
                f"{self.path} was not saved on a little-endian machine: save it again on one"
            )
        name = f"{self.folder}/data.pkl"
        if not self.checksum_is_right(name):
            raise _damaged(self.path, f"the checksum of {shown(name)} is wrong")
        return self._content(name)

    def read_storage(self, record: StorageRecord) -> Tensor:
        """A storage's elements as a flat tensor that shares the mapping's memory.

        Errors: `WeightsError` where the member is absent, or not as long as the pickle says.
        """
        dtype = _DTYPES.get(record.kind)
        if dtype is None:
            raise WeightsError(
                f"{self.path} holds tensors of {shown(record.kind)}: known are {', '.join(_DTYPES)}"
            )
        name = f"{self.folder}/data/{record.key}"
        if name not in self.members:
            raise _damaged(self.path, f"its member {shown(name)} is absent")
        start, length = self._extent(name)
        if length != record.count * dtype.itemsize:
            raise _damaged(
                self.path,
                f"{shown(name)} has {length:,} bytes, wanted {record.count * dtype.itemsize:,}",
            )
        if record.count == 0:
            return torch.empty(0, dtype=dtype)
        if start % dtype.itemsize:
            # Not every machine can read numbers at odd addresses: such a member is copied.
            return torch.frombuffer(bytearray(self._content(name)), dtype=dtype)
        return torch.frombuffer(self.mapping, dtype=dtype, count=record.count, offset=start)

    def checksum_is_right(self, name: str) -> bool:
        """Whether a member's bytes are those that were written."""
        content = self._content(name)
        checksum = 0
        # In pieces, so that Ctrl-C is heard between them.
        for start in range(0, len(content), 1 << 24):
            checksum = zlib.crc32(content[start : start + (1 << 24)], checksum)
        return checksum == self.members[name].CRC

    def _content(self, name: str) -> memoryview:
        start, length = self._extent(name)
        return memoryview(self.mapping)[start : start + length]

    def _extent(self, name: str) -> tuple[int, int]:
        """(start, length) in bytes of a member's content in the file, checked to lie inside it."""
        info = self.members[name]
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise WeightsError(
                f"{self.path}: its member {shown(name)} is compressed: save it again with "
                "torch.save"
            )
        header = self.mapping[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
        if info.header_offset < 0 or len(header) < _LOCAL_HEADER.size:
            raise _damaged(self.path, f"{shown(name)} lies outside the file")
        magic, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        if magic != ZIP_MAGIC or start + info.file_size > len(self.mapping):
            raise _damaged(self.path, f"{shown(name)} lies outside the file")
        return start, info.file_size


def _open(path: Path) -> _Archive:
    try:
        with path.open("rb") as stream:
            with zipfile.ZipFile(stream) as directory:
                infos = directory.infolist()
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        ValueError,
        OverflowError,
        struct.error,
    ) as error:
        raise _damaged(path, in_a_line(error, 120)) from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror})") from error
    if sum(info.file_size for info in infos) > len(mapping):
        # Every member that is read out could otherwise be as long as the file.
        raise _damaged(path, "its members overlap, or are longer than it")
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise _damaged(path, "two of its members have the same name")
    folders = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(folders) != 1 or "/" in folders[0]:
        raise WeightsError(
            f"{path} is a zip, but not one that torch.save writes: it has no data.pkl"
        )
    return _Archive(path, mapping, members, folders[0])


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(f"{path} is damaged or cut off ({reason}): fetch or copy it again")


def _state_dict(root: object, path: Path) -> dict[str, TensorRecord]:
    """What stands under "model", or the root itself; every entry must be a tensor with a name."""
    entries = root.get("model", root) if isinstance(root, dict) else root
    if not isinstance(entries, dict) or not any(
        isinstance(value, TensorRecord) for value in entries.values()
    ):
        raise WeightsError(
            f'{path} holds no state dict: wanted tensors by name, at the top or under "model"'
        )
    named = {}
    for name, value in entries.items():
        if not isinstance(name, str) or not isinstance(value, TensorRecord):
            label = shown(name) if isinstance(name, str) else f"({type(name).__name__})"
            kind = "an object of unknown kind" if value is INERT else type(value).__name__
            raise WeightsError(
                f"{path}: the entry {label} of its state dict is {kind}: wanted tensors by name"
            )
        named[name] = value
    return named


def _view(storage: Tensor, record: TensorRecord, name: str) -> Tensor:
    """The tensor that a record describes, checked to stay inside its storage."""
    size, stride = record.size, record.stride
    count = math.prod(size)
    last = record.offset + sum(
        (length - 1) * step for length, step in zip(size, stride, strict=False)
    )
    if len(size) != len(stride) or count > storage.numel() or (count and last >= storage.numel()):
        raise WeightsError(
            f"{name}: size {size}, stride {stride} and offset {record.offset} reach outside "
            f"its {storage.numel():,} stored numbers: the file is damaged"
        )
    if count == 0:
        if math.prod(max(length, 1) for length in size) >= 1 << 62:
            raise WeightsError(f"{name}: size {size} is no shape of a tensor: the file is damaged")
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
