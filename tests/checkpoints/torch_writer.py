"""Writes files in the format of torch.save without torch, honest ones and others.

The pickles are assembled operation by operation: no pickler would write most of what the tests need.
"""

import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


@dataclass
class Name:
    """A global, e.g. ``Name("torch.FloatStorage")``."""

    name: str


@dataclass
class Call:
    """A call of a global."""

    function: Any
    arguments: Any


@dataclass
class Persistent:
    """A persistent id."""

    value: Any


@dataclass
class State:
    """An object whose state is set."""

    target: Any
    state: Any


@dataclass
class Raw:
    """Operations as they are."""

    data: bytes


def emit(value: Any) -> bytes:
    """Protocol 2 operations that leave `value` on the stack."""
    match value:
        case Raw():
            return value.data
        case Name():
            module, _, name = value.name.rpartition(".")
            return f"c{module}\n{name}\n".encode()
        case Call():
            return emit(value.function) + emit(value.arguments) + b"R"
        case Persistent():
            return emit(value.value) + b"Q"
        case State():
            return emit(value.target) + emit(value.state) + b"b"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(emit, value)) + b"t"
        case list():
            return b"](" + b"".join(map(emit, value)) + b"e"
        case dict():
            return b"}(" + b"".join(emit(key) + emit(item) for key, item in value.items()) + b"u"
    raise TypeError(type(value))


def pickled(value: Any) -> bytes:
    """A whole pickle of `value`."""
    return b"\x80\x02" + emit(value) + b"."


def storage(key: Any, size: Any, kind: Any = "FloatStorage") -> Persistent:
    """The persistent id of a storage."""
    return Persistent(("storage", Name(f"torch.{kind}") if isinstance(kind, str) else kind, key, "cpu", size))


def tensor(where: Any, shape: Any, strides: Any, offset: Any = 0, *more: Any) -> Call:
    """The call that makes a tensor of a storage."""
    hooks = Call(Name("collections.OrderedDict"), ())
    return Call(Name("torch._utils._rebuild_tensor_v2"), (where, offset, shape, strides, False, hooks, *more))


def archive(
    value: Any,
    storages: dict[str, bytes],
    *,
    byteorder: bytes | None = b"little",
    extra: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
    prefix: str = "archive",
) -> bytes:
    """A zip archive as torch.save lays it out; `value` may be the bytes of the pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(f"{prefix}/data.pkl", value if isinstance(value, bytes) else pickled(value))
        if byteorder is not None:
            file.writestr(f"{prefix}/byteorder", byteorder)
        for key, data in storages.items():
            info = zipfile.ZipInfo(f"{prefix}/data/{key}")
            info.compress_type = compression
            padding = -(buffer.tell() + 30 + len(info.filename) + 4) % 64  # torch aligns the numbers so
            info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
            file.writestr(info, data)
        for name, data in {"version": b"3\n", **(extra or {})}.items():
            file.writestr(f"{prefix}/{name}", data)
    return buffer.getvalue()


def state_archive(arrays: dict[str, np.ndarray], **options: Any) -> bytes:
    """The archive of a state dict, as ``torch.save(module.state_dict(), path)`` writes it."""
    tensors, storages = {}, {}
    for index, (name, array) in enumerate(arrays.items()):
        strides = tuple(stride // array.itemsize for stride in np.ascontiguousarray(array).reshape(array.shape).strides)
        where = storage(str(index), array.size, STORAGES[array.dtype.name])
        tensors[name] = tensor(where, array.shape, strides)
        storages[str(index)] = array.tobytes()
    ordered = Call(Name("collections.OrderedDict"), ())
    filled = Raw(emit(ordered) + b"(" + b"".join(emit(name) + emit(item) for name, item in tensors.items()) + b"u")
    metadata = {"_metadata": {"": {"version": 1}}}
    return archive(State(filled, metadata), storages, **options)


def legacy(arrays: dict[str, np.ndarray], *, little_endian: bool = True) -> bytes:
    """A state dict as torch before version 1.6 wrote it: little-endian, whatever the machine was."""
    tensors = {}
    for index, (name, array) in enumerate(arrays.items()):
        strides = tuple(stride // array.itemsize for stride in np.ascontiguousarray(array).reshape(array.shape).strides)
        identifier = storage(str(index), array.size, STORAGES[array.dtype.name]).value
        tensors[name] = tensor(Persistent((*identifier, None)), array.shape, strides)
    machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    numbers = b"".join(array.size.to_bytes(8, "little") + array.tobytes() for array in arrays.values())
    parts = (119547037146038801333356, 1001, machine, tensors, [str(index) for index in range(len(arrays))])
    return b"".join(map(pickled, parts)) + numbers


def save(folder: Path, data: bytes, name: str = "pytorch_model.bin") -> Path:
    """Writes a file into a folder, which it makes and returns."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder
