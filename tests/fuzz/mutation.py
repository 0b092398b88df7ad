"""How valid input becomes hostile: changes of bytes and of JSON values, and programs of opcodes.

Everything is drawn from one `random.Random` or from hypothesis, so that a seed gives it again.
"""

import copy
import json
import pickle
import pickletools
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

LONGEST = 1 << 18
"""Bytes of one input; splices stay below."""
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WIDE_EDGES = (*_EDGES, 1 << 33, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 1 << 31, 1 << 63, -(1 << 63), 10**30, 10**400, 0.5, -0.0),
    *(1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *("", "a", "\n", "\x00", "\x1b[2J", "\ud800", "../../x", "/etc/passwd", "1e999", "x" * 3000),
    *([], {}, [[]], [None], [0] * 16, {"": {}}, {"a": [{"b": 1}]}, [1, 2, 3], [-1, 4]),
    [0, 1 << 62],
)
"""Values that a reader of JSON may not have thought of."""


def mutated(
    data: bytes, others: Sequence[bytes], words: Sequence[bytes], dice: random.Random
) -> bytes:
    """One to six changes of `data`; `others` are spliced in, `words` put in."""
    changed = _Changed(bytearray(data), others, words, dice)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        dice.choice(_CHANGES)(changed)
    return bytes(changed.data[:LONGEST])


@dataclass(frozen=True)
class _Changed:
    """Bytes, and the ways to change them."""

    data: bytearray
    others: Sequence[bytes]
    words: Sequence[bytes]
    dice: random.Random

    def _place(self) -> int:
        # Half of all changes meet the beginning, where headers and lengths are.
        limit = len(self.data) if self.dice.random() < 0.5 else min(len(self.data), 128)
        return self.dice.randrange(limit + 1)

    def flip(self) -> None:
        if self.data:
            self.data[min(self._place(), len(self.data) - 1)] ^= 1 << self.dice.randrange(8)

    def set_byte(self) -> None:
        if self.data:
            self.data[min(self._place(), len(self.data) - 1)] = self.dice.randrange(256)

    def cut(self) -> None:
        del self.data[self._place() :]

    def remove(self) -> None:
        start = self._place()
        del self.data[start : start + self.dice.choice((1, 2, 4, 8, 64))]

    def repeat(self) -> None:
        start = self._place()
        part = self.data[start : start + self.dice.choice((1, 4, 16, 64))]
        self.data[start:start] = part * self.dice.choice((1, 2, 16, 200))

    def number(self) -> None:
        """Put an edge value where a length may stand, in either byte order."""
        width, code = self.dice.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
        value = self.dice.choice(_WIDE_EDGES) & ((1 << 8 * width) - 1)
        start = self._place()
        self.data[start : start + width] = struct.pack(self.dice.choice("<>") + code, value)

    def nudge(self) -> None:
        """Make a 32-bit number a little larger or smaller."""
        start = self._place()
        if start + 4 <= len(self.data):
            (value,) = struct.unpack_from("<I", self.data, start)
            value = (value + self.dice.randint(-4, 4)) & 0xFFFFFFFF
            struct.pack_into("<I", self.data, start, value)

    def splice(self) -> None:
        other = self.dice.choice(self.others)
        part = other[self.dice.randrange(len(other) + 1) :]
        place, removed = self._place(), self.dice.choice((0, 16, LONGEST))
        self.data[place : place + removed] = part[: self.dice.choice((16, LONGEST))]

    def word(self) -> None:
        if self.words:
            start, word = self._place(), self.dice.choice(self.words)
            self.data[start : start + self.dice.choice((0, len(word)))] = word


_CHANGES = (
    *(_Changed.flip, _Changed.flip, _Changed.set_byte, _Changed.cut, _Changed.remove),
    *(_Changed.repeat, _Changed.number, _Changed.number, _Changed.nudge, _Changed.splice),
    *(_Changed.word, _Changed.word),
)


def mutated_json(data: bytes, dice: random.Random) -> bytes:
    """JSON in which one to four values were replaced, removed, renamed or repeated.

    What is no JSON comes back as it is.
    """
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for _ in range(dice.choice((1, 1, 2, 4))):
        root = _with_change(root, dice)
    return json.dumps(root).encode()


def _with_change(root: Any, dice: random.Random) -> Any:
    places: list[tuple[Any, Any]] = []
    pending = [root]
    while pending:
        one = pending.pop()
        keys = _keys(one)
        places += [(one, key) for key in keys]
        pending += [one[key] for key in keys]
    if not places or dice.random() < 0.02:
        return copy.deepcopy(dice.choice(STRANGE))
    holder, key = dice.choice(places)
    match dice.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[str(dice.choice(STRANGE))[:50]] = holder.pop(key)
        case 2 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 3:
            other, place = dice.choice(places)
            holder[key] = copy.deepcopy(other[place]) if place in _keys(other) else None
        case 4:
            value: Any = copy.deepcopy(dice.choice(STRANGE))
            for _ in range(dice.choice((1, 3, 200))):
                value = [value]
            holder[key] = value
        case _:
            holder[key] = copy.deepcopy(dice.choice(STRANGE))
    return root


def _keys(holder: Any) -> Any:
    """The keys of a mapping, the places of a list, nothing of another value."""
    if isinstance(holder, dict):
        return holder.keys()
    return range(len(holder)) if isinstance(holder, list) else ()


_GLOBALS = (
    "os system", "builtins eval", "builtins exec", "posix system", "subprocess Popen",
    "builtins getattr", "builtins __import__", "collections OrderedDict", "torch FloatStorage",
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch Size",
    "torch.storage _load_from_bytes", "copyreg _reconstructor", "numpy load", "a.b c.d",
)  # fmt: skip


def _instruction(code: pickletools.OpcodeInfo) -> st.SearchStrategy[bytes]:
    """An opcode, and what stands behind it, as long as `pickletools` says."""
    opcode = code.code.encode("latin-1")
    if code.arg is None:
        return st.just(opcode)
    words = st.sampled_from(
        [*" ".join(_GLOBALS).split(), "storage", "0", "cpu", "model", "touch x"]
    )
    if code.name in ("GLOBAL", "INST"):
        argument = st.sampled_from(_GLOBALS).map(lambda name: name.replace(" ", "\n") + "\n")
    elif code.arg.n == pickletools.UP_TO_NEWLINE:
        numbers = st.sampled_from(["0", "1", "-1", "00", "01", "7L", "9" * 40, "x", ""])
        argument = st.one_of(numbers, words, words.map(repr)).map(lambda text: text + "\n")
    elif code.arg.n > 0:
        return st.binary(min_size=code.arg.n, max_size=code.arg.n).map(lambda data: opcode + data)
    else:
        length = struct.Struct({"1": "<B", "4": "<I", "8": "<Q"}[code.arg.name[-1]])
        return words.map(lambda text: opcode + length.pack(len(text)) + text.encode())
    return argument.map(lambda text: opcode + text.encode())


def pickle_programs() -> st.SearchStrategy[bytes]:
    """Pickles of any opcodes in any order, with the prologue and the end that they should have."""
    steps = [_instruction(code) for code in pickletools.opcodes if code.name != "STOP"]
    program = st.lists(st.one_of(steps), min_size=1, max_size=40).map(b"".join)
    return program.map(lambda body: pickle.PROTO + b"\x04" + body + pickle.STOP)


def yaml_texts() -> st.SearchStrategy[bytes]:
    """Settings-like YAML: known and unknown keys, tags, anchors, merges, strange scalars."""
    key = st.sampled_from(
        ["stride", "input", "rule", "rate", "fps", "rules", "host", "strid", "~", "1", "? [a]",
         "<<", "!!str x", "1.5", "2001-01-01", "true", "reset-every", "device", "size"]
    )  # fmt: skip
    scalar = st.sampled_from(
        ["1", "-1", "0", ".nan", ".inf", "1e999", "0x" + "f" * 4000, "1" * 5000, "2001-99-99",
         "!!int x", "!!float x", "!!timestamp x", "!!binary ***",
         "!!python/object/apply:os.system [ls]",
         "!!set {a}", "!!omap [a: 1]", "!!bool maybe", "*a", "&a [1]", "&a {<<: *a}", "'",
         '"\\ud800"', "[" * 40, "[" * 2000, "{a: " * 300, "|\n  x", "on", "1:2:3", "12_3",
         "ttt3r", "constant:2",
         "\t1", "{}", "[]", "demo:loop", "2001-01-01", "0b", "-", "? a", "!<x> y"]
    )  # fmt: skip
    line = st.tuples(key, st.sampled_from([": ", ":", ":\t", " : "]), scalar).map("".join)
    odd = st.sampled_from(
        ["---", "...", "%YAML 9.9", "# x", "\t", "a", "&x a: 1", "- b", "\x00", "\ufeff"]
    )
    return st.lists(st.one_of(line, line, odd), max_size=6).map(
        lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
    )


def rule_texts() -> st.SearchStrategy[bytes]:
    """Texts that are nearly those of `--rules`."""
    word = st.sampled_from(
        ["ttt3r", "constant", "filt3r", "memix-cut", "ddd3r-ortho", "nope", "", " ", "name", "rate",
         "nan", "inf", "1e400", "-1", "0.3", "0x1", "1_0", "\n", "\x1b[31m", "temperature", "self",
         "\u0663", "9" * 400, "True", "__class__", "text"]
    )  # fmt: skip
    mark = st.sampled_from([":", "=", ",", "::", "==", " "])
    return st.lists(st.one_of(word, word, mark), max_size=8).map(
        lambda parts: "".join(parts).encode()
    )


def pose_texts() -> st.SearchStrategy[bytes]:
    """Lines of numbers as in TUM and KITTI files, and of times with file names."""
    words = ["0", "1", "-1", "1e999", "nan", "inf", "0.5", "1e-320", "1_0", "0x1", "9" * 400]
    words += ["\u0663", "+", "a.png", "../../../etc/passwd", "/dev/zero", "\x00", "#", "\u2028"]
    field = st.one_of(st.sampled_from(words), st.floats(width=32).map(str))
    unit = st.sampled_from(["1 0 0 0 0 0 0 1", "0 0 0 0 0 0 0 1", "2 1 1 1 0.5 0.5 0.5 0.5"])
    matrix = st.sampled_from(["1 0 0 0 0 1 0 0 0 0 1 0", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"])
    line = st.one_of(
        unit,
        matrix,
        st.lists(field, max_size=17).map(" ".join),
        st.tuples(field, field).map(" ".join),
    )
    return st.tuples(
        st.sampled_from(["", "# x\n", "\ufeff", "\r\n"]), st.lists(line, max_size=6)
    ).map(lambda parts: (parts[0] + "\n".join(parts[1])).encode("utf-8", "surrogatepass"))
