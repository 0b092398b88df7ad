"""Reads the pickle inside a `torch.save` file without running anything that it asks for.

A pickle is a program. Here it meets a machine that has no instruction for looking up or calling
code: a global stays a pair of words, a handful of those pairs (tensors and their containers) turn
into plain records, and whatever else is named, called, built or filled becomes `INERT`. So an
OmegaConf object in a checkpoint needs no omegaconf, and `os.system` in one is two words on a stack.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass

from ttt3r_viewer.errors import WeightsError, in_a_line

MAX_PICKLE_BYTES = 8 << 20
"""A released file's has some hundred kilobytes; a byte of a hostile one can cost a hundred."""


class Inert:
    """Stands for everything that is not a tensor, a plain container or a number."""

    def __repr__(self) -> str:
        return "INERT"


INERT = Inert()


@dataclass(frozen=True)
class GlobalName:
    """A class or function that the pickle names; never looked up."""

    module: str
    name: str


@dataclass(frozen=True)
class StorageRecord:
    """The bytes of one or more tensors."""

    kind: str
    """The storage class that the file names, such as `FloatStorage`."""
    key: str
    """Names the archive's member that holds the bytes."""
    count: int
    """Elements, as the pickle says; not yet checked against the member."""


@dataclass(frozen=True)
class TensorRecord:
    """A tensor as the pickle describes it; nothing is checked yet against the storage."""

    storage: StorageRecord
    offset: int
    """In elements, as is `stride`."""
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _DamagedPickleError(Exception):
    """The pickle breaks the rules of its own language."""


def read_pickle(data: bytes | memoryview, name: str) -> object:
    """The value that a pickle describes.

    It is made of dict, list, tuple, str, bytes, numbers, None, `GlobalName`, `StorageRecord`,
    `TensorRecord` and `INERT`. `name` stands in the error's text.
    Errors: `WeightsError` where the pickle is damaged, or too long to be one of a checkpoint.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise WeightsError(
            f"{name}: its pickle has {len(data):,} bytes, wanted at most {MAX_PICKLE_BYTES:,}: "
            "give a file that holds the weights alone"
        )
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(bytes(data)):
            if opcode.name == "STOP":
                return machine.pop()
            machine.execute(opcode.name, argument)
    except (_DamagedPickleError, ValueError, IndexError, struct.error) as error:
        reason = in_a_line(error, 120)
        raise WeightsError(f"{name} is damaged ({reason}): fetch or copy it again") from error
    raise AssertionError("genops ends with STOP, or raises")


_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    # A state dict has no sets, and members of a set would have to be hashed.
    "EMPTY_SET": lambda: INERT,
}
_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BYTEARRAY8"),
    )
)
_TUPLE_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack and the memo of one pickle; `execute` takes one instruction after the other.

    A memo is a dict, not a table, so that a slot number of four thousand million costs nothing.
    """

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._marks: list[int] = []
        """Heights of the stack at which marks were set."""
        self._memo: dict[int, object] = {}
        self._operations: dict[str, Callable[[], None]] = {
            "PROTO": lambda: None,
            "FRAME": lambda: None,
            "MARK": lambda: self._marks.append(len(self._stack)),
            "POP": self._pop_or_unmark,
            "POP_MARK": lambda: self._discard(self._pop_to_mark()),
            "DUP": lambda: self._stack.append(self._top()),
            "MEMOIZE": lambda: self._remember(len(self._memo)),
            "LIST": lambda: self._stack.append(self._pop_to_mark()),
            "TUPLE": lambda: self._stack.append(tuple(self._pop_to_mark())),
            "DICT": self._dict,
            "FROZENSET": lambda: self._inert_for(self._pop_to_mark()),
            "APPEND": lambda: self._extend([self.pop()]),
            "APPENDS": lambda: self._extend(self._pop_to_mark()),
            "ADDITEMS": lambda: self._discard(self._pop_to_mark()),
            "SETITEM": lambda: self._set_items(self._pop_many(2)),
            "SETITEMS": lambda: self._set_items(self._pop_to_mark()),
            "STACK_GLOBAL": self._stack_global,
            "REDUCE": self._reduce,
            # What an object is given to fill itself with is dropped: on a container of ours it
            # would only be attributes (an OrderedDict's `_metadata`), and everything else is inert.
            "BUILD": lambda: self._discard(self.pop()),
            "NEWOBJ": lambda: self._inert_for(self._pop_many(2)),
            "NEWOBJ_EX": lambda: self._inert_for(self._pop_many(3)),
            "OBJ": lambda: self._inert_for(self._pop_to_mark()),
            "BINPERSID": lambda: self._stack.append(_storage(self.pop())),
        }

    def execute(self, opcode: str, argument: object) -> None:
        """Run one instruction; `argument` is what follows it in the pickle, decoded."""
        if opcode in _LITERALS:
            self._stack.append(argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode]())
        elif opcode in _TUPLE_LENGTHS:
            self._stack.append(tuple(self._pop_many(_TUPLE_LENGTHS[opcode])))
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._remember(argument)
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            self._recall(argument)
        elif opcode == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            self._stack.append(GlobalName(module, name))
        elif opcode == "INST":
            self._inert_for(self._pop_to_mark())
        elif opcode in ("EXT1", "EXT2", "EXT4", "PERSID"):
            self._stack.append(INERT)
        elif opcode in self._operations:
            self._operations[opcode]()
        else:
            raise _DamagedPickleError(f"the pickle instruction {opcode} has no place in a file")

    def pop(self) -> object:
        """Take the top of the stack, which must lie above the last mark."""
        top = self._top()
        self._stack.pop()
        return top

    def _top(self) -> object:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) <= floor:
            raise _DamagedPickleError("the pickle takes more from its stack than is there")
        return self._stack[-1]

    def _pop_many(self, count: int) -> list[object]:
        return [self.pop() for _ in range(count)][::-1]

    def _pop_to_mark(self) -> list[object]:
        if not self._marks:
            raise _DamagedPickleError("the pickle goes back to a mark that was never set")
        height = self._marks.pop()
        items = self._stack[height:]
        del self._stack[height:]
        return items

    def _pop_or_unmark(self) -> None:
        """POP takes a mark where that is what lies on top."""
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self.pop()

    def _discard(self, value: object) -> None:
        del value

    def _inert_for(self, consumed: object) -> None:
        del consumed
        self._stack.append(INERT)

    def _remember(self, slot: object) -> None:
        assert isinstance(slot, int)
        self._memo[slot] = self._top()

    def _recall(self, slot: object) -> None:
        assert isinstance(slot, int)
        if slot not in self._memo:
            raise _DamagedPickleError(f"the pickle recalls slot {slot}, which it never filled")
        self._stack.append(self._memo[slot])

    def _extend(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)

    def _dict(self) -> None:
        items = self._pop_to_mark()
        self._stack.append({})
        self._set_items(items)

    def _set_items(self, items: list[object]) -> None:
        if len(items) % 2:
            raise _DamagedPickleError("the pickle fills a dict with a key that has no value")
        target = self._top()
        if not isinstance(target, dict):
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only keys whose hash is plain arithmetic: that of nested tuples can exhaust the C
            # stack.
            if isinstance(key, str | bytes | int | float | None):
                target[key] = value

    def _stack_global(self) -> None:
        module, name = self._pop_many(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise _DamagedPickleError("the pickle names a global by something that is not text")
        self._stack.append(GlobalName(module, name))

    def _reduce(self) -> None:
        function, arguments = self._pop_many(2)
        result: object = INERT
        if isinstance(function, GlobalName) and isinstance(arguments, tuple):
            make = _MAKERS.get((function.module, function.name))
            result = INERT if make is None else make(arguments)
        self._stack.append(result)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _counts(value: object) -> tuple[int, ...] | None:
    """A shape or a stride: a short tuple of whole numbers, or None where it is something else."""
    if isinstance(value, tuple) and len(value) <= 16 and all(_is_count(item) for item in value):
        return value
    return None


def _storage(identity: object) -> object:
    """('storage', class, key, device, count) -> `StorageRecord`."""
    match identity:
        case ("storage", GlobalName(module="torch", name=kind), str(key), str(), int(count)):
            return StorageRecord(kind, key, count) if _is_count(count) else INERT
    return INERT


def _tensor(arguments: tuple[object, ...]) -> object:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[,
    metadata]).
    """
    if len(arguments) not in (6, 7):
        return INERT
    storage, offset, size, stride = arguments[:4]
    size, stride = _counts(size), _counts(stride)
    if not isinstance(storage, StorageRecord) or size is None or stride is None:
        return INERT
    if not isinstance(offset, int) or not _is_count(offset):
        return INERT
    return TensorRecord(storage, offset, size, stride)


def _parameter(arguments: tuple[object, ...]) -> object:
    """torch._utils._rebuild_parameter(tensor, requires_grad, hooks)."""
    return arguments[0] if arguments and isinstance(arguments[0], TensorRecord) else INERT


def _ordered_dict(arguments: tuple[object, ...]) -> object:
    """collections.OrderedDict(); its items are set one by one afterwards."""
    return INERT if arguments else {}


def _shape(arguments: tuple[object, ...]) -> object:
    """torch.Size(tuple)."""
    shape = _counts(arguments[0]) if len(arguments) == 1 else None
    return INERT if shape is None else shape


_MAKERS: dict[tuple[str, str], Callable[[tuple[object, ...]], object]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch", "Size"): _shape,
}
"""Every global that means something here; what is not in it is inert."""
