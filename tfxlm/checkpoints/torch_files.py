"""Files of `torch.save`, read without torch.

Since torch 1.6 such a file is a zip archive: ``NAME/data.pkl`` is a pickle in which a tensor is a call of
``torch._utils._rebuild_tensor_v2`` on a storage, and a storage is a persistent id that names the entry
``NAME/data/KEY`` with its raw numbers. The entries are not compressed, so a tensor is a view of the mapped file. The
archive has a checksum of each entry; that of a storage is compared when the first tensor in it is read.
"""

import io
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from tfxlm.checkpoints.arrays import MAX_DIMS, Checksum, MappedFile, TensorEntry
from tfxlm.checkpoints.restricted_pickle import Constructor, load_pickle
from tfxlm.errors import CorruptFileError, UnsupportedFileError

MAX_PICKLE_BYTES = 256 * 1024 * 1024  # names and shapes only; a vocabulary of 200,000 words takes a twentieth

_ZIP_START = b"PK\x03\x04"
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of the number torch writes first


@dataclass(frozen=True)
class StorageType:
    """A storage class of torch, e.g. ``torch.FloatStorage``."""

    dtype: np.dtype


@dataclass(frozen=True)
class Marker:
    """Something that a file may mention and that has no meaning here, such as a dtype or a device."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of `size` elements at byte `offset` of a file."""

    file: MappedFile
    offset: int
    size: int
    dtype: np.dtype
    swap: bool
    checksum: Checksum | None


def read_torch_file(file: MappedFile) -> dict[str, TensorEntry]:
    """Reads the names, shapes and places of the tensors in a state dict saved by `torch.save`.

    Args:
        file: the mapped file.

    Returns:
        The tensors by name, in the order of the file.

    Raises:
        UnsafeFileError: the file tries to do more than hold tensors.
        UnsupportedFileError: the file has another format or layout.
        CorruptFileError: the file is truncated or contradicts itself.
    """
    for start, reader in READERS:
        if file.map[: len(start)] == start:
            return _flat_tensors(file, reader(file))
    raise CorruptFileError(
        f"'{file.path}' is not a file of torch.save: it begins with {bytes(file.map[:8])!r}. Download it again."
    )


def _read_legacy(file: MappedFile) -> Any:
    raise UnsupportedFileError(
        f"'{file.path}' is in the format of torch.save before version 1.6, which is not read here. Save it again with "
        "a newer torch (`torch.save(torch.load(path, weights_only=True), path)`), or get the weights as safetensors."
    )


def _read_zip(file: MappedFile) -> Any:
    entries = _zip_entries(file)
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UnsupportedFileError(
            f"'{file.path}' is a zip archive, but not one of torch.save: it has {len(pickles)} entries named "
            "'data.pkl' instead of one. Expected a state dict saved with torch.save or safetensors."
        )
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in entries:
        raise UnsupportedFileError(
            f"'{file.path}' is a TorchScript archive, a program rather than weights. Save `module.state_dict()` "
            "instead."
        )
    byte_order = _small_entry(file, entries, f"{prefix}byteorder", b"little")
    if byte_order not in (b"little", b"big"):
        raise CorruptFileError(f"'{file.path}' has the unknown byte order {byte_order!r}. Download it again.")
    data = _checked_pickle(file, entries[pickles[0]])

    checksums: dict[str, Checksum | None] = {}

    def load_storage(identifier: Any) -> Storage:
        kind, key, size = _storage_fields(identifier)
        if f"{prefix}data/{key}" not in entries:
            raise ValueError(f"there is no storage '{key}'")
        info = entries[f"{prefix}data/{key}"]
        offset, stop = _entry_span(file, info)
        if size * kind.dtype.itemsize > stop - offset:
            raise ValueError(f"storage '{key}' should have {size} elements, but has {stop - offset} bytes")
        if key not in checksums:  # one for all tensors of a storage, so that it is compared once
            checksums[key] = _checksum(file, info)
        return Storage(file, offset, size, kind.dtype, byte_order == b"big", checksums[key])

    return load_pickle(io.BytesIO(data), path=file.path, names=NAMES, persistent_load=load_storage)


# First bytes of the file -> reader that returns the unpickled object.
READERS: tuple[tuple[bytes, Callable[[MappedFile], Any]], ...] = (
    (_ZIP_START, _read_zip),
    (_LEGACY_START, _read_legacy),
)


def _zip_entries(file: MappedFile) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file.path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, OverflowError, EOFError) as error:
        raise CorruptFileError(
            f"'{file.path}' is a truncated or corrupt zip archive ({error}). Download it again."
        ) from error
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise CorruptFileError(f"'{file.path}' is a zip archive with two entries of one name. Download it again.")
    return entries


def _entry_span(file: MappedFile, info: zipfile.ZipInfo) -> tuple[int, int]:
    """First byte of an entry's content in the file and the byte after its last."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise UnsupportedFileError(
            f"'{file.path}': the entry '{info.filename}' is compressed or encrypted, which torch.save never does. Save "
            "the weights again with torch.save, or as safetensors."
        )
    at = info.header_offset
    header = file.map[at : at + 30] if 0 <= at <= file.size else b""
    if len(header) == 30 and header.startswith(_ZIP_START):
        name_length, extra_length = struct.unpack_from("<HH", header, 26)
        start = at + 30 + name_length + extra_length
        if start + info.file_size <= file.size:
            return start, start + info.file_size
    raise CorruptFileError(
        f"'{file.path}' is a truncated or corrupt zip archive: the entry '{info.filename}' lies outside of it. "
        "Download it again."
    )


def _small_entry(file: MappedFile, entries: dict[str, zipfile.ZipInfo], name: str, default: bytes) -> bytes:
    if name not in entries:
        return default
    start, stop = _entry_span(file, entries[name])
    return file.map[start : min(stop, start + 64)].strip()


def _checked_pickle(file: MappedFile, info: zipfile.ZipInfo) -> bytes:
    start, stop = _entry_span(file, info)
    if stop - start > MAX_PICKLE_BYTES:
        raise CorruptFileError(
            f"'{file.path}' holds a pickle of {stop - start} bytes, more than the {MAX_PICKLE_BYTES} that are read."
        )
    if checksum := _checksum(file, info):
        checksum.check()
    return file.map[start:stop]


def _checksum(file: MappedFile, info: zipfile.ZipInfo) -> Checksum | None:
    # torch leaves it at 0 where it was told not to compute it.
    return Checksum(file, *_entry_span(file, info), info.CRC, info.filename) if info.CRC else None


def _storage_fields(identifier: Any) -> tuple[StorageType, str, int]:
    """The type, key and number of elements in a persistent id ``("storage", type, key, device, size)``."""
    if type(identifier) is not tuple or len(identifier) != 5 or identifier[0] != "storage":
        raise ValueError("a persistent id is not that of a storage")
    _, kind, key, _, size = identifier
    if type(kind) is not StorageType or type(key) is not str or type(size) is not int or size < 0:
        raise ValueError("the persistent id of a storage has a field of the wrong type")
    return kind, key, size


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> TensorEntry:
    if type(storage) is not Storage or type(offset) is not int:
        raise ValueError("a tensor has no storage or no offset")
    for sizes in (shape, strides):
        if type(sizes) not in (tuple, list) or not all(type(size) is int and size >= 0 for size in sizes):
            raise ValueError("a shape or its strides are not a tuple of sizes")
    if len(shape) != len(strides) or len(shape) > MAX_DIMS:
        raise ValueError(f"a tensor has {len(shape)} dimensions and {len(strides)} strides")
    if metadata:  # the sign and conjugation bits of lazy views
        raise ValueError("a tensor has lazy bits; save its clone()")
    empty = 0 in shape
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if offset < 0 or (not empty and last >= storage.size):
        raise ValueError(f"a tensor needs element {last} of a storage of {storage.size}")
    entry = TensorEntry(
        storage.file,
        tuple(shape),
        storage.dtype,
        storage.offset + (0 if empty else offset * storage.dtype.itemsize),
        tuple(strides),
        storage.swap,
        storage.checksum,
    )
    contiguous = replace(entry, strides=None)
    return contiguous if _is_contiguous(shape, strides) else entry


def _is_contiguous(shape: Any, strides: Any) -> bool:
    expected = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return 0 in shape or all(
        size == 1 or stride == step for size, stride, step in zip(shape, strides, expected, strict=True)
    )


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> TensorEntry:
    if type(data) is not TensorEntry:
        raise ValueError("a parameter is not a tensor")
    return data


def _ordered_dict(items: Any = ()) -> dict[str, Any]:
    if type(items) not in (tuple, list):
        raise ValueError("an OrderedDict is not made from a list")
    pairs = [tuple(item) for item in items if type(item) in (tuple, list)]
    if len(pairs) != len(items) or not all(len(pair) == 2 and type(pair[0]) is str for pair in pairs):
        raise ValueError("an OrderedDict is not made from pairs of names and values")
    return dict(pairs)


def _size(sizes: Any = ()) -> tuple[int, ...]:
    if type(sizes) not in (tuple, list) or not all(type(size) is int for size in sizes):
        raise ValueError("a torch.Size is not made from integers")
    return tuple(sizes)


_STORAGES: dict[str, Any] = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
_TORCH_DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool"

# Every global name that a file may hold.
NAMES: dict[str, Any] = {
    "collections.OrderedDict": Constructor(_ordered_dict),
    "torch._utils._rebuild_tensor": Constructor(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": Constructor(_rebuild_tensor),
    "torch._utils._rebuild_parameter": Constructor(_rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": Constructor(_rebuild_parameter),
    "torch.Size": Constructor(_size),
    "torch.device": Constructor(lambda *arguments: Marker("torch.device")),
    **{f"torch.{name}Storage": StorageType(np.dtype(dtype)) for name, dtype in _STORAGES.items()},
    **{f"torch.{name}": Marker(f"torch.{name}") for name in _TORCH_DTYPES.split()},
}


def _flat_tensors(file: MappedFile, value: Any) -> dict[str, TensorEntry]:
    if type(value) is not dict:
        raise UnsupportedFileError(
            f"'{file.path}' holds a {type(value).__name__} instead of a mapping from names to tensors. Save "
            "`module.state_dict()`."
        )
    others = [name for name, item in value.items() if type(name) is not str or type(item) is not TensorEntry]
    if others:
        keys = ", ".join(repr(key)[:60] for key in list(value)[:10]) + (", ..." if len(value) > 10 else "")
        raise UnsupportedFileError(
            f"'{file.path}' holds more than a flat mapping from names to tensors: {len(others)} of its {len(value)} "
            f"entries are something else (first: {others[0]!r:.60}; keys: {keys}). Save the state dict alone, e.g. "
            "torch.save(checkpoint['model'], path)."
        )
    for name, entry in value.items():
        entry.check(f"tensor '{name}'")
    return value
