"""A pickle reader that cannot run anything.

Pickle is a language for a small stack machine, and the standard library's machine imports and calls whatever a file
names. This one has the few operations that files of tensors use. It builds plain tuples, lists, dicts and sets; a name
is looked up in a mapping given by the caller and never imported, and only a `Constructor` from that mapping is called.
It takes no memory that the file merely announces: what is read is a slice of bytes that are there.
"""

import mmap
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from pickletools import opcodes
from typing import Any

from tfxlm.checkpoints.pickle_values import Constructor, Record, RecordType
from tfxlm.errors import CheckpointError, CorruptFileError, UnsafeFileError

MAX_PICKLE_BYTES = 128 * 1024 * 1024  # names and shapes only; a vocabulary of 200,000 words takes a twentieth

# How many lists, dicts, sets, tuples and numbered values there may be: some, and one for so many bytes. Each can take
# two hundred times the one byte that asks for it.
_SOME_PARTS, _BYTES_PER_PART = 160_000, 12

# Of keys in dictionaries, and of what a tuple that is a key has in it.
_PLAIN_KEYS = frozenset((str, int, float, bool, bytes, type(None)))
# For messages: of all operations that there are.
_ALL_NAMES = {ord(operation.code): operation.name for operation in opcodes}
_INTEGER, _LENGTH, _LONG_LENGTH, _SHORT, _FLOAT = map(struct.Struct, ("<i", "<I", "<Q", "<H", ">d"))


def load_pickle(
    data: bytes | mmap.mmap,
    *,
    path: Path,
    names: Mapping[str, Any],
    persistent_load: Callable[[Any], Any],
    start: int = 0,
) -> tuple[Any, int]:
    """Reads one pickle and stops after it.

    Args:
        data: what the pickle is in.
        path: the file, for the errors.
        names: what each global name of the form ``"module.name"`` stands for; `Constructor`s may be called, and
            `RecordType`s made instances of.
        persistent_load: turns a persistent id, of any type, into an object; it must check it.
        start: its first byte.

    Returns:
        The object: None, bool, int, float, str, bytes, tuples, lists, sets and dicts of them (keys are plain, or tuples
        of plain values), values of `names`, and what `persistent_load` and the constructors return; and the byte after
        the pickle.

    Raises:
        UnsafeFileError: the pickle names or calls something that is not in `names`.
        CorruptFileError: the pickle is truncated, malformed, or larger than any of names and shapes.
    """
    machine = _Machine(data, start, path, names, persistent_load)
    try:
        return machine.run(), machine.position
    except CheckpointError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, struct.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptFileError(
            f"'{path}' holds a truncated or corrupt pickle ({reason}). Download it again."
        ) from error


class _Machine:
    def __init__(
        self,
        data: bytes | mmap.mmap,
        start: int,
        path: Path,
        names: Mapping[str, Any],
        persistent_load: Callable[[Any], Any],
    ) -> None:
        self.data = data
        self.position = self.start = start
        self.end = min(len(data), start + MAX_PICKLE_BYTES)
        self.parts_left = _SOME_PARTS
        self.path = path
        self.names = names
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Does one operation after another, and returns what is on the stack at the end."""
        data, end, operations = self.data, self.end, _OPERATIONS
        memo, unpack = self.memo, _LENGTH.unpack_from
        position = self.position
        while position < end:
            code = data[position]
            position += 1
            # Dictionaries of words consist of these three, which are done here, without a call for each.
            if code == _TEXT and (stop := position + 4) <= end:
                start, stop = stop, stop + unpack(data, position)[0]
                if stop <= end:
                    self.stack.append(data[start:stop].decode("utf-8", "surrogatepass"))
                    position = stop
                    continue
            elif code == _PUT and self.stack and (stop := position + 4) <= end:
                memo[unpack(data, position)[0]] = self.stack[-1]
                position = stop
                continue
            elif code == _SMALL_INTEGER and (stop := position + 2) <= end:
                self.stack.append(data[position] | data[position + 1] << 8)
                position = stop
                continue
            self.position = position
            if code == _STOP:
                return self.pop()
            operation = operations.get(code)
            if operation is None:
                self.refuse(code)
            else:
                operation(self)
            position = self.position
        if end < len(data):
            raise CorruptFileError(
                f"'{self.path}' holds a pickle of more than the {MAX_PICKLE_BYTES} bytes that are read."
            )
        raise CorruptFileError(f"'{self.path}' holds a pickle without an end. Download it again.")

    def refuse(self, code: int) -> None:
        name = _ALL_NAMES.get(code)
        if name is None:
            raise ValueError(f"at position {self.position - 1}, there is no operation {code:#04x}")
        called = f" on {self.line()}.{self.line()}" if name == "INST" else ""
        raise UnsafeFileError(
            f"'{self.path}' uses the pickle operation {name}{called}, which saved weights never need. Nothing "
            "was executed. Get the weights as safetensors, or convert the file yourself if you trust its source."
        )

    def take(self, count: int) -> bytes:
        start = self.position
        stop = start + count
        if stop > self.end:
            raise ValueError(f"{count} bytes are announced at position {start}, and the pickle ends before")
        self.position = stop
        return self.data[start:stop]

    def line(self) -> str:
        stop = self.data.find(b"\n", self.position, self.end)
        if stop < 0:
            raise ValueError("a line does not end")
        text = self.data[self.position : stop]
        self.position = stop + 1
        return text.decode("utf-8")

    def spend(self) -> None:
        """Counts a part, and refuses one too many for what has been read."""
        self.parts_left -= 1
        if self.parts_left < 0 and -self.parts_left * _BYTES_PER_PART > self.position - self.start:
            raise CorruptFileError(
                f"'{self.path}' holds a pickle of more lists, dictionaries and tuples than its length accounts for, "
                f"{_SOME_PARTS - self.parts_left} within {self.position - self.start} bytes. Get the file again."
            )

    def pop(self) -> Any:
        if not self.stack:
            raise ValueError("a value is missing on the stack")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError(f"a {kind.__name__} is missing on the stack")
        return self.stack[-1]

    def pop_some(self, length: int) -> list[Any]:
        if len(self.stack) < length:
            raise ValueError("a value is missing on the stack")
        items = self.stack[len(self.stack) - length :]
        del self.stack[len(self.stack) - length :]
        return items

    def pop_mark(self) -> list[Any]:
        if not self.marked:
            raise ValueError("a mark is missing on the stack")
        items, self.stack = self.stack, self.marked.pop()
        return items

    def mark(self) -> None:
        self.spend()
        self.marked.append(self.stack)
        self.stack = []

    def push_small_integer(self) -> None:
        self.stack.append(self.take(1)[0])

    def push_short(self) -> None:
        self.stack.append(_SHORT.unpack(self.take(2))[0])

    def push_integer(self) -> None:
        self.stack.append(_INTEGER.unpack(self.take(4))[0])

    def push_long(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.take(1)[0]), "little", signed=True))

    def push_float(self) -> None:
        self.stack.append(_FLOAT.unpack(self.take(8))[0])

    def push_tuple(self) -> None:
        items = tuple(self.pop_mark())
        self.stack.append(items)

    def push_frozen_set(self) -> None:
        items = frozenset(map(_key, self.pop_mark()))
        self.stack.append(items)

    def append(self) -> None:
        item = self.pop()
        self.top(list).append(item)

    def appends(self) -> None:
        items = self.pop_mark()
        self.top(list).extend(items)

    def add_items(self) -> None:
        items = self.pop_mark()
        self.top(set).update(map(_key, items))

    def set_item(self) -> None:
        self.update(self.pop_some(2))

    def set_items(self) -> None:
        self.update(self.pop_mark())

    def update(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise ValueError("a key has no value")
        for index in range(0, len(items), 2):
            target[_key(items[index])] = items[index + 1]

    def put(self, index: int) -> None:
        if not self.stack:
            raise ValueError("a value is missing on the stack")
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"there is no value number {index}")
        self.stack.append(self.memo[index])

    def find(self, name: str) -> None:
        if name not in self.names:
            raise UnsafeFileError(
                f"'{self.path}' names '{name[:200]}', which saved weights never need: it may try to run code. Nothing "
                "was executed. Get the weights as safetensors, or convert the file yourself if you trust its source."
            )
        self.stack.append(self.names[name])

    def find_named(self) -> None:
        module = self.line()
        self.find(f"{module}.{self.line()}")

    def find_stacked(self) -> None:
        module, name = self.pop_some(2)
        if type(module) is not str or type(name) is not str:
            raise ValueError("a global has a name that is not a string")
        self.find(f"{module}.{name}")

    def call(self) -> None:
        function, arguments = self.pop_some(2)
        if type(arguments) is not tuple:
            raise ValueError("the arguments of a call are not a tuple")
        if not isinstance(function, Constructor):
            raise UnsafeFileError(
                f"'{self.path}' calls a value of type {type(function).__name__}, which saved weights never do. Nothing "
                "was executed. Get the weights as safetensors."
            )
        self.stack.append(function.build(*arguments))

    def make_record(self) -> None:
        kind, arguments = self.pop_some(2)
        if type(kind) is not RecordType or type(arguments) is not tuple:
            raise UnsafeFileError(
                f"'{self.path}' makes an instance of a value of type {type(kind).__name__}, which saved weights never "
                "do. Nothing was executed. Get the weights as safetensors."
            )
        self.stack.append(Record(kind.name))

    def set_state(self) -> None:
        state = self.pop()
        target: Any = self.stack[-1] if self.stack else None
        # Module.state_dict() hangs version numbers on its dictionary as an attribute; they are of no use here.
        if type(target) is dict and type(state) is dict:
            return
        if not hasattr(target, "set_state"):
            raise UnsafeFileError(
                f"'{self.path}' sets the state of an object, which saved weights never need. Nothing was executed. "
                "Get the weights as safetensors."
            )
        target.set_state(state)

    def load_persistent(self) -> None:
        self.stack.append(self.persistent_load(self.pop()))


def _key(key: Any) -> Any:
    """Returns what a dictionary or set may be given as a key."""
    # Hashing a deeply nested tuple overflows the C stack, or takes for ever: such keys are not accepted.
    if type(key) in _PLAIN_KEYS or (type(key) is tuple and all(type(item) in _PLAIN_KEYS for item in key)):
        return key
    raise ValueError(f"a dictionary key is a {type(key).__name__}")


def _text(length: struct.Struct | None) -> Callable[[_Machine], None]:
    """An operation that pushes a string after the length of its UTF-8."""

    def push(machine: _Machine) -> None:
        count = machine.take(1)[0] if length is None else length.unpack(machine.take(length.size))[0]
        machine.stack.append(machine.take(count).decode("utf-8", "surrogatepass"))

    return push


def _bytes(length: struct.Struct | None, decode: str | None = None) -> Callable[[_Machine], None]:
    """An operation that pushes bytes after their length; as text, where Python 2 meant that by them."""

    def push(machine: _Machine) -> None:
        count = machine.take(1)[0] if length is None else length.unpack(machine.take(length.size))[0]
        value = machine.take(count)
        machine.stack.append(value if decode is None else value.decode(decode))

    return push


def _constant(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _some(length: int) -> Callable[[_Machine], None]:
    def push(machine: _Machine) -> None:
        machine.spend()
        machine.stack.append(tuple(machine.pop_some(length)))

    return push


def _empty(kind: type) -> Callable[[_Machine], None]:
    def push(machine: _Machine) -> None:
        machine.spend()
        machine.stack.append(kind())

    return push


def _memoize(machine: _Machine) -> None:
    machine.spend()
    machine.put(len(machine.memo))


# What each operation does, by its code. A LONG4 is left out: no honest number has more than 255 bytes.
_STOP, _TEXT, _PUT, _SMALL_INTEGER = map(ord, ".XrM")
_OPERATIONS: dict[int, Callable[[_Machine], Any]] = {
    0x80: lambda machine: machine.take(1),  # PROTO
    0x95: lambda machine: machine.take(8),  # FRAME
    ord("("): _Machine.mark,
    ord("0"): _Machine.pop,
    ord("1"): _Machine.pop_mark,
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("J"): _Machine.push_integer,  # BININT
    ord("K"): _Machine.push_small_integer,  # BININT1
    ord("M"): _Machine.push_short,  # BININT2
    0x8A: _Machine.push_long,  # LONG1
    ord("G"): _Machine.push_float,  # BINFLOAT
    0x8C: _text(None),  # SHORT_BINUNICODE
    ord("X"): _text(_LENGTH),  # BINUNICODE
    0x8D: _text(_LONG_LENGTH),  # BINUNICODE8
    ord("U"): _bytes(None, "latin-1"),  # SHORT_BINSTRING
    ord("T"): _bytes(_LENGTH, "latin-1"),  # BINSTRING
    ord("C"): _bytes(None),  # SHORT_BINBYTES
    ord("B"): _bytes(_LENGTH),  # BINBYTES
    0x8E: _bytes(_LONG_LENGTH),  # BINBYTES8
    0x96: _bytes(_LONG_LENGTH),  # BYTEARRAY8
    ord(")"): _constant(()),
    ord("t"): _Machine.push_tuple,
    0x85: _some(1),
    0x86: _some(2),
    0x87: _some(3),
    ord("]"): _empty(list),
    ord("a"): _Machine.append,
    ord("e"): _Machine.appends,
    ord("}"): _empty(dict),
    ord("s"): _Machine.set_item,
    ord("u"): _Machine.set_items,
    0x8F: _empty(set),
    0x90: _Machine.add_items,
    0x91: _Machine.push_frozen_set,
    0x94: _memoize,
    ord("q"): lambda machine: machine.put(machine.take(1)[0]),  # BINPUT
    ord("r"): lambda machine: machine.put(_LENGTH.unpack(machine.take(4))[0]),  # LONG_BINPUT
    ord("h"): lambda machine: machine.get(machine.take(1)[0]),  # BINGET
    ord("j"): lambda machine: machine.get(_LENGTH.unpack(machine.take(4))[0]),  # LONG_BINGET
    ord("c"): _Machine.find_named,
    0x93: _Machine.find_stacked,
    ord("R"): _Machine.call,
    0x81: _Machine.make_record,  # NEWOBJ
    ord("b"): _Machine.set_state,
    ord("Q"): _Machine.load_persistent,
}
