"""A pickle reader that cannot run anything.

Pickle is a language for a small stack machine, and the standard library's machine imports and calls whatever a file
names. This one has the few operations that files of tensors use. It builds plain tuples, lists and dicts; a name is
looked up in a mapping given by the caller and never imported, and only a `Constructor` from that mapping is called.
Being written over `pickletools.genops`, it also takes no memory that the file merely announces.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tfxlm.errors import CheckpointError, CorruptFileError, UnsafeFileError

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# Operations whose argument is the value. LONG4 is left out: no honest size has more than 255 bytes.
_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING"}
_BYTES = {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
_VALUES = _NUMBERS | _STRINGS | _BYTES
_SMALL_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Constructor:
    """A function of our own that stands for a callable named in a file.

    Attributes:
        build: takes the arguments from the file, which it must check, and raises TypeError, ValueError or an error
            of the tree if they are wrong.
    """

    build: Callable[..., Any]


def load_pickle(
    stream: BinaryIO, *, path: Path, names: Mapping[str, Any], persistent_load: Callable[[Any], Any]
) -> Any:
    """Reads one pickle and stops after it.

    Args:
        stream: positioned at the pickle.
        path: the file, for the errors.
        names: what each global name of the form ``"module.name"`` stands for; `Constructor`s may be called.
        persistent_load: turns a persistent id, of any type, into an object; it must check it.

    Returns:
        The object: None, bool, int, float, str, bytes, tuples, lists and dicts of them (keys are str or int), values
        of `names`, and what `persistent_load` and the constructors return.

    Raises:
        UnsafeFileError: the pickle names or calls something that is not in `names`.
        CorruptFileError: the pickle is truncated or malformed.
    """
    machine = _Machine(path, names, persistent_load)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, argument)
    except CheckpointError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptFileError(
            f"'{path}' holds a truncated or corrupt pickle ({reason}). Download it again."
        ) from error
    raise CorruptFileError(f"'{path}' holds a pickle without an end. Download it again.")


class _Machine:
    def __init__(self, path: Path, names: Mapping[str, Any], persistent_load: Callable[[Any], Any]) -> None:
        self.path = path
        self.names = names
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _SMALL_TUPLES:
            self.stack.append(self.pop_tuple(_SMALL_TUPLES[name]))
        elif operation := _OPERATIONS.get(name):
            operation(self, argument)
        else:
            called = f" on {str(argument).replace(' ', '.')}" if name == "INST" else ""
            raise UnsafeFileError(
                f"'{self.path}' uses the pickle operation {name}{called}, which saved weights never need. Nothing was "
                "executed. Get the weights as safetensors, or convert the file yourself if you trust its source."
            )

    def pop(self) -> Any:
        if not self.stack:
            raise ValueError("a value is missing on the stack")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError(f"a {kind.__name__} is missing on the stack")
        return self.stack[-1]

    def pop_tuple(self, length: int) -> tuple[Any, ...]:
        return tuple(self.pop() for _ in range(length))[::-1]

    def pop_mark(self) -> list[Any]:
        if not self.marked:
            raise ValueError("a mark is missing on the stack")
        items, self.stack = self.stack, self.marked.pop()
        return items

    def mark(self, _: Any) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def build_tuple(self, _: Any) -> None:
        items = tuple(self.pop_mark())
        self.stack.append(items)

    def append(self, _: Any) -> None:
        item = self.pop()
        self.top(list).append(item)

    def appends(self, _: Any) -> None:
        items = self.pop_mark()
        self.top(list).extend(items)

    def set_item(self, _: Any) -> None:
        self.update(list(self.pop_tuple(2)))

    def set_items(self, _: Any) -> None:
        self.update(self.pop_mark())

    def update(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise ValueError("a key has no value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a deeply nested tuple overflows the C stack, or takes for ever: such keys are not accepted.
            if type(key) not in (str, int):
                raise ValueError(f"a dictionary key is a {type(key).__name__}")
            target[key] = value

    def put(self, index: Any) -> None:
        if not self.stack:
            raise ValueError("a value is missing on the stack")
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index: Any) -> None:
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

    def find_named(self, argument: Any) -> None:
        self.find(str(argument).replace(" ", ".", 1))

    def find_stacked(self, _: Any) -> None:
        module, name = self.pop_tuple(2)
        if type(module) is not str or type(name) is not str:
            raise ValueError("a global has a name that is not a string")
        self.find(f"{module}.{name}")

    def call(self, _: Any) -> None:
        function, arguments = self.pop_tuple(2)
        if type(arguments) is not tuple:
            raise ValueError("the arguments of a call are not a tuple")
        if not isinstance(function, Constructor):
            raise UnsafeFileError(
                f"'{self.path}' calls a value of type {type(function).__name__}, which saved weights never do. Nothing "
                "was executed. Get the weights as safetensors."
            )
        self.stack.append(function.build(*arguments))

    def set_state(self, _: Any) -> None:
        # Module.state_dict() hangs version numbers on its dictionary as an attribute; they are of no use here.
        state = self.pop()
        if type(state) is not dict or not self.stack or type(self.stack[-1]) is not dict:
            raise UnsafeFileError(
                f"'{self.path}' sets the state of an object, which saved weights never need. Nothing was executed. "
                "Get the weights as safetensors."
            )

    def load_persistent(self, _: Any) -> None:
        self.stack.append(self.persistent_load(self.pop()))


_OPERATIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda machine, version: None,
    "FRAME": lambda machine, length: None,
    "MARK": _Machine.mark,
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_mark(),
    "TUPLE": _Machine.build_tuple,
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "MEMOIZE": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.find_named,
    "STACK_GLOBAL": _Machine.find_stacked,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.set_state,
    "BINPERSID": _Machine.load_persistent,
}
