"""Reads the pickle inside a `torch.save` file without running anything that it asks for.

A pickle is a program. Here it meets a machine that has no instruction for looking up or calling
code: a global stays a pair of words, a handful of those pairs (tensors and their containers) turn
into plain records, and whatever else is named, called, built or filled becomes `INERT`. So an
OmegaConf object in a checkpoint needs no omegaconf, and `os.system` in one is two words on a stack.
torch's own restricted reader is no substitute: files of a kilobyte make it hang or crash.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass

from ttt3r_viewer.errors import WeightsError, in_a_line

INERT = object()
"""Stands for everything that is not a tensor, a plain container or a number."""


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


def read_pickle(data: bytes, name: str) -> object:
    """The value that a pickle describes.

    It is made of dict, list, tuple, str, bytes, numbers, None, `GlobalName`, `StorageRecord`,
    `TensorRecord` and `INERT`. `name` stands in the error's text.
    Errors: `WeightsError` where the pickle is damaged.
    """
    machine = _Machine()
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name != "STOP":
                machine.execute(code, argument)
        return machine.pop()
    except (ValueError, IndexError, struct.error) as error:
        reason = in_a_line(error, 120)
        raise WeightsError(f"{name} is damaged ({reason}): fetch or copy it again") from error


class _Machine:
    """The stack and the memo of one pickle; `execute` takes one instruction after the other.

    How much an instruction takes and leaves is read off `pickletools`' table; what it leaves is
    `INERT` where nothing here gives it a meaning.
    """

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._marks: list[int] = []
        """Heights of the stack at which marks were set."""
        self._memo: dict[int, object] = {}
        """Not a list, so that a slot number of four thousand million costs nothing."""

    def execute(self, code: pickletools.OpcodeInfo, argument: object) -> None:
        """Run one instruction; `argument` is what follows it in the pickle, decoded.

        Errors: `ValueError` where the stack or the memo does not hold what it takes.
        """
        if code.name == "MARK":
            self._marks.append(len(self._stack))
        elif code.name == "POP" and self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()  # what lies on top is the mark
        elif code.name == "DUP":
            self._stack.append(self._top())
        elif code.name == "MEMOIZE":
            self._memo[len(self._memo)] = self._top()
        elif code.name.endswith("PUT") and isinstance(argument, int):
            self._memo[argument] = self._top()
        elif code.name.endswith("GET") and isinstance(argument, int):
            if argument not in self._memo:
                raise ValueError(f"the pickle recalls slot {argument}, which it never filled")
            self._stack.append(self._memo[argument])
        else:
            taken = self._take(code.stack_before)
            if code.stack_after:
                self._stack.append(_left_by(code, argument, taken))

    def pop(self) -> object:
        """Take the top of the stack, which must lie above the last mark."""
        top = self._top()
        self._stack.pop()
        return top

    def _top(self) -> object:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) <= floor:
            raise ValueError("the pickle takes more from its stack than is there")
        return self._stack[-1]

    def _take(self, kinds: list[pickletools.StackObject]) -> list[object]:
        """Objects in the order in which they were pushed; what lies above a mark is one list."""
        count, above = len(kinds), []
        if pickletools.markobject in kinds:
            if not self._marks:
                raise ValueError("the pickle goes back to a mark that was never set")
            height = self._marks.pop()
            above = [self._stack[height:]]
            del self._stack[height:]
            count = kinds.index(pickletools.markobject)
        return [self.pop() for _ in range(count)][::-1] + above


def _left_by(code: pickletools.OpcodeInfo, argument: object, taken: list[object]) -> object:
    """What an instruction leaves on the stack in place of what it took."""
    if code.name in _MEANINGS:
        return _MEANINGS[code.name](*taken)
    if code.name == "GLOBAL":
        module, _, name = str(argument).partition(" ")
        return GlobalName(module, name)
    is_literal = argument is not None and code.stack_after != [pickletools.anyobject]
    return argument if is_literal else INERT


def _extended(target: object, items: list[object]) -> object:
    if isinstance(target, list):
        target.extend(items)
    return target


def _filled(target: object, items: list[object]) -> object:
    if len(items) % 2:
        raise ValueError("the pickle fills a dict with a key that has no value")
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only keys whose hash is plain arithmetic: that of nested tuples can exhaust the C
            # stack.
            if isinstance(key, str | bytes | int | float | None):
                target[key] = value
    return target


def _are_counts(*values: object) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _named(module: object, name: object) -> object:
    if isinstance(module, str) and isinstance(name, str):
        return GlobalName(module, name)
    return INERT


def _stored(identity: object) -> object:
    match identity:
        case ("storage", GlobalName("torch", kind), str(key), str(), int(count)):
            return StorageRecord(kind, key, count) if _are_counts(count) else INERT
    return INERT


def _called(function: object, arguments: object) -> object:
    """What a call would give, for the few that mean something here."""
    match function, arguments:
        case (
            GlobalName("torch._utils", "_rebuild_tensor_v2"),
            # After them: requires_grad, hooks, and in newer files metadata.
            (StorageRecord() as storage, int(offset), tuple(size), tuple(stride), _, _, *_),
        ):
            short = len(size) <= 16 and len(stride) <= 16
            if short and _are_counts(offset, *size, *stride):
                return TensorRecord(storage, offset, size, stride)
        case GlobalName("torch._utils", "_rebuild_parameter"), (TensorRecord() as tensor, *_):
            return tensor
        case GlobalName("collections", "OrderedDict"), ():
            return {}  # its items are set one by one afterwards
        case GlobalName("torch", "Size"), (tuple(size),):
            return size
    return INERT


_MEANINGS: dict[str, Callable[..., object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "LIST": list,
    "TUPLE": tuple,
    "TUPLE1": lambda *items: items,
    "TUPLE2": lambda *items: items,
    "TUPLE3": lambda *items: items,
    "DICT": lambda items: _filled({}, items),
    "APPEND": lambda target, item: _extended(target, [item]),
    "APPENDS": _extended,
    "SETITEM": lambda target, key, value: _filled(target, [key, value]),
    "SETITEMS": _filled,
    # What an object is given to fill itself with is dropped: on a container of ours it would only
    # be attributes (an OrderedDict's `_metadata`), and everything else is inert.
    "BUILD": lambda target, _: target,
    "STACK_GLOBAL": _named,
    "BINPERSID": _stored,
    "REDUCE": _called,
}
"""What an instruction makes of what it takes off the stack."""
