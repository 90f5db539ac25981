"""What the names in files of torch.save stand for: an allow-list, and nothing else is known.

It has two packages beside names. What they name is a `RecordType`, whatever it is, so that nothing of them can be run.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np

from tfxlm.checkpoints.arrays import MAX_DIMS, TensorEntry
from tfxlm.checkpoints.mapped_files import Checksum, MappedFile
from tfxlm.checkpoints.numpy_values import NUMPY_NAMES, encode
from tfxlm.checkpoints.pickle_values import Constructor, RecordType, plain_key
from tfxlm.errors import UnsupportedFileError


@dataclass(frozen=True)
class StorageType:
    """A storage class of torch, e.g. ``torch.FloatStorage``."""

    dtype: np.dtype


@dataclass(frozen=True)
class Marker:
    """Something that a file may mention and that has no meaning here, such as a dtype or a device."""

    name: str


@dataclass(eq=False)
class Storage:
    """A run of `size` elements at byte `offset` of a file.

    Attributes:
        tensors: those that were made of it.
        parts: views of it.
    """

    file: MappedFile
    offset: int
    size: int
    dtype: np.dtype
    swap: bool
    checksum: Checksum | None
    tensors: list[TensorEntry] = field(default_factory=list)
    parts: list["Storage"] = field(default_factory=list)

    def move(self, count: int) -> None:
        """Moves the storage, and all that was made of it, by a number of bytes: where it is was not known before."""
        self.offset += count
        for part in self.parts:
            part.move(count)
        for tensor in self.tensors:
            tensor.move(count)


def storage_fields(identifier: Any) -> tuple[StorageType, str, int, Any]:
    """The fields of a persistent id ``("storage", type, key, device, size)``, to which older files add a view.

    Returns:
        Type, key, number of elements, and the view or None.
    """
    if type(identifier) is not tuple or len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise ValueError("a persistent id is not that of a storage")
    _, kind, key, _, size, view = (*identifier, None)[:6]
    if type(kind) is not StorageType or type(key) is not str or type(size) is not int or size < 0:
        raise ValueError("the persistent id of a storage has a field of the wrong type")
    return kind, key, size, view


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
    if _is_contiguous(shape, strides):
        entry = replace(entry, strides=None)
    storage.tensors.append(entry)
    return entry


def _is_contiguous(shape: Any, strides: Any) -> bool:
    expected = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return 0 in shape or all(
        size == 1 or stride == step for size, stride, step in zip(shape, strides, expected, strict=True)
    )


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> TensorEntry:
    if type(data) is not TensorEntry:
        raise ValueError("a parameter is not a tensor")
    return data


def _dict(items: Any = ()) -> dict[Any, Any]:
    if type(items) not in (tuple, list):
        raise ValueError("a dictionary is not made from a list")
    if not all(type(item) in (tuple, list) and len(item) == 2 and type(item[0]) in (str, int) for item in items):
        raise ValueError("a dictionary is not made from pairs of names and values")
    return {plain_key(name): value for name, value in items}


def _collection(kind: type) -> Constructor:
    """Stands for a class of collections of plain values."""

    def build(items: Any = ()) -> Any:
        if type(items) not in (tuple, list) or not all(type(item) in (str, int, float, bool) for item in items):
            raise ValueError(f"a {kind.__name__} is not made from plain values")
        return kind(map(plain_key, items))

    return Constructor(build)


def _refused(what: str) -> Constructor:
    """Stands for a function that makes tensors of a kind that is not read."""

    def build(*_: Any) -> Any:
        raise UnsupportedKindError(what)

    return Constructor(build)


class UnsupportedKindError(UnsupportedFileError):
    """A tensor is of a kind that is not read; the reader of the file adds its name."""


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

# Packages whose classes files name among settings and counters: of their instances only the attributes are of use.
PACKAGES = ("fairseq.", "omegaconf.")

# Every other global name that a file may hold.
NAMES: dict[str, Any] = {
    "collections.OrderedDict": Constructor(_dict),
    # The argument is what makes missing values.
    "collections.defaultdict": Constructor(lambda factory=None: {}),
    "torch._utils._rebuild_tensor": Constructor(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": Constructor(_rebuild_tensor),
    "torch._utils._rebuild_parameter": Constructor(_rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": Constructor(_rebuild_parameter),
    "torch._utils._rebuild_sparse_tensor": _refused("a sparse tensor"),
    "torch._utils._rebuild_qtensor": _refused("a quantized tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _refused("a tensor without numbers (of the device 'meta')"),
    "torch.Size": Constructor(_size),
    "torch.device": Constructor(lambda *arguments: Marker("torch.device")),
    "_codecs.encode": Constructor(encode),
    **{
        f"{module}.{name}": maker
        for module in ("builtins", "__builtin__")
        for name, maker in {
            **{kind.__name__: _collection(kind) for kind in (set, frozenset, list, tuple)},
            **{name: Marker(name) for name in ["int", "long", "float", "bool", "str", "unicode", "bytes", "object"]},
            "dict": Constructor(_dict),
        }.items()
    },
    **{f"typing.{name}": Marker(f"typing.{name}") for name in ("Any", "List", "Dict", "Tuple", "Optional", "Union")},
    **NUMPY_NAMES,
    "argparse.Namespace": RecordType("argparse.Namespace"),
    **{
        f"{module}.{name}Storage": StorageType(np.dtype(dtype))
        for module in ("torch", "torch.cuda")
        for name, dtype in _STORAGES.items()
    },
    **{f"torch.{name}": Marker(f"torch.{name}") for name in _TORCH_DTYPES.split()},
}
