"""The stack machine that reads pickles, without its operations."""

import mmap
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from pickletools import opcodes
from typing import Any

from tfxlm.checkpoints.pickle_values import Constructor, RecordType, plain_key
from tfxlm.errors import CorruptFileError, UnsafeFileError

MAX_PICKLE_BYTES = 128 * 1024 * 1024  # names and shapes only; a vocabulary of 200,000 words takes a twentieth

# How many lists, dicts, sets, tuples and numbered values there may be: some, and one for so many bytes. Each can take
# two hundred times the one byte that asks for it.
_SOME_PARTS, _BYTES_PER_PART = 160_000, 12
# As how many of them something counts that has attributes, and a tuple as a key: unlike those of texts, the hashes of
# tuples can be made to be all the same, and each insertion then takes as long as there are keys.
_OBJECT_PARTS, _TUPLE_KEY_PARTS = 4, 32
_FEW_ARGUMENTS = 8  # whose tuple counts for nothing
# How many characters that are copied count as one.
_CHARACTERS_PER_PART = 64
# How many numbered values are counted in one go.
_PUTS = 4096

# For messages: of all operations that there are.
_ALL_NAMES = {ord(operation.code): operation.name for operation in opcodes}
_STOP, _TEXT, _PUT, _SMALL_INTEGER = map(ord, ".XrM")
_INTEGER, LENGTH, LONG_LENGTH, _SHORT, _FLOAT = map(struct.Struct, ("<i", "<I", "<Q", "<H", ">d"))


class Machine:
    def __init__(
        self,
        data: bytes | mmap.mmap,
        start: int,
        path: Path,
        names: Mapping[str, Any],
        persistent_load: Callable[[Any], Any],
        packages: tuple[str, ...] = (),
    ) -> None:
        self.data = data
        self.position = self.start = start
        self.end = min(len(data), start + MAX_PICKLE_BYTES)
        self.parts_left = _SOME_PARTS
        self.path = path
        self.names = names
        self.packages = packages
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}

    def run(self, operations: Mapping[int, Callable[["Machine"], Any]]) -> Any:
        """Does one operation after another, each by its code, and returns what is on the stack at the end."""
        data, end = self.data, self.end
        memo, unpack = self.memo, LENGTH.unpack_from
        position, puts = self.position, 0
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
                puts += 1
                if puts == _PUTS:
                    self.position, puts = position, 0
                    self.spend(_PUTS)
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

    def spend(self, count: int = 1) -> None:
        """Counts parts, and refuses one too many for what has been read."""
        self.parts_left -= count
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
        items = frozenset(map(self.key, self.pop_mark()))
        self.stack.append(items)

    def append(self) -> None:
        item = self.pop()
        self.top(list).append(item)

    def appends(self) -> None:
        items = self.pop_mark()
        self.top(list).extend(items)

    def add_items(self) -> None:
        items = self.pop_mark()
        self.top(set).update(map(self.key, items))

    def set_item(self) -> None:
        self.update(self.pop_some(2))

    def set_items(self) -> None:
        self.update(self.pop_mark())

    def update(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise ValueError("a key has no value")
        for index in range(0, len(items), 2):
            key = items[index]
            target[key if type(key) is str else self.key(key)] = items[index + 1]

    def key(self, key: Any) -> Any:
        """Returns what a dictionary or set may be given as a key, and counts it."""
        if type(key) is tuple:
            self.spend(_TUPLE_KEY_PARTS)
        return plain_key(key)

    def put(self, index: int) -> None:
        if not self.stack:
            raise ValueError("a value is missing on the stack")
        self.spend()
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"there is no value number {index}")
        self.stack.append(self.memo[index])

    def find(self, name: str) -> None:
        if name in self.names:
            self.stack.append(self.names[name])
        elif name.startswith(self.packages):
            self.spend(_OBJECT_PARTS)
            self.stack.append(RecordType(name))
        else:
            raise UnsafeFileError(
                f"'{self.path}' names '{name[:200]}', which saved weights never need: it may try to run code. Nothing "
                "was executed. Get the weights as safetensors, or convert the file yourself if you trust its source."
            )

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
        if not isinstance(function, Constructor | RecordType):
            raise UnsafeFileError(
                f"'{self.path}' calls a value of type {type(function).__name__}, which saved weights never do. Nothing "
                "was executed. Get the weights as safetensors."
            )
        self.spend(_OBJECT_PARTS + len(arguments) // _FEW_ARGUMENTS)
        self.spend(sum(map(_parts, arguments)))
        self.stack.append(function.build(*arguments))

    def make_record(self) -> None:
        kind, arguments = self.pop_some(2)
        if type(kind) is not RecordType or type(arguments) is not tuple:
            raise UnsafeFileError(
                f"'{self.path}' makes an instance of a value of type {type(kind).__name__}, which saved weights never "
                "do. Nothing was executed. Get the weights as safetensors."
            )
        self.spend(_OBJECT_PARTS)
        self.stack.append(kind.build())

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
        self.spend(_parts(state))
        self.spend(sum(map(_parts, state)) if type(state) is tuple else 0)
        target.set_state(state)

    def load_persistent(self) -> None:
        self.spend(_OBJECT_PARTS)
        self.stack.append(self.persistent_load(self.pop()))


def _parts(value: Any) -> int:
    """As how many parts a value counts that a function may copy, each time that it is given to one."""
    if type(value) in (str, bytes):
        return len(value) // _CHARACTERS_PER_PART
    return len(value) if type(value) in (tuple, list, dict, set, frozenset) else 0
