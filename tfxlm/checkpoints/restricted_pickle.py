"""A pickle reader that cannot run anything.

Pickle is a language for a small stack machine, and the standard library's machine imports and calls whatever a file
names. This one has the few operations that files of tensors use. It builds plain tuples, lists, dicts and sets; a name
is looked up in a mapping given by the caller and never imported, and only a `Constructor` from that mapping is called.
A class of a package that is known to write settings becomes a `RecordType`, which is its name and nothing else.
It takes no memory that the file merely announces: what is read is a slice of bytes that are there.
"""

import mmap
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfxlm.checkpoints.pickle_machine import LENGTH, LONG_LENGTH, MAX_PICKLE_BYTES, Machine
from tfxlm.errors import CheckpointError, CorruptFileError

__all__ = ["MAX_PICKLE_BYTES", "load_pickle"]


def load_pickle(
    data: bytes | mmap.mmap,
    *,
    path: Path,
    names: Mapping[str, Any],
    persistent_load: Callable[[Any], Any],
    packages: tuple[str, ...] = (),
    start: int = 0,
) -> tuple[Any, int]:
    """Reads one pickle and stops after it.

    Args:
        data: what the pickle is in.
        path: the file, for the errors.
        names: what each global name of the form ``"module.name"`` stands for; `Constructor`s may be called, and
            `RecordType`s made instances of.
        packages: what names begin with that stand for a `RecordType` of their own.
        persistent_load: turns a persistent id, of any type, into an object; it must check it.
        start: its first byte.

    Returns:
        The object: None, bool, int, float, str, bytes, tuples, lists, sets and dicts of them (keys are plain, or tuples
        of plain values), values of `names`, and what `persistent_load` and the constructors return; and the byte after
        the pickle.

    Raises:
        UnsafeFileError: the pickle names or calls something that is neither in `names` nor in `packages`.
        CorruptFileError: the pickle is truncated, malformed, or larger than any of names and shapes.
    """
    machine = Machine(data, start, path, names, persistent_load, packages)
    try:
        return machine.run(_OPERATIONS), machine.position
    except CheckpointError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, MemoryError, struct.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptFileError(
            f"'{path}' holds a truncated or corrupt pickle ({reason}). Download it again."
        ) from error


def _text(length: struct.Struct | None) -> Callable[[Machine], None]:
    """An operation that pushes a string after the length of its UTF-8."""

    def push(machine: Machine) -> None:
        count = machine.take(1)[0] if length is None else length.unpack(machine.take(length.size))[0]
        machine.stack.append(machine.take(count).decode("utf-8", "surrogatepass"))

    return push


def _bytes(length: struct.Struct | None, decode: str | None = None) -> Callable[[Machine], None]:
    """An operation that pushes bytes after their length; as text, where Python 2 meant that by them."""

    def push(machine: Machine) -> None:
        count = machine.take(1)[0] if length is None else length.unpack(machine.take(length.size))[0]
        value = machine.take(count)
        machine.stack.append(value if decode is None else value.decode(decode))

    return push


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


def _some(length: int) -> Callable[[Machine], None]:
    def push(machine: Machine) -> None:
        machine.spend()
        machine.stack.append(tuple(machine.pop_some(length)))

    return push


def _empty(kind: type) -> Callable[[Machine], None]:
    def push(machine: Machine) -> None:
        machine.spend()
        machine.stack.append(kind())

    return push


def _memoize(machine: Machine) -> None:
    machine.put(len(machine.memo))


# What each operation does, by its code. A LONG4 is left out: no honest number has more than 255 bytes.
_OPERATIONS: dict[int, Callable[[Machine], Any]] = {
    0x80: lambda machine: machine.take(1),  # PROTO
    0x95: lambda machine: machine.take(8),  # FRAME
    ord("("): Machine.mark,
    ord("0"): Machine.pop,
    ord("1"): Machine.pop_mark,
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("J"): Machine.push_integer,  # BININT
    ord("K"): Machine.push_small_integer,  # BININT1
    ord("M"): Machine.push_short,  # BININT2
    0x8A: Machine.push_long,  # LONG1
    ord("G"): Machine.push_float,  # BINFLOAT
    0x8C: _text(None),  # SHORT_BINUNICODE
    ord("X"): _text(LENGTH),  # BINUNICODE
    0x8D: _text(LONG_LENGTH),  # BINUNICODE8
    ord("U"): _bytes(None, "latin-1"),  # SHORT_BINSTRING
    ord("T"): _bytes(LENGTH, "latin-1"),  # BINSTRING
    ord("C"): _bytes(None),  # SHORT_BINBYTES
    ord("B"): _bytes(LENGTH),  # BINBYTES
    0x8E: _bytes(LONG_LENGTH),  # BINBYTES8
    0x96: _bytes(LONG_LENGTH),  # BYTEARRAY8
    ord(")"): _constant(()),
    ord("t"): Machine.push_tuple,
    0x85: _some(1),
    0x86: _some(2),
    0x87: _some(3),
    ord("]"): _empty(list),
    ord("a"): Machine.append,
    ord("e"): Machine.appends,
    ord("}"): _empty(dict),
    ord("s"): Machine.set_item,
    ord("u"): Machine.set_items,
    0x8F: _empty(set),
    0x90: Machine.add_items,
    0x91: Machine.push_frozen_set,
    0x94: _memoize,
    ord("q"): lambda machine: machine.put(machine.take(1)[0]),  # BINPUT
    ord("r"): lambda machine: machine.put(LENGTH.unpack(machine.take(4))[0]),  # LONG_BINPUT
    ord("h"): lambda machine: machine.get(machine.take(1)[0]),  # BINGET
    ord("j"): lambda machine: machine.get(LENGTH.unpack(machine.take(4))[0]),  # LONG_BINGET
    ord("c"): Machine.find_named,
    0x93: Machine.find_stacked,
    ord("R"): Machine.call,
    0x81: Machine.make_record,  # NEWOBJ
    ord("b"): Machine.set_state,
    ord("Q"): Machine.load_persistent,
}
