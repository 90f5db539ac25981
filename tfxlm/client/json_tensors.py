"""JSON values <-> numpy arrays, by the rules of TensorFlow Serving's REST interface.

Numbers are written with all digits a double needs, so that float32 values survive any JSON reader unchanged; NaN and
infinities are the bare words `NaN`, `Infinity`, `-Infinity`. Byte strings that are not text are `{"b64": "..."}`.
"""

import base64
import itertools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from tfxlm.client.dtypes import DType
from tfxlm.client.metadata import TensorSpec, describe_shape
from tfxlm.client.tensors import MAX_RANK
from tfxlm.errors import InputError

BINARY_SUFFIX = "_bytes"
"""Outputs with names that end so hold binary data and are always written as base64."""


def is_base64_object(value: Any) -> bool:
    """Tells whether a JSON value is `{"b64": "..."}`, a byte string rather than an object."""
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def to_json(array: np.ndarray, *, binary: bool = False) -> Any:
    """Turns an array into nested lists that `json.dumps` can write.

    Args:
        array: values of any shape; strings as an object array of `bytes` or `str`.
        binary: write every byte string as base64. Otherwise only those that are not UTF-8.

    Returns:
        Nested lists, or a bare value for a rank-0 array.
    """
    if array.dtype.kind in "USO":
        flat = np.empty(array.size, dtype=object)
        for position, entry in enumerate(array.reshape(-1).tolist()):
            flat[position] = _string_to_json(entry, binary)
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind in "fV":  # "V": bfloat16
        array = array.astype(np.float64)
    return array.tolist()


def _string_to_json(entry: bytes | str, binary: bool) -> str | dict[str, str]:
    if isinstance(entry, str) and not binary:
        return entry
    raw = entry.encode("utf-8") if isinstance(entry, str) else entry
    if not binary:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass  # not text: base64 is the only form that keeps it
    return {"b64": base64.b64encode(raw).decode("ascii")}


def from_json(value: Any, spec: TensorSpec, name: str) -> np.ndarray:
    """Turns nested lists into an array of a specification's data type.

    Args:
        value: what `json.loads` made: nested lists, or a bare value for rank 0.
        spec: expected data type and shape.
        name: tensor name, for error messages.

    Returns:
        Array; strings as an object array of `bytes`.

    Raises:
        InputError: rows of unequal length, a wrong rank, a fixed dimension of another size, or a value that the data
            type cannot hold exactly. The message names the row and position.
    """
    shape = _leading_shape(value)
    if len(shape) > MAX_RANK or (spec.shape is not None and len(shape) != len(spec.shape)):
        raise InputError(
            f"{name!r} must be {spec}; got "
            f"{describe_shape(shape) if len(shape) <= MAX_RANK else f'{len(shape)} levels of lists'}."
        )
    entries = [value]
    for axis, size in enumerate(shape):
        for position, entry in enumerate(entries):
            if type(entry) is not list or len(entry) != size:
                raise InputError(
                    f"{name!r}, {_place(position, shape[:axis])}: expected a list of {size} like the first one, got "
                    f"{describe_json(entry)}. All rows must have the same length; pad the shorter ones."
                )
        entries = list(itertools.chain.from_iterable(entries))
    if not spec.accepts(shape):
        raise InputError(f"{name!r} must be {spec}; got {describe_shape(shape)}.")

    def refuse(position: int, expected: str) -> InputError:
        return InputError(
            f"{name!r}, {_place(position, shape)}: expected {expected}, got {describe_json(entries[position])}."
        )

    return _convert(entries, spec.dtype, refuse).reshape(shape)


def describe_json(value: Any) -> str:
    """Names a JSON value for a message, shortened."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return f"the string {value[:40]!r}{'...' if len(value) > 40 else ''}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    # Python refuses to write integers of more than a few thousand digits.
    return "a huge whole number" if isinstance(value, int) and abs(value) > 10**40 else f"the number {value}"


def _leading_shape(value: Any) -> tuple[int, ...]:
    """Reads the shape off the first entry of each level."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _place(position: int, shape: tuple[int, ...]) -> str:
    """Names the place of an entry: `row 1 (position [1][3])`."""
    if not shape:
        return "at the top"
    index = np.unravel_index(position, shape)
    return f"row {index[0]} (position {''.join(f'[{i}]' for i in index)})"


Refusal = Callable[[int, str], InputError]


def _convert(entries: list[Any], dtype: DType, refuse: Refusal) -> np.ndarray:
    """Turns a flat list of JSON values into a rank-1 array."""
    if dtype.is_string:
        return _strings(entries, refuse)
    if dtype.is_integer:
        return _integers(entries, dtype, refuse)
    if dtype.is_float:
        return _floats(entries, dtype, refuse)
    _check_types(entries, {bool}, refuse, "true or false")
    return np.array(entries, dtype=dtype.numpy)


def _check_types(entries: list[Any], allowed: set[type], refuse: Refusal, expected: str) -> None:
    """Refuses the first entry of another type; exact types, because Python's `bool` is an `int`."""
    if not set(map(type, entries)) <= allowed:
        raise refuse(next(p for p, entry in enumerate(entries) if type(entry) not in allowed), expected)


def _integers(entries: list[Any], dtype: DType, refuse: Refusal) -> np.ndarray:
    limits = np.iinfo(dtype.numpy)
    expected = f"a whole number from {limits.min} to {limits.max} ({dtype.name})"
    _check_types(entries, {int}, refuse, expected)
    if entries and not (limits.min <= min(entries) and max(entries) <= limits.max):
        raise refuse(next(p for p, e in enumerate(entries) if not limits.min <= e <= limits.max), expected)
    return np.array(entries, dtype=dtype.numpy)


def _floats(entries: list[Any], dtype: DType, refuse: Refusal) -> np.ndarray:
    _check_types(entries, {int, float}, refuse, f"a number ({dtype.name})")
    largest = 2 ** (ml_dtypes.finfo(dtype.numpy).nmant + 1) - 1
    inexact = next((p for p, entry in enumerate(entries) if type(entry) is int and abs(entry) > largest), None)
    if inexact is not None:
        raise refuse(inexact, f"a number that {dtype.name} holds exactly (whole numbers up to {largest})")
    doubles = np.array(entries, dtype=np.float64)
    with np.errstate(over="ignore"):
        array = doubles.astype(dtype.numpy)
    overflowed = np.flatnonzero(np.isinf(array) & ~np.isinf(doubles))
    if overflowed.size:
        raise refuse(int(overflowed[0]), f"a number in the range of {dtype.name}")
    return array


def _strings(entries: list[Any], refuse: Refusal) -> np.ndarray:
    array = np.empty(len(entries), dtype=object)
    for position, entry in enumerate(entries):
        expected = 'a string or {"b64": "<base64>"}'
        try:
            if isinstance(entry, str):
                expected = "valid Unicode text (no surrogate on its own)"
                array[position] = entry.encode("utf-8")
                continue
            if is_base64_object(entry):
                expected = 'valid base64 in {"b64": "<base64>"}'
                encoded = "".join(entry["b64"].split())
                array[position] = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
                continue
        except ValueError:  # of encode and of b64decode
            pass
        raise refuse(position, expected)
    return array
