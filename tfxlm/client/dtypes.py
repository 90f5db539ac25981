"""Data types: TensorFlow's numbers, numpy's dtypes, and the `TensorProto` field that holds the values of each."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from tfxlm.client.messages import DATA_TYPES
from tfxlm.errors import InputError


@dataclass(frozen=True)
class DType:
    """One data type of TensorFlow.

    Attributes:
        name: numpy's name, or `"string"`.
        enum_name: TensorFlow's name, for example `"DT_INT32"`.
        numpy: numpy dtype of an array of such values; `object` (of `bytes`) for strings.
        field: name of the `TensorProto` field with one entry per value.
    """

    name: str
    enum_name: str
    numpy: np.dtype
    field: str

    @property
    def number(self) -> int:
        """The type's number on the wire."""
        return DATA_TYPES[self.enum_name]

    @property
    def is_string(self) -> bool:
        """Whether values are byte strings."""
        return self.name == "string"

    @property
    def is_integer(self) -> bool:
        """Whether values are integers, signed or not."""
        return self.numpy.kind in "iu"

    @property
    def is_float(self) -> bool:
        """Whether values are floating point numbers."""
        return not (self.is_string or self.is_integer or self.numpy.kind == "b")


STRING = DType("string", "DT_STRING", np.dtype(object), "string_val")

DTYPES: tuple[DType, ...] = (
    STRING,
    DType("bool", "DT_BOOL", np.dtype(np.bool_), "bool_val"),
    DType("float32", "DT_FLOAT", np.dtype(np.float32), "float_val"),
    DType("float64", "DT_DOUBLE", np.dtype(np.float64), "double_val"),
    DType("float16", "DT_HALF", np.dtype(np.float16), "half_val"),
    DType("bfloat16", "DT_BFLOAT16", np.dtype(ml_dtypes.bfloat16), "half_val"),
    DType("int8", "DT_INT8", np.dtype(np.int8), "int_val"),
    DType("int16", "DT_INT16", np.dtype(np.int16), "int_val"),
    DType("int32", "DT_INT32", np.dtype(np.int32), "int_val"),
    DType("int64", "DT_INT64", np.dtype(np.int64), "int64_val"),
    DType("uint8", "DT_UINT8", np.dtype(np.uint8), "int_val"),
    DType("uint16", "DT_UINT16", np.dtype(np.uint16), "int_val"),
    DType("uint32", "DT_UINT32", np.dtype(np.uint32), "uint32_val"),
    DType("uint64", "DT_UINT64", np.dtype(np.uint64), "uint64_val"),
)

_BY_NUMBER = {dtype.number: dtype for dtype in DTYPES}
_BY_NUMPY = {dtype.numpy: dtype for dtype in DTYPES}
_NAMES_BY_NUMBER = {number: name for name, number in DATA_TYPES.items()}


def dtype_of_number(number: int) -> DType:
    """Returns the data type with a number on the wire.

    Raises:
        InputError: no tensor of that type can be sent.
    """
    if number not in _BY_NUMBER:
        raise InputError(
            f"Tensors of type {_NAMES_BY_NUMBER.get(number, number)} cannot be sent or received; expected one of "
            f"{', '.join(dtype.enum_name for dtype in DTYPES)}."
        )
    return _BY_NUMBER[number]


def dtype_of_array(array: np.ndarray) -> DType:
    """Returns the data type an array is sent as; text and byte strings are `STRING`.

    Raises:
        InputError: numpy's dtype has no counterpart.
    """
    if array.dtype.kind in "USO":
        return STRING
    dtype = _BY_NUMPY.get(array.dtype.newbyteorder("="))
    if dtype is None:
        raise InputError(
            f"Arrays of dtype {array.dtype} cannot be sent; expected "
            f"one of {', '.join(known.name for known in DTYPES)}."
        )
    return dtype
