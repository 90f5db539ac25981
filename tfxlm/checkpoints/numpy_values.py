"""Arrays and numbers of numpy inside pickles: what its own functions would make, from what is in the file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfxlm.checkpoints.arrays import MAX_DIMS
from tfxlm.checkpoints.pickle_values import Constructor, RecordType, shown

# Kinds of dtypes whose values are plain numbers.
_KINDS = "biuf"


class StoredDtype:
    """A dtype; its byte order comes after it."""

    def __init__(self, code: Any, *_: Any) -> None:
        if type(code) is not str or not code[1:].isdecimal() or code[0] not in _KINDS:
            raise ValueError(f"numpy's dtype {shown(code)} is none of numbers")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        """Takes the byte order, the only part of the state that says something for numbers."""
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("the state of numpy's dtype has no byte order")
        self.dtype = self.dtype.newbyteorder("=" if state[1] == "|" else state[1])


class StoredArray:
    """An array; shape, dtype and numbers come after it.

    Attributes:
        array: read-only; empty before `set_state`.
    """

    def __init__(self, *_: Any) -> None:
        self.array = np.zeros(0)

    def set_state(self, state: Any) -> None:
        """Takes ``(version, shape, dtype, whether in Fortran's order, bytes)``."""
        if type(state) is not tuple or len(state) != 5:
            raise ValueError("the state of numpy's array is not what it should be")
        _, shape, dtype, in_fortran_order, data = state
        # The limits keep the product of the sizes cheap.
        is_shape = (
            type(shape) is tuple
            and len(shape) <= MAX_DIMS
            and all(type(size) is int and 0 <= size < 1 << 63 for size in shape)
        )
        if not is_shape or type(dtype) is not StoredDtype or type(data) is not bytes:
            raise ValueError("the state of numpy's array is not what it should be")
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise ValueError(f"numpy's array of shape {shape} does not have {len(data)} bytes")
        flat = np.frombuffer(data, dtype.dtype)
        self.array = flat.reshape(shape, order="F" if in_fortran_order is True else "C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> StoredArray:
    array = StoredArray()
    array.set_state((1, shape, dtype, order == "F", data))
    return array


def encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """Stands for `_codecs.encode`, by which pickles of old protocols hold bytes."""
    if type(text) is not str or encoding not in ("latin1", "latin-1", "utf-8"):
        raise ValueError("bytes are encoded in an unknown way")
    return text.encode(encoding)


def _scalar(dtype: Any, data: Any = None) -> int | float | bool:
    if type(dtype) is not StoredDtype or type(data) is not bytes or len(data) != dtype.dtype.itemsize:
        raise ValueError("a number of numpy is not what it should be")
    return np.frombuffer(data, dtype.dtype)[0].item()


NUMPY_NAMES: dict[str, Any] = {
    "numpy.dtype": Constructor(StoredDtype),
    "numpy.ndarray": RecordType("numpy.ndarray"),
    **{
        f"numpy.{module}.multiarray.{name}": maker
        for module in ("core", "_core")
        for name, maker in {"_reconstruct": Constructor(StoredArray), "scalar": Constructor(_scalar)}.items()
    },
    **{f"numpy.{module}.numeric._frombuffer": Constructor(_from_buffer) for module in ("core", "_core")},
}
